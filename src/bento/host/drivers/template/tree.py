"""Turns a freshly installed distribution into a domain's root: what is added, and what is taken away.

Works on a directory nobody has booted, as its root. Every change is a function of the packages and of Bento's own
sources, so that two builds of the same give the same bytes: no clock, no random numbers, no names of this machine.
"""

from __future__ import annotations

import ast
import os
import shutil
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

#: The time of every file in the image, seconds since 1970 (15 June 2025). Any would do; it must never change by itself.
EPOCH = 1750000000

USER = "user"
USER_ID = 1000

#: The guest half of Bento inside a root.
HOME = Path("usr/lib/bento")

_SHARED_ROOMS = ("wire", "guest")
_BOOT_FILES = ("init", "pack-root", "poweroff", "private", "run", "take-private")

#: What only tells when and where the build ran, or what apt can fetch again.
_REMOVED = (
    "boot/*", "dev/*", "run/*", "tmp/*", "var/tmp/*", "var/log/**/*",
    "etc/hostname", "etc/resolv.conf", "etc/machine-id", "var/lib/dbus/machine-id", "etc/.pwd.lock",
    "etc/*-", "var/lib/dpkg/*-old", "var/cache/debconf/*-old", "var/backups/*",
    "etc/apt/apt.conf.d/99mmdebstrap", "etc/apt/sources.list~",
    "var/lib/apt/lists/*", "var/cache/apt/*.bin", "var/cache/ldconfig/*",
    # partial belongs to _apt after a download and to root after a build from packages that were kept.
    "var/cache/apt/archives/*.deb", "var/cache/apt/archives/partial",
    "var/lib/systemd/random-seed", "var/lib/systemd/catalog/database",
)  # fmt: skip  # a list to be read across


def clean(tree: Path) -> None:
    """Take away what differs from build to build."""
    for pattern in _REMOVED:
        for path in sorted(tree.glob(pattern), reverse=True):
            if path.is_symlink() or not path.is_dir():
                path.unlink()
            elif not pattern.startswith("var/log"):  # programs expect the directories of their logs
                shutil.rmtree(path)
    (tree / "etc/machine-id").touch()


def add_user(tree: Path) -> None:
    """The account that programs of a domain run as, without a password: only the agent logs in."""
    day = EPOCH // 86400
    for name, line in (
        ("passwd", f"{USER}:x:{USER_ID}:{USER_ID}:{USER}:/home/{USER}:/bin/bash"),
        ("group", f"{USER}:x:{USER_ID}:"),
        ("shadow", f"{USER}:!:{day}:0:99999:7:::"),
        ("gshadow", f"{USER}:!::"),
    ):
        with (tree / "etc" / name).open("a") as file:
            file.write(line + "\n")
    home = tree / "home" / USER
    shutil.copytree(tree / "etc/skel", home, symlinks=True)
    home.chmod(0o700)
    for path in (home, *home.rglob("*")):
        os.chown(path, USER_ID, USER_ID, follow_symlinks=False)


def add_places(tree: Path) -> None:
    """Mount points, and the names by which a domain knows itself until the agent has told it better."""
    for name in ("rw", "usr/lib/modules", "etc/qubes-rpc", "usr/local/etc/qubes-rpc"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    (tree / "etc/hostname").write_text("domain\n")
    (tree / "etc/hosts").write_text("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")


def add_guest_half(tree: Path, package: Path) -> None:
    """Install what runs inside a domain, from `package`, the directory of the running Bento's own `bento` package."""
    home = tree / HOME
    shutil.rmtree(home, ignore_errors=True)
    _write(home / "bento/__init__.py", b"")
    for room in _SHARED_ROOMS:
        for source in sorted((package / room).rglob("*.py")):
            _write(home / "bento" / source.relative_to(package), source.read_bytes())
    for name in _BOOT_FILES:
        _write(home / name, (package / "guest/boot" / name).read_bytes(), executable=True)
    _write(home / "agent", _launcher("bento.guest.__main__"), executable=True)
    for room, constant, directory in (("commands", "COMMANDS", "usr/bin"), ("services", "SERVICE", "etc/qubes-rpc")):
        for module, names in declared(package / "guest" / room, constant).items():
            for name in names:
                _write(tree / directory / name, _launcher(f"bento.guest.{room}.{module}"), executable=True)
    for name in ("qrexec-client-vm", "qrexec_client_vm"):  # where the field's scripts call it
        _link(tree / "usr/lib/qubes" / name, "../../bin/qrexec-client-vm")
    add_settings(tree, package)


def add_settings(tree: Path, package: Path) -> None:
    """How services are served that are no plain programs, and the one that is an address."""
    for source in sorted((package / "guest/rpc-config").glob("*")):
        _write(tree / "etc/qubes/rpc-config" / source.name, source.read_bytes())
    _link(tree / "etc/qubes-rpc/qubes.ConnectTCP", "/dev/tcp/127.0.0.1")


def add_stock_start(tree: Path) -> None:
    """Let systemd start the agent as it would start any daemon; the unit itself came with the stock boot's files."""
    wants = tree / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / "bento-agent.service").symlink_to("/etc/systemd/system/bento-agent.service")


def settle_python_caches(directory: Path) -> None:
    """Make every compiled module name its source's time in the image, which is `EPOCH` for all.

    Otherwise Python finds each of them stale at each start (1.5 s under emulation). Hash-based caches, which Debian
    makes when a build sets SOURCE_DATE_EPOCH, would read and hash every source instead.
    Format: flags, mtime and source size follow the four bytes of magic (PEP 552).
    """
    for cache in _python_caches(directory):
        source = cache.parent.parent / f"{cache.name.partition('.')[0]}.py"
        if not source.exists():
            continue
        with cache.open("r+b") as file:
            file.seek(4)
            file.write(struct.pack("<III", 0, EPOCH, source.stat().st_size & 0xFFFFFFFF))


def declared(directory: Path, constant: str) -> dict[str, tuple[str, ...]]:
    """Module name -> the string or strings that its top-level `constant` says, of those modules that have one.

    Read, never imported: nothing of the guest half runs on the host.
    """
    found: dict[str, tuple[str, ...]] = {}
    for source in sorted(directory.glob("*.py")):
        for statement in ast.parse(source.read_text(), str(source)).body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if name == constant:
                    said = ast.literal_eval(value)
                    found[source.stem] = (said,) if isinstance(said, str) else tuple(said)
                case _:
                    pass
    return found


def _launcher(module: str) -> bytes:
    return f"#!/{HOME}/run {module}\n".encode()


def _write(path: Path, data: bytes, *, executable: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o755 if executable else 0o644)


def _link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def _python_caches(directory: Path) -> Iterator[Path]:
    for path in directory.rglob("__pycache__/*.pyc"):
        if stat.S_ISREG(path.lstat().st_mode):
            yield path
