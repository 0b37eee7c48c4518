"""Where a running QEMU really is: seen from outside, through what the kernel says of the process.

The machines are launched, their guests not waited for.
"""

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bento.host.drivers.boxed import Mark
from bento.host.drivers.qemu import hypervisor, qmp
from bento.host.drivers.qemu.hypervisor import QemuHypervisor, explain, is_open_to_all
from bento.host.drivers.qemu.machine import QMP, SOCKETS
from bento.host.model.errors import Unavailable
from bento.host.model.machine import Accelerator, Disk, MachineSpec
from bento.host.ports.hypervisor import Machine
from tests.contracts.machines import World, processes_naming, world_of

pytestmark = pytest.mark.vm

SECRET = "a file of the manager's"
IN_TIME = 30.0


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with world_of("qemu") as world:
        yield world


@pytest.fixture(scope="module")
def spec(world: World) -> MachineSpec:
    return world.spec("work")


@pytest.fixture(scope="module")
def machine(world: World, spec: MachineSpec) -> Machine:
    # An open file that would be inherited if fds were handed over carelessly.
    leaking = os.memfd_create(SECRET, 0)
    os.set_inheritable(leaking, True)
    try:
        return world.run(world.driver().launch(spec))
    finally:
        os.close(leaking)


def status(machine: Machine) -> dict[str, str]:
    lines = Path(f"/proc/{machine.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_qemu_runs_as_a_user_of_its_own(world: World, machine: Machine) -> None:
    neighbour = world.run(world.driver().launch(world.spec("bank")))
    users = {*status(machine)["Uid"].split()}, {*status(neighbour)["Uid"].split()}, {str(os.getuid())}
    assert [len(user) for user in users] == [1, 1, 1]
    assert len(set.union(*users)) == 3
    groups = {*status(machine)["Gid"].split(), *status(machine)["Groups"].split()}
    assert groups.isdisjoint(map(str, os.getgroups()))
    world.run(neighbour.kill())


def test_qemu_has_no_privilege_and_can_gain_none(machine: Machine) -> None:
    said = status(machine)
    assert {said[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (said["Seccomp"], said["NoNewPrivs"]) == ("2", "1")


def test_qemu_is_process_1_of_its_own_namespace(machine: Machine) -> None:
    assert status(machine)["NSpid"].split() == [str(machine.pid), "1"]
    for namespace in ("pid", "net", "mnt", "ipc", "uts", "user", "cgroup"):
        assert os.readlink(f"/proc/{machine.pid}/ns/{namespace}") != os.readlink(f"/proc/self/ns/{namespace}")


def test_qemu_has_no_network_but_its_own_loopback(machine: Machine) -> None:
    _, _, *interfaces = Path(f"/proc/{machine.pid}/net/dev").read_text().splitlines()
    assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]


def test_qemu_sees_nothing_of_the_host_but_usr(machine: Machine) -> None:
    root = Path(f"/proc/{machine.pid}/root")
    assert sorted(os.listdir(root)) == ["dev", "lib", "lib64", "proc", "usr"]
    assert as_owner_of(machine.pid, f"print(*os.listdir('{root}/dev'))") == ["null"]


def test_qemu_can_write_to_no_file_by_name(machine: Machine) -> None:
    mounts = [line.split() for line in Path(f"/proc/{machine.pid}/mountinfo").read_text().splitlines()]
    writable = [mount[4] for mount in mounts if "ro" not in mount[5].split(",")]
    assert sorted(where for where in writable if not where.startswith("/proc")) == ["/dev/null"]


def test_qemu_holds_its_own_files_and_no_others(machine: Machine, spec: MachineSpec) -> None:
    own = {str(path) for path in (spec.kernel, spec.initrd, *(disk.path for disk in spec.disks))}
    own |= {"/dev/null", "/memfd:bento-said (deleted)"}
    script = "for name in os.listdir('{where}'): print(os.readlink('{where}/' + name))"
    held = set(as_owner_of(machine.pid, script.format(where=f"/proc/{machine.pid}/fd")))
    sockets = {target for target in held if target.startswith("socket:")}
    assert {f for f in held if not f.startswith("anon_inode:")} - sockets <= own
    assert own <= held
    assert sockets <= sockets_of(spec)
    assert SECRET not in " ".join(held)


def as_owner_of(pid: int, script: str) -> list[str]:
    """The lines that a script prints which sees a process of another user as the owner of its namespace may."""
    enter = f"""
import ctypes, os
if ctypes.CDLL(None, use_errno=True).setns(os.open("/proc/{pid}/ns/user", os.O_RDONLY), 0):
    raise OSError(ctypes.get_errno(), "setns")
"""
    done = subprocess.run([sys.executable, "-c", enter + script], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def sockets_of(spec: MachineSpec) -> set[str]:
    """The inodes of a machine's sockets, listening and connected."""
    names = {str(spec.run_dir / name) for name in SOCKETS}
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return {f"socket:[{line[6]}]" for line in lines if line[-1] in names}


def test_qemu_told_to_open_a_file_finds_none(machine: Machine, spec: MachineSpec, world: World) -> None:
    node = {"driver": "file", "node-name": "stolen", "filename": "/etc/passwd", "read-only": True}
    with pytest.raises(Unavailable, match="No such file"):
        world.run(qmp.execute(spec.run_dir / QMP, "blockdev-add", node, deadline=IN_TIME))


def test_qemu_leaves_no_core_and_goes_first_when_memory_runs_out(machine: Machine) -> None:
    limits = Path(f"/proc/{machine.pid}/limits").read_text().splitlines()
    assert next(line for line in limits if line.startswith("Max core file size")).split()[4:6] == ["0", "0"]
    assert Path(f"/proc/{machine.pid}/oom_score_adj").read_text() == "300\n"


def test_a_disk_has_one_writer(world: World, machine: Machine, spec: MachineSpec) -> None:
    other = dataclasses.replace(world.spec("thief"), disks=spec.disks)
    with pytest.raises(Unavailable, match="a disk of thief is in use by another machine"):
        world.run(world.driver().launch(other))
    assert processes_naming(other.uuid) == []


def test_without_sub_users_it_runs_as_the_person_in_the_same_box(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypervisor, "find_sub_users", lambda: None)
    driver = QemuHypervisor(world.home, Accelerator.TCG)
    assert not driver.separate_users
    lone = world.run(driver.launch(world.spec()))
    said = status(lone)
    assert (said["Uid"].split()[0], said["Seccomp"], said["CapEff"]) == (str(os.getuid()), "2", "0" * 16)
    world.run(lone.kill())


def test_a_host_without_qemu_is_told_how_to_get_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = world.driver()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unavailable, match="install it with: sudo apt-get install qemu-system-x86"):
        world.run(driver.launch(world.spec()))


def test_a_kernel_that_its_user_cannot_read_is_named(world: World) -> None:
    spec = world.spec()
    closed = spec.run_dir.parent / "kernel"
    closed.touch(mode=0o600)
    with pytest.raises(Unavailable, match=f"run: chmod a\\+r {closed}"):
        world.run(world.driver().launch(dataclasses.replace(spec, kernel=closed)))
    assert list(spec.run_dir.iterdir()) == []


def test_a_machine_larger_than_an_address_space_is_refused_in_a_sentence(world: World) -> None:
    spec = dataclasses.replace(world.spec(), memory_bytes=1 << 50)
    with pytest.raises(Unavailable, match="not enough memory for work"):
        world.run(world.driver().launch(spec))
    assert processes_naming(spec.uuid) == []


def test_a_host_user_for_every_machine_or_no_machine(world: World) -> None:
    spec = dataclasses.replace(world.spec(), slot=1 << 30)
    with pytest.raises(Unavailable, match="no host user is left for work"):
        world.run(world.driver().launch(spec))


def test_what_qemu_says_of_a_disk_it_cannot_use_is_passed_on(world: World) -> None:
    spec = world.spec()
    broken = dataclasses.replace(spec, disks=(Disk(spec.run_dir, True),))
    with pytest.raises(Unavailable, match=r"QEMU did not start work: .*regular file"):
        world.run(world.driver().launch(broken))
    assert processes_naming(spec.uuid) == []
    assert list(spec.run_dir.iterdir()) == []


def test_a_qemu_that_never_answers_is_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = world.spec()
    mute = ["/usr/bin/sh", "-c", "while :; do sleep 9; done", str(Mark(world.home, spec.uuid))]
    monkeypatch.setattr(hypervisor, "qemu_argv", lambda *_words, **_more: mute)
    driver = QemuHypervisor(world.home, Accelerator.TCG, patience=0.5)
    with pytest.raises(Unavailable, match=r"QEMU did not start work: QEMU did not answer within 0.5 seconds"):
        world.run(driver.launch(spec))
    assert processes_naming(spec.uuid) == []
    assert list(spec.run_dir.iterdir()) == []


def test_a_machine_that_no_longer_answers_is_not_adopted_but_ended(world: World) -> None:
    spec = world.spec()
    hung = world.run(world.driver().launch(spec))
    os.kill(hung.pid, signal.SIGSTOP)
    impatient = QemuHypervisor(world.home, Accelerator.TCG, patience=0.5)
    machine_dirs = {spec.uuid: spec.run_dir}
    assert world.run(impatient.adopt(machine_dirs)) == {}
    assert processes_naming(spec.uuid) == []


def test_the_last_words_of_a_qemu_are_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    doomed = world.run(world.driver().launch(world.spec()))
    os.kill(doomed.pid, signal.SIGTERM)
    world.run(doomed.wait())
    assert "terminating on signal 15" in caplog.text


@pytest.mark.parametrize(("mode", "is_open"), [(0o666, True), (0o660, False), (0o662, False), (0o664, False)])
def test_a_device_is_open_to_other_users_if_all_may_read_and_write(tmp_path: Path, mode: int, is_open: bool) -> None:
    device = tmp_path / "kvm"
    device.touch()
    device.chmod(mode)
    assert is_open_to_all(device) is is_open


def test_an_unknown_failure_is_told_by_qemus_last_line(spec: MachineSpec) -> None:
    assert str(explain(spec, "warning: first\nqemu: broken")) == "QEMU did not start work: qemu: broken"
