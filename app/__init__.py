"""The portrait restoration service.

A photo goes one way: decode -> detect -> align -> batch -> restore -> paste -> encode.  Each step
is a module of that name in ``imaging``, ``faces`` or ``serving``; ``faces.pipeline`` puts them in
order.
"""
