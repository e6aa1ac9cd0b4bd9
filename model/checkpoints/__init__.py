"""Weights files: a table of them, and finding, downloading and checking them."""
