"""Pictures of faces, and the pairs that are made of them."""
