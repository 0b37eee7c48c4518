"""Write `docs/wire.md` from the declarations in `src/bento/wire/`: `wire_table.py > docs/wire.md`.

The page says of each message who may send it and how many bytes of what it
holds. Nothing in it is written by hand but the words around the tables, so it
cannot come to disagree with what is decoded; a test compares the two.
"""

import sys
from inspect import cleandoc
from pathlib import Path
from typing import get_type_hints

TREE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TREE / "src"))

from bento.wire import admin, channel, consent, contract, control, frames, rpc  # noqa: E402  # found by the line above
from bento.wire.layout import Blob, Message, Number, Rest, Sender, Text  # noqa: E402
from bento.wire.names import Name  # noqa: E402  # likewise
from bento.wire.rpc import Stream  # noqa: E402  # likewise


def page() -> str:
    return f"""\
# The wire: every message that crosses a boundary

Made by `scripts/wire_table.py` from `src/bento/wire/`; do not edit.

Numbers are unsigned and big-endian; bytes and text stand behind their length, a u32, except where a field takes the
rest of its message. Text is UTF-8, and everything that has a parser in `wire/names.py` is a name of that type or the
message is refused. A message that has anything before, between or after its fields is refused too.

    frame   = tag u8 | length u32, at most {frames.MAX_PAYLOAD} | payload | seal
    packet  = tag u8 | payload, at most {control.MAX_PACKET} bytes in all

The seal is empty but on the guest channel: there it is the first {channel.SEAL_SIZE} bytes of the greeting's nonce, the
last of them with its lowest bit set.

## Between a domain and its broker, and on legs (`wire/rpc.py`)

Frames. *Host* is the broker, *guest* the domain's agent; protocol version {channel.VERSION}. The channel begins with a
greeting of {2 * len(channel.PADDING)} zeros, `{_escaped(channel.GREETING)}`, the version (u16) and a nonce of
{channel.NONCE_SIZE} bytes, answered by `{_escaped(channel.ANSWER)}` and the nonce; `wire/channel.py` says why.
Each side may have {rpc.MAX_CALLS} calls open that it began; {rpc.WINDOW} bytes of each stream may be under way.

{_table(rpc.MESSAGES)}

Who may say what of a call, and when; the caller of a call is the end that asked for it (`wire/rpc.py`):

{_rules()}

## Between a broker and the manager (`wire/control.py`)

Packets. *Host* is the manager, *guest* the broker.

{_table(control.MESSAGES)}

## A call's contract (`wire/contract.py`)

Frames, one after the other in `Open`'s field `contract`: `Terms`, then steps, which name one another by their place.
The manager makes it and the broker runs it; nobody else sees one.

{_table(contract.STEPS)}

## The Admin API (`wire/admin.py`)

{cleandoc(admin.__doc__ or "")}

## Questions to the person (`wire/consent.py`)

{cleandoc(consent.__doc__ or "")}
"""


def _table(messages: tuple[type[Message], ...]) -> str:
    rows = ["| tag | message | from | fields | meaning |", "|---|---|---|---|---|"]
    for kind in messages:
        fields = "; ".join(f"`{name}` {_layout(kind, name, layout)}" for name, layout in kind.LAYOUT)
        sender = "either" if kind.SENDER is Sender.BOTH else (kind.SENDER.name or "").lower()
        rows.append(f"| {kind.TAG} | {kind.__name__} | {sender} | {fields or 'none'} | {_meaning(kind)} |")
    return "\n".join(rows)


def _meaning(kind: type[Message]) -> str:
    said = cleandoc(kind.__doc__ or "")
    return "" if said.startswith(f"{kind.__name__}(") else " ".join(said.split())  # that one was made by dataclasses


def _layout(kind: type[Message], name: str, layout: object) -> str:
    match layout:
        case Number(size=size, limit=limit):
            bounded = limit != (1 << 8 * size) - 1
            return f"u{8 * size}" + (f", at most {limit}" if bounded else "")
        case Blob(limit=limit, exact=exact):
            return f"{limit} bytes" if exact else f"bytes, at most {limit}"
        case Rest(limit=limit):
            return f"the rest, at most {limit} bytes"
        case Text(blob=blob):
            named = get_type_hints(kind)[name]
            return f"{named.__name__ if issubclass(named, Name) else 'text'}, at most {blob.limit} bytes"
        case _:
            raise TypeError(f"{kind.__name__}.{name} has a layout that this page does not know")


def _rules() -> str:
    rows = ["| from | while the call is | it may say |", "|---|---|---|"]
    for (role, stage), legal in rpc.LEGAL.items():
        said = []
        for kind, streams in legal.items():
            about = ", ".join(stream.name.lower() for stream in Stream if stream in streams)
            said.append(f"{kind.__name__} ({about})" if about else kind.__name__)
        rows.append(f"| {role.value} | {stage.value} | {', '.join(sorted(said))} |")
    return "\n".join(rows)


def _escaped(data: bytes) -> str:
    return repr(data)[2:-1]


if __name__ == "__main__":
    sys.stdout.write(page())
