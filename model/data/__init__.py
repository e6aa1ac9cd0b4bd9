"""Pictures of faces, and training pairs made from them."""
