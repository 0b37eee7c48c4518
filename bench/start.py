"""`make bench-start`: from spawning QEMU to the agent's answer, Bento's way and the distribution's, in one run.

Both are the same Debian packages and kernel, booted by the same driver with
the same accelerator. Bento's way is the template as domains use it. The stock
way is the distribution's own initramfs and systemd with the agent as a unit of
multi-user.target. They take turns, so that a change of the machine's load
meets both. The memory is that of a domain one minute after its start, idle.
"""

import asyncio
import os
import secrets
import shutil
import sys
import time
from pathlib import Path
from uuid import uuid4

from bench.report import Row, report, timed
from bento.host.drivers.files import FileStorage
from bento.host.drivers.machine import kvm, software
from bento.host.drivers.qemu.hypervisor import QemuHypervisor
from bento.host.drivers.template.builder import DebianBuilder
from bento.host.drivers.template.manifest import MANIFEST, decode_manifest
from bento.host.model.machine import Accelerator, Disk, MachineSpec
from bento.host.ports.hypervisor import Machine
from bento.wire.channel import AnswerHunter, greeting, seal_of
from bento.wire.frames import FrameReader, encode_frame
from bento.wire.names import DomainName
from bento.wire.rpc import FROM_GUEST, Identity, Ready

ROUNDS = int(os.environ.get("BENTO_BENCH_ROUNDS", "5"))
MEMORY = 400 << 20
IDLE_SECONDS = 60
FLAVORS = {"bento": "minimal", "stock": "stock-peer"}
WORK = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bento-bench"


async def main() -> int:
    WORK.mkdir(parents=True, exist_ok=True)
    templates = {way: await template(WORK, flavor) for way, flavor in FLAVORS.items()}
    accelerator = await choose_accelerator()
    hypervisor = QemuHypervisor(secrets.token_hex(8), accelerator)
    seconds: dict[str, list[float]] = {way: [] for way in FLAVORS}
    volumes = {way: await private_volume(WORK, way) for way in FLAVORS}
    for turn in range(ROUNDS + 1):
        for way, directory in templates.items():
            took, machine = await boot(hypervisor, WORK, directory, volumes[way])
            await machine.kill()
            print(
                f"  {way:6} {took:6.2f} s{'  (not counted: the first fills caches)' if turn == 0 else ''}", flush=True
            )
            if turn:
                seconds[way].append(took)
    memory = await idle_memory(hypervisor, WORK, templates["bento"], volumes["bento"])
    peer = "the same kernel and packages booted with the distribution's initramfs and systemd"
    rows = timed("cold AppVM, spawn to the agent's answer", "s", seconds["bento"], seconds["stock"], peer)
    rows += [
        Row("stock, spawn to the agent's answer", row.figure, "s", row.value)
        for row in timed("", "s", seconds["stock"])
    ]
    rows.append(Row("one idle domain of 400 MiB, after a minute", "memory (PSS)", "MiB", memory / (1 << 20)))
    report("start", accelerator.value, rows)
    return 0


async def template(work: Path, flavor: str) -> Path:
    """A template of this flavor with the guest half as it is now; built when the last one is another."""
    source = Path(__file__).resolve().parent.parent / "src" / "bento"
    newest = max(
        path.stat().st_mtime
        for part in ("wire", "guest", "host/drivers/template")
        for path in (source / part).rglob("*")
    )
    directory = work / flavor
    if directory.exists() and directory.stat().st_mtime > newest:
        return directory
    print(f"  building the template ({flavor})", flush=True)
    shutil.rmtree(directory, ignore_errors=True)
    aside = work / f".{flavor}.new"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    await DebianBuilder().build("debian-12", flavor, aside, lambda _phase, _fraction: None)
    aside.rename(directory)
    directory.touch()
    return directory


async def choose_accelerator() -> Accelerator:
    WORK.mkdir(parents=True, exist_ok=True)
    verdict = await kvm.probe(WORK, await software.read_qemu_version() or "none")
    return Accelerator.KVM if verdict.usable else Accelerator.TCG


async def private_volume(work: Path, way: str) -> Path:
    path = work / f"private-{way}.img"
    path.unlink(missing_ok=True)
    await FileStorage().create(path, 2 << 30)
    return path


async def boot(hypervisor: QemuHypervisor, work: Path, directory: Path, private: Path) -> tuple[float, Machine]:
    """Seconds from the call that spawns QEMU until the agent said `Ready`, and the machine, running."""
    run_dir = work / "run"
    shutil.rmtree(run_dir, ignore_errors=True)
    run_dir.mkdir(mode=0o700)
    volatile = work / "volatile.img"
    volatile.unlink(missing_ok=True)
    await FileStorage().create(volatile, 10 << 30)
    disks = [Disk(directory / "root.erofs", read_only=True), Disk(private, read_only=False)]
    disks.append(Disk(volatile, read_only=False))
    if (directory / "modules.erofs").exists():  # the distribution keeps its modules in the root
        disks.append(Disk(directory / "modules.erofs", read_only=True))
    spec = MachineSpec(
        uuid=uuid4(),
        name=DomainName("bench"),
        run_dir=run_dir,
        slot=1,
        memory_bytes=MEMORY,
        vcpus=1,
        kernel=directory / "kernel",
        initrd=directory / "initrd",
        cmdline=decode_manifest((directory / MANIFEST).read_text()).cmdline,
        disks=tuple(disks),
    )
    began = time.perf_counter()
    machine = await hypervisor.launch(spec)
    try:
        async with asyncio.timeout(300):
            await agent_answers(machine)
    except BaseException:
        await machine.kill()
        raise
    return time.perf_counter() - began, machine


async def agent_answers(machine: Machine) -> None:
    loop, nonce = asyncio.get_running_loop(), secrets.token_bytes(16)
    hunter, reader = AnswerHunter(nonce), FrameReader(seal=seal_of(nonce))
    identity = Identity(DomainName("bench"), "AppVM", secrets.token_bytes(32), time.time_ns())
    with await machine.connect_channel() as channel:
        await loop.sock_sendall(channel, greeting(nonce))
        while (rest := hunter.feed(await loop.sock_recv(channel, 1 << 16))) is None:
            pass
        await loop.sock_sendall(channel, encode_frame(identity, seal_of(nonce)))
        while not any(isinstance(FROM_GUEST.decode(*frame), Ready) for frame in reader.feed(rest)):
            rest = await loop.sock_recv(channel, 1 << 16)


async def idle_memory(hypervisor: QemuHypervisor, work: Path, directory: Path, private: Path) -> int:
    print(f"  letting one domain idle for {IDLE_SECONDS} s", flush=True)
    _, machine = await boot(hypervisor, work, directory, private)
    await asyncio.sleep(IDLE_SECONDS)
    usage = await machine.usage()
    await machine.kill()
    return usage.memory_bytes


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
