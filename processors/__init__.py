"""The thinking: pure decisions, one noun a file."""
