"""Publishing: a consistent read-only copy of the closed warehouse, swapped in atomically."""
