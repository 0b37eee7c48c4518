"""Files of the person's that go to the manager with a request, so that it opens no file that somebody names."""

from pathlib import Path

from bento.cli.exits import Code, Failed
from bento.wire.admin import MAX_REQUEST

ROOM = MAX_REQUEST - 1024
"""Bytes for them in one request, beside what else is in it."""


def read_text(path: Path) -> str:
    """Its text; bytes that are no UTF-8 stay what they are (surrogateescape), for the manager to find the fault."""
    try:
        if path.exists() and not path.is_file():  # a FIFO would wait for ever
            raise Failed(f"{path} is not a plain file", Code.BAD_INPUT)
        with open(path, "rb") as file:
            return as_text(str(path), file.read(ROOM + 1))
    except OSError as error:
        raise Failed(f"{path} cannot be read: {error.strerror}", Code.BAD_INPUT) from None


def as_text(name: str, data: bytes) -> str:
    """The same of what was read already, one byte more than there is room for at the most."""
    if len(data) > ROOM:
        raise Failed(f"{name} is too long for one request: more than {ROOM} bytes", Code.BAD_INPUT)
    return data.decode("utf-8", "surrogateescape")
