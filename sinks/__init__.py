"""The hands: one kind of effect a file."""
