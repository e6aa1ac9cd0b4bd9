"""Pixels to pixels: the faces of a photo found, restored and pasted back."""
