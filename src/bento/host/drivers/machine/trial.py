"""Trying a program once, with a deadline: the honest way to learn whether something works here."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from bento.host.drivers.run import run
from bento.host.model.errors import Unavailable

DEADLINE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Trial:
    """Whether it worked; `words` is what the program printed, or else one line on why it failed."""

    worked: bool
    words: str


async def attempt(argv: Sequence[str], seconds: float = DEADLINE_SECONDS) -> Trial:
    """Run `argv`; never raises. A program that isn't there, fails, or misses the deadline did not work."""
    try:
        async with asyncio.timeout(seconds):
            return Trial(True, await run(argv))
    except TimeoutError:
        return Trial(False, f"{argv[0]} did not end within {seconds:g} s")
    except Unavailable as error:
        return Trial(False, " ".join(str(error).split()))
