"""What a template can be made of: distributions and flavors as tables to read. Names and package lists, nothing else.

A package stands here with its reason. What is not here a person installs in the template itself.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Distribution:
    """A release as its archive calls it, and the keyring that every byte of it is checked against."""

    name: str
    codename: str
    keyring: str
    keyring_package: str


DISTRIBUTIONS = {
    "debian-12": Distribution(
        "debian-12", "bookworm", "/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"
    ),
}

#: The small Debian kernel for virtual machines: half the boot time of the generic one (measured in the lab).
KERNEL_PACKAGE = "linux-image-cloud-amd64"

BASE_PACKAGES = (
    "apt",  # a TemplateVM installs more with it
    "busybox-static",  # the initrd's only program, and what puts the power off
    "ca-certificates",  # so that apt and others can speak TLS once there is a network
    "e2fsprogs",  # a domain makes and checks its own volumes
    "erofs-utils",  # a TemplateVM packs its own root
    "gpg",  # with gpg-agent what split GPG needs; not gnupg, which brings a key server's client and S/MIME
    "gpg-agent",
    "iproute2",
    "kmod",
    "less",
    "openssh-client",  # split ssh: the agent and its keys in one domain, ssh in another
    "procps",
    "python3",  # the guest half; not python3-minimal, which has no mmap
)


@dataclass(frozen=True, slots=True)
class Flavor:
    """`own_boot`: with Bento's initrd and light init; else the distribution's initramfs and systemd."""

    name: str
    packages: tuple[str, ...]
    own_boot: bool


FLAVORS = {
    # A shell and little else.
    "minimal": Flavor("minimal", BASE_PACKAGES, own_boot=True),
    # The same programs booted the distribution's way: what `make bench-start` compares with.
    "stock-peer": Flavor(
        "stock-peer",
        (*BASE_PACKAGES, KERNEL_PACKAGE, "initramfs-tools", "systemd-sysv", "udev"),
        own_boot=False,
    ),
}
