"""A saved program, run in torch operation by operation."""
