"""A person who may not open /dev/kvm learns what would help."""

from dataclasses import replace
from pathlib import Path

import pytest

from bento.host.drivers.machine.kvm_access import Device, explain_closed, read_device

OPEN = Device(exists=True, may_open=True, group="kvm", mode=0o660, account="alice", cpu_can_virtualise=True)


def test_an_open_device_needs_no_explanation() -> None:
    assert explain_closed(OPEN) is None


def test_a_member_to_be_is_told_the_group() -> None:
    closed = explain_closed(replace(OPEN, may_open=False))
    assert closed is not None
    assert "members of group kvm may" in closed.reason
    assert closed.remedy.startswith("sudo usermod --append --groups kvm alice")


@pytest.mark.parametrize(("group", "mode"), [("root", 0o600), ("kvm", 0o600), ("kvm", 0o640), ("root", 0o660)])
def test_where_the_group_would_not_help_an_acl_is_named(group: str, mode: int) -> None:
    closed = explain_closed(replace(OPEN, may_open=False, group=group, mode=mode))
    assert closed is not None
    assert closed.remedy.startswith("sudo setfacl --modify u:alice:rw /dev/kvm")


def test_an_absent_device_on_a_capable_processor_lacks_its_module() -> None:
    closed = explain_closed(replace(OPEN, exists=False, may_open=False))
    assert closed is not None
    assert "module is not loaded" in closed.reason
    assert "modprobe" in closed.remedy


def test_an_absent_device_on_another_processor_is_a_matter_of_the_firmware() -> None:
    closed = explain_closed(replace(OPEN, exists=False, may_open=False, cpu_can_virtualise=False))
    assert closed is not None
    assert "neither VT-x nor AMD-V" in closed.reason
    assert "firmware" in closed.remedy


@pytest.mark.parametrize(
    ("flags", "capable"), [("fpu vmx sse", True), ("svm", True), ("fpu sse vmxoff", False), ("", False)]
)
def test_the_processor_is_read_from_cpuinfo(tmp_path: Path, flags: str, capable: bool) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\nvmx flags\t: vnmi\n")
    node = tmp_path / "kvm"
    node.write_text("")
    node.chmod(0o600)
    device = read_device(node, cpuinfo)
    assert device.exists
    assert device.may_open
    assert device.mode == 0o600
    assert device.cpu_can_virtualise == capable


def test_nothing_to_read_counts_as_absent(tmp_path: Path) -> None:
    device = read_device(tmp_path / "kvm", tmp_path / "cpuinfo")
    assert not device.exists
    assert not device.may_open
    assert not device.cpu_can_virtualise
