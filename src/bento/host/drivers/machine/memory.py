"""The host's memory now, from the kernel: /proc/meminfo, /proc/pressure (PSI), and the control groups we are in.

A reading costs a fraction of a millisecond. The kernel would also wake whoever asks when a program has waited for so
long (a PSI trigger); asking every two seconds does as well here, and needs nothing that older kernels reserve for root.
Sources: proc(5), the kernel's Documentation/accounting/psi.rst and admin-guide/cgroup-v2.rst (v1: memory.rst).
"""

from collections.abc import Iterator
from pathlib import Path

from bento.host.drivers.machine.hardware import parse_meminfo
from bento.host.model.memory import HostMemory

PROC = Path("/proc")
GROUPS = Path("/sys/fs/cgroup")


def read_host_memory(proc: Path = PROC, groups: Path = GROUPS) -> HostMemory:
    memory = parse_meminfo(_text(proc / "meminfo"))
    total, available = memory.total, memory.available
    for limit, used in _limits(_text(proc / "self/cgroup"), groups):
        total, available = min(total, limit), min(available, max(0, limit - used))
    return HostMemory(total, available, parse_pressure(_text(proc / "pressure/memory")))


def parse_pressure(text: str) -> float:
    """`some avg10` in percent; 0.0 where there is none."""
    for line in text.splitlines():
        match line.split():
            case ["some", average, *_] if average.startswith("avg10="):
                try:
                    return float(average.removeprefix("avg10="))
                except ValueError:
                    return 0.0
    return 0.0


def _limits(membership: str, groups: Path) -> Iterator[tuple[int, int]]:
    """(limit, used without what can be dropped) of each group above us that has a limit."""
    for line in membership.splitlines():
        match line.split(":", 2):
            case [_, "", path]:
                root, limit, used, dropped = groups, "memory.max", "memory.current", "inactive_file"
            case [_, controllers, path] if "memory" in controllers.split(","):
                root, dropped = groups / "memory", "total_inactive_file"
                limit, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
            case _:
                continue
        group = root / path.lstrip("/")
        for each in (group, *group.parents):
            bound, taken = _text(each / limit), _text(each / used)
            if bound.isdigit() and taken.isdigit():
                yield int(bound), max(0, int(taken) - _field(_text(each / "memory.stat"), dropped))
            if each == root:
                break


def _field(text: str, name: str) -> int:
    for line in text.splitlines():
        match line.split():
            case [found, count] if found == name and count.isdigit():
                return int(count)
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
