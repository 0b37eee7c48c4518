"""Boxes of processes: what a mark is, who is believed, and how they end. The boxes are real, their content is not."""

import asyncio
import errno
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from bento.host.disk.said import Said
from bento.host.drivers import boxed
from bento.host.drivers.boxed import Box, Mark, find_boxes, kill_boxes, read_mark, spawn
from bento.host.model.errors import Unavailable

HOME = f"{os.getpid():08x}"
"""Of this run alone: another one of the same account finds none of its boxes."""

HERE = {os.getuid()}


def box_of(uuid: UUID, script: str) -> list[str]:
    """A box in which a shell runs `script` with the machine's mark as $1 and a Python that waits for ever as $2."""
    waits = "import signal; signal.pause()"
    mark = f"work/{Mark(HOME, uuid)}"
    argv = ["bwrap", "--unshare-all", "--as-pid-1", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
    return [*argv, "--info-fd", "{ready}", "--", "/bin/sh", "-c", script, "sh", mark, waits]


def start(uuid: UUID, script: str = 'exec /usr/bin/python3 -S -c "$2" "$1"') -> None:
    async def begin() -> None:
        argv = box_of(uuid, script)
        await spawn(lambda ready: [word.format(ready=ready) for word in argv], inherit=[], said=Said())

    asyncio.run(begin())


def boxes(owners: set[int] | None = None) -> list[Box]:
    return asyncio.run(find_boxes(HOME, HERE if owners is None else owners))


@contextmanager
def settled(uuid: UUID, argument: bytes | None) -> Iterator[Box]:
    """The box, once the process in it has `argument` at the end of its own (None: some other); ended with the block."""
    try:
        while True:
            box, *forks = boxes()  # one that the shell in the box just made has the shell's arguments, and so the mark
            assert box.pid is not None
            words = Path(f"/proc/{box.pid}/cmdline").read_bytes().split(b"\0")
            if words[0].endswith(b"python3") and argument in (None, words[-2]) and not forks:
                break
        yield box
    finally:
        asyncio.run(kill_boxes(HOME, HERE, uuid))
        assert boxes() == []


def ends_with(argument: str, mark: Mark) -> bool:
    return read_mark([argument], mark.home) == mark.uuid


def test_a_mark_stands_at_the_end_of_an_argument() -> None:
    mark = Mark(HOME, uuid4())
    assert ends_with(str(mark), mark)
    assert ends_with(f"guest=work/{mark}", mark)
    assert ends_with(f"who={mark}", mark)
    assert not ends_with(f"{mark},more", mark)
    assert not ends_with(f"guest=work/x{mark}", mark)
    assert not ends_with(f"guest=work/{mark}".upper(), mark)


def test_the_mark_of_another_home_is_none() -> None:
    mark = Mark(HOME, uuid4())
    assert read_mark([str(mark)], "deadbeef") is None
    assert read_mark([str(mark)], HOME[1:]) is None


def test_the_first_mark_counts() -> None:
    first, second = uuid4(), uuid4()
    assert read_mark(["x", str(Mark(HOME, first)), str(Mark(HOME, second))], HOME) == first


def test_a_box_is_nobodys_child_and_its_content_is_process_1_within() -> None:
    uuid = uuid4()
    start(uuid)
    with settled(uuid, f"work/{Mark(HOME, uuid)}".encode()) as box:
        status = Path(f"/proc/{box.pid}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines())
        assert fields["NSpid"].split()[-1] == "1"
        outer = Path(f"/proc/{fields['PPid']}/status").read_text()
        assert f"PPid:\t{os.getpid()}\n" not in outer


def test_a_machine_that_forgets_its_mark_is_found_by_its_box() -> None:
    uuid = uuid4()
    start(uuid, 'exec /usr/bin/python3 -S -c "$2"')
    with settled(uuid, b"import signal; signal.pause()") as box:
        assert box.uuid == uuid


def test_a_machine_that_bears_anothers_mark_is_not_believed() -> None:
    uuid, other = uuid4(), uuid4()
    # Put together in the box, so that the box's own arguments don't have it.
    claim = f'b=bento; exec /usr/bin/python3 -S -c "$2" "work/$b-{HOME}-{other}"'
    start(uuid, claim.replace("{", "{{").replace("}", "}}"))
    with settled(uuid, f"work/{Mark(HOME, other)}".encode()) as box:
        assert box.uuid == uuid


def test_a_machine_whose_box_was_killed_is_found_by_its_own_mark() -> None:
    uuid = uuid4()
    start(uuid)
    with settled(uuid, f"work/{Mark(HOME, uuid)}".encode()) as box:
        held = box_around(box)
        signal.pidfd_send_signal(held, signal.SIGKILL)
        with os.fdopen(held), asyncio.Runner() as runner:
            while not runner.run(only_machine(uuid, box.pid)):
                pass


def test_a_machine_whose_box_is_killed_while_we_look_is_found_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    uuid = uuid4()
    start(uuid)
    with settled(uuid, f"work/{Mark(HOME, uuid)}".encode()) as box, os.fdopen(box_around(box)) as held:
        hold = os.pidfd_open

        def kill_and_hold(pid: int) -> int:
            """Both have been looked at, neither is held yet."""
            monkeypatch.setattr(os, "pidfd_open", hold)
            signal.pidfd_send_signal(held.fileno(), signal.SIGKILL)
            select.select([held], [], [])
            return hold(pid)

        monkeypatch.setattr(os, "pidfd_open", kill_and_hold)
        with asyncio.Runner() as runner:
            assert runner.run(only_machine(uuid, box.pid))


def test_a_process_that_moves_without_end_keeps_nobody_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    uuid, parents = uuid4(), count(1)

    def look(pid: int, _home: str, _owners: object) -> boxed._Process:
        return boxed._Process(pid, next(parents), inner=True, mark=uuid)

    monkeypatch.setattr(boxed, "_look", look)
    monkeypatch.setattr(boxed, "_pids", lambda: iter([os.getpid()]))
    assert boxes() == []


def box_around(box: Box) -> int:
    """A pidfd of the process that a machine's box is outside."""
    status = Path(f"/proc/{box.pid}/status").read_text()
    return os.pidfd_open(next(int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid:")))


async def only_machine(uuid: UUID, pid: int | None) -> bool:
    """What was in the box is found; whether the box is gone."""
    found = await find_boxes(HOME, HERE)
    (machine,) = [box for box in found if box.pid == pid]
    assert (machine.uuid, machine.has_ended()) == (uuid, False)
    return len(found) == len(machine._pidfds) == 1


def test_processes_of_other_users_are_not_looked_at() -> None:
    uuid = uuid4()
    start(uuid)
    with settled(uuid, None):
        assert boxes({os.getuid() + 1}) == []


def test_a_killed_box_takes_along_what_was_started_in_it() -> None:
    uuid = uuid4()
    start(uuid, '/usr/bin/python3 -S -c "$2" child & exec /usr/bin/python3 -S -c "$2" "$1"')
    with settled(uuid, f"work/{Mark(HOME, uuid)}".encode()) as box:
        within = [os.pidfd_open(pid) for pid in inhabitants(os.readlink(f"/proc/{box.pid}/ns/pid"))]
        assert len(within) == 2
    # By pidfds: another namespace may have the number by now.
    ended, _, _ = select.select(within, [], [], 0)
    assert ended == within
    for pidfd in within:
        os.close(pidfd)


def inhabitants(namespace: str) -> list[int]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            if os.readlink(f"/proc/{name}/ns/pid") == namespace:
                found.append(int(name))
    return found


def test_a_box_has_not_ended_because_nobody_can_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for again when numbers for files are there again."""
    uuid, refused, running, dup = uuid4(), list[int](), list[bool](), os.dup

    def run_out(number: int) -> int:
        if len(refused) < 3:
            refused.append(number)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        running.append(not box.has_ended())
        for pidfd in box._pidfds:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        return dup(number)

    start(uuid)
    with settled(uuid, f"work/{Mark(HOME, uuid)}".encode()) as box:
        monkeypatch.setattr(boxed, "AGAIN_SECONDS", 0)
        monkeypatch.setattr(os, "dup", run_out)
        asyncio.run(box.wait())
        assert running[0]
        assert box.has_ended()
        monkeypatch.undo()


def test_a_box_is_killed_whoever_gives_that_up_and_whatever_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    uuid, refused = uuid4(), list[str]()

    async def run_out(home: str, owners: set[int]) -> list[Box]:
        if not refused:
            refused.append(home)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return await find_boxes(home, owners)

    async def give_up() -> None:
        killing = asyncio.create_task(kill_boxes(HOME, HERE, uuid))
        await asyncio.sleep(0)
        killing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await killing

    start(uuid)
    with settled(uuid, f"work/{Mark(HOME, uuid)}".encode()) as box, monkeypatch.context() as short:
        short.setattr(boxed, "AGAIN_SECONDS", 0)
        short.setattr(boxed, "find_boxes", run_out)
        asyncio.run(give_up())
        assert (len(refused), box.has_ended()) == (1, True)


def test_a_box_that_cannot_be_made_says_why() -> None:
    async def begin() -> None:
        argv = ["bwrap", "--no-such-option", "--info-fd"]
        await spawn(lambda ready: [*argv, str(ready), "true"], inherit=[], said=Said())

    with pytest.raises(Unavailable, match=r"no box can be made.*: bwrap: .*no-such-option"):
        asyncio.run(begin())


def test_a_program_that_is_missing_says_so() -> None:
    async def begin() -> None:
        await spawn(lambda _ready: ["no-such-program"], inherit=[], said=Said())

    with pytest.raises(Unavailable, match="no-such-program"):
        asyncio.run(begin())
