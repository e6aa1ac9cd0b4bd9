"""What runs as long as the process does."""
