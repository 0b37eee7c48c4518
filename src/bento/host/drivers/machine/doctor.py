"""`bento doctor`: what this machine gives, and what follows, one line each.

`examine` asks everything and never fails: a question without an answer is a
finding too. It changes nothing, needs no root, and hangs on nothing, as every
program it tries has a deadline.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from shutil import which

from bento.host.drivers.machine import confinement, hardware, software
from bento.host.drivers.machine.disk import interpret_disk, read_disk
from bento.host.drivers.machine.findings import Finding, Status, as_json
from bento.host.drivers.machine.kvm import KvmVerdict, probe
from bento.host.drivers.machine.kvm_access import Device, explain_closed, read_device
from bento.host.drivers.machine.kvm_steps import Step
from bento.host.model.machine import Accelerator

__all__ = ["Finding", "Status", "as_json", "examine"]


async def examine(
    *, data_dir: Path, cache_dir: Path, environment: Mapping[str, str], domain_bytes: int
) -> list[Finding]:
    """All findings, always in the same order.

    `data_dir` is where Bento keeps its data (it need not exist yet), `cache_dir` where the KVM verdict is remembered,
    `environment` the person's, which names their display; memory is counted in domains of `domain_bytes`.
    """
    version = await software.read_qemu_version()
    # Alone, before the rest: other work could make its deadlines lie.
    verdict = await probe(cache_dir, version or "none")
    namespaces, sub_ids, bubblewrap, packages = await asyncio.gather(
        confinement.try_user_namespaces(),
        confinement.try_sub_ids(),
        confinement.try_bubblewrap(),
        software.query_packages(),
    )
    return [
        interpret_kvm(verdict, read_device()),
        software.interpret_qemu(version, accelerator(verdict)),
        hardware.interpret_memory(hardware.read_memory(), domain_bytes),
        interpret_disk(read_disk(data_dir)),
        software.interpret_display(environment),
        confinement.interpret_user_namespaces(namespaces, confinement.read_knobs()),
        confinement.interpret_sub_ids(confinement.read_sub_ids(), sub_ids),
        confinement.interpret_bubblewrap(which("bwrap") is not None, bubblewrap),
        confinement.interpret_seccomp(confinement.read_seccomp()),
        hardware.interpret_iommu(hardware.read_iommu()),
        hardware.interpret_tpm(hardware.read_tpm()),
        software.interpret_packages(packages),
    ]


def accelerator(verdict: KvmVerdict) -> Accelerator:
    return Accelerator.KVM if verdict.usable else Accelerator.TCG


def interpret_kvm(verdict: KvmVerdict, device: Device) -> Finding:
    value = {
        "usable": verdict.usable,
        "step": verdict.step.value if verdict.step else None,
        "reason": verdict.reason,
        "millis": verdict.millis,
    }
    if verdict.usable:
        sentence = f"KVM works, {verdict.reason}: domains run at the processor's speed."
        return Finding("kvm", Status.OK, value, sentence)
    follows = "domains are emulated (TCG), many times slower."
    match verdict.step:
        case None | Step.START:
            return Finding("kvm", Status.WARN, value, f"KVM could not be tried ({verdict.reason}): {follows}")
        case Step.OPEN:
            closed = explain_closed(device)
            sentence = f"KVM cannot be opened ({verdict.reason}): {follows}"
            return Finding("kvm", Status.WARN, value, sentence, closed.remedy if closed else None)
        case step:
            sentence = f"KVM does not work, it fails at {step.what} ({verdict.reason}): {follows}"
            remedy = "use a machine whose processor virtualises in hardware (VT-x, AMD-V), bare or nested"
            return Finding("kvm", Status.WARN, value, sentence, remedy)
