"""Measurements side by side: every figure is a ratio to something run in the same minutes."""
