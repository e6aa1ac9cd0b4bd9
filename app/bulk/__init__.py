"""Restoring folders of any number of photos, on one machine or on many."""
