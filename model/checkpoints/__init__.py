"""Files of weights: which there are, where they lie, and how they are fetched and checked."""
