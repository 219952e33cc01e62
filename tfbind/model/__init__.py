"""Trunk, factor and context towers, the factored head, and checkpoints."""
