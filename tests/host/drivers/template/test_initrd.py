"""The initrd: an archive that the kernel unpacks, with the drivers in an order that loads."""

import stat
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.host.drivers.template.initrd import BOOT_MODULES, Archive, build_initrd, module_order

DEP = """kernel/fs/erofs/erofs.ko: kernel/lib/libcrc32c.ko
kernel/lib/libcrc32c.ko:
kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio-ring.ko
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio-ring.ko: kernel/drivers/virtio/virtio.ko
"""


@dataclass(frozen=True)
class Unpacked:
    name: str
    mode: int
    owner: tuple[int, int]
    time: int
    device: tuple[int, int]
    data: bytes


def unpack(archive: bytes) -> list[Unpacked]:
    """A reader of the newc format that knows nothing of the writer."""
    found: list[Unpacked] = []
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        assert at % 4 == 0
        (_, mode, uid, gid, _, time, size, _, _, major, minor, name_size, _) = (
            int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)
        )
        name_end = at + 110 + name_size
        name = archive[at + 110 : name_end - 1].decode()
        data_at = name_end + -name_end % 4
        if name == "TRAILER!!!":
            return found
        found.append(Unpacked(name, mode, (uid, gid), time, (major, minor), archive[data_at : data_at + size]))
        at = data_at + size + -size % 4


names = st.lists(
    st.text("abcdefgh-.", min_size=1, max_size=6).filter(lambda part: part not in (".", "..")), min_size=1, max_size=4
).map("/".join)


@given(st.dictionaries(names, st.binary(max_size=20)))
def test_what_goes_in_comes_out_and_every_parent_stands_before_its_children(files: dict[str, bytes]) -> None:
    files = {name: data for name, data in files.items() if not any(other.startswith(f"{name}/") for other in files)}
    archive = Archive()
    for name, data in files.items():
        archive.file(name, data)
    unpacked = unpack(archive.encode())
    assert {each.name: each.data for each in unpacked if stat.S_ISREG(each.mode)} == files
    seen: set[str] = set()
    for each in unpacked:
        assert "/" not in each.name or each.name.rpartition("/")[0] in seen
        seen.add(each.name)


def test_the_same_names_in_another_order_give_the_same_bytes() -> None:
    there, back = Archive(), Archive()
    for archive, order in ((there, ("a/x", "b/y", "a/z")), (back, ("a/z", "b/y", "a/x"))):
        for name in order:
            archive.file(name, name.encode())
    assert there.encode() == back.encode()


def test_everything_belongs_to_root_and_has_no_time() -> None:
    archive = Archive()
    archive.file("bin/busybox", b"ELF", 0o755)
    archive.link("bin/sh", "busybox")
    archive.character_device("dev/console", 0o600, 5, 1)
    unpacked = {each.name: each for each in unpack(archive.encode())}
    assert all(each.owner == (0, 0) and each.time == 0 for each in unpacked.values())
    assert unpacked["bin/busybox"].mode == stat.S_IFREG | 0o755
    assert (unpacked["bin/sh"].mode, unpacked["bin/sh"].data) == (stat.S_IFLNK | 0o777, b"busybox")
    assert (unpacked["dev/console"].mode, unpacked["dev/console"].device) == (stat.S_IFCHR | 0o600, (5, 1))


def test_a_driver_is_loaded_after_all_that_it_needs_and_once() -> None:
    order = [Path(path).stem for path in module_order(DEP, "", ("virtio_blk", "erofs", "virtio_ring"))]
    assert order == ["virtio", "virtio-ring", "virtio_blk", "libcrc32c", "erofs"]


def test_what_the_kernel_has_built_in_is_not_loaded() -> None:
    order = module_order(DEP, "kernel/lib/libcrc32c.ko\nkernel/fs/ext4/ext4.ko\n", ("ext4", "erofs"))
    assert [Path(path).stem for path in order] == ["erofs"]


def test_a_driver_that_the_kernel_lacks_is_named() -> None:
    with pytest.raises(KeyError, match="overlay"):
        module_order(DEP, "", ("erofs", "overlay"))


def test_the_script_can_load_the_drivers_in_the_order_of_their_names(tmp_path: Path) -> None:
    wanted = BOOT_MODULES
    (tmp_path / "modules.builtin").write_text("")
    (tmp_path / "modules.dep").write_text("".join(f"{name}.ko: zz_{name}.ko\nzz_{name}.ko:\n" for name in wanted))
    for name in wanted:
        (tmp_path / f"{name}.ko").write_bytes(name.encode())
        (tmp_path / f"zz_{name}.ko").write_bytes(b"needed by " + name.encode())
    unpacked = unpack(build_initrd(tmp_path, b"ELF", b"#!/bin/sh\n", b""))
    drivers = [each.data for each in sorted(unpacked, key=lambda each: each.name) if each.name.startswith("modules/")]
    assert drivers == [data for name in wanted for data in (b"needed by " + name.encode(), name.encode())]


def test_the_init_script_finds_every_program_it_calls(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "modules.builtin").write_text(" ".join(f"{name}.ko" for name in BOOT_MODULES))
    (tmp_path / "modules.dep").write_text("")
    init, private = ((tree / "src/bento/guest/boot" / name).read_text() for name in ("initrd-init", "private"))
    unpacked = unpack(build_initrd(tmp_path, b"", init.encode(), private.encode()))
    programs = {each.name for each in unpacked}
    assert ". /private\n" in init
    called = {"mount", "umount", "chroot", "mkdir", "insmod", "cmp", "od", "cp", "mv", "ln", "sleep", "switch_root"}
    assert {name for name in called if f"{name} " in init + private} == called
    assert {f"bin/{name}" for name in (*called, "sh")} | {"private"} <= programs
