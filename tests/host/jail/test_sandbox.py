"""The nursery's empty world: what its argv says, and what a program in it finds."""

import socket
import subprocess
import sys
from pathlib import Path, PurePosixPath

from bento.host.jail.sandbox import nursery_argv
from bento.wire.control import FROM_BROKER, MAX_PACKET, Spawn, Spawned, decode_packet, encode_packet
from bento.wire.names import DomainName


def argv_of(tree: Path, *, python: str = "", home: str = sys.base_prefix, control_fd: int = 5) -> list[str]:
    return nursery_argv(
        bwrap=PurePosixPath("/usr/bin/bwrap"),
        python=PurePosixPath(python or Path(sys.executable).resolve()),
        python_home=PurePosixPath(home),
        package=PurePosixPath(tree / "src" / "bento"),
        control_fd=control_fd,
    )


def look(tree: Path, program: str) -> str:
    """What a program finds where the nursery would be."""
    argv = argv_of(tree)
    at = argv.index("-m")
    return subprocess.run([*argv[:at], "-c", program], check=True, capture_output=True, text=True).stdout


def test_only_python_and_bento_are_there_and_nothing_can_be_changed(tree: Path) -> None:
    found = look(
        tree,
        """
import os
print(sorted(os.listdir("/")))
print(os.listdir("/code"), os.getcwd(), sorted(os.environ.keys() - {"LC_CTYPE", "PWD"}))
for folder in ("/", "/usr", "/code", "/code/bento"):
    try:
        os.mkdir(folder + "/new")
        print("wrote", folder)
    except OSError as error:
        print(error.strerror)
""",
    )
    root, code, *writes = found.splitlines()
    assert set(root.strip("[]").replace("'", "").split(", ")) <= {"code", "lib", "lib64", "usr", *_top(sys.base_prefix)}
    assert code == "['bento'] /code ['MALLOC_MMAP_THRESHOLD_', 'MALLOC_TOP_PAD_', 'MALLOC_TRIM_THRESHOLD_']"
    assert writes == ["Read-only file system"] * 4


def _top(path: str) -> list[str]:
    return path.split("/")[1:2]


def test_there_is_no_network_and_no_right(tree: Path) -> None:
    found = look(
        tree,
        """
import socket
print([name for _, name in socket.if_nameindex()])
try:
    socket.create_connection(("192.0.2.1", 80), timeout=1)
except OSError as error:
    print(error.strerror)
import ctypes
print(ctypes.CDLL(None).prctl(23, 21, 0, 0, 0))  # PR_CAPBSET_READ, CAP_SYS_ADMIN
""",
    )
    assert found.splitlines() == ["['lo']", "Network is unreachable", "0"]


def test_a_python_outside_of_usr_is_bound_too(tree: Path) -> None:
    argv = argv_of(tree, python="/opt/python/bin/python3", home="/opt/python")
    at = argv.index("/opt/python")
    assert argv[at - 1 : at + 2] == ["--ro-bind", "/opt/python", "/opt/python"]
    assert "/opt/python" not in argv_of(tree, python="/usr/bin/python3", home="/usr")


def test_the_nursery_starts_in_it_and_its_brokers_have_numbers_that_the_manager_knows(tree: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        nursery = subprocess.Popen(argv_of(tree, control_fd=theirs.fileno()), pass_fds=[theirs.fileno()])
        theirs.close()
        control, broker_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        machine, channel = socket.socketpair()
        terminal, console = socket.socketpair()
        with control, machine, terminal, open("/dev/null", "r+b") as log:
            with broker_control, channel, console:
                files = [broker_control.fileno(), channel.fileno(), console.fileno(), log.fileno()]
                socket.send_fds(ours, [encode_packet(Spawn(DomainName("work")))], files)
            spawned = decode_packet(FROM_BROKER, ours.recv(MAX_PACKET))
            assert isinstance(spawned, Spawned)
            machine.close()
            assert control.recv(MAX_PACKET)  # Ended
            assert not control.recv(MAX_PACKET)
        ours.close()
        assert nursery.wait(60) == 0
