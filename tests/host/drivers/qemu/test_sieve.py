"""A program in QEMU's box, doing what a guest would that has taken QEMU over."""

import os
import subprocess
from errno import EACCES, EFBIG, EPERM
from pathlib import Path

import pytest

from bento.host.drivers.qemu.confine import confined
from bento.host.drivers.qemu.sieve import DENIED, sieve
from bento.host.drivers.template.inside import seal

FILE_SIZE = 1 << 20
DONE = 77


def attempt(what: str, shared: int = -1) -> int:
    """`DONE`, or the number of the error that it met; negative: the signal that ended it. It has `shared` as 201."""
    script = f"""
import ctypes, os, signal, socket
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def call(number, *arguments):
    if ctypes.CDLL(None, use_errno=True).syscall(number, *map(ctypes.c_long, arguments)) < 0:
        raise OSError(ctypes.get_errno(), "")
try:
    {what}
except OSError as error:
    os._exit(error.errno)
os._exit({DONE})
"""
    listen, ready = os.pipe()
    filters = os.memfd_create("sieve")
    volume = os.memfd_create("volume")
    try:
        os.pwrite(filters, sieve(), 0)
        os.dup2(volume, 200)
        os.dup2(shared if shared >= 0 else volume, 201)
        command = ["/usr/bin/python3", "-I", "-c", script]
        argv = confined(command, user=None, ready=ready, sieve=filters, file_size=FILE_SIZE)
        return subprocess.run(argv, pass_fds=(ready, filters, 200, 201), check=False).returncode
    finally:
        for fd in (listen, ready, filters, volume, 200, 201):
            os.close(fd)


@pytest.mark.parametrize("name", sorted(DENIED))
def test_a_taken_over_qemu_is_refused_what_it_never_needs(name: str) -> None:
    assert attempt(f"call({DENIED[name]}, 0, 0, 0, 0, 0, 0)") == EPERM


def test_no_socket_leads_past_the_namespaces() -> None:
    assert attempt("socket.socket(40, socket.SOCK_STREAM)") == EPERM  # AF_VSOCK, which no namespace holds


def test_a_volume_can_be_filled_and_not_grown() -> None:
    assert attempt(f"os.ftruncate(200, {FILE_SIZE})") == DONE
    assert attempt(f"os.ftruncate(200, {FILE_SIZE + 1})") == EFBIG
    assert attempt(f"os.pwrite(200, b'xx', {FILE_SIZE})") == EFBIG


def test_a_template_stays_as_it_is_even_where_qemu_runs_as_its_owner(tmp_path: Path) -> None:
    image = tmp_path / "root.erofs"
    image.write_bytes(b"the root of all")
    seal(image)
    with image.open("rb") as shared:
        assert attempt("os.open('/proc/self/fd/201', os.O_RDONLY)", shared.fileno()) == DONE
        if os.getuid() != 0:  # which no machine's is, and which may write to everything
            assert attempt("os.open('/proc/self/fd/201', os.O_RDWR)", shared.fileno()) == EACCES
        assert attempt("os.chmod('/proc/self/fd/201', 0o644)", shared.fileno()) == EPERM
        assert attempt("os.fchmod(201, 0o644)", shared.fileno()) == EPERM
    assert image.read_bytes() == b"the root of all"


def test_what_it_does_need_works() -> None:
    assert attempt("import threading; t = threading.Thread(target=print); t.start(); t.join()") == DONE
    assert attempt("os.dup(200); os.stat('/usr')") == DONE
