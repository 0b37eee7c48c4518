"""Seeds: made in the background, used when they are whole and up to date, and gone when they are not."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bento.host.manager.seeds import TRIES
from tests.crash.invariants import eventually
from tests.host.manager.home import Failed, Home, Listener

pytestmark = pytest.mark.slow  # managers and machines, started and ended in each


@pytest.fixture
def based(served: Home) -> Iterator[Home]:
    """A home with the disposable template `base` and its seed."""
    served.create("base")
    with served.events() as events:
        served.ask("admin.vm.property.Set", "base", "template_for_dispvms", "True")
        events.until("seed-made", "base")
        yield served


def seeds(home: Home) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(home.ask("bento.seed.List"))
    return rows


def directory(home: Home) -> Path:
    (row,) = seeds(home)
    return home.path / "seeds" / str(row["key"])


def disposable(home: Home) -> str:
    name = home.ask("admin.vm.CreateDisposable", "base")
    home.start(name)
    assert home.run(name, "true").code == 0
    return name


def went_on(home: Home, name: str) -> bool:
    """Whether a disposable was made from the seed, as the log of the pretended hypervisor tells."""
    return f"{name} goes on from an image" in home.log()


def heard(events: Listener, name: str) -> None:
    events.until(name, "base")


def test_a_disposable_template_gets_a_seed_and_its_disposables_go_on_from_it(based: Home) -> None:
    (row,) = seeds(based)
    assert (row["base"], row["template_version"], row["current"]) == ("base", 1, True)
    assert went_on(based, disposable(based))


def test_a_named_disposable_goes_on_from_it_at_each_start(based: Home) -> None:
    based.create("sandbox", "base", "DispVM")
    for starts in (1, 2):
        based.start("sandbox")
        assert based.run("sandbox", "true").code == 0
        assert based.log().count("sandbox goes on from an image") == starts
        based.kill("sandbox")


def test_one_that_is_to_be_fresh_boots(based: Home) -> None:
    name = based.ask("admin.vm.CreateDisposable", "base")
    based.ask("admin.vm.Start", name, payload="fresh=yes\n")
    assert based.run(name, "true").code == 0
    assert based.run("base", "true", disposable="yes", fresh="yes").code == 0
    assert "goes on from an image" not in based.log()
    assert len(seeds(based)) == 1


def test_a_seed_outlives_its_manager(based: Home) -> None:
    before = seeds(based)
    based.stop_manager()
    based.start_manager()
    assert seeds(based) == before
    assert went_on(based, disposable(based))


def into_memory(home: Home) -> int:
    """How often a seed was put into memory ahead of its use, as the log of the pretended hypervisor tells."""
    return home.log().count("is kept in memory")


def test_a_seed_is_in_memory_before_it_is_used(based: Home) -> None:
    eventually(lambda: into_memory(based) == 1)
    again(based)
    eventually(lambda: into_memory(based) == 2)
    assert went_on(based, disposable(based))
    assert into_memory(based) == 2


def test_no_seed_is_put_into_memory_while_there_is_little(based: Home, tmp_path: Path) -> None:
    eventually(lambda: into_memory(based) == 1)
    memory = tmp_path / "memory"
    set_memory(memory, available=1000 << 20)
    again(based, BENTO_TEST_MEMORY=str(memory))
    assert went_on(based, disposable(based))
    assert into_memory(based) == 1
    set_memory(memory, available=4 << 30)
    based.create("news")
    eventually(lambda: into_memory(based) == 2)


def test_a_seed_leaves_memory_when_that_runs_short_and_comes_again(based: Home, tmp_path: Path) -> None:
    eventually(lambda: into_memory(based) == 1)
    memory = tmp_path / "memory"
    set_memory(memory, available=4 << 30)
    again(based, BENTO_TEST_MEMORY=str(memory))
    eventually(lambda: into_memory(based) == 2)
    set_memory(memory, available=100 << 20)
    eventually(lambda: "is given back" in based.log())
    set_memory(memory, available=4 << 30)
    based.create("news")
    eventually(lambda: into_memory(based) == 3)


def set_memory(path: Path, *, available: int) -> None:
    """What a manager reads as its host's memory from now on."""
    path.with_suffix(".new").write_text(json.dumps({"total": 8 << 30, "available": available, "pressure": 0.0}))
    path.with_suffix(".new").rename(path)


@pytest.mark.parametrize("change", ["memory", "vcpus", "run", "template", "kernel command line"])
def test_a_seed_that_is_out_of_date_is_replaced(based: Home, change: str) -> None:
    (before,) = seeds(based)
    with based.events() as events:
        match change:
            case "memory" | "vcpus":
                based.ask("admin.vm.property.Set", "base", change, "3" if change == "vcpus" else "500")
            case "template":  # with it, the guest half and the kernel
                based.start("debian-12")
                based.shutdown("debian-12")
            case "kernel command line":
                (manifest,) = based.path.glob("templates/debian-12/*/manifest.json")
                manifest.write_text(manifest.read_text().replace("quiet", "loud"))
                based.ask("admin.vm.tag.Set", "base", "touched")
            case _:
                based.start("base")
                (based.data_dir("base") / "private.img").write_bytes(b"something else")
                based.shutdown("base")
        heard(events, "seed-made")
    (after,) = seeds(based)
    assert after["key"] != before["key"]
    assert after["current"]
    assert went_on(based, disposable(based))


def test_a_disposable_of_another_shape_boots(based: Home) -> None:
    name = based.ask("admin.vm.CreateDisposable", "base")
    based.ask("admin.vm.property.Set", name, "memory", "500")
    based.start(name)
    assert not went_on(based, name)


@pytest.mark.parametrize("file", ["memory", "state", "private.img", "volatile.img", "manifest.json"])
def test_a_seed_that_is_not_what_it_was_is_never_used(based: Home, file: str) -> None:
    based.stop_manager()
    (kept,) = (path for path in (based.path / "seeds").iterdir() if path.is_dir())
    (kept / file).chmod(0o600)
    with open(kept / file, "r+b") as torn:
        torn.write(b"x")
    based.start_manager(BENTO_TEST_SEEDS=f"{1 << 60}:{1 << 55}")  # no disk has room for another one
    assert not went_on(based, disposable(based))


def test_what_a_killed_manager_left_unfinished_is_removed(based: Home) -> None:
    based.kill_manager()
    left = based.path / "seeds/.new-left"
    left.mkdir()
    (left / "memory").write_bytes(b"half of it")
    based.start_manager()
    with based.events() as events:
        based.ask("admin.vm.property.Set", "base", "memory", "500")
        heard(events, "seed-made")
    assert not left.exists()


def test_a_base_that_is_none_any_more_has_no_seed(based: Home) -> None:
    kept = directory(based)
    based.ask("admin.vm.property.Reset", "base", "template_for_dispvms")
    based.create("other")
    with based.events() as events:
        based.ask("admin.vm.property.Set", "other", "template_for_dispvms", "True")
        events.until("seed-made", "other")
    assert not kept.exists()
    assert [row["base"] for row in seeds(based)] == ["other"]


def test_nothing_of_making_a_seed_is_left(based: Home) -> None:
    assert based.machine_pids() == []
    assert sorted(os.listdir(directory(based))) == ["manifest.json", "memory", "private.img", "state", "volatile.img"]
    assert list((based.path / "run/domains").iterdir()) == []


def test_who_was_given_a_file_of_a_seed_to_read_cannot_open_it_to_write(based: Home) -> None:
    """A QEMU that runs as the person, on a host without sub-uids, is given `state`: all forks begin from that."""
    for path in directory(based).iterdir():
        if path.name != "manifest.json":
            with open(path, "rb") as given, pytest.raises(PermissionError):
                os.open(f"/proc/self/fd/{given.fileno()}", os.O_RDWR)


def again(home: Home, **environment: str) -> None:
    """The same home with another manager."""
    home.stop_manager()
    home.start_manager(**environment)


def test_a_seed_of_another_qemu_is_replaced(based: Home) -> None:
    """Its version, its machine, its processor, its devices and where it computes all are in its fingerprint."""
    (before,) = seeds(based)
    again(based, BENTO_TEST_FINGERPRINT="of another QEMU")
    eventually(lambda: is_another(based, before))
    assert went_on(based, disposable(based))


def current(home: Home) -> dict[str, Any]:
    rows = [row for row in seeds(home) if row["current"]]
    return rows[0] if rows else {"key": None}


def is_another(home: Home, before: dict[str, Any]) -> bool:
    found = current(home)
    return found["key"] is not None and found != before


def test_a_disposable_that_finds_no_memory_is_refused_and_its_seed_stays(based: Home, tmp_path: Path) -> None:
    starved = tmp_path / "starved"
    again(based, BENTO_TEST_STARVED=str(starved))
    before = seeds(based)
    starved.touch()
    name = based.ask("admin.vm.CreateDisposable", "base")
    failed = based.refused("admin.vm.Start", name)
    assert failed.sentence == f"there is not enough memory for {name}; stop another domain or give this one less"
    assert name not in based.states()
    assert based.machine_pids() == []
    assert list((based.path / "run/domains").iterdir()) == []
    starved.unlink()
    assert seeds(based) == before
    assert went_on(based, disposable(based))


def test_a_seed_whose_disposables_do_not_answer_is_made_anew_but_not_for_ever(based: Home) -> None:
    based.create("mute-one", "base", "DispVM")
    based.ask("admin.vm.property.Set", "mute-one", "qrexec_timeout", "1")
    for number in range(TRIES):
        before = current(based)
        assert based.refused("admin.vm.Start", "mute-one").fault
        if number < TRIES - 1:
            eventually(partial(is_another, based, before))
    based.ask("admin.vm.tag.Set", "base", "touched")
    assert current(based)["key"] is None
    name = disposable(based)
    assert not went_on(based, name), "it boots"


def test_a_seed_that_fails_several_at_once_has_failed_once(based: Home) -> None:
    mute = [f"mute-{number}" for number in range(TRIES)]
    for name in mute:
        based.create(name, "base", "DispVM")
        based.ask("admin.vm.property.Set", name, "qrexec_timeout", "1")
    (before,) = seeds(based)
    with contextlib.ExitStack() as asked:
        waiting = [asked.enter_context(based.send("admin.vm.Start", name)) for name in mute]
        for connection in waiting:
            with pytest.raises(Failed):
                Listener(connection).rest()
    eventually(lambda: is_another(based, before))


def test_a_domain_that_starts_for_ever_does_not_keep_seeds_from_being_made(based: Home) -> None:
    """Nor one start after the other, as calls to new disposables can be."""
    based.create("mute")
    based.ask("admin.vm.property.Set", "mute", "qrexec_timeout", "3600")
    again(based, BENTO_TEST_PUT_OFF="0")
    with based.events() as events, based.send("admin.vm.Start", "mute"):
        events.until("domain-pre-start", "mute")
        based.ask("admin.vm.property.Set", "base", "memory", "500")
        heard(events, "seed-made")
        assert based.state("mute") == "Transient"
    based.kill("mute")


def test_what_is_no_seed_does_not_stay(based: Home) -> None:
    kept = directory(based)
    based.stop_manager()
    (kept / "manifest.json").write_text("{")
    (based.path / "seeds/.new-left").mkdir()
    (based.path / "seeds/used-of-nobody").touch()
    based.start_manager()
    eventually(lambda: current(based)["key"] is not None)
    assert {path.name for path in (based.path / "seeds").iterdir() if path.is_dir()} == {kept.name}
    assert not (based.path / "seeds/used-of-nobody").exists()


def fill(home: Home, name: str) -> None:
    """Give the domain a volume of 64 KiB."""
    home.ask("admin.vm.Start", name, payload="fresh=yes\n")  # and its template no seed
    (home.data_dir(name) / "private.img").write_bytes(os.urandom(1 << 16))
    home.shutdown(name)


def test_seeds_of_the_bases_used_longest_ago_give_way(based: Home) -> None:
    based.create("second")
    based.create("third")
    for name in ("base", "second", "third"):
        fill(based, name)
    again(based, BENTO_TEST_SEEDS=f"{150 << 10}:{64 << 10}")
    for name in ("second", "third"):
        based.ask("admin.vm.property.Set", name, "template_for_dispvms", "True")
    eventually(lambda: bases(based) == ["base", "second"])  # there is room for two
    for used, name in enumerate(("second", "third", "base")):
        mark = based.path / "seeds" / f"used-{based.row(name)['uuid']}"
        mark.touch()
        os.utime(mark, (used, used))
    based.ask("admin.vm.tag.Set", "third", "touched")
    eventually(lambda: bases(based) == ["base", "third"])
    name = based.ask("admin.vm.CreateDisposable", "base")
    based.start(name)
    assert went_on(based, name)
    assert (based.path / "seeds" / f"used-{based.row('base')['uuid']}").stat().st_mtime > 2, "it was used just now"


def test_a_seed_that_takes_more_than_the_quota_is_made_once(based: Home) -> None:
    fill(based, "base")
    based.stop_manager()
    remove_seeds(based)
    based.start_manager(BENTO_TEST_SEEDS=f"{32 << 10}:{1 << 10}")
    made = "a seed for disposables of base was made"
    eventually(lambda: made in based.log().rpartition("ready on")[2] and bases(based) == [])
    for tag in "abc":
        based.ask("admin.vm.tag.Set", "base", tag)
        assert based.run(based_on(based, "base"), "true").code == 0
    assert based.log().rpartition("ready on")[2].count(made) == 1


def test_a_seed_that_takes_more_than_the_quota_costs_the_others_nothing(based: Home) -> None:
    """A guest can fill its disposable template; whoever uses that last must not have all other seeds removed."""
    based.create("large")
    fill(based, "large")
    again(based, BENTO_TEST_SEEDS=f"{32 << 10}:{1 << 10}")
    before = seeds(based)
    with based.events() as events:
        based.ask("admin.vm.property.Set", "large", "template_for_dispvms", "True")
        events.until("seed-made", "large")
    assert based.run(based_on(based, "large"), "true").code == 0, "it is the one that was used last"
    based.ask("admin.vm.tag.Set", "large", "touched")
    eventually(lambda: bases(based) == ["base"])
    assert seeds(based) == before


def test_no_seed_is_made_where_the_disk_is_nearly_full(based: Home) -> None:
    based.stop_manager()
    remove_seeds(based)
    based.start_manager(BENTO_TEST_SEEDS=f"{1 << 60}:{1 << 55}")
    name = disposable(based)
    assert not went_on(based, name)
    assert bases(based) == []
    assert "no seeds are made while less than" in based.log()


def test_a_disk_that_fills_up_while_a_seed_is_made_costs_the_seed_only(based: Home, tmp_path: Path) -> None:
    full = tmp_path / "full"
    again(based, BENTO_TEST_FULL=str(full))
    full.touch()
    based.ask("admin.vm.property.Set", "base", "memory", "500")
    eventually(lambda: "no seed for disposables of base: the disk is full" in based.log())
    assert bases(based) == []
    assert [path.name for path in (based.path / "seeds").iterdir() if path.is_dir()] == []
    full.unlink()
    based.ask("admin.vm.property.Set", "base", "memory", "501")
    # The one of 500 MiB may have been made meanwhile.
    eventually(lambda: [(row["base"], row["current"]) for row in seeds(based)] == [("base", True)])
    assert went_on(based, disposable(based))


def test_a_manager_that_is_stopped_while_it_makes_a_seed_ends(home: Home) -> None:
    home.start_manager(BENTO_TEST_MUTE="seed")
    home.build()
    home.create("base")
    home.ask("admin.vm.property.Set", "base", "template_for_dispvms", "True")
    eventually(lambda: home.machine_pids() != [])
    home.stop_manager()
    assert home.machine_pids() == []


def bases(home: Home) -> list[str]:
    return sorted(str(row["base"]) for row in seeds(home))


def remove_seeds(home: Home) -> None:
    for path in (home.path / "seeds").iterdir():
        if path.is_dir():
            shutil.rmtree(path)


def test_sizes_and_ages_are_told_as_they_are(based: Home) -> None:
    with based.events() as events:
        fill(based, "base")
        heard(events, "seed-made")
    (row,) = seeds(based)
    kept = directory(based)
    files = [path for path in kept.iterdir() if path.name != "manifest.json"]
    assert row["size_bytes"] == sum(path.stat().st_blocks * 512 for path in files) >= 1 << 16
    status = (kept / "manifest.json").stat()
    assert (kept / "state").stat().st_mtime - 1 <= row["made"] <= status.st_mtime + 1


def based_on(home: Home, base: str) -> str:
    """A disposable of it that runs."""
    name = home.ask("admin.vm.CreateDisposable", base)
    home.start(name)
    return name
