"""How many examples a property is tried with, where the usual number is not the right one."""

from hypothesis import settings

USUAL = 100
"""What `make test` tries of a property; profiles of their own try fewer (see conftest.py)."""


def examples(count: int) -> settings:
    """`count` of them, or as few as the profile in force tries, in proportion."""
    return settings(max_examples=max(1, count * settings().max_examples // USUAL))
