"""GPEN: the networks, and the training code that makes the served weights."""
