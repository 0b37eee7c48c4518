"""What QEMU is told, and the box around it: read off the argument lists."""

import dataclasses
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import pytest

from bento.host.drivers.boxed import Mark, read_mark
from bento.host.drivers.qemu.argv import Fds, qemu_argv, ram_bytes, shape
from bento.host.drivers.qemu.confine import Owners, SubUsers, confined, sub_users
from bento.host.model.machine import Accelerator, Disk, MachineSpec
from bento.wire.names import DomainName

SPEC = MachineSpec(
    uuid=UUID("12345678-1234-1234-1234-123456789abc"),
    name=DomainName("work"),
    run_dir=Path("/home/someone/run"),
    slot=3,
    memory_bytes=(400 << 20) + 4711,
    vcpus=2,
    kernel=Path("/home/someone/kernel"),
    initrd=Path("/home/someone/initrd"),
    cmdline="console=ttyS0 quiet",
    disks=(Disk(Path("/home/someone/root"), True), Disk(Path("/home/someone/private"), False)),
)
FDS = Fds(ram=10, kernel=11, initrd=12, disks=(13, 14), channel=15, console=16, qmp=17)


def argv(accelerator: Accelerator = Accelerator.TCG, tsc_khz: int | None = 2_100_000) -> list[str]:
    return qemu_argv("/usr/bin/qemu", SPEC, FDS, home="c0ffee", accelerator=accelerator, tsc_khz=tsc_khz)


def after(option: str, words: list[str]) -> list[str]:
    """The values of an option."""
    return [value for word, value in pairwise(words) if word == option]


def test_qemu_is_given_no_path_of_the_host() -> None:
    assert [word for word in argv()[1:] if "/home" in word] == []
    paths = [word for word in argv()[1:] if "/" in word and not word.startswith("guest=")]
    assert all("/proc/self/fd/" in word or "/dev/fdset/" in word for word in paths)


def test_a_machine_that_goes_on_maps_its_memory_for_itself_and_waits_to_be_told() -> None:
    words = qemu_argv(
        "/usr/bin/qemu", SPEC, dataclasses.replace(FDS, state=18), home="c0ffee", accelerator=Accelerator.TCG, tsc_khz=1
    )
    (memory,) = [value for value in after("-object", words) if value.startswith("memory-backend-file")]
    assert "share=off" in memory
    assert "-S" in words
    assert after("-incoming", words) == ["defer"]
    assert "-kernel" not in words, "it has booted"
    assert 18 in dataclasses.replace(FDS, state=18).all()


def test_a_machine_that_boots_can_be_saved() -> None:
    (memory,) = [value for value in after("-object", argv()) if value.startswith("memory-backend-file")]
    assert "share=on" in memory
    assert "-incoming" not in argv()


def test_the_memory_of_a_machine_that_nobody_goes_on_from_is_no_file() -> None:
    """It is read as a whole when the machine is suspended: a file's holes would fill."""
    for fds in (dataclasses.replace(FDS, ram=None), dataclasses.replace(FDS, ram=None, state=18)):
        words = qemu_argv("/usr/bin/qemu", SPEC, fds, home="c0ffee", accelerator=Accelerator.TCG, tsc_khz=1)
        assert [value for value in after("-object", words) if value.startswith("memory-backend-ram,id=ram")]
        assert not [word for word in words if "memory-backend-file" in word]
        assert 10 not in fds.all()


def test_what_gives_memory_back_differs_in_its_last_device_only() -> None:
    with_balloon = qemu_argv(
        "/usr/bin/qemu",
        dataclasses.replace(SPEC, gives_back=True),
        FDS,
        home="c0ffee",
        accelerator=Accelerator.TCG,
        tsc_khz=2_100_000,
    )
    assert with_balloon[: len(argv())] == argv(), "all else has the same place in both"
    (balloon,) = after("-device", with_balloon[len(argv()) :])
    assert "free-page-reporting=on" in balloon
    assert "balloon" not in " ".join(argv())


def test_another_balloon_is_another_shape() -> None:
    assert "balloon" in shape(Accelerator.TCG)


def test_disks_that_lie_in_memory_can_be_told_from_the_others() -> None:
    scratch = dataclasses.replace(SPEC, disks=(SPEC.disks[0], dataclasses.replace(SPEC.disks[1], scratch=True)))
    words = qemu_argv("qemu", scratch, FDS, home="a", accelerator=Accelerator.TCG, tsc_khz=None)
    assert [value.split(",")[1] for value in after("-blockdev", words)] == ["node-name=disk0", "node-name=scratch1"]


def test_qemu_gets_no_network_and_no_display() -> None:
    words = " ".join(argv())
    assert "-nodefaults" in words
    assert after("-display", argv()) == ["none"]
    assert not any(word in words for word in ("-net", "-nic", "netdev", "vnc", "spice", "vga"))


def test_disks_are_attached_in_their_order_and_read_only_where_told() -> None:
    assert after("-add-fd", argv()) == ["fd=13,set=0", "fd=14,set=1"]
    root, private = after("-blockdev", argv())
    assert "node-name=disk0" in root
    assert "read-only=on,file.locking=off" in root
    assert "locking" not in private, "two machines never write to one volume"
    assert "read-only=off,discard=unmap,detect-zeroes=unmap" in private
    assert [d for d in after("-device", argv()) if "virtio-blk" in d] == [
        "virtio-blk-pci,drive=disk0",
        "virtio-blk-pci,drive=disk1",
    ]


def test_the_mark_can_be_read_back() -> None:
    assert read_mark(argv(), "c0ffee") == SPEC.uuid
    assert after("-name", argv()) == [f"guest=work/{Mark('c0ffee', SPEC.uuid)}"]


def test_memory_is_whole_mebibytes_and_the_file_is_as_large() -> None:
    assert ram_bytes(SPEC) == 400 << 20
    assert after("-m", argv()) == ["400M"]
    assert "size=400M" in after("-object", argv())[0]


def test_an_emulated_guest_is_told_the_speed_of_its_counter() -> None:
    assert after("-append", argv()) == [
        "console=ttyS0 quiet tsc=reliable tsc_early_khz=2100000 no_timer_check mitigations=off"
    ]
    assert "tcg" in after("-accel", argv())[0]


@pytest.mark.parametrize(("accelerator", "tsc_khz"), [(Accelerator.KVM, 2_100_000), (Accelerator.TCG, None)])
def test_a_guest_is_told_nothing_that_is_not_known_or_not_so(accelerator: Accelerator, tsc_khz: int | None) -> None:
    assert after("-append", argv(accelerator, tsc_khz)) == ["console=ttyS0 quiet"]


def test_kvm_shows_the_guest_the_hosts_processor() -> None:
    assert (after("-accel", argv(Accelerator.KVM)), after("-cpu", argv(Accelerator.KVM))) == (["kvm"], ["host"])


def test_there_is_a_file_for_every_disk_or_no_machine() -> None:
    with pytest.raises(ValueError, match="shorter"):
        qemu_argv(
            "qemu", SPEC, dataclasses.replace(FDS, disks=(13,)), home="a", accelerator=Accelerator.TCG, tsc_khz=None
        )


def test_every_fd_is_handed_over() -> None:
    assert set(FDS.all()) == set(range(10, 18))


def test_sub_users_are_found_by_name_and_by_number() -> None:
    table = "other:100000:65536\nsomeone:200000:65536\n"
    assert sub_users(table, table, "someone", 1000) == SubUsers(232768, 232768, 16384)
    by_number = table.replace("someone", "1000")
    assert sub_users(by_number, by_number, "someone", 1000) == SubUsers(232768, 232768, 16384)


def test_users_and_groups_may_be_different_ranges() -> None:
    assert sub_users("me:1000:40", "me:5000:80", "me", 1) == SubUsers(1020, 5040, 10)


@pytest.mark.parametrize("table", ["", "\n", "other:1:65536", "me:1", "me:one:2", "me:1:-5", "me:1:2:3"])
def test_no_sub_users_is_none(table: str) -> None:
    assert sub_users(table, "me:1:65536", "me", 1000) is None
    assert sub_users("me:1:65536", table, "me", 1000) is None


def test_every_slot_has_its_own_user_and_none_has_the_first_or_the_last() -> None:
    users = SubUsers(1000, 5000, 4)
    assert [users.of(slot) for slot in (1, 2, 3)] == [(1001, 5001), (1002, 5002), (1003, 5003)]
    for slot in (0, 4, -1):
        with pytest.raises(ValueError, match="slot"):
            users.of(slot)
    assert [uid for uid in range(990, 1010) if uid in users] == [1000, 1001, 1002, 1003]


def test_processes_of_the_person_and_of_machines_are_the_homes_own() -> None:
    assert [uid for uid in range(12) if uid in Owners(2, SubUsers(5, 50, 3))] == [2, 5, 6, 7]
    assert [uid for uid in range(12) if uid in Owners(2, None)] == [2]


def test_the_box_shows_nothing_but_usr() -> None:
    words = confined(["qemu"], user=(7, 8), ready=9, sieve=5, file_size=4096)
    shown = [
        word for option in ("--ro-bind", "--bind", "--dev-bind", "--dev", "--tmpfs") for word in after(option, words)
    ]
    assert shown == ["/usr", "/dev/null"]
    assert words[-2:] == ["--", "qemu"]


def test_the_box_shows_kvm_where_it_is_used() -> None:
    words = confined(["qemu"], user=None, devices=["/dev/kvm"], ready=9, sieve=5, file_size=4096)
    assert "/dev/kvm" in after("--dev-bind", words)


def test_the_box_does_not_die_with_the_manager() -> None:
    assert "--die-with-parent" not in confined(["qemu"], user=(7, 8), ready=9, sieve=5, file_size=4096)


def test_the_user_is_changed_before_the_box_is_made() -> None:
    words = confined(["qemu"], user=(7, 8), ready=9, sieve=5, file_size=4096)
    assert words.index("--map-users=7,1,1") < words.index("--map-groups=8,1,1") < words.index("bwrap")
    assert "unshare" not in confined(["qemu"], user=None, ready=9, sieve=5, file_size=4096)
