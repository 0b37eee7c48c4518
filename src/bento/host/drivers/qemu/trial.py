"""KVM on trial: the probe ran a little guest code, which a KVM may pass and still hang a whole guest.

So until a guest has answered on it, KVM is only the first try. Where the guest
stays silent the same start is made once more with emulation, and only if that
works was it KVM's fault: then emulation stays, until the machine is booted
again. Whatever came out is kept, so that a later manager need not ask again.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from bento.host.model.machine import Accelerator, Image, MachineSpec
from bento.host.ports.hypervisor import Hypervisor, Machine

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Record:
    """What came out of a trial, in the file `path`. `question` says what it holds for (this boot, this QEMU ...)."""

    path: Path
    question: str

    def read(self) -> bool | None:
        """Whether KVM runs guests; None where that is not known."""
        try:
            kept = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return None
        match kept:
            case {"question": self.question, "works": bool(works)}:
                return works
        return None

    def write(self, works: bool) -> None:
        aside = self.path.with_suffix(".new")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            aside.write_text(json.dumps({"question": self.question, "works": works}))
            os.replace(aside, self.path)
        except OSError as error:
            log.warning("what KVM did is not kept, and it will be tried again: %s", error)


class OnTrial:
    """`kvm` until it fails where `emulation` does not; `on_failure` is then told."""

    def __init__(self, kvm: Hypervisor, emulation: Hypervisor, record: Record, on_failure: Callable[[], None]) -> None:
        self._kvm = kvm
        self._emulation = emulation
        self._record = record
        self._on_failure = on_failure
        self._silent: set[UUID] = set()
        """Domains that were silent on KVM and are tried with emulation."""
        works = record.read()
        self._settled = works is not None
        self._current = emulation if works is False else kvm
        if works is False:
            on_failure()

    @property
    def accelerator(self) -> Accelerator:
        return self._current.accelerator

    @property
    def fingerprint(self) -> str:
        return self._current.fingerprint

    async def launch(self, spec: MachineSpec) -> Machine:
        driver = self._emulation if spec.uuid in self._silent else self._current
        return await driver.launch(spec)

    async def restore(self, spec: MachineSpec, stream: int, disks: Sequence[int]) -> Machine:
        return await self._current.restore(spec, stream, disks)

    async def adopt(self, run_dirs: Mapping[UUID, Path]) -> Mapping[UUID, Machine]:
        return await self._current.adopt(run_dirs)

    async def remember(self, image: Image) -> None:
        await self._current.remember(image)

    def forget(self, image: Image) -> None:
        for driver in (self._kvm, self._emulation):
            driver.forget(image)

    def answered(self, uuid: UUID) -> None:
        if self._settled:
            return
        self._settled = True
        works = uuid not in self._silent
        self._silent.clear()
        self._record.write(works)
        if not works:
            log.warning("KVM passed its probe, but a guest that was silent on it answered with emulation")
            self._current = self._emulation
            self._on_failure()

    def was_silent(self, uuid: UUID) -> bool:
        if uuid in self._silent:
            self._silent.discard(uuid)  # silent either way: that is the guest's own doing
            return False
        if self._settled:
            return False
        self._silent.add(uuid)
        return True
