"""Memory that a guest frees comes back to the host; what the host then knows of its machines."""

import asyncio
import dataclasses
from collections.abc import Iterator

import pytest

from bento.host.model.machine import GuestMemory
from bento.host.model.memory import left_to
from bento.host.ports.hypervisor import Machine
from tests.contracts.machines import World, shell, until_left, world_of

pytestmark = pytest.mark.vm

FREED = 120 << 20


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with world_of("qemu") as made:
        yield made


@pytest.fixture(scope="module")
def giving(world: World) -> Iterator[Machine]:
    machine = world.run(world.driver().launch(dataclasses.replace(world.spec(), gives_back=True)))
    yield machine
    world.run(machine.kill())


def test_memory_that_a_guest_frees_comes_back_to_the_host(world: World, giving: Machine) -> None:
    with world.host(giving) as host:
        before = resident(world, giving)
        assert shell(host, "head -c 160M /dev/urandom >/dev/shm/filled").code == 0
        full = resident(world, giving)
        assert full - before > FREED
        assert shell(host, "rm /dev/shm/filled").code == 0
        world.run(until_below(giving, full - FREED))
        assert shell(host, "echo still here").stdout == b"still here\n"


def test_an_idle_guest_is_left_what_it_uses_and_gets_all_of_it_back(world: World, giving: Machine) -> None:
    with world.host(giving) as host:
        # What it has read it keeps, until somebody else wants the room.
        assert shell(host, "cat /usr/bin/* /usr/lib/*/* >/dev/null 2>&1; true").code == 0
        guest = world.run(until_it_says(giving))
        left = left_to(guest)
        assert left is not None
        world.run(giving.ask_for_memory(left))
        world.run(until_left(giving, left))
        assert shell(host, "echo still here").stdout == b"still here\n"
        world.run(giving.ask_for_memory(None))
        world.run(until_left(giving, guest.actual))
        assert shell(host, "head -c 160M /dev/urandom >/dev/shm/filled && rm /dev/shm/filled").code == 0


async def until_it_says(machine: Machine) -> GuestMemory:
    while (guest := await machine.guest_memory()) is None or guest.untrusted_available is None:  # noqa: ASYNC110  # nothing tells
        await asyncio.sleep(0.1)
    return guest


async def until_below(machine: Machine, count: int) -> None:
    while (await machine.usage()).resident_bytes >= count:  # noqa: ASYNC110  # nothing tells
        await asyncio.sleep(0.1)


def resident(world: World, machine: Machine) -> int:
    return world.run(machine.usage()).resident_bytes


def test_the_kernel_tells_what_machines_of_other_users_share(world: World) -> None:
    """QEMU runs as a user that is not ours, but in a user namespace that we made (user_namespaces(7))."""
    machine = world.run(world.driver().launch(world.spec()))
    usage = world.run(machine.usage())
    assert usage.proportional_bytes is not None
    assert usage.shared_bytes is not None
    assert 0 < usage.proportional_bytes <= usage.resident_bytes
    world.run(machine.kill())
