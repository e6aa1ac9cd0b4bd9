"""Bytes to pixels and back: reading and writing photos."""
