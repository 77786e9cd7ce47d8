"""The detective: why a webhook was refused, found by trying what may have happened to it."""
