"""Template versions: built, committed by a TemplateVM's shutdown, kept as long as somebody needs them."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from bento.wire.admin import Event, Fault
from tests.host.manager.home import Failed, Home, answer


def rows(home: Home) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(home.ask("bento.template.List"))
    return found


def versions(home: Home, name: str = "debian-12") -> dict[str, str]:
    """What the root of each version on disk holds; zeros fill its last block."""
    found = (home.path / "templates" / name).iterdir()
    return {path.name: (path / "root.erofs").read_text().rstrip("\0") for path in found}


def test_a_build_tells_its_progress_and_makes_a_template(home: Home) -> None:
    home.start_manager()
    told = home.build()
    assert told == [Event("debian-12", "progress", (("phase", "packing"), ("fraction", "0.500")))]
    (row,) = rows(home)
    assert (row["name"], row["flavor"], row["version"], row["used_by"]) == ("debian-12", "minimal", 1, [])
    assert len(row["digest"]) == 64
    assert row["size_bytes"] == len("debian-12 minimal")
    assert row["packages"] == 1
    assert home.row("debian-12")["class"] == "TemplateVM"


def test_a_template_has_a_name_and_a_flavor_of_the_persons_choice(served: Home) -> None:
    served.build(name="full", flavor="desktop")
    assert [(row["name"], row["flavor"]) for row in rows(served)] == [("debian-12", "minimal"), ("full", "desktop")]


def test_info_has_the_versions_and_what_the_builder_recorded(served: Home) -> None:
    served.create("work")
    info = json.loads(served.ask("bento.template.Info", argument="debian-12"))
    assert info["manifest"]["packages"] == {"base-files": "12"}
    assert [version["version"] for version in info["versions"]] == [1]
    assert info["used_by"] == ["work"]


@pytest.mark.parametrize(
    ("argument", "fault"), [("nowhere", Fault.NOT_FOUND), ("dom0", Fault.NOT_FOUND), ("", Fault.BAD_VALUE)]
)
def test_there_is_no_info_on_what_is_no_template(shared: Home, argument: str, fault: Fault) -> None:
    assert shared.refused("bento.template.Info", argument=argument).fault == fault


@pytest.mark.parametrize(
    ("distribution", "fields"),
    [
        ("debian-3", {}),
        ("", {}),
        ("debian-12", {"flavor": "sweet"}),
        ("debian-12", {"name": "9"}),
        ("debian-12", {"name": "dom0"}),
        ("debian-12", {"colour": "warm"}),
    ],
)
def test_what_cannot_be_built(shared: Home, distribution: str, fields: dict[str, str]) -> None:
    before = shared.table(), versions(shared)
    with pytest.raises(Failed) as failed:
        shared.build(distribution, **fields)
    assert failed.value.fault == Fault.BAD_VALUE
    assert (shared.table(), versions(shared)) == before


def test_a_template_is_not_built_over_another_domain(served: Home) -> None:
    served.create("work")
    with pytest.raises(Failed, match="exists and is no template"):
        served.build(name="work")
    assert served.row("work")["class"] == "AppVM"


def test_a_failed_build_leaves_nothing(home: Home) -> None:
    home.start_manager()
    with pytest.raises(Failed, match="try again later"):
        home.build("broken", name="mine")
    assert rows(home) == []
    assert list((home.path / "templates").iterdir()) == []
    assert list((home.path / "domains").iterdir()) == []


def test_a_build_ends_when_its_client_hangs_up(home: Home) -> None:
    home.start_manager()
    with home.send("bento.template.Build", argument="endless", payload="name=mine\n") as building:
        building.recv(1000)
        (aside,) = (home.path / "templates").iterdir()
    # The name is held until the last of it is gone, and a file of it would be in the way.
    for _ in range(1000):
        try:
            home.build(name="mine")
            break
        except Failed as failed:
            assert failed.fault == Fault.IN_USE
    assert not aside.exists()
    assert [row["name"] for row in rows(home)] == ["mine"]


def test_a_killed_build_leaves_nothing_to_the_next_manager(home: Home) -> None:
    home.start_manager()
    with home.send("bento.template.Build", argument="endless", payload="name=mine\n") as building:
        building.recv(1000)
        home.kill_manager()
    home.start_manager()
    assert rows(home) == []
    assert list((home.path / "templates").iterdir()) == []


def test_what_is_being_built_is_left_alone(served: Home) -> None:
    with served.send("bento.template.Build", argument="endless", payload="name=debian-12\n") as building:
        building.recv(1000)
        for method in ("admin.vm.Start", "admin.vm.Remove"):
            failed = served.refused(method, "debian-12")
            assert failed.fault == Fault.IN_USE
            assert "is being built" in failed.sentence
        assert served.refused("bento.vm.Clone", "debian-12", "copy").fault == Fault.IN_USE
        with pytest.raises(Failed, match="is being built"):
            served.build()
        served.create("work")
        served.start("work")
    with served.send("bento.template.Build", argument="endless", payload="name=new\n") as building:
        building.recv(1000)
        assert served.refused("admin.vm.Create.AppVM", payload="name=new label=red").fault == Fault.IN_USE
        assert served.refused("bento.vm.Clone", "debian-12", "new").fault == Fault.IN_USE


def test_a_new_build_is_for_those_that_start_after_it(served: Home) -> None:
    for name in ("early", "late"):
        served.create(name)
    served.start("early")
    served.build(flavor="desktop", name="debian-12")
    assert versions(served) == {"1": "debian-12 minimal", "2": "debian-12 desktop"}
    served.start("late")
    assert (served.row("early")["template_version"], served.row("late")["template_version"]) == (1, 2)
    served.shutdown("early")
    assert versions(served) == {"2": "debian-12 desktop"}


def test_a_templates_shutdown_makes_its_changes_the_next_version(served: Home) -> None:
    for name in ("early", "late"):
        served.create(name)
    served.start("early")
    served.start("debian-12")
    served.run("debian-12", "sh", "-c", "echo changed > root")
    served.shutdown("debian-12")
    assert versions(served) == {"1": "debian-12 minimal", "2": "changed\n"}
    served.start("late")
    assert (served.row("early")["template_version"], served.row("late")["template_version"]) == (1, 2)
    assert sorted(path.name for path in served.data_dir("debian-12").iterdir()) == ["console.log", "private.img"]
    root = served.path / "templates/debian-12/2/root.erofs"
    assert root.stat().st_mode & 0o222 == 0
    for other in ("kernel", "initrd", "modules.erofs"):
        assert (root.parent / other).samefile(served.path / "templates/debian-12/1" / other)
    served.kill("early")
    assert versions(served) == {"2": "changed\n"}


def test_an_image_ends_with_the_block_that_was_written_last(served: Home) -> None:
    """The volume it is packed onto is far larger, and blank behind it."""
    served.start("debian-12")
    served.run("debian-12", "sh", "-c", "head -c 10001 /dev/zero | tr '\\0' x > root")
    served.shutdown("debian-12")
    root = served.path / "templates/debian-12/2/root.erofs"
    assert root.read_bytes() == b"x" * 10001 + bytes(3 * 4096 - 10001)


def test_a_killed_template_keeps_its_changes_for_its_next_start(served: Home) -> None:
    served.start("debian-12")
    (delta,) = served.data_dir("debian-12").glob("root-delta-*")
    delta.write_bytes(b"changes")
    served.kill("debian-12")
    assert versions(served) == {"1": "debian-12 minimal"}
    assert delta.read_bytes() == b"changes"
    with pytest.raises(Failed, match="changes that are no version yet"):
        served.build()
    served.start("debian-12")
    assert delta.read_bytes() == b"changes"
    served.shutdown("debian-12")
    assert not delta.exists()
    served.build()


def test_a_template_that_cannot_pack_runs_on_with_its_changes(served: Home) -> None:
    served.start("debian-12")
    served.run("debian-12", "touch", "no-pack")
    failed = served.refused("admin.vm.Shutdown", "debian-12", "wait")
    assert "could not pack its changes (code 3)" in failed.sentence
    assert served.state("debian-12") == "Running"
    served.run("debian-12", "rm", "no-pack")
    served.shutdown("debian-12")
    assert versions(served) == {"2": "the root of debian-12"}


def test_a_template_that_packs_nothing_keeps_its_version_and_its_changes(served: Home) -> None:
    served.start("debian-12")
    served.run("debian-12", "sh", "-c", ": > root")
    failed = served.refused("admin.vm.Shutdown", "debian-12", "wait")
    assert "wrote nothing" in failed.sentence
    assert served.state("debian-12") == "Halted"
    assert versions(served) == {"1": "debian-12 minimal"}
    assert list(served.data_dir("debian-12").glob("root-delta-1.img"))
    served.start("debian-12")
    served.shutdown("debian-12")
    assert versions(served) == {"2": "the root of debian-12"}


def test_a_template_killed_after_a_shutdown_that_did_not_work_commits_nothing(served: Home) -> None:
    served.build(name="deaf")
    served.ask("admin.vm.property.Set", "deaf", "shutdown_timeout", "1")
    served.start("deaf")
    assert "did not shut down" in served.refused("admin.vm.Shutdown", "deaf", "wait").sentence
    assert served.state("deaf") == "Running"
    served.kill("deaf")
    assert versions(served, "deaf") == {"1": "debian-12 minimal"}
    assert list(served.data_dir("deaf").glob("root-delta-1.img"))


def test_a_template_killed_while_it_shuts_down_has_what_it_packed(served: Home) -> None:
    served.build(name="deaf")
    served.start("deaf")
    with served.send("admin.vm.Shutdown", "deaf", "wait") as shutting:
        while not (served.data_dir("deaf") / "next-root.img").stat().st_blocks:
            pass  # until it packed something
        served.kill("deaf")
        try:
            answer(shutting)
            assert versions(served, "deaf") == {"2": "the root of deaf"}
        except Failed as failed:  # the kill came before the guest had said that it was done
            assert "its changes are kept" in failed.sentence
            assert list(served.data_dir("deaf").glob("root-delta-1.img"))


def test_a_manager_killed_during_a_commit_loses_no_change(served: Home) -> None:
    served.kill_manager()
    served.start_manager(BENTO_TEST_DIE="rename:2")  # of the packed root, and of the finished version
    served.start("debian-12")
    (delta,) = served.data_dir("debian-12").glob("root-delta-*")
    delta.write_bytes(b"changes")
    with served.send("admin.vm.Shutdown", "debian-12", "wait") as asked:
        assert served.wait_for_end() == -signal.SIGKILL
        assert asked.recv(100) == b""
    served.start_manager()
    assert served.state("debian-12") == "Halted"
    assert versions(served) == {"1": "debian-12 minimal"}
    assert delta.read_bytes() == b"changes"
    served.start("debian-12")
    served.shutdown("debian-12")
    assert versions(served) == {"2": "the root of debian-12"}


def test_a_manager_killed_after_a_commit_has_the_new_version(served: Home) -> None:
    served.kill_manager()
    served.start_manager(BENTO_TEST_DIE="put.after:3")  # two of the start, then the commit
    served.start("debian-12")
    with served.send("admin.vm.Shutdown", "debian-12", "wait") as asked:
        assert served.wait_for_end() == -signal.SIGKILL
        assert asked.recv(100) == b""
    served.start_manager()
    assert versions(served) == {"2": "the root of debian-12"}
    assert not list(served.data_dir("debian-12").glob("root-delta-*"))


def test_clones_of_a_template_share_its_files(served: Home) -> None:
    served.ask("bento.vm.Clone", "debian-12", "copy")
    ours, theirs = (Path(served.path, "templates", name, "1", "root.erofs") for name in ("debian-12", "copy"))
    assert ours.samefile(theirs)
    assert served.row("copy")["disk_bytes"] < os.stat(ours).st_blocks * 512 * 4
    served.start("copy")
    served.shutdown("copy")
    assert versions(served, "copy") == {"2": "the root of copy"}
    assert versions(served) == {"1": "debian-12 minimal"}


def test_versions_are_swept_while_others_are_made(served: Home) -> None:
    """Each end of a run takes away what nobody needs; a version that is just being recorded is not that."""
    served.create("work")
    for number in range(5):
        served.start("work")
        with served.send("bento.vm.Clone", "debian-12", f"copy{number}") as cloning:
            served.shutdown("work")
            answer(cloning)
        assert versions(served, f"copy{number}") == {"1": "debian-12 minimal"}
