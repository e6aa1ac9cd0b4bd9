"""The portrait restoration service.

A photo passes these steps: decode -> detect -> align -> batch -> restore -> paste -> encode.  Each
is a module of that name in ``imaging``, ``faces`` or ``serving``, and ``faces.pipeline`` connects
them.
"""
