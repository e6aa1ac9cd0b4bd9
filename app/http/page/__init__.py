"""The demo page: ``/``, and its files below ``/page/``."""
