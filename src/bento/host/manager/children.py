"""What a process of Bento's own says on stderr at its end: words to be shown, which nothing is made dependent on.

It has read what a guest wrote, so nothing of it is believed: a few bytes are taken, and plain text is left of them.
"""

from asyncio.subprocess import Process

from bento.wire.names import ascii_only

MAX_BYTES = 500


async def complaint(process: Process) -> str:
    """Its words, started with a pipe as stderr; empty if it has none. Waits for them, or for its end."""
    assert process.stderr
    untrusted = await process.stderr.read(MAX_BYTES)
    return ascii_only(untrusted.decode("ascii", "replace").strip())
