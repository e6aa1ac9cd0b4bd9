"""The training loop: what a run does, keeps and writes down."""
