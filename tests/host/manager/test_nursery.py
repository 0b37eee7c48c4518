"""The brokers' nursery, where the host is short of something."""

import asyncio
import errno
import os
import socket

import pytest

from bento.host.manager.brokers import Nursery


def test_a_nursery_that_cannot_be_begun_ahead_costs_the_manager_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who needs it later hears of it; a manager that ended for it would take every domain's calls along."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def story() -> None:
        nursery = Nursery(lambda _: ["true"])
        with monkeypatch.context() as short:
            short.setattr(socket, "socketpair", refuse)
            await nursery.begin()
        await nursery.close()

    asyncio.run(story())
