"""The kernel: the words every room of Trunkline speaks."""

__version__ = "0.1.0"
