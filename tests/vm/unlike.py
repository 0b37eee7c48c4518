"""Whether machines that went on from one are unlike each other in all that must be each one's own."""

from collections.abc import Sequence
from itertools import combinations

from tests.vm.boxes import Boxes

PROBE = """\
import os, random, socket, time
for name in ("hostname", "random/uuid", "random/boot_id"):
    print(open("/proc/sys/kernel/" + name).read().strip())
print(open("/etc/machine-id").read().strip())
print(open("/var/lib/dbus/machine-id").read().strip() if os.path.exists("/var/lib/dbus/machine-id") else os.urandom(8))
print(os.getrandom(32).hex(), open("/dev/urandom", "rb").read(32).hex(), random.getrandbits(128), sep="\\n")
def sequence(port):
    # The kernel's first number is a keyed digest of addresses and ports, the key made once, plus its clock in 64 ns.
    end, other = socket.create_server(("127.0.0.1", port)), socket.socket()
    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes((1, 0, 0, 0, 0, 0, 0, 0)))
    other.bind(("127.0.0.1", port + 1))
    begun = time.time_ns() >> 6
    other.connect(("127.0.0.1", port))
    ended = time.time_ns() >> 6
    other.setsockopt(socket.IPPROTO_TCP, 19, 1)  # TCP_REPAIR, the queue that sends, where that is
    other.setsockopt(socket.IPPROTO_TCP, 20, 2)
    first = other.getsockopt(socket.IPPROTO_TCP, 21)
    other.close()
    end.close()
    return (first - begun) % (1 << 32), ended - begun
for _ in range(2):
    print(*(number for port in (4711, 4721, 4731, 4741) for number in sequence(port)))
"""
"""Prints, a line each, its hostname; what must differ between any two machines; and twice, of four connections with
addresses and ports that are the same everywhere, the first sequence number without the clock's part, and how far that
may be off."""


def probe(boxes: Boxes, name: str) -> list[str]:
    """What a domain prints of itself."""
    probed = boxes.run(name, "python3", "-", stdin=PROBE.encode(), user="root")
    assert probed.code == 0, probed.stderr
    hostname, *told = probed.stdout.decode().splitlines()
    assert hostname == name  # which is another's, too, when it is gone
    return told


def require_unlike(told: Sequence[list[str]]) -> None:
    """No two of those that were probed share anything."""
    *columns, first, again = zip(*told, strict=True)
    for column in columns:
        assert len(set(column)) == len(told), column
    numbers = [[int(number) for number in each.split()] for each in first]
    for one, later in zip(numbers, again, strict=True):
        assert near(one, [int(number) for number in later.split()]), "in one machine they come of one key"
    for one, other in combinations(numbers, 2):
        assert not near(one, other), "two forks number their connections by one key"


def near(one: list[int], other: list[int]) -> bool:
    """Whether sequence numbers of two times or machines, with their slack, come of one key, as far as one can tell."""
    pairs = zip(one[::2], one[1::2], other[::2], other[1::2], strict=True)
    return all(min((a - b) % (1 << 32), (b - a) % (1 << 32)) <= max(s, t) + 1 for a, s, b, t in pairs)
