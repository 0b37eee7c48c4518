"""Why an account cannot open /dev/kvm, and what would help. Pure but for `read_device`."""

import grp
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

KVM_DEVICE = Path("/dev/kvm")


@dataclass(frozen=True, slots=True)
class Device:
    """The device as this account sees it. `group` and `mode` are those of the node, `may_open` is the kernel's word."""

    exists: bool
    may_open: bool
    group: str
    mode: int
    account: str
    cpu_can_virtualise: bool


def read_device(device: Path = KVM_DEVICE, cpuinfo: Path = Path("/proc/cpuinfo")) -> Device:
    """Never raises: what cannot be read counts as absent."""
    try:
        node = device.stat()
    except OSError:
        node = None
    try:
        flags = next((line for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), "").split()
    except OSError:
        flags = []
    return Device(
        exists=node is not None,
        may_open=os.access(device, os.R_OK | os.W_OK),
        group=_group_name(node.st_gid) if node else "",
        mode=stat.S_IMODE(node.st_mode) if node else 0,
        account=_account_name(os.geteuid()),
        cpu_can_virtualise="vmx" in flags or "svm" in flags,
    )


@dataclass(frozen=True, slots=True)
class Closed:
    """Why the door is closed (a clause), and the command or deed that opens it."""

    reason: str
    remedy: str


def explain_closed(device: Device) -> Closed | None:
    """None if nothing that `Device` says keeps the account from opening it."""
    if not device.exists:
        if device.cpu_can_virtualise:
            return Closed(
                "there is no /dev/kvm, though the processor can virtualise: the kernel module is not loaded",
                "sudo modprobe -a kvm_intel kvm_amd",
            )
        return Closed(
            "there is no /dev/kvm, and the processor shows neither VT-x nor AMD-V",
            "turn on virtualisation in the firmware, or nested virtualisation if this is itself a virtual machine",
        )
    if device.may_open:
        return None
    group_may_open = stat.S_IRGRP | stat.S_IWGRP
    if device.mode & group_may_open == group_may_open and device.group != "root":
        return Closed(
            f"account {device.account} may not open /dev/kvm; members of group {device.group} may",
            f"sudo usermod --append --groups {device.group} {device.account}   (then log out and in again)",
        )
    return Closed(
        f"account {device.account} may not open /dev/kvm and its group would not help; an ACL would",
        f"sudo setfacl --modify u:{device.account}:rw /dev/kvm   (package acl; until the next boot)",
    )


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _account_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
