"""A process in a profile, the broker's and the others where they differ, asked to misbehave.

Each attempt runs twice: free, where it must succeed, and confined, where it must not.
"""

import signal
import subprocess
import sys
from errno import EFBIG, EMFILE, EPERM
from pathlib import Path

import pytest

PRELUDE = """
import ctypes, mmap, os, resource, select, signal, socket, tempfile, time
from bento.host.jail.profiles import BROKER, NURSERY, RELAY, SEALER, confine
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    if libc.syscall(number, *map(ctypes.c_long, arguments)) < 0:
        raise OSError(ctypes.get_errno(), "")
machine = os.uname().machine
log = os.memfd_create("log")
left, right = socket.socketpair()
page = mmap.mmap(-1, 4096)
here = ctypes.addressof(ctypes.c_char.from_buffer(page))
"""

DEADLY = {
    "open a file": "open('/etc/passwd')",
    "list a folder": "os.listdir('/')",
    "open a file by an open folder": "os.open('etc/passwd', os.O_RDONLY, dir_fd=folder)",
    "make a file in memory": "os.memfd_create('x')",
    "make a socket": "socket.socket()",
    "make a socket pair": "socket.socketpair()",
    "connect": "datagram.connect(datagram.getsockname())",
    "listen": "stream.listen()",
    "fork": "os.fork() or os._exit(0)",
    "start a thread": "import _thread; _thread.start_new_thread(print, ())",
    "run a program": "os.execv('/bin/true', ['true'])",
    "run a program from a file it has": "os.execve(true, ['true'], {})",
    "kill": "os.kill(os.getpid(), 0)",
    "trace": "call(101 if machine == 'x86_64' else 117, 0)",
    "get executable memory": "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)",
    "make memory executable": "libc.mprotect(ctypes.c_void_p(here), 4096, 5)",
    "take on a namespace": "libc.unshare(0x200)",
}

REFUSED = {
    "look at a path": "os.stat('/etc/passwd')",
    "delete a file": "os.unlink(tempfile.mkstemp()[1]) if not confined else os.unlink('/nowhere')",
    "change its limits": "call(302 if machine == 'x86_64' else 261, 0, resource.RLIMIT_CORE, 0, 0)",
    "change its rights": "os.setuid(os.getuid())",
    "change what a signal does": "signal.signal(signal.SIGUSR1, signal.SIG_IGN)",
    "change what a file is": "os.set_blocking(log, True)",
    "sleep": "time.sleep(0.0001)",
    "read a file": "os.read(log, 1)",
    "cut the manager's log, which is its stderr": "os.ftruncate(2, 0)",
    "map a file it has": "mmap.mmap(log, 4096)",
    "learn its number": "call(39 if machine == 'x86_64' else 172)",
}

PERMITTED = {
    "take and give bytes": "left.send(b'x', socket.MSG_DONTWAIT); right.recv(1)",
    "take packets": "left.send(b'x'); right.recvmsg(1, 16)",
    "wait": "poll.register(right.fileno(), select.EPOLLIN); poll.poll(0)",
    "keep a log": "os.pwrite(log, b'hello', 0); os.ftruncate(log, 2); assert os.pread(log, 9, 0) == b'he'",
    "take a socket it is handed": "socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, right.detach()).close()",
    "use memory": "[bytes(1 << n) for n in range(26)]",
    "know the time": "time.monotonic()",
    "write on stderr": "os.write(2, b'')",
    "catch its own errors": "raise OSError(-100, '')",
}

OF_SEALING = {
    "take the stream and the image": "os.write(head, b'x'); assert os.read(tail, 9) == b'x'",
    "give the image": "os.write(log, b'x'); os.fsync(log)",
    "take a disk with holes": "assert os.lseek(log, 0, os.SEEK_HOLE) == 0 and os.pread(log, 2, 0) == bytes(2)",
    "give a disk": "os.pwrite(log, b'x', 0)",
    "use memory": "[bytes(1 << n) for n in range(24)]",
    "write on stderr": "os.write(2, b'')",
    "catch its own errors": "raise OSError(-100, '')",
}

NOT_OF_SEALING = {
    "talk": "left.send(b'x', socket.MSG_DONTWAIT)",
    "hear": "right.recv(1)",
    "take a file it is handed": "right.recvmsg(1, 16)",
    "wait": "poll.register(right.fileno(), select.EPOLLIN)",
    "let go of a file": "os.close(folder)",
    "cut a disk": "os.ftruncate(log, 1)",
    **{wish: REFUSED[wish] for wish in REFUSED if wish != "read a file"},
}


def attempt(tree: Path, what: str, *, confined: bool, profile: str = "BROKER") -> int:
    """0: done; 100 and the error's number: refused; negative: the signal that ended it."""
    script = f"""{PRELUDE}
confined = {confined}
os.dup2(log, 2)
os.ftruncate(log, 4096)
poll = select.epoll()
folder = os.open('/', os.O_RDONLY)
true = os.open('/bin/true', os.O_RDONLY)
stream = socket.socket(socket.AF_UNIX); stream.bind('')
datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); datagram.bind('')
tail, head = os.pipe()
left.send(b'xx')
try:
    if confined:
        confine({profile})
    {what}
except OSError as error:
    os._exit(100 + error.errno)
except MemoryError:
    os._exit(99)
os._exit(0)
"""
    argv = [sys.executable, "-S", "-E", "-B", "-c", script]
    return subprocess.run(argv, cwd=tree / "src", check=False, stdout=subprocess.DEVNULL).returncode


@pytest.mark.parametrize("attack", DEADLY)
def test_a_broker_that_attacks_is_killed(tree: Path, attack: str) -> None:
    assert attempt(tree, DEADLY[attack], confined=False) == 0
    assert attempt(tree, DEADLY[attack], confined=True) == -signal.SIGSYS


@pytest.mark.parametrize("wish", REFUSED)
def test_a_broker_is_refused_what_it_does_not_need(tree: Path, wish: str) -> None:
    assert attempt(tree, REFUSED[wish], confined=False) == 0
    assert attempt(tree, REFUSED[wish], confined=True) == 100 + EPERM


@pytest.mark.parametrize("work", PERMITTED)
def test_a_broker_may_do_its_work(tree: Path, work: str) -> None:
    assert attempt(tree, PERMITTED[work], confined=True) == 0


@pytest.mark.parametrize("attack", sorted(set(DEADLY) - {"fork", "start a thread"}))
def test_a_nursery_that_attacks_is_killed(tree: Path, attack: str) -> None:
    assert attempt(tree, DEADLY[attack], confined=True, profile="NURSERY") == -signal.SIGSYS


@pytest.mark.parametrize("attack", sorted(set(DEADLY) - {"connect"}))  # it may not even ask a socket for its name
def test_a_relay_that_attacks_is_killed(tree: Path, attack: str) -> None:
    assert attempt(tree, DEADLY[attack], confined=True, profile="RELAY") == -signal.SIGSYS


def test_a_relay_reads_pipes_and_learns_how_a_service_ended_and_keeps_no_log(tree: Path) -> None:
    pipe = "tail, head = os.pipe(); os.write(head, b'x')"
    child = "child = os.fork() or os._exit(3); handle = os.pidfd_open(child)"
    work = "os._exit(os.read(tail, 1) != b'x' or os.waitid(os.P_PIDFD, handle, os.WEXITED).si_status != 3)"
    assert attempt(tree, f"{pipe}; {child}; confine(RELAY); {work}", confined=False) == 0
    assert attempt(tree, "os.pwrite(log, b'hello', 0)", confined=True, profile="RELAY") == 100 + EPERM


@pytest.mark.parametrize("attack", sorted(set(DEADLY) - {"connect"}))  # as for a relay
def test_a_sealer_that_attacks_is_killed(tree: Path, attack: str) -> None:
    assert attempt(tree, DEADLY[attack], confined=True, profile="SEALER") == -signal.SIGSYS


@pytest.mark.parametrize("wish", NOT_OF_SEALING)
def test_a_sealer_is_refused_what_it_does_not_need(tree: Path, wish: str) -> None:
    assert attempt(tree, NOT_OF_SEALING[wish], confined=False, profile="SEALER") == 0
    assert attempt(tree, NOT_OF_SEALING[wish], confined=True, profile="SEALER") == 100 + EPERM


@pytest.mark.parametrize("work", OF_SEALING)
def test_a_sealer_may_do_its_work(tree: Path, work: str) -> None:
    assert attempt(tree, OF_SEALING[work], confined=True, profile="SEALER") == 0


def test_a_sealer_cannot_eat_the_memory(tree: Path) -> None:
    assert attempt(tree, "bytes(1 << 28)", confined=False) == 0
    assert attempt(tree, "bytes(1 << 28)", confined=True, profile="SEALER") == 99


def test_a_nursery_forks_and_its_child_takes_the_stricter_profile(tree: Path) -> None:
    become = "confine(BROKER) if not os.fork() else os._exit(os.waitstatus_to_exitcode(os.wait()[1]))"
    assert attempt(tree, become, confined=True, profile="NURSERY") == 0
    and_fork = f"{become}; os.fork()"
    assert attempt(tree, and_fork, confined=True, profile="NURSERY") != 0


def test_a_broker_cannot_eat_the_memory(tree: Path) -> None:
    assert attempt(tree, "bytes(1 << 30)", confined=False) == 0
    assert attempt(tree, "bytes(1 << 30)", confined=True) == 99


def test_a_broker_cannot_fill_the_disk(tree: Path) -> None:
    assert attempt(tree, "os.pwrite(log, b'x', 1 << 26)", confined=False) == 0
    assert attempt(tree, "os.pwrite(log, b'x', 1 << 26)", confined=True) == 100 + EFBIG


def test_a_broker_has_only_so_many_files(tree: Path) -> None:
    many = "BROKER.limits.apply(); [os.dup(log) for _ in range(3000)]"
    assert attempt(tree, many, confined=False) == 100 + EMFILE


def test_a_broker_leaves_no_core(tree: Path) -> None:
    zero = "BROKER.limits.apply(); os._exit(resource.getrlimit(resource.RLIMIT_CORE) != (0, 0))"
    assert attempt(tree, zero, confined=False) == 0
