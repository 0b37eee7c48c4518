"""Findings about what is installed and running around Bento: QEMU, Debian packages, a display."""

import asyncio
import re
from collections.abc import Mapping

from bento.host.drivers.machine.findings import Finding, Status
from bento.host.drivers.machine.packages import (
    REQUIRED,
    NoPackageManager,
    Package,
    by_hand,
    install_command,
    missing_packages,
)
from bento.host.drivers.machine.trial import attempt
from bento.host.model.machine import Accelerator

QEMU = "qemu-system-x86_64"
OLDEST_QEMU = (7, 2)
"""Debian 12's, the oldest that domains were ever started with."""


async def read_qemu_version() -> str | None:
    """Such as "7.2.22", or None if QEMU doesn't run."""
    trial = await attempt([QEMU, "--version"])
    return parse_qemu_version(trial.words) if trial.worked else None


def parse_qemu_version(output: str) -> str | None:
    found = re.match(r"QEMU emulator version ([0-9]{1,4}(?:\.[0-9]{1,4}){1,3})\b", output)
    return found[1] if found else None


def interpret_qemu(version: str | None, accelerator: Accelerator) -> Finding:
    if version is None:
        sentence = f"{QEMU} is not installed or does not run: no domain can start."
        remedy = install_command([package for package in REQUIRED if package.name == "qemu-system-x86"])
        return Finding("qemu", Status.MISSING, {"version": None, "accelerator": None}, sentence, remedy)
    value = {"version": version, "accelerator": accelerator.value}
    major, minor = (int(part) for part in version.split(".")[:2])
    if (major, minor) < OLDEST_QEMU:
        oldest = ".".join(map(str, OLDEST_QEMU))
        sentence = f"QEMU {version} is older than {oldest}, the oldest that Bento knows: domains may not start."
        return Finding("qemu", Status.WARN, value, sentence)
    how = "on the processor, by KVM" if accelerator is Accelerator.KVM else "in emulation, by TCG"
    return Finding("qemu", Status.OK, value, f"QEMU {version} runs domains {how}.")


async def query_packages() -> tuple[Package, ...] | NoPackageManager:
    """Those that are missing."""
    try:
        return await asyncio.to_thread(missing_packages)
    except NoPackageManager as error:
        return error


def interpret_packages(missing: tuple[Package, ...] | NoPackageManager) -> Finding:
    if isinstance(missing, NoPackageManager):
        sentence = f"Which packages are missing cannot be told: {missing}."
        return Finding("packages", Status.WARN, {"missing": None}, sentence, by_hand())
    value = {"missing": [package.name for package in missing]}
    if not missing:
        return Finding("packages", Status.OK, value, f"All {len(REQUIRED)} packages that Bento needs are installed.")
    needs = "; ".join(f"{package.name} ({package.reason})" for package in missing)
    return Finding("packages", Status.MISSING, value, f"Packages are missing: {needs}.", install_command(missing))


def interpret_display(environment: Mapping[str, str]) -> Finding:
    """What the environment names; nothing is connected to."""
    for kind, title, variable in (("wayland", "Wayland", "WAYLAND_DISPLAY"), ("x11", "X11", "DISPLAY")):
        if name := environment.get(variable):
            sentence = f"There is a {title} display for windows of domains."
            return Finding("display", Status.OK, {"kind": kind, "name": name}, sentence)
    sentence = "There is no display: domains run, but their windows cannot be shown here."
    return Finding("display", Status.INFO, {"kind": "none", "name": None}, sentence)
