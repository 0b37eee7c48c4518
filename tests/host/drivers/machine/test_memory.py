"""The host's memory, read from files as the kernel writes them."""

from pathlib import Path

import pytest

from bento.host.drivers.machine.memory import parse_pressure, read_host_memory
from bento.host.model.memory import HostMemory

MEMINFO = "MemTotal:       16000 kB\nMemFree:  1 kB\nMemAvailable:    9000 kB\n"
PRESSURE = "some avg10=12.34 avg60=1.00 avg300=0.10 total=4711\nfull avg10=99.00 avg60=0.00 avg300=0.00 total=1\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    return written(
        tmp_path / "proc", {"meminfo": MEMINFO, "pressure/memory": PRESSURE, "self/cgroup": "0::/user/bento\n"}
    )


def written(root: Path, files: dict[str, str]) -> Path:
    root.mkdir(exist_ok=True)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_without_a_limit_it_is_the_machines(proc: Path, tmp_path: Path) -> None:
    groups = written(tmp_path / "groups", {"user/memory.max": "max\n", "user/memory.current": "5\n"})
    assert read_host_memory(proc, groups) == HostMemory(16000 << 10, 9000 << 10, 12.34)


def test_a_limit_of_any_group_above_counts_without_what_can_be_dropped(proc: Path, tmp_path: Path) -> None:
    files = {
        "user/memory.max": f"{4000 << 10}\n",
        "user/memory.current": f"{3000 << 10}\n",
        "user/memory.stat": f"anon 17\ninactive_file {1000 << 10}\n",
        "user/bento/memory.max": "max\n",
    }
    assert read_host_memory(proc, written(tmp_path / "groups", files)) == HostMemory(4000 << 10, 2000 << 10, 12.34)


def test_a_group_beyond_its_limit_has_nothing_left(proc: Path, tmp_path: Path) -> None:
    files = {"user/bento/memory.max": "10\n", "user/bento/memory.current": "20\n"}
    assert read_host_memory(proc, written(tmp_path / "groups", files)).available == 0


def test_the_first_version_of_control_groups_is_understood(proc: Path, tmp_path: Path) -> None:
    (proc / "self/cgroup").write_text("9:name=systemd:/\n4:cpu,memory:/box\n0::/\n")
    files = {"memory/box/memory.limit_in_bytes": f"{100 << 10}", "memory/box/memory.usage_in_bytes": f"{60 << 10}"}
    memory = read_host_memory(proc, written(tmp_path / "groups", files))
    assert (memory.total, memory.available) == (100 << 10, 40 << 10)


def test_a_kernel_that_tells_no_pressure_has_none(proc: Path, tmp_path: Path) -> None:
    (proc / "pressure/memory").unlink()
    assert read_host_memory(proc, tmp_path).pressure == 0.0


@pytest.mark.parametrize("text", ["", "some", "some avg60=1.0", "some avg10=much avg60=0", "full avg10=3.0"])
def test_what_is_no_pressure_is_none(text: str) -> None:
    assert parse_pressure(text) == 0.0


def test_this_machine_has_memory() -> None:
    memory = read_host_memory()
    assert 0 < memory.available <= memory.total
