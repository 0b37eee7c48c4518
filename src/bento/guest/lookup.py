"""Where a service lies and what it is: names in, a program, a socket or an address out. Nothing is started here.

A file called SERVICE+ARGUMENT wins over SERVICE, wherever it lies; a call without argument looks for `SERVICE+` first.
A file that is there and cannot be looked at ends the search: what comes after it may be what it was put there to
replace. Source: the field's `libqrexec/exec.c` and its page on the execution of RPC services.
"""

import os
import re
import stat
from dataclasses import dataclass

from bento.guest.settings import MAX_SIZE, Malformed, Settings, parse
from bento.wire.rpc import ExitCode

NAME_MAX = 255

TCP = "/dev/tcp"

PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)


class CannotServe(Exception):
    """One sentence about why not, for this machine's journal and for a caller who may know."""

    def __init__(self, sentence: str, code: ExitCode = ExitCode.FAULT, *, public: bool = False) -> None:
        super().__init__(sentence)
        self.code = code
        self.public = public
        """Any caller may know: it says nothing of this domain but what was asked for."""


@dataclass(frozen=True, slots=True)
class Program:
    path: str


@dataclass(frozen=True, slots=True)
class Socket:
    path: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP server; `host` is an IP address, which is checked where it is used."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"port {self.port} of {self.host}"


Server = Program | Socket | Address


def find(directories: tuple[str, ...], service: str, argument: str) -> Server | None:
    """What serves the call, or None; `CannotServe` if there is something that cannot."""
    found = _file(directories, f"{service}+{argument}") or _file(directories, service)
    match found:
        case None:
            return None
        case path, str() as link:
            return _address(path, link, argument)
        case path, mode if stat.S_ISSOCK(mode):
            return Socket(path)
        case path, _ if os.access(path, os.X_OK, effective_ids=True):
            return Program(path)
        case path, _:
            raise CannotServe(f"{path} is neither executable nor a socket")


def settings(directories: tuple[str, ...], service: str, argument: str) -> Settings:
    """How the service is to be served; `CannotServe` if a file about it cannot be read or understood."""
    found = _file(directories, f"{service}+{argument}") or _file(directories, service)
    if found is None:
        return Settings()
    path, _ = found
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise CannotServe(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_SIZE:
        raise CannotServe(f"{path} has more than {MAX_SIZE} bytes")
    try:
        return parse(content.decode(errors="replace"))
    except Malformed as error:
        raise CannotServe(f"{path}:{error.line}: {error}") from None


def _file(directories: tuple[str, ...], name: str) -> tuple[str, int | str] | None:
    """The first of that name: its path and its mode, or the address that it links to. A link to nothing is none."""
    if len(name) > NAME_MAX:
        return None
    for directory in directories:
        path = f"{directory}/{name}"
        try:
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                link = os.readlink(path)
                if link == TCP or link.startswith(f"{TCP}/"):
                    return path, link
                mode = os.stat(path).st_mode
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CannotServe(f"{path} cannot be looked at: {error.strerror}") from None
        return path, mode
    return None


def _address(path: str, link: str, argument: str) -> Address:
    """Complete the link to HOST and PORT by the argument, whose last `+` stands before the port, others for `:`."""
    match link.removeprefix(TCP).removeprefix("/").split("/", 1):
        case [host, port] if argument:
            raise CannotServe(f"{path} leads to one port only, and takes no argument")
        case [host, port]:
            pass
        case [host] if host:
            port = argument
        case _ if link == TCP:
            host, _, port = argument.rpartition("+")
            if "_" in host:
                raise CannotServe(f"{path}: an address has no underscore")
            host = host.replace("+", ":")
        case _:
            raise CannotServe(f"{path} leads to {link}, which names no host")
    if not host or not PORT.fullmatch(port) or int(port) > 0xFFFF:
        raise CannotServe(f"{path}: the call names no address and port")
    return Address(host, int(port))
