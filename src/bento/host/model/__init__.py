"""What Bento's host side is about, as frozen values: domains, volumes, machines, and the errors that name the blame.

Nothing here does anything. No I/O, no clock, no randomness.
"""
