"""The boxes that services of the admin domain run in, where the host is short of something."""

import asyncio
import errno
import os
import socket
from pathlib import Path

import pytest

from bento.host.manager.boxes import Box, Boxes
from bento.host.manager.children import MAX_COMPLAINT
from bento.host.model.errors import Unavailable
from bento.wire.control import Blame, Open
from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName

TOO_LONG = 60.0

CALL = Open(ServiceName("a.Service"), ServiceArgument(""), DomainName("work"), TargetName("dom0"), "", 0, 0)


def test_a_box_that_cannot_be_given_its_call_does_not_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each would wait for ever; a caller could have one for each call (unix(7): ETOOMANYREFS)."""
    program = tmp_path / "a.Service"
    program.touch()

    def give(_box: Box, _call: Open, _leg: socket.socket) -> None:
        raise OSError(errno.ETOOMANYREFS, os.strerror(errno.ETOOMANYREFS))

    monkeypatch.setattr(Box, "give", give)

    async def call() -> None:
        boxes = Boxes(lambda _: ["cat"])
        leg, _ = pair = socket.socketpair()
        with pair[0], pair[1], pytest.raises(Unavailable):
            await boxes.begin(program, CALL, leg)
        async with asyncio.timeout(TOO_LONG):
            await asyncio.wait({box.ended for box in boxes._all})

    asyncio.run(call())


def test_a_box_that_says_too_much_ends_like_any_other(tmp_path: Path) -> None:
    """Its relay was taken over, say: a pipe that nobody reads to its end would keep it, and the manager, for ever."""
    program = tmp_path / "a.Service"
    program.touch()

    async def call() -> tuple[Blame, str]:
        boxes = Boxes(lambda _: ["sh", "-c", "head -c 1 >/dev/null; yes spam | head -c 1000000 >&2"])
        leg, other = socket.socketpair()
        with leg, other:
            async with asyncio.timeout(TOO_LONG):
                told = await (await boxes.begin(program, CALL, leg)).ended
                await boxes.close()
        return told

    blame, words = asyncio.run(call())
    assert blame is Blame.SERVER
    assert words.startswith("spam")
    assert len(words) == MAX_COMPLAINT
