"""The portrait restoration service.

A photo goes one way: decode -> detect -> align -> batch -> restore -> paste -> encode.  Each step
is a module of that name; ``pipeline`` puts them in order.
"""
