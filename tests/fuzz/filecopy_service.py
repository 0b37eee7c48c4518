"""The real `qubes.Filecopy` behind its contract, over a real agent: whatever a sender says, it keeps its own side.

The sender's bytes are followed as a broker follows them, and cut where a broker cuts. What comes through reaches the
service, whose answer and exit code must be such as the contract allows.
"""

import random
import re
import shutil
import tempfile
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bento.wire.contract import Broken, Follower
from bento.wire.filecopy import decode_result
from bento.wire.rpc import Data, Role, Stream
from tests.fuzz.contract import NAMES, TABLES
from tests.fuzz.engine import Target, main, pieces
from tests.fuzz.filecopy import DIRECTORY, FILE, LINK, WHOLE
from tests.guest.harness import Host, agent
from tests.guest.pair import PYTHON
from tests.host.contract.conversations import Said, illegal, legal
from tests.host.contract.examples import CONTRACTS

NAME = "qubes.Filecopy"

NUMBER = re.compile(r"\d+")


def check(data: bytes, host: Host, home: Path) -> Hashable:
    shutil.rmtree(home / "QubesIncoming", ignore_errors=True)
    follower = Follower(TABLES[NAMES.index(NAME)])
    call = host.serve(NAME, stdin=None, source="random")
    try:
        for piece in pieces(data):
            host.give(call, bytes(follower.say(Role.CALLER, piece)))
        follower.end(Role.CALLER)
    except Broken as error:
        assert error.blame is Role.CALLER
        host.drop(call)
        return NUMBER.sub("N", str(error))
    host.close_stdin(call)
    host.finish(call)
    follower.say(Role.SERVER, bytes(call.stdout))
    follower.hear(Role.SERVER, Data(0, Stream.STDERR, bytes(call.stderr)))
    assert call.code is not None
    follower.exit(call.code)
    return call.code, decode_result(bytes(call.stdout)).code


def senders() -> Iterator[bytes]:
    """What senders say: of conversations that the contract allows, and of others."""
    yield from (WHOLE, FILE, DIRECTORY + LINK)
    chance = random.Random(NAME)
    for _ in range(20):
        bad = illegal(CONTRACTS[NAME], chance.randint)
        for events in (legal(CONTRACTS[NAME], chance.randint), [*bad.legal, *bad.last] if bad else []):
            yield b"".join(event.data for event in events if isinstance(event, Said) and event.side is Role.CALLER)


@contextmanager
def target() -> Iterator[Target]:
    with tempfile.TemporaryDirectory(prefix="bento-f-") as root, agent(Path(root)) as running, running.host() as host:
        running.service(NAME, f"exec {PYTHON} -m bento.guest.services.filecopy")
        yield Target(lambda data: check(data, host, Path(root) / "home"), tuple(senders()), (FILE, DIRECTORY, LINK))


if __name__ == "__main__":
    with target() as made:
        main("tests.fuzz.filecopy_service", made)
