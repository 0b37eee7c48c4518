"""What every driver of the hypervisor port does: the real one and the pretended one."""

import asyncio
import contextlib
import dataclasses
import fcntl
import hashlib
import io
import os
import signal
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from bento.host.model.errors import Unavailable
from bento.host.model.machine import Disk, Image, MachineSpec, MachineState
from bento.host.ports.hypervisor import Machine
from tests.contracts.machines import (
    PATIENCE_SECONDS,
    VOLUME_BYTES,
    World,
    processes_naming,
    shell,
    until_left,
    world_of,
)
from tests.guest.harness import Host


@pytest.fixture(scope="module", params=["fake", pytest.param("qemu", marks=pytest.mark.vm)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with world_of(request.param) as world:
        yield world


@pytest.fixture(scope="module")
def spec(world: World) -> MachineSpec:
    return world.spec()


@pytest.fixture(scope="module")
def machine(world: World, spec: MachineSpec) -> Machine:
    """One machine for all tests that leave it as they found it."""
    return world.run(world.driver().launch(spec))


def started(world: World, spec: MachineSpec) -> Machine:
    """A machine for a test that ends it. Its guest is still booting."""
    return world.run(world.driver().launch(spec))


def test_a_launched_machine_runs(world: World, machine: Machine, spec: MachineSpec) -> None:
    assert machine.uuid == spec.uuid
    assert machine.pid in processes_naming(spec.uuid)
    assert world.run(machine.state()) is MachineState.RUNNING


def test_its_guest_serves_calls_on_the_channel(world: World, machine: Machine) -> None:
    with world.host(machine) as host:
        call = shell(host, "echo out; echo error >&2; exit 7")
        assert (bytes(call.stdout), bytes(call.stderr), call.code) == (b"out\n", b"error\n", 7)


def test_the_channel_can_be_closed_and_connected_again(world: World, machine: Machine) -> None:
    for _ in range(3):
        with world.host(machine) as host:
            assert shell(host, "echo again").stdout == b"again\n"


def test_a_connection_that_breaks_off_in_a_call_does_not_disturb_the_next(world: World, machine: Machine) -> None:
    with world.host(machine) as host:
        host.serve("qubes.VMExec", "cat+-2Fdev-2Fzero")
    with world.host(machine) as host:
        assert shell(host, "echo again").stdout == b"again\n"


def test_the_console_gives_what_the_guest_prints(world: World, machine: Machine) -> None:
    async def first_bytes() -> bytes:
        with await machine.connect_console() as console:
            loop = asyncio.get_running_loop()
            # A console prompts when somebody presses Enter.
            await loop.sock_sendall(console, b"\r")
            return await loop.sock_recv(console, 4096)

    assert world.run(first_bytes())


def test_a_paused_machine_says_nothing_until_it_is_resumed(world: World, machine: Machine) -> None:
    with world.host(machine) as host:
        world.run(machine.pause())
        assert world.run(machine.state()) is MachineState.PAUSED
        call = host.serve("qubes.VMExec", "echo+awake")
        for _ in range(3):
            host.step(0.1)
        assert not call.over
        world.run(machine.resume())
        assert world.run(machine.state()) is MachineState.RUNNING
        assert host.finish(call).stdout == b"awake\n"


def test_pausing_twice_and_resuming_what_runs_are_no_errors(world: World, machine: Machine) -> None:
    for _ in range(2):
        world.run(machine.pause())
    for _ in range(2):
        world.run(machine.resume())
    assert world.run(machine.state()) is MachineState.RUNNING


@contextlib.contextmanager
def piped_to(kept: io.BytesIO) -> Iterator[int]:
    """A pipe that is read into `kept`; all is there at the end."""
    read, write = os.pipe()

    def take() -> None:
        while data := os.read(read, 1 << 20):
            kept.write(data)
        os.close(read)

    reader = threading.Thread(target=take)
    reader.start()
    try:
        yield write
    finally:
        os.close(write)
        reader.join()


def test_a_machine_that_could_not_be_written_runs_on(world: World, machine: Machine) -> None:
    with world.host(machine) as host:
        read, stream = os.pipe()
        os.close(read)
        with pytest.raises(Unavailable):
            world.run(machine.suspend(stream))
        os.close(stream)
        world.run(machine.resume())
        assert world.run(machine.state()) is MachineState.RUNNING
        assert shell(host, "echo as if nothing had been").stdout == b"as if nothing had been\n"


def test_a_machine_that_was_written_in_vain_runs_on(world: World, machine: Machine) -> None:
    with world.host(machine) as host:
        with piped_to(io.BytesIO()) as stream:
            world.run(machine.suspend(stream))
        world.run(machine.resume())
        assert shell(host, "echo as if nothing had been; sync").stdout == b"as if nothing had been\n"


def test_usage_counts_memory_and_the_work_of_the_guest(world: World, machine: Machine) -> None:
    with world.host(machine) as host:
        before = world.run(machine.usage())
        assert before.memory_bytes > 1 << 20
        shell(host, "i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done")
        shell(host, "true")  # by its end the agent has buried the one before
        assert world.run(machine.usage()).cpu_ns > before.cpu_ns


def test_a_machine_that_gives_memory_back_is_left_what_it_is_asked_to_make_do_with(world: World) -> None:
    spec = dataclasses.replace(world.spec(), gives_back=True)
    machine = started(world, spec)
    with world.host(machine) as host:
        assert (memory := world.run(machine.guest_memory()))
        assert memory.actual == spec.memory_bytes
        left = spec.memory_bytes - (64 << 20)
        for wanted, reached in ((left, left), (None, spec.memory_bytes)):
            world.run(machine.ask_for_memory(wanted))
            world.run(until_left(machine, reached))
            assert shell(host, "echo still here").stdout == b"still here\n"
    world.run(machine.kill())


def test_one_that_gives_nothing_back_is_not_asked_to(world: World, machine: Machine) -> None:
    assert world.run(machine.guest_memory()) is None
    with pytest.raises(Unavailable):
        world.run(machine.ask_for_memory(64 << 20))


def test_what_is_written_to_scratch_disks_is_counted_as_memory(world: World, machine: Machine) -> None:
    spec = world.spec()
    scratch = dataclasses.replace(
        spec, disks=tuple(disk if disk.read_only else dataclasses.replace(disk, scratch=True) for disk in spec.disks)
    )
    other = started(world, scratch)
    with world.host(other) as host:
        before = world.run(other.disk_usage())
        assert shell(host, "dd if=/dev/urandom of=$HOME/big bs=1M count=8 && sync").code == 0
        after = world.run(other.disk_usage())
        assert after.scratch_bytes - before.scratch_bytes >= 8 << 20
        assert after.written_bytes - before.written_bytes >= 8 << 20
    world.run(other.kill())
    assert world.run(machine.disk_usage()).scratch_bytes == 0, "its volumes lie on disk"


def test_two_machines_share_nothing(world: World, machine: Machine) -> None:
    other = started(world, world.spec("bank"))
    with world.host(machine) as here, world.host(other) as there:
        assert shell(here, "echo secret >~/note; sleep 1000 >/dev/null 2>&1 </dev/null & echo $!").code == 0
        assert shell(here, "cat ~/note").stdout == b"secret\n"
        assert shell(there, "cat ~/note").code != 0
        sleeping = "grep -l -x -z 1000 /proc/[0-9]*/cmdline"
        assert shell(here, sleeping).code == 0
        assert shell(there, sleeping).stdout == b""
    world.run(other.kill())
    assert world.run(machine.state()) is MachineState.RUNNING


def test_killing_leaves_no_process(world: World) -> None:
    spec = world.spec()
    machine = started(world, spec)
    world.run(machine.kill())
    assert processes_naming(spec.uuid) == []
    assert world.run(machine.state()) is MachineState.GONE
    usage = world.run(machine.usage())
    assert (usage.memory_bytes, usage.cpu_ns) == (0, 0)


def test_killing_what_is_gone_is_no_error(world: World) -> None:
    machine = started(world, world.spec())
    for _ in range(2):
        world.run(machine.kill())


def test_a_paused_machine_can_be_killed(world: World) -> None:
    spec = world.spec()
    machine = started(world, spec)
    world.run(machine.pause())
    world.run(machine.kill())
    assert processes_naming(spec.uuid) == []


def test_a_machine_that_is_gone_cannot_be_connected(world: World) -> None:
    machine = started(world, world.spec())
    world.run(machine.kill())
    with pytest.raises(Unavailable, match="does not listen"):
        world.run(machine.connect_channel())
    with pytest.raises(Unavailable, match="does not listen"):
        world.run(machine.connect_console())


def test_everybody_who_waits_learns_that_the_guest_powered_off(world: World) -> None:
    spec = world.spec()
    machine = started(world, spec)
    with world.host(machine) as host:
        waits = [world.runner.get_loop().create_task(machine.wait()) for _ in range(2)]
        host.shut_down()
        host.write(b"")
        with pytest.raises(ConnectionError):
            host.until(lambda: False)
        world.run(everyone(waits))
    assert processes_naming(spec.uuid) == []
    assert world.run(machine.state()) is MachineState.GONE


async def everyone(waits: list[asyncio.Task[None]]) -> None:
    await asyncio.gather(*waits)


def test_wait_returns_when_somebody_else_kills_it(world: World) -> None:
    spec = world.spec()
    machine = started(world, spec)
    os.kill(machine.pid, signal.SIGKILL)
    world.run(machine.wait())
    assert processes_naming(spec.uuid) == []


def test_a_machine_that_is_just_ending_is_no_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bento.host.drivers.qemu.machine.ENDING_SECONDS", PATIENCE_SECONDS)
    machine = started(world, world.spec())
    os.kill(machine.pid, signal.SIGTERM if world.kind == "qemu" else signal.SIGKILL)
    while world.run(machine.state()) is not MachineState.GONE:
        pass


def test_giving_up_a_wait_leaves_the_machine_running(world: World, machine: Machine) -> None:
    async def wait_a_little() -> None:
        waiting = asyncio.create_task(machine.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    world.run(wait_a_little())
    assert world.run(machine.state()) is MachineState.RUNNING


def test_a_new_driver_finds_a_machine_and_goes_on_with_it(world: World, machine: Machine, spec: MachineSpec) -> None:
    adopted = world.run(world.driver().adopt({spec.uuid: spec.run_dir}))
    assert list(adopted) == [spec.uuid]
    found = adopted[spec.uuid]
    assert found.pid == machine.pid
    assert world.run(found.state()) is MachineState.RUNNING
    with world.host(found) as host:
        assert shell(host, "echo found").stdout == b"found\n"


def test_a_machine_outlives_the_handle_and_can_be_ended_by_its_finder(world: World, spec: MachineSpec) -> None:
    lost = world.spec()
    started(world, lost)
    adopted = world.run(world.driver().adopt({each.uuid: each.run_dir for each in (spec, lost)}))
    world.run(adopted[lost.uuid].kill())
    assert processes_naming(lost.uuid) == []


def test_adopting_ends_what_nobody_owns(world: World, machine: Machine, spec: MachineSpec) -> None:
    stray = world.spec()
    started(world, stray)
    adopted = world.run(world.driver().adopt({spec.uuid: spec.run_dir}))
    assert list(adopted) == [spec.uuid]
    assert processes_naming(stray.uuid) == []
    assert world.run(machine.state()) is MachineState.RUNNING


def test_adopting_does_not_invent_machines(world: World, machine: Machine, spec: MachineSpec) -> None:
    adopted = world.run(world.driver().adopt({spec.uuid: spec.run_dir, uuid4(): spec.run_dir}))
    assert list(adopted) == [spec.uuid]


def test_a_machine_of_another_home_is_left_alone(world: World) -> None:
    theirs = world.spec()
    stranger = dataclasses.replace(world, home="0" * 16)
    machine = started(stranger, theirs)
    assert world.run(world.driver().adopt({theirs.uuid: theirs.run_dir})) == {}
    assert world.run(machine.state()) is MachineState.RUNNING
    world.run(machine.kill())


def test_a_missing_disk_is_named_and_nothing_is_left(world: World) -> None:
    spec = world.spec()
    gone = spec.run_dir.parent / "gone"
    broken = dataclasses.replace(spec, disks=(spec.disks[0], Disk(gone, False)))
    with pytest.raises(Unavailable, match=f"work cannot start: {gone} is missing"):
        world.run(world.driver().launch(broken))
    assert processes_naming(spec.uuid) == []
    assert left_in(spec.run_dir) == []


def test_a_start_that_is_cancelled_leaves_nothing(world: World) -> None:
    spec = world.spec()

    async def change_of_mind() -> None:
        starting = asyncio.create_task(world.driver().launch(spec))
        while not processes_naming(spec.uuid):  # noqa: ASYNC110  # nothing tells that a process has begun
            await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    world.run(change_of_mind())
    assert processes_naming(spec.uuid) == []
    assert left_in(spec.run_dir) == []


@pytest.fixture(scope="module")
def saved(world: World) -> MachineSpec:
    """Of a machine at rest: the spec with which others go on from it."""
    spec = world.spec("saved")
    place = spec.run_dir.parent
    image = Image(place / "memory", place / "state")
    machine = started(world, dataclasses.replace(spec, memory_file=image.memory))

    async def until_it_listens() -> None:
        while not await machine.listens():  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.05)

    world.run(until_it_listens())
    world.run(machine.save(image.state))
    world.run(machine.kill())
    disks = tuple(dataclasses.replace(disk, scratch=not disk.read_only) for disk in spec.disks)
    return dataclasses.replace(spec, image=image, disks=disks)


def another(world: World, saved: MachineSpec) -> MachineSpec:
    """The spec of one more machine that goes on from there."""
    new = world.spec()
    return dataclasses.replace(saved, uuid=new.uuid, name=new.name, slot=new.slot, run_dir=new.run_dir)


def gone_on(world: World, spec: MachineSpec) -> Machine:
    machine = started(world, spec)
    world.run(machine.resume())
    return machine


def test_a_machine_from_an_image_waits_as_it_was_saved_until_it_is_resumed(world: World, saved: MachineSpec) -> None:
    machine = started(world, another(world, saved))
    assert world.run(machine.state()) is MachineState.PAUSED
    with (
        world.run(machine.connect_channel()) as channel,
        world.run(machine.connect_console()),
        ThreadPoolExecutor(1) as beside,
    ):
        greeting = beside.submit(Host, channel)
        with pytest.raises(TimeoutError):
            greeting.result(0.5)
        assert world.run(machine.state()) is MachineState.PAUSED, "who speaks to it does not set it going"
        world.run(machine.resume())
        host = greeting.result()
        host.identify()
        assert shell(host, "echo awake").stdout == b"awake\n"
    world.run(machine.kill())


def test_a_machine_that_waits_can_be_killed_and_is_nobodys_to_find(world: World, saved: MachineSpec) -> None:
    specs = [another(world, saved) for _ in range(2)]
    machines = [started(world, spec) for spec in specs]
    world.run(machines[0].kill())
    assert processes_naming(specs[0].uuid) == []
    assert world.run(world.driver().adopt({})) == {}
    assert processes_naming(specs[1].uuid) == []


def test_machines_go_on_from_one_that_was_saved_and_share_nothing(world: World, saved: MachineSpec) -> None:
    assert saved.image
    before = digest(saved.image.memory), [written(disk.path) for disk in saved.disks]
    specs = [another(world, saved) for _ in range(2)]
    machines = [gone_on(world, spec) for spec in specs]
    with world.host(machines[0]) as here, world.host(machines[1]) as there:
        assert shell(here, "echo secret >~/note; sync; cat ~/note").stdout == b"secret\n"
        assert shell(there, "cat ~/note").code != 0
    for machine, spec in zip(machines, specs, strict=True):
        assert world.run(machine.state()) is MachineState.RUNNING
        world.run(machine.kill())
        assert processes_naming(spec.uuid) == []
    after = digest(saved.image.memory), [written(disk.path) for disk in saved.disks]
    assert after == before, "what they begin from is not theirs to change"


def test_a_machine_that_went_on_is_found_again(world: World, saved: MachineSpec) -> None:
    spec = another(world, saved)
    gone_on(world, spec)
    found = world.run(world.driver().adopt({spec.uuid: spec.run_dir}))[spec.uuid]
    with world.host(found) as host:
        assert shell(host, "echo found").stdout == b"found\n"
    world.run(found.kill())


def test_nothing_goes_on_from_an_image_that_is_not_whole(world: World, saved: MachineSpec) -> None:
    assert saved.image
    spec = another(world, saved)
    missing = spec.run_dir.parent / "missing"
    for image in (Image(missing, saved.image.state), Image(saved.image.memory, missing)):
        with pytest.raises(Unavailable, match="missing"):
            world.run(world.driver().launch(dataclasses.replace(spec, image=image)))
        assert processes_naming(spec.uuid) == []
        assert left_in(spec.run_dir) == []


def suspended(world: World, machine: Machine) -> bytes:
    """All that a machine is, which is killed."""
    kept = io.BytesIO()
    with piped_to(kept) as stream:
        world.run(machine.suspend(stream))
    world.run(machine.kill())
    return kept.getvalue()


def restored(world: World, spec: MachineSpec, stream: bytes) -> Machine:
    """The machine that was written, stopped; its scratch disks are blank."""
    read, write = os.pipe()

    def give() -> None:
        with contextlib.suppress(BrokenPipeError), open(write, "wb") as pipe:
            pipe.write(stream)

    writer = threading.Thread(target=give)
    writer.start()
    try:
        return world.run(world.driver().restore(spec, read, ()))
    finally:
        os.close(read)
        writer.join()


def test_a_suspended_machine_goes_on_where_it_was(world: World) -> None:
    spec = world.spec()
    machine = started(world, spec)
    with world.host(machine) as host:
        assert shell(host, "echo kept >~/note").code == 0
    stream = suspended(world, machine)
    assert processes_naming(spec.uuid) == []
    again = restored(world, spec, stream)
    assert world.run(again.state()) is MachineState.PAUSED
    world.run(again.resume())
    with world.host(again) as host:
        assert shell(host, "cat ~/note").stdout == b"kept\n"
    assert world.run(again.state()) is MachineState.RUNNING
    # It is a machine like any other, also to be suspended.
    once_more = restored(world, spec, suspended(world, again))
    world.run(once_more.resume())
    with world.host(once_more) as host:
        assert shell(host, "cat ~/note").stdout == b"kept\n"
    world.run(once_more.kill())


def test_machines_from_one_stream_repeat_no_random_number(world: World) -> None:
    """The manager goes on from a stream once; and if it did not, each has its identity before it is asked."""
    spec = world.spec()
    machine = started(world, spec)
    with world.host(machine):
        pass
    stream = suspended(world, machine)
    drawn = []
    for _ in range(2):
        again = restored(world, spec, stream)
        world.run(again.resume())
        with world.run(again.connect_channel()) as connection:
            host = Host(connection)
            host.identify(seed=os.urandom(32))
            drawn.append(bytes(shell(host, "head -c 32 /dev/urandom | od -An -tx1").stdout))
        world.run(again.kill())
    assert drawn[0] != drawn[1]


def test_half_a_machine_is_none_and_nothing_is_left(world: World) -> None:
    spec = world.spec()
    machine = started(world, spec)
    with world.host(machine):
        pass
    stream = suspended(world, machine)
    for some in (stream[: len(stream) // 2], b"not a machine at all"):
        with pytest.raises(Unavailable):
            restored(world, spec, some)
        assert processes_naming(spec.uuid) == []
        assert left_in(spec.run_dir) == []


def test_disks_that_lie_in_memory_are_copied_from_a_stopped_machine(world: World) -> None:
    spec = world.spec()
    disks = tuple(dataclasses.replace(disk, scratch=not disk.read_only) for disk in spec.disks)
    machine = started(world, dataclasses.replace(spec, disks=disks))
    world.run(machine.pause())
    copies = world.run(machine.copy_disks([1, 2]))
    sizes = [os.fstat(copy).st_size for copy in copies]
    for copy in copies:
        os.close(copy)
    assert sizes == [VOLUME_BYTES if world.kind == "qemu" else 0] * 2, "the pretended machine has no disks"
    world.run(machine.resume())
    assert world.run(machine.state()) is MachineState.RUNNING
    world.run(machine.kill())


def written(path: Path) -> tuple[int, int]:
    """When last, and how many blocks."""
    state = path.stat()
    return state.st_mtime_ns, state.st_blocks


def digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_a_machine_starts_again_where_one_was_killed(world: World) -> None:
    spec = world.spec()
    world.run(started(world, spec).kill())
    again = started(world, spec)
    assert world.run(again.state()) is MachineState.RUNNING
    world.run(again.kill())


def test_who_may_read_what_all_read_cannot_lock_the_others_out(world: World) -> None:
    """A QEMU that a guest has taken over has the template's image open, and may lock of it what it likes.

    Bytes 100 to 104 and 200 to 204 are what QEMUs lock (its block/file-posix.c): what they use, and what they mind.
    """
    spec = world.spec()
    with contextlib.ExitStack() as held:
        for disk in spec.disks:
            if disk.read_only:
                file = held.enter_context(open(disk.path, "rb"))
                fcntl.flock(file, fcntl.LOCK_SH)
                for first in (100, 200):
                    lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, first, 5, 0)
                    fcntl.fcntl(file, fcntl.F_OFD_SETLK, lock)
        machine = started(world, spec)
        assert world.run(machine.state()) is MachineState.RUNNING
        world.run(machine.kill())


def left_in(run_dir: Path) -> list[str]:
    """Sockets in a run directory."""
    return sorted(path.name for path in run_dir.iterdir() if path.is_socket())
