"""The subcommands of ``gpen``."""
