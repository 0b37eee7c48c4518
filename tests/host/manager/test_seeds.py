"""Seeds: made in the background, used when they are whole and up to date, and gone when they are not."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.host.manager.home import Home, Listener


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


@pytest.mark.parametrize("change", ["memory", "run"])
def test_a_seed_that_is_out_of_date_is_replaced(based: Home, change: str) -> None:
    (before,) = seeds(based)
    with based.events() as events:
        match change:
            case "memory":
                based.ask("admin.vm.property.Set", "base", "memory", "500")
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
    with open(kept / file, "r+b") as torn:
        torn.write(b"x")
    based.start_manager()
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
    assert {path.stat().st_mode & 0o777 for path in directory(based).iterdir()} <= {0o600, 0o644}
    assert list((based.path / "run/domains").iterdir()) == []
