"""`python -m bench.emulated`: the manager as it is where KVM cannot be used, to measure emulation by itself."""

import sys
from argparse import ArgumentParser
from dataclasses import replace

from bento.host.drivers.qemu.hypervisor import QemuHypervisor
from bento.host.manager import daemon
from bento.host.manager.__main__ import home_mark, prepare
from bento.host.manager.notices import Notices
from bento.host.manager.pieces import Drivers
from bento.host.manager.places import Places
from bento.host.model.machine import Accelerator


async def without_kvm(places: Places, notices: Notices) -> Drivers:
    emulation = QemuHypervisor(home_mark(places), Accelerator.TCG)
    return replace(await prepare(places, notices), hypervisor=emulation)


def main() -> int:
    parser = ArgumentParser()
    parser.add_argument("--ready-fd", type=int)
    return daemon.run(without_kvm, parser.parse_args().ready_fd)


if __name__ == "__main__":
    sys.exit(main())
