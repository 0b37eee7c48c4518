"""The one error of this room: the peer sent what the protocol does not allow."""


class WireError(Exception):
    """A peer broke the protocol, or a person typed a name that is none.

    The text is one sentence, safe to print: whatever of the peer's bytes it
    quotes went through `names.printable`.
    """
