"""QEMU, packages and the display, judged from what programs print and the environment names."""

import pytest

from bento.host.drivers.machine.findings import Status
from bento.host.drivers.machine.packages import REQUIRED, NoPackageManager, install_command
from bento.host.drivers.machine.software import (
    interpret_display,
    interpret_packages,
    interpret_qemu,
    parse_qemu_version,
)
from bento.host.model.machine import Accelerator


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright", "7.2.22"),
        ("QEMU emulator version 10.0\n", "10.0"),
        ("QEMU emulator version 9.1.50 (v9.1.0-rc1)", "9.1.50"),
        ("QEMU emulator version unknown", None),
        ("something else 7.2", None),
        ("", None),
    ],
)
def test_the_version_is_read_from_what_qemu_prints(output: str, version: str | None) -> None:
    assert parse_qemu_version(output) == version


@pytest.mark.parametrize(("accelerator", "words"), [(Accelerator.KVM, "by KVM"), (Accelerator.TCG, "by TCG")])
def test_qemu_is_told_with_its_accelerator(accelerator: Accelerator, words: str) -> None:
    finding = interpret_qemu("7.2.22", accelerator)
    assert finding.status is Status.OK
    assert finding.value == {"version": "7.2.22", "accelerator": accelerator.value}
    assert words in finding.sentence


@pytest.mark.parametrize(("version", "status"), [("7.1.0", Status.WARN), ("7.2", Status.OK), ("10.0", Status.OK)])
def test_a_qemu_older_than_debian_12s_is_a_warning(version: str, status: Status) -> None:
    assert interpret_qemu(version, Accelerator.TCG).status is status


def test_without_qemu_the_command_that_installs_it_is_told() -> None:
    finding = interpret_qemu(None, Accelerator.TCG)
    assert finding.status is Status.MISSING
    assert finding.remedy is not None
    assert finding.remedy.endswith(" qemu-system-x86")


def test_all_missing_packages_come_in_one_command() -> None:
    finding = interpret_packages(REQUIRED[:2])
    assert finding.status is Status.MISSING
    assert finding.value == {"missing": [package.name for package in REQUIRED[:2]]}
    assert finding.remedy == install_command(REQUIRED[:2])
    assert all(package.reason in finding.sentence for package in REQUIRED[:2])


def test_with_all_packages_there_is_nothing_to_do() -> None:
    finding = interpret_packages(())
    assert finding.status is Status.OK
    assert finding.value == {"missing": []}
    assert finding.remedy is None


def test_without_dpkg_the_packages_are_named_all_the_same() -> None:
    finding = interpret_packages(NoPackageManager("dpkg-query does not work here (there is none)"))
    assert finding.status is Status.WARN
    assert finding.value == {"missing": None}
    assert finding.remedy is not None
    assert "bubblewrap" in finding.remedy


@pytest.mark.parametrize(
    ("environment", "kind", "name"),
    [
        ({"WAYLAND_DISPLAY": "wayland-0", "DISPLAY": ":0"}, "wayland", "wayland-0"),
        ({"DISPLAY": ":0"}, "x11", ":0"),
        ({"DISPLAY": "", "WAYLAND_DISPLAY": ""}, "none", None),
        ({}, "none", None),
    ],
)
def test_the_display_is_what_the_environment_names(environment: dict[str, str], kind: str, name: str | None) -> None:
    finding = interpret_display(environment)
    assert finding.value == {"kind": kind, "name": name}
    assert finding.status is (Status.INFO if kind == "none" else Status.OK)
