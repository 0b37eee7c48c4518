"""What a call's bytes come from and go to (`leg.py` carries them), and how a call is begun by way of the manager."""

import os
import socket
from collections.abc import Mapping, Sequence
from typing import Protocol

from bento.cli.manager import Manager, request
from bento.wire.vmexec import encode_command


def call(manager: Manager, domain: str, service: str, settings: Mapping[str, str]) -> socket.socket:
    """The leg of a call to `service` (SERVICE+ARGUMENT); closing it drops the call. `settings`: see `bento.vm.Call`."""
    payload = "".join(f"{key}={value}\n" for key, value in settings.items())
    return socket.socket(fileno=manager.open(request("bento.vm.Call", domain, service, payload)))


def command(words: Sequence[str]) -> str:
    """The service that runs a program with its arguments."""
    return f"qubes.VMExec+{encode_command([os.fsencode(word) for word in words])}"


class Source(Protocol):
    """Where the call's input comes from. `fileno` is polled; None: it is always ready."""

    def fileno(self) -> int | None: ...

    def read(self, size: int) -> bytes:
        """Some bytes, none at the end."""


class Sink(Protocol):
    """Where an output stream goes."""

    def fileno(self) -> int | None: ...

    def write(self, data: memoryview) -> int:
        """Take some bytes: how many."""
