"""A file, or a link, that another domain shall open: `qubes.OpenInVM` and `qubes.OpenURL` in the field's bytes.

    asking    := name, 256 bytes with NULs after it | the file's content, to the end of the stream
    answering := nothing, or what the file became, to the end of the stream
    link      := an address of the web, then a newline

A name that begins with `view-only-` is of a file that shall not be changed there; nothing comes back. The answer to a
link is an exit code. Source: dvm2.h, qopen-in-vm.c, vm-file-editor.c and qubes.OpenURL of the field's
qubes-core-agent-linux. Stricter here than there: a link has no characters but those that print in ASCII.
"""

import re

from bento.wire.errors import WireError
from bento.wire.names import printable

NAME_SIZE = 256
VIEW_ONLY = b"view-only-"

MAX_LINK = 8192
"""Bytes of a link."""

KEPT = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+@")
LINK = re.compile(rf"(?:https?|ftp)://[!-~]{{1,{MAX_LINK - 8}}}", re.ASCII)


def encode_name(name: bytes, *, view_only: bool) -> bytes:
    """Of a file's own name, without its directory. The end of a name that is too long, which says what it is."""
    if view_only:
        name = VIEW_ONLY + name[-(NAME_SIZE - 1 - len(VIEW_ONLY)) :]
    elif name.startswith(VIEW_ONLY):
        name = b"_" + name
    return name[-(NAME_SIZE - 1) :].ljust(NAME_SIZE, b"\0")


def decode_name(untrusted: bytes) -> tuple[str, bool]:
    """A name that is safe to give to a file in an empty directory, and whether it is for viewing only; or `WireError`.

    What programs might stumble over is replaced by `_`.
    """
    if len(untrusted) != NAME_SIZE:
        raise WireError("what is to be opened breaks off in its name")
    name = untrusted.partition(b"\0")[0][: NAME_SIZE - 1]
    view_only = name.startswith(VIEW_ONLY)
    name = name.removeprefix(VIEW_ONLY)
    if b"/" in name or name in (b"", b".", b".."):
        raise WireError(f"{printable(name.decode(errors='replace'))} is no name for a file that is to be opened")
    return bytes(byte if byte in KEPT else 0x5F for byte in name).decode("ascii"), view_only


def decode_link(untrusted: bytes) -> str:
    """Of a line with or without its end; `WireError` unless a browser should see it."""
    line = untrusted.removesuffix(b"\n").decode("ascii", errors="replace")
    if not LINK.fullmatch(line):
        raise WireError(f"{printable(line)} is not a link (http, https or ftp, at most {MAX_LINK} bytes)")
    return line
