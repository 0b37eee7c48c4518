"""Making this machine the domain that the host says it is, before it serves anything.

Two domains started from one saved state repeat each other's random numbers until the pool is stirred, so the seed
comes first. Sources: random(4) for the two requests; hosts(5) and the field's agent for the line in /etc/hosts.
"""

import os
import time
from _socket import sethostname  # to load `socket` takes a machine that boots as long as all of this
from collections.abc import Callable
from fcntl import ioctl

from bento.wire.rpc import Identity

RNDADDENTROPY = 0x40085203
RNDRESEEDCRNG = 0x5207

IDENTITY = "identity"
"""In `Place.run`: who this machine is. It is written last: where it is, this machine is somebody."""

MACHINE_ID = "machine-id"
"""Likewise, what /etc/machine-id is (`boot/initrd-init` binds it there): machine-id(5), another one at each start."""

BOOT_ID = "boot-id"
"""The same for /proc/sys/kernel/random/boot_id, of which a fork would have what its seed had read."""

VARIANTS = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
"""Of a hex digit, the one with its two lower bits that marks a UUID's layout."""

OWN_ADDRESS = "127.0.1.1"

KEPT = "surrogateescape"
"""Bytes of a template's files that are no UTF-8 stay as they are."""


def adopt(identity: Identity, run: str) -> None:
    """Needs root. `run`: the directory for what lasts as long as the machine runs.

    `OSError`: then this machine is nobody and serves nothing, for it could be the same as another.
    """
    stir(identity.seed)
    time.clock_settime_ns(time.CLOCK_REALTIME, identity.time)
    sethostname(identity.name)
    if os.path.exists(f"{run}/{IDENTITY}"):
        return  # it was greeted before, by a host whose place another one has taken: it stays who it is
    write(f"{run}/{MACHINE_ID}", os.urandom(16).hex() + "\n")
    write(f"{run}/{BOOT_ID}", uuid4(os.urandom(16).hex()) + "\n")
    write(f"{run}/{IDENTITY}", f"name={identity.name}\nclass={identity.klass}\n")


def uuid4(noise: str) -> str:
    """32 random hex digits as RFC 4122 has a random UUID. Not the module `uuid`: a machine would have to load it."""
    variant = VARIANTS[noise[16]]
    return f"{noise[:8]}-{noise[8:12]}-4{noise[13:16]}-{variant}{noise[17:20]}-{noise[20:]}"


def stir(seed: bytes) -> None:
    """Credit `seed` to the kernel's random pool and have the generator use it at once."""
    size = len(seed)
    request = (size * 8).to_bytes(4, "little") + size.to_bytes(4, "little") + seed
    pool = os.open("/dev/urandom", os.O_WRONLY)
    try:
        ioctl(pool, RNDADDENTROPY, request)
        ioctl(pool, RNDRESEEDCRNG)
    finally:
        os.close(pool)


def settle(name: str, *, in_place: bool) -> None:
    """Write the name where programs look it up. A full or damaged root costs the name, not the start.

    `in_place`: into the files that are there, which lie in memory (`boot/init`).
    """
    change = rewrite if in_place else replace
    try:
        change("/etc/hostname", lambda _: name + "\n")
        change("/etc/hosts", lambda hosts: with_own_name(hosts, name))
    except OSError:
        pass


def with_own_name(hosts: str, name: str) -> str:
    """The text of /etc/hosts with `name` in the line of this machine, and in no other line of that address."""
    others = [line for line in hosts.splitlines() if line.split()[:1] != [OWN_ADDRESS]]
    return "\n".join([*others, f"{OWN_ADDRESS}\t{name}", ""])


def replace(path: str, change: Callable[[str], str]) -> None:
    """Change a text file as a whole: a machine that is killed has the old one or the new one."""
    try:
        with open(path, errors=KEPT) as file:
            old = file.read()
    except FileNotFoundError:
        old = ""
    new = change(old)
    if new != old:
        with open(path + ".new", "w", errors=KEPT) as file:
            file.write(new)
        os.replace(path + ".new", path)


def rewrite(path: str, change: Callable[[str], str]) -> None:
    """Change a text file where it is."""
    file = os.open(path, os.O_RDWR)
    try:
        old = os.pread(file, os.fstat(file).st_size, 0)
        new = change(old.decode(errors=KEPT)).encode(errors=KEPT)
        os.ftruncate(file, os.pwrite(file, new, 0))
    finally:
        os.close(file)


def write(path: str, text: str) -> None:
    """What is in the file already may not be longer."""
    # Not `open`, and nothing cut off: that costs a forked machine, whose every first step is slow, more than the write.
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)
