"""KVM on trial: which way machines are started, and what is remembered of it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import pytest

from bento.host.drivers.qemu.trial import OnTrial, Record
from bento.host.model.machine import Accelerator, Image, MachineSpec
from bento.host.ports.hypervisor import Machine
from bento.wire.names import DomainName

WORK, OTHER = UUID(int=1), UUID(int=2)


@dataclass
class Driver:
    """A hypervisor that only notes what it was asked to launch."""

    accelerator: Accelerator
    launched: list[UUID] = field(default_factory=list)
    forgotten: list[Image] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        return f"on {self.accelerator}"

    async def launch(self, spec: MachineSpec) -> Machine:
        self.launched.append(spec.uuid)
        raise InterruptedError

    async def restore(self, spec: MachineSpec, stream: int, disks: Sequence[int]) -> Machine:
        return await self.launch(spec)

    async def adopt(self, run_dirs: Mapping[UUID, Path]) -> Mapping[UUID, Machine]:
        return {}

    async def remember(self, image: Image) -> None:
        raise InterruptedError

    def forget(self, image: Image) -> None:
        self.forgotten.append(image)

    def answered(self, uuid: UUID) -> None:
        pass

    def was_silent(self, uuid: UUID) -> bool:
        return False


class Trial:
    """A trial, with what it launched on which accelerator, in order."""

    def __init__(self, directory: Path, question: str = "this boot") -> None:
        self.failures = 0
        self.record = Record(directory / "cache/trial.json", question)
        self.drivers = Driver(Accelerator.KVM), Driver(Accelerator.TCG)
        self.driver = OnTrial(*self.drivers, self.record, self._fail)

    def _fail(self) -> None:
        self.failures += 1

    def launch(self, uuid: UUID) -> Accelerator:
        """The accelerator that it is launched on."""
        spec = MachineSpec(uuid, DomainName("work"), Path(), 1, 0, 1, Path(), Path(), "", ())
        with pytest.raises(InterruptedError):
            asyncio.run(self.driver.launch(spec))
        kvm, emulation = (driver.launched for driver in self.drivers)
        used = Accelerator.KVM if kvm else Accelerator.TCG
        kvm.clear()
        emulation.clear()
        return used


def test_kvm_that_a_guest_answered_on_stays(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    assert trial.launch(WORK) is Accelerator.KVM
    trial.driver.answered(WORK)
    assert not trial.driver.was_silent(OTHER)
    assert trial.launch(OTHER) is Accelerator.KVM
    again = Trial(tmp_path)
    assert not again.driver.was_silent(WORK)
    assert trial.failures == again.failures == 0


def test_kvm_that_is_silent_where_emulation_answers_is_given_up(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    trial.launch(WORK)
    assert trial.driver.was_silent(WORK)
    assert trial.launch(WORK) is Accelerator.TCG
    trial.driver.answered(WORK)
    assert trial.launch(OTHER) is Accelerator.TCG
    assert trial.driver.accelerator is Accelerator.TCG
    assert trial.failures == 1
    again = Trial(tmp_path)
    assert again.launch(WORK) is Accelerator.TCG
    assert again.failures == 1


def test_what_was_found_holds_for_its_question_only(tmp_path: Path) -> None:
    Trial(tmp_path).record.write(works=False)
    assert Trial(tmp_path).driver.accelerator is Accelerator.TCG
    assert Trial(tmp_path, "next boot").driver.accelerator is Accelerator.KVM


def test_a_guest_that_is_silent_either_way_decides_nothing(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    assert trial.driver.was_silent(WORK)
    assert not trial.driver.was_silent(WORK)
    assert trial.launch(WORK) is Accelerator.KVM
    assert trial.record.read() is None
    assert trial.failures == 0


def test_another_guest_that_answers_meanwhile_speaks_for_kvm(tmp_path: Path) -> None:
    trial = Trial(tmp_path)
    assert trial.driver.was_silent(WORK)
    assert trial.launch(OTHER) is Accelerator.KVM
    trial.driver.answered(OTHER)
    trial.driver.answered(WORK)
    assert trial.launch(WORK) is Accelerator.KVM
    assert trial.record.read() is True


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"question": "this boot"}', b'{"question": 1, "works": true}'])
def test_a_torn_record_is_none(tmp_path: Path, content: bytes) -> None:
    trial = Trial(tmp_path)
    trial.record.write(works=False)
    trial.record.path.write_bytes(content)
    assert trial.record.read() is None


def test_a_record_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    trial = Trial(tmp_path)
    trial.driver.answered(WORK)
    assert trial.record.read() is None
    assert trial.launch(WORK) is Accelerator.KVM


def test_both_ways_forget_an_image(tmp_path: Path) -> None:
    trial, image = Trial(tmp_path), Image(tmp_path / "memory", tmp_path / "state")
    trial.driver.forget(image)
    assert [driver.forgotten for driver in trial.drivers] == [[image], [image]]
