"""Seeds and forks of real machines where something goes wrong: kills, no room, no memory, a guest that stays nobody."""

import contextlib
import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bento.host.manager.spares import USUAL
from tests.host.manager.home import Failed, Home, answer, end_process, new_home
from tests.vm.boxes import TEMPLATE, Boxes, new_boxes, wait_until
from tests.vm.furniture import furnish

pytestmark = pytest.mark.vm

STUBBORN = """

stir_of_old = stir


def stir(seed):
    with open("/proc/cmdline") as line:
        of_a_seed = "bento.seed" in line.read()
    rehearses = of_a_seed and os.listdir("/run/bento/rehearsal")
    if not rehearses and (of_a_seed or os.path.exists("/rw/stubborn")):
        raise OSError("the pool takes nothing")
    stir_of_old(seed)
"""
"""What makes a guest half fail where a machine is made unlike others: in forks, and in boots that find a file."""


@pytest.fixture(scope="module")
def farm() -> Iterator[Boxes]:
    """The disposable template `farm` with its seed, in a home where no AppVM starts: every machine is one of `farm`."""
    with new_boxes() as boxes:
        boxes.do("create", "farm", "--template", TEMPLATE, "--label", "red")
        with boxes.events() as events:
            boxes.do("prefs", "farm", "template_for_dispvms", "True")
            events.until("seed-made", "farm")
        yield boxes


def seeds(home: Home) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(home.ask("bento.seed.List"))
    return rows


def is_tidy(home: Home) -> bool:
    """Every seed is one of today, and of what was under way there is no process, no name and no file."""
    kept = {path.name for path in (home.path / "seeds").iterdir() if path.is_dir()}
    running = {row["uuid"] for row in (*home.table(), *spares(home)) if row["pid"]}
    return (
        kept == {row["key"] for row in seeds(home) if row["current"]}
        and {path.name for path in (home.path / "run/domains").iterdir()} == running
        and all(any(uuid in command for uuid in running) for command in commands(home))
        and not any(row["class"] == "DispVM" for row in home.table())
    )


def spares(home: Home) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(home.ask("bento.vm.Usage"))["spares"]
    return rows


def commands(home: Home) -> list[str]:
    """Of all processes of machines."""
    found = []
    for pid in home.machine_pids():
        try:
            found.append(Path(f"/proc/{pid}/cmdline").read_text(errors="replace"))
        except OSError:  # it ended meanwhile
            continue
    return [command for command in found if command]


def works(home: Home) -> None:
    """A disposable is forked, serves, and goes; machines for the next ones are there on return."""
    name = home.ask("admin.vm.CreateDisposable", "farm")
    home.start(name)
    assert b"-incoming" in Path(f"/proc/{home.row(name)['pid']}/cmdline").read_bytes().split(b"\0")
    assert home.run(name, "echo", "here").stdout == b"here\n"
    home.kill(name)
    wait_until(lambda: len(spares(home)) == USUAL and is_tidy(home), "everything in its place")


def fork(home: Home) -> str:
    """A disposable whose machine is none that was forked ahead."""
    home.create("fork", "farm", "DispVM")
    home.ask("admin.vm.property.Set", "fork", "auto_cleanup", "True")
    return "fork"


def new_machine(home: Home, before: set[int]) -> set[int]:
    """The process that is QEMU itself, as soon as there is one; what goes before it may end without an effect."""
    while not (new := {pid for pid in set(home.machine_pids()) - before if is_qemu(pid)}):
        pass
    return new


def is_qemu(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].endswith(b"qemu-system-x86_64")
    except OSError:
        return False


def test_a_manager_killed_while_a_seed_boots_leaves_nothing_and_the_next_one_makes_it(farm: Boxes) -> None:
    before, manager = set(farm.machine_pids()), farm.pid
    farm.ask("admin.vm.property.Set", "farm", "memory", "410")
    new_machine(farm, before)
    end_process(manager)
    assert [path for path in (farm.path / "seeds").iterdir() if path.name.startswith(".new-")] != []
    farm.do("ls")
    with farm.events() as events:
        events.until("seed-made", "farm")
    works(farm)


def test_a_manager_stopped_while_a_seed_boots_ends_it_and_itself(farm: Boxes) -> None:
    before = set(farm.machine_pids())
    farm.ask("admin.vm.property.Set", "farm", "memory", "409")
    new_machine(farm, before)
    farm.do("manager", "stop")
    wait_until(lambda: set(farm.machine_pids()) <= before, "the end of the machine that was to be a seed")
    farm.do("ls")
    with farm.events() as events:
        events.until("seed-made", "farm")
    works(farm)


def test_a_machine_killed_while_it_becomes_a_seed_becomes_none(farm: Boxes) -> None:
    before = set(farm.machine_pids())
    farm.ask("admin.vm.property.Set", "farm", "memory", "411")
    for pid in new_machine(farm, before):
        end_process(pid)
    wait_until(lambda: "no seed for disposables of farm" in farm.log(), "a word about it")
    assert seeds_of(farm) == []
    with farm.events() as events:
        farm.ask("admin.vm.tag.Set", "farm", "touched")
        events.until("seed-made", "farm")
    works(farm)


def seeds_of(home: Home) -> list[dict[str, Any]]:
    return [row for row in seeds(home) if row["base"] == "farm" and row["current"]]


def test_a_manager_killed_while_it_forks_leaves_no_fork(farm: Boxes) -> None:
    before, manager = set(farm.machine_pids()), farm.pid
    name = fork(farm)
    with farm.send("admin.vm.Start", name):
        new_machine(farm, before)
        end_process(manager)
    if name in farm.ls():  # it was quicker than we
        assert farm.run(name, "echo", "here").stdout == b"here\n"
        farm.kill(name)
        wait_until(lambda: name not in farm.states(), "no disposable")
    works(farm)


def test_a_fork_killed_before_it_serves_is_no_fork_and_the_disposable_boots_or_is_gone(farm: Boxes) -> None:
    before = set(farm.machine_pids())
    name = fork(farm)
    with farm.send("admin.vm.Start", name) as asked:
        for pid in new_machine(farm, before):
            end_process(pid)
        try:
            answer(asked)
        except Failed:
            pass
    if farm.states().get(name) == "Running":
        assert farm.run(name, "echo", "here").stdout == b"here\n"
        farm.kill(name)
    wait_until(lambda: name not in farm.states() and seeds_of(farm) != [], "a seed, and no disposable")
    works(farm)


def test_a_host_without_memory_refuses_a_fork_and_keeps_the_seed(farm: Boxes) -> None:
    with farm.events() as events:
        farm.ask("admin.vm.property.Set", "farm", "memory", "3000")
        events.until("seed-made", "farm")
    before, (soft, hard) = seeds_of(farm), resource.getrlimit(resource.RLIMIT_AS)
    farm.do("manager", "stop")
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, hard))
    try:
        farm.do("ls")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    name = farm.ask("admin.vm.CreateDisposable", "farm")
    sentence = farm.refused("admin.vm.Start", name).sentence
    assert sentence == f"there is not enough memory for {name}; stop another domain or give this one less"
    wait_until(lambda: is_tidy(farm), "everything in its place")
    farm.do("manager", "stop")
    farm.do("ls")
    assert seeds_of(farm) == before
    works(farm)


def test_a_disk_that_is_full_while_a_seed_is_made_costs_the_seed_only() -> None:
    with new_home(("tests.vm.cramped",)) as home:
        furnish(home.path)
        home.start_manager()
        within = Path(f"/proc/{home.pid}/root{home.path}/seeds")
        home.create("farm")
        home.ask("admin.vm.property.Set", "farm", "qrexec_timeout", "240")
        home.ask("admin.vm.property.Set", "farm", "template_for_dispvms", "True")
        new_machine(home, set())
        filler = os.open(within / "filler", os.O_WRONLY | os.O_CREAT)
        os.unlink(within / "filler")  # it takes its room until it is closed
        with contextlib.suppress(OSError):
            while True:
                os.write(filler, bytes(1 << 20))
        wait_until(lambda: "no seed for disposables of farm" in home.log(), "a word about it")
        assert seeds(home) == []
        assert [path.name for path in within.iterdir() if path.is_dir()] == []
        name = home.ask("admin.vm.CreateDisposable", "farm")
        home.start(name)
        assert home.run(name, "echo", "here").stdout == b"here\n", "it boots"
        home.kill(name)
        with home.events() as events:
            os.close(filler)
            home.ask("admin.vm.tag.Set", "farm", "touched")
            events.until("seed-made", "farm")
        home.start(name := home.ask("admin.vm.CreateDisposable", "farm"))
        assert b"-incoming" in Path(f"/proc/{home.row(name)['pid']}/cmdline").read_bytes().split(b"\0")


def test_a_fork_that_cannot_be_made_unlike_others_runs_no_command(new: Boxes) -> None:
    new.do("clone", TEMPLATE, "lame")
    new.do("start", "lame")
    change = "cd /usr/lib/bento/bento/guest && cat >>identity.py && rm -rf __pycache__/identity.*"
    new.do("run", "--user", "root", "lame", "--", "sh", "-c", change, stdin=STUBBORN)
    new.do("shutdown", "--wait", "lame")
    new.do("create", "lamb", "--template", "lame", "--label", "red")
    new.do("start", "lamb")
    with new.events() as events:
        new.do("shutdown", "--wait", "lamb")
        new.do("prefs", "lamb", "template_for_dispvms", "True")
        events.until("seed-made", "lamb")
    said = new.bento("run", "--disposable=lamb", "--", "cat", "/proc/cmdline")
    assert said.returncode == 0, said.stderr
    assert "bento.seed" not in said.stdout, "the fork ended, and in its place one was booted"
    assert "the seed of lamb did not work" in new.log()

    new.do("start", "lamb")
    new.sh("lamb", "touch /rw/stubborn", user="root")
    with new.events() as events:
        new.do("shutdown", "--wait", "lamb")
        events.until("seed-made", "lamb")
    code, sentence, _ = new.fail_at_length("run", "--disposable=lamb", "--", "echo", "ran")
    assert code == 4
    assert "ended while it started" in sentence
    wait_until(lambda: not any(row["class"] == "DispVM" for row in new.table()), "nothing of it")
    new.do("rm", "lamb")
    new.do("template", "rm", "lame")
