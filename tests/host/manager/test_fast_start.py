"""AppVMs that go on from a seed of their template: which do, when such a seed is made, and what happens without."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.host.manager.home import Home

pytestmark = pytest.mark.slow  # managers and machines, started and ended in each

AT_ONCE = {"BENTO_TEST_QUIET": "0"}
"""For a manager that does not wait for quiet before it makes a template's seed."""


@pytest.fixture
def seeded(home: Home) -> Home:
    """A home with the AppVM `work`, which has run, and the seed of its template."""
    run_once(home, "work")
    return home


def run_once(home: Home, name: str) -> None:
    home.start_manager(**AT_ONCE)
    home.build()
    home.create(name)
    with home.events() as events:
        home.start(name)
        events.until("seed-made", "debian-12")
    home.shutdown(name)


def seeds(home: Home) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(home.ask("bento.seed.List"))
    return rows


def directory_of(home: Home) -> Path:
    (kept,) = (path for path in (home.path / "seeds").iterdir() if path.is_dir())
    return kept


def went_on(home: Home, name: str) -> int:
    """How often a domain was started from a seed, as the log of the pretended hypervisor tells."""
    return home.log().count(f"{name} goes on from an image")


def test_an_appvm_is_started_again_from_a_seed_of_its_template(seeded: Home) -> None:
    (row,) = seeds(seeded)
    assert (row["base"], row["for"], row["template_version"], row["current"]) == ("debian-12", "AppVMs", 1, True)
    assert went_on(seeded, "work") == 0
    seeded.start("work")
    assert went_on(seeded, "work") == 1
    assert seeded.run("work", "true").code == 0


def test_appvms_of_the_same_template_and_size_have_one_seed(seeded: Home) -> None:
    seeded.create("other")
    seeded.start("other")
    assert went_on(seeded, "other") == 1
    assert len(seeds(seeded)) == 1


def test_no_seed_is_made_of_a_template_that_nobody_starts_a_domain_of(home: Home) -> None:
    home.start_manager(**AT_ONCE)
    home.build()
    home.build(name="unused")
    home.create("idle", template="unused")
    home.create("work", template="debian-12")
    with home.events() as events:
        home.start("work")
        events.until("seed-made", "debian-12")
    home.shutdown("work")
    assert [row["base"] for row in seeds(home)] == ["debian-12"]


def test_no_seed_is_made_while_its_person_may_be_starting_others(served: Home) -> None:
    served.create("work")
    served.start("work")
    with served.events() as events:  # a disposable template's does not wait, and so comes first
        served.create("base")
        served.ask("admin.vm.property.Set", "base", "template_for_dispvms", "True")
        events.until("seed-made", "base")
    assert [row["base"] for row in seeds(served)] == ["base"]


def test_no_seed_is_made_while_the_host_is_short_of_memory(home: Home) -> None:
    def has(available: int, pressure: float) -> None:
        aside = home.path / "memory.new"
        aside.write_text(json.dumps({"total": 8 << 30, "available": available, "pressure": pressure}))
        aside.rename(home.path / "memory")

    has(6 << 30, 20.0)
    home.start_manager(BENTO_TEST_MEMORY=str(home.path / "memory"))
    home.build()
    home.create("base")
    home.ask("admin.vm.property.Set", "base", "template_for_dispvms", "True")
    has(700 << 20, 0.0)
    home.ask("admin.vm.tag.Set", "base", "looked-at-again")
    with home.events() as events:
        has(6 << 30, 0.0)
        home.ask("admin.vm.tag.Set", "base", "and-again")
        events.until("seed-made", "base")
    assert home.log().count("a seed for disposables of base was made") == 1


def test_its_own_volume_goes_with_an_appvm_and_the_seeds_changes_of_the_root(seeded: Home) -> None:
    kept = directory_of(seeded)
    assert sorted(os.listdir(kept)) == ["manifest.json", "memory", "state", "volatile.img"]
    private = seeded.data_dir("work") / "private.img"
    before = private.stat().st_ino
    seeded.start("work")
    volatile = seeded.data_dir("work") / "volatile.img"
    assert private.stat().st_ino == before
    assert volatile.stat().st_size == (kept / "volatile.img").stat().st_size
    assert volatile.stat().st_ino != (kept / "volatile.img").stat().st_ino
    seeded.shutdown("work")
    assert not volatile.exists()


@pytest.mark.parametrize("way", ["property", "start"])
def test_an_appvm_boots_if_its_person_says_so(seeded: Home, way: str) -> None:
    match way:
        case "property":
            seeded.ask("admin.vm.property.Set", "work", "fast_start", "False")
            seeded.start("work")
        case _:
            seeded.ask("admin.vm.Start", "work", payload="fresh=yes")
    assert went_on(seeded, "work") == 0


@pytest.mark.parametrize("klass", ["StandaloneVM", "TemplateVM"])
def test_only_appvms_go_on_from_a_templates_seed(seeded: Home, klass: str) -> None:
    name = "debian-12"
    if klass == "StandaloneVM":
        name = "alone"
        seeded.create(name, klass=klass)
    seeded.start(name)
    assert went_on(seeded, name) == 0


@pytest.mark.parametrize("file", ["memory", "state", "volatile.img", "manifest.json"])
def test_a_seed_that_is_not_what_it_was_is_never_used(seeded: Home, file: str) -> None:
    seeded.stop_manager()
    kept = directory_of(seeded)
    (kept / file).chmod(0o600)
    with open(kept / file, "r+b") as torn:
        torn.write(b"x")
    seeded.start_manager()
    seeded.start("work")
    assert went_on(seeded, "work") == 0


def test_a_new_version_of_the_template_has_a_new_seed(seeded: Home) -> None:
    (before,) = seeds(seeded)
    with seeded.events() as events:
        seeded.start("debian-12")
        seeded.run("debian-12", "sh", "-c", "echo more >>root")
        seeded.shutdown("debian-12")
        events.until("seed-made", "debian-12")
    (after,) = seeds(seeded)
    assert (after["template_version"], after["current"]) == (2, True)
    assert after["key"] != before["key"]
    seeded.start("work")
    assert went_on(seeded, "work") == 1


def test_a_domain_whose_start_from_a_seed_fails_boots_and_that_seed_is_not_used_again(home: Home) -> None:
    run_once(home, "barren")
    (before,) = seeds(home)
    with home.events() as events:
        home.start("barren")
        events.until("seed-made", "debian-12")
    assert went_on(home, "barren") == 1
    assert home.run("barren", "true").code == 0
    (after,) = seeds(home)
    assert after["made"] > before["made"]


def test_a_manager_that_is_killed_in_a_start_from_a_seed_leaves_a_domain_that_starts(seeded: Home) -> None:
    volatile = seeded.data_dir("work") / "volatile.img"
    seeded.stop_manager()
    seeded.start_manager(**AT_ONCE, BENTO_TEST_DIE="spawn_broker:1")
    with seeded.send("admin.vm.Start", "work"):
        seeded.wait_for_end()
    assert went_on(seeded, "work") == 1
    assert volatile.exists()
    seeded.start_manager(**AT_ONCE)
    assert not volatile.exists()
    assert seeded.state("work") == "Halted"
    assert seeded.machine_pids() == []
    seeded.start("work")
    assert went_on(seeded, "work") == 2
