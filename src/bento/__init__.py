"""Bento divides a computer into boxes: see ARCHITECTURE.md for the rooms of this package."""

__version__ = "0.1.0"
