"""The filter's program, run by an interpreter of its own on both architectures: no kernel is asked here."""

import struct
from errno import EPERM

import pytest

from bento.host.jail.profiles import ATTACKS, BROKER, NOT_FOR_SERVICES, NURSERY, RELAY, Profile
from bento.host.jail.seccomp import ARCHITECTURES, NUMBERS, Unconfined, compile_filter, compile_sieve

ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | EPERM
MACHINES = sorted(ARCHITECTURES)


def judge(program: bytes, machine: str, number: int, arguments: tuple[int, int, int, int] = (3, 0, 0, 0x22)) -> int:
    """What the kernel would do: the part of classic BPF (linux/filter.h) that filters are made of."""
    data = struct.pack("=IIQ6Q", number, ARCHITECTURES[machine][1], 0, *arguments, 0, 0)
    steps = list(struct.iter_unpack("=HBBI", program))
    loaded = at = 0
    while True:
        code, if_true, if_false, k = steps[at]
        at += 1
        match code:
            case 0x20:
                (loaded,) = struct.unpack_from("=I", data, k)
            case 0x15:
                at += if_true if loaded == k else if_false
            case 0x35:
                at += if_true if loaded >= k else if_false
            case 0x45:
                at += if_true if loaded & k else if_false
            case 0x06:
                return int(k)
            case _:
                raise AssertionError(f"step {code:#x} is none that a filter is made of")


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("profile", [BROKER, NURSERY, RELAY], ids=["broker", "nursery", "relay"])
def test_each_call_has_the_fate_that_the_profile_says(profile: Profile, machine: str) -> None:
    program = compile_filter(machine, profile.allowed, profile.deadly)
    column = ARCHITECTURES[machine][0]
    for name, numbers in NUMBERS.items():
        number = numbers[column]
        if number is not None:
            expected = ALLOW if name in profile.allowed else KILL if name in profile.deadly else REFUSE
            assert judge(program, machine, number) == expected, name


@pytest.mark.parametrize("machine", MACHINES)
def test_a_call_that_nobody_thought_of_is_refused(machine: str) -> None:
    known = {numbers[ARCHITECTURES[machine][0]] for numbers in NUMBERS.values()}
    program = compile_filter(machine, BROKER.allowed, BROKER.deadly)
    for number in set(range(1000)) - known:
        assert judge(program, machine, number) == REFUSE


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", ["mmap", "mprotect"])
def test_memory_is_never_executable(machine: str, name: str) -> None:
    number = NUMBERS[name][ARCHITECTURES[machine][0]]
    assert number is not None
    for profile in (BROKER, NURSERY, RELAY):
        program = compile_filter(machine, profile.allowed, profile.deadly)
        for protection in range(16):
            executable = bool(protection & 4)
            assert judge(program, machine, number, (0, 0, protection, 0x22)) == (KILL if executable else ALLOW)


@pytest.mark.parametrize("machine", MACHINES)
def test_memory_is_never_a_files(machine: str) -> None:
    number = NUMBERS["mmap"][ARCHITECTURES[machine][0]]
    assert number is not None
    for profile in (BROKER, NURSERY, RELAY):
        program = compile_filter(machine, profile.allowed, profile.deadly)
        for flags in range(64):
            anonymous = bool(flags & 0x20)
            assert judge(program, machine, number, (0, 4096, 3, flags)) == (ALLOW if anonymous else REFUSE)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", ["ftruncate", "pwrite64", "pread64"])
def test_the_standard_files_are_neither_cut_nor_rewritten(machine: str, name: str) -> None:
    number = NUMBERS[name][ARCHITECTURES[machine][0]]
    assert number is not None
    program = compile_filter(machine, BROKER.allowed, BROKER.deadly)
    for file in range(6):
        assert judge(program, machine, number, (file, 0, 0, 0)) == (ALLOW if file > 2 else REFUSE)


def test_a_call_in_another_numbering_is_deadly() -> None:
    program = compile_filter("x86_64", BROKER.allowed, BROKER.deadly)
    write = NUMBERS["write"]
    assert judge(program, "aarch64", write[1] or 0) == KILL
    assert judge(program, "x86_64", 0x40000000 | (write[0] or 0)) == KILL


def test_no_privilege_of_a_broker_is_an_attack_and_the_nursery_only_forks_besides() -> None:
    assert not BROKER.allowed & ATTACKS
    assert NURSERY.allowed & ATTACKS == {"clone"}
    assert BROKER.allowed < NURSERY.allowed
    assert BROKER.deadly == RELAY.deadly == ATTACKS


@pytest.mark.parametrize("machine", MACHINES)
def test_a_sieve_refuses_what_is_denied_and_allows_the_rest(machine: str) -> None:
    program = compile_sieve(machine, NOT_FOR_SERVICES)
    column = ARCHITECTURES[machine][0]
    denied = {NUMBERS[name][column] for name in NOT_FOR_SERVICES}
    for number in range(1000):
        assert judge(program, machine, number) == (REFUSE if number in denied else ALLOW)
    other = next(name for name in MACHINES if name != machine)
    assert judge(program, other, 0) == KILL
    assert judge(program, machine, 0x40000000) == KILL


def test_a_machine_without_a_table_is_told_so() -> None:
    with pytest.raises(Unconfined, match="no system call filter for riscv64; brokers run on x86_64 and aarch64"):
        compile_filter("riscv64", BROKER.allowed, BROKER.deadly)
