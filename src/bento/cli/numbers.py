"""Numbers as a person types them after an option; argparse says which option it was."""

import argparse


def whole(text: str) -> int:
    """From 1, and of at most nine digits."""
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 10 and int(text)):
        raise argparse.ArgumentTypeError(f"takes a whole number from 1, not {text!a}")
    return int(text)


def seconds(text: str) -> float:
    """From 0 to some decades, as 90 or 0.5."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"takes a number of seconds, such as 90 or 0.5, not {text!a}")
    return value
