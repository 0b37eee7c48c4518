"""How a domain starts and ends, seen from its console: volumes made, checked, kept, thrown away, packed.

QEMU is started by hand here, so that nothing but the template is tried. Its console is a shell for root.
"""

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bento.host.drivers.qemu.tsc import TscMeter
from tests.vm.template import Template, built_template

pytestmark = pytest.mark.vm

DEADLINE_SECONDS = 240
"""For one answer. A loaded machine takes twenty times what a quiet one does; only a hang takes this long."""

PRIVATE, VOLATILE, NEXT = "private.img", "volatile.img", "next.img"


@pytest.fixture(scope="module")
def template() -> Template:
    return built_template()


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """A directory with blank volumes, as a new domain has them."""
    for name in (PRIVATE, VOLATILE, NEXT):
        blank(tmp_path / name)
    return tmp_path


def blank(path: Path, size: int = 4 << 30) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def disk_used(path: Path) -> int:
    return path.stat().st_blocks * 512


class Console:
    """What a person sees and types. `seen` is all that came so far."""

    def __init__(self, line: socket.socket, process: "subprocess.Popen[bytes]") -> None:
        self._line = line
        self._process = process
        self.seen = ""

    def wait_for(self, text: str, start: int = 0) -> None:
        end = time.monotonic() + DEADLINE_SECONDS
        while text not in self.seen[start:]:
            assert time.monotonic() < end, f"no {text!r} on the console, only: {self.seen[-2000:]}"
            data = self._line.recv(65536)
            assert data, f"the domain ended before {text!r}: {self.seen[-2000:]}"
            self.seen += data.decode(errors="replace").replace("\r", "")

    def shell(self) -> None:
        self.wait_for("Press Enter")
        self._line.sendall(b"\nPS1= exec sh\n")  # a shell that does not edit lines, and so writes nothing of its own
        self.do("stty -echo")

    def do(self, command: str) -> str:
        """What `command` prints. The quotes keep the terminal's echo of the line from looking like its answer."""
        before = len(self.seen)
        self._line.sendall(f"echo be''gin; {command}\necho e''nd $?\n".encode())
        self.wait_for("\nend 0\n", before)
        return self.seen[before:].partition("begin\n")[2].partition("\nend ")[0]

    def wait_for_end(self) -> None:
        """Until QEMU has ended by itself."""
        assert self._process.wait(DEADLINE_SECONDS) == 0, self.seen[-2000:]
        while data := self._line.recv(65536):
            self.seen += data.decode(errors="replace").replace("\r", "")

    def power_off(self) -> None:
        self._line.sendall(b"exec /usr/lib/bento/poweroff\n")
        self.wait_for_end()


@contextmanager
def domain(
    template: Template, volumes: Path, *, root: Path | None = None, kept: bool = False, without: str = ""
) -> Iterator[Console]:
    """A running domain; it is killed at the end if it has not ended by itself."""
    ours, its = socket.socketpair()
    ours.settimeout(DEADLINE_SECONDS)
    khz = asyncio.run(TscMeter().khz())
    cmdline = [template.cmdline, f"tsc=reliable tsc_early_khz={khz} no_timer_check mitigations=off"]
    argv = [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", "256M"),
        *("-kernel", str(template.kernel), "-initrd", str(template.initrd)),
        *("-append", " ".join([*cmdline, "bento.root=kept"] if kept else cmdline)),
        *("-chardev", f"socket,id=console,fd={its.fileno()}", "-serial", "chardev:console"),
        # Nobody at the other end: the agent waits there, and leaves the console to us.
        *("-device", "virtio-serial-pci", "-chardev", "null,id=channel"),
        *("-device", "virtserialport,chardev=channel,name=org.bento.channel"),
    ]
    disks = [root or template.directory / "root.erofs", volumes / PRIVATE, volumes / VOLATILE]
    disks += [template.directory / "modules.erofs", volumes / NEXT]
    for disk in disks:
        if disk.name != without:
            access = "discard=unmap,detect-zeroes=unmap" if disk.parent == volumes and disk != root else "readonly=on"
            argv += ["-drive", f"if=virtio,format=raw,file={disk},{access}"]
    with ours, subprocess.Popen(argv, stdin=subprocess.DEVNULL, pass_fds=[its.fileno()]) as process:
        its.close()
        try:
            yield Console(ours, process)
        finally:
            process.kill()


def test_home_survives_and_a_change_of_the_root_does_not(template: Template, volumes: Path) -> None:
    with domain(template, volumes) as console:
        console.shell()
        used = disk_used(volumes / PRIVATE) + disk_used(volumes / VOLATILE)
        assert used < 1 << 20, "a domain that has written nothing takes less than 1 MiB"
        assert console.do("stat -c %U:%a /home/user") == "user:700"
        console.do("echo mine >/home/user/note; echo tool >/usr/local/bin/tool; echo changed >/etc/changed")
        console.power_off()
        assert "checking" not in console.seen
    blank(volumes / VOLATILE)
    with domain(template, volumes) as console:
        console.shell()
        assert console.do("cat /home/user/note /usr/local/bin/tool") == "mine\ntool"
        assert console.do("ls /etc/changed || echo gone").endswith("gone")
        assert "checking" not in console.seen, "an orderly end leaves nothing to check"


def test_a_killed_domains_files_are_checked_and_there(template: Template, volumes: Path) -> None:
    with domain(template, volumes) as console:
        console.shell()
        console.do("echo mine >/home/user/note; sync")
    blank(volumes / VOLATILE)
    with domain(template, volumes) as console:
        console.shell()
        assert "/dev/vdb was not closed cleanly; checking it" in console.seen
        assert console.do("cat /home/user/note") == "mine"


def test_a_domain_with_a_damaged_private_volume_starts_and_says_so(template: Template, volumes: Path) -> None:
    with (volumes / PRIVATE).open("r+b") as file:
        file.write(os.urandom(65536))
    with domain(template, volumes) as console:
        console.shell()
        assert "the private volume (vdb) cannot be used" in console.seen
        assert console.do("stat -c %U /home/user") == "user"


def test_a_domain_without_its_volatile_volume_ends_with_a_sentence(template: Template, volumes: Path) -> None:
    with domain(template, volumes, without=VOLATILE) as console:
        console.wait_for_end()
        assert "this domain cannot start" in console.seen


def test_a_private_volume_that_the_host_enlarged_is_grown_into(template: Template, volumes: Path) -> None:
    with domain(template, volumes) as console:
        console.shell()
        console.do("echo mine >/home/user/note")
        console.power_off()
    os.truncate(volumes / PRIVATE, 40 << 30)
    blank(volumes / VOLATILE)
    with domain(template, volumes) as console:
        console.shell()
        console.do("until grep -q swap /proc/swaps; do sleep 1; done")  # the last of what is done in the background
        assert int(console.do("stat -f -c %b /rw")) * 4096 > 39 << 30
        assert console.do("cat /home/user/note") == "mine"


def test_a_template_keeps_its_root_until_it_is_packed_as_the_next_version(template: Template, volumes: Path) -> None:
    with domain(template, volumes, kept=True) as console:
        console.shell()
        console.do("echo changed >/etc/changed; rm /usr/bin/less; sync")
    with domain(template, volumes, kept=True) as console:
        console.shell()
        assert "/dev/vdc was not closed cleanly; checking it" in console.seen
        assert console.do("cat /etc/changed") == "changed"
        console.do("/usr/lib/bento/pack-root /dev/vde")
        console.power_off()
    image = volumes / "root-2.erofs"
    (volumes / NEXT).rename(image)
    os.truncate(image, _end_of_data(image))
    blank(volumes / NEXT)
    blank(volumes / VOLATILE)
    with domain(template, volumes, root=image) as console:
        console.shell()
        assert console.do("cat /etc/changed") == "changed"
        assert console.do("ls /usr/bin/less || echo gone").endswith("gone")
        assert console.do("stat -c %s /etc/machine-id") == "0"


def _end_of_data(path: Path) -> int:
    """Where the last data of a sparse file ends: all that the host looks at."""
    end = 0
    with path.open("rb") as file:
        while True:
            try:
                end = os.lseek(file.fileno(), os.lseek(file.fileno(), end, os.SEEK_DATA), os.SEEK_HOLE)
            except OSError:
                return -(-end // 4096) * 4096
