"""Measures of how good a restoration is, and reports of them."""
