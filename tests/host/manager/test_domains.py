"""Making, removing and cloning domains: what works, and that what does not changes nothing."""

import os
from collections.abc import Iterator

import pytest

from bento.wire.admin import Fault
from tests.host.manager.home import Home, answer


@pytest.fixture
def unchanged(shared: Home) -> Iterator[Home]:
    """The shared home, which looks the same after the test as before."""
    before = shared.states(), sorted((shared.path / "domains").iterdir())
    yield shared
    assert (shared.states(), sorted((shared.path / "domains").iterdir())) == before


def test_a_created_domain_is_listed_with_its_class_and_state(served: Home) -> None:
    served.create("work", "debian-12")
    uuid = served.row("work")["uuid"]
    assert served.ask("admin.vm.List", "work") == f"work class=AppVM state=Halted uuid={uuid}\n"
    assert served.ask("admin.vm.List").splitlines()[1].startswith("dom0 class=AdminVM state=Running")


def test_a_table_row_says_all_that_a_person_wants_to_see(served: Home) -> None:
    served.create("work", label="green")
    served.start("work")
    row = served.row("work")
    assert (row["class"], row["label"], row["label_rgb"], row["state"]) == ("AppVM", "green", "#73d216", "Running")
    assert (row["template"], row["netvm"], row["template_version"]) == ("debian-12", None, 1)
    assert row["memory_bytes"] > 0
    assert row["disk_bytes"] < 1 << 20
    assert row["start_seconds"] > 0
    assert row["uptime_seconds"] >= 0
    served.shutdown("work")
    row = served.row("work")
    assert (row["start_seconds"], row["uptime_seconds"], row["memory_bytes"], row["pid"]) == (None, None, 0, None)


def test_without_a_template_the_only_one_is_taken(served: Home) -> None:
    served.create("work")
    assert served.row("work")["template"] == "debian-12"


def test_with_several_templates_one_must_be_named(served: Home) -> None:
    served.build(name="other")
    assert "debian-12, other" in served.refused("admin.vm.Create.AppVM", payload="name=work label=red").sentence
    served.ask("admin.property.Set", argument="default_template", payload="other")
    served.create("work")
    assert served.row("work")["template"] == "other"


def test_without_any_template_the_person_learns_how_to_build_one(home: Home) -> None:
    home.start_manager()
    refusal = home.refused("admin.vm.Create.AppVM", payload="name=work label=red")
    assert "bento template build debian-12" in refusal.sentence


@pytest.mark.parametrize(
    ("argument", "payload", "fault"),
    [
        ("nowhere", "name=a label=red", Fault.NOT_FOUND),
        ("dom0", "name=a label=red", Fault.BAD_VALUE),
        ("", "name=a label=pink", Fault.NO_SUCH_LABEL),
        ("", "name=a", Fault.NO_SUCH_LABEL),
        ("", "label=red", Fault.BAD_VALUE),
        ("", "name=9a label=red", Fault.BAD_VALUE),
        ("", f"name={'a' * 32} label=red", Fault.BAD_VALUE),
        ("", "name=dom0 label=red", Fault.BAD_VALUE),
        ("", "name=none label=red", Fault.BAD_VALUE),
        ("", "name=debian-12 label=red", Fault.BAD_VALUE),
        ("", "name=a label=red pool=fast", Fault.BAD_VALUE),
        ("", "name=a name=b label=red", Fault.BAD_VALUE),
        ("", "name=a\xe9 label=red", Fault.BAD_VALUE),
    ],
)
def test_what_makes_no_domain(unchanged: Home, argument: str, payload: str, fault: Fault) -> None:
    for klass in ("AppVM", "StandaloneVM"):
        assert unchanged.refused(f"admin.vm.Create.{klass}", argument=argument, payload=payload).fault == fault


def test_templates_are_made_in_other_ways(unchanged: Home) -> None:
    assert unchanged.refused("admin.vm.Create.TemplateVM", payload="name=a label=red").fault == Fault.REFUSED


def test_a_class_nobody_knows_is_no_method(unchanged: Home) -> None:
    assert unchanged.refused("admin.vm.Create.FunVM", payload="name=a label=red").fault == Fault.NO_METHOD


def test_only_the_admin_domain_creates(unchanged: Home) -> None:
    assert unchanged.refused("admin.vm.Create.AppVM", "debian-12", payload="name=a label=red").fault == Fault.REFUSED


METHODS_ON_A_DOMAIN = [
    "admin.vm.List",
    "admin.vm.Remove",
    "admin.vm.Start",
    "admin.vm.Shutdown",
    "admin.vm.Kill",
    "admin.vm.Pause",
    "admin.vm.Unpause",
    "admin.vm.CurrentState",
    "admin.vm.property.List",
    "admin.vm.property.Get",
    "admin.vm.property.GetAll",
    "admin.vm.property.GetDefault",
    "admin.vm.property.Help",
    "admin.vm.property.Set",
    "admin.vm.property.Reset",
    "admin.vm.tag.List",
    "admin.vm.tag.Get",
    "admin.vm.tag.Set",
    "admin.vm.tag.Remove",
    "admin.vm.feature.List",
    "admin.vm.feature.Get",
    "admin.vm.feature.Set",
    "admin.vm.feature.Remove",
    "admin.vm.feature.CheckWithTemplate",
    "admin.vm.feature.CheckWithNetvm",
    "admin.vm.feature.CheckWithAdminVM",
    "admin.vm.feature.CheckWithTemplateAndAdminVM",
    "bento.vm.Clone",
    "bento.vm.Call",
    "bento.vm.Console",
    "bento.vm.Log",
]


@pytest.mark.parametrize("method", METHODS_ON_A_DOMAIN)
def test_no_method_knows_a_domain_that_is_not_there(unchanged: Home, method: str) -> None:
    failed = unchanged.refused(method, "nowhere", "memory", "64")
    assert failed.fault == Fault.NOT_FOUND
    assert "'nowhere'" in failed.sentence


@pytest.mark.parametrize(
    "method",
    ["Remove", "Shutdown", "Kill", "Pause", "Unpause"],
)
def test_nothing_has_power_over_the_admin_domain(unchanged: Home, method: str) -> None:
    assert unchanged.refused(f"admin.vm.{method}", "dom0").fault == Fault.REFUSED


def test_the_admin_domain_runs_as_far_as_who_would_start_it_is_concerned(unchanged: Home) -> None:
    """So the field's client finds out that it need not start what it wants to call."""
    assert unchanged.refused("admin.vm.Start", "dom0").fault == Fault.NOT_HALTED


@pytest.mark.parametrize("method", ["bento.vm.Clone", "bento.vm.Call", "bento.vm.Console", "bento.vm.Log"])
def test_the_admin_domain_is_no_guest(unchanged: Home, method: str) -> None:
    assert unchanged.refused(method, "dom0", "test.Echo").fault == Fault.REFUSED


def test_a_removed_domain_leaves_nothing(served: Home) -> None:
    served.create("work")
    served.start("work")
    served.shutdown("work")
    directory = served.data_dir("work")
    assert (directory / "private.img").exists()
    served.ask("admin.vm.Remove", "work")
    assert "work" not in served.states()
    assert not directory.exists()
    served.create("work")


def test_what_runs_is_not_removed(served: Home) -> None:
    served.create("work")
    served.start("work")
    failed = served.refused("admin.vm.Remove", "work")
    assert failed.fault == Fault.NOT_HALTED
    assert "bento shutdown --wait work" in failed.sentence
    assert served.state("work") == "Running"


def test_a_template_in_use_is_not_removed(served: Home) -> None:
    served.create("work", klass="AppVM")
    served.create("alone", klass="StandaloneVM")
    failed = served.refused("admin.vm.Remove", "debian-12")
    assert failed.fault == Fault.IN_USE
    assert "alone, work" in failed.sentence
    served.ask("admin.vm.Remove", "work")
    assert served.refused("admin.vm.Remove", "debian-12").fault == Fault.IN_USE
    served.ask("admin.vm.Remove", "alone")
    served.ask("admin.vm.Remove", "debian-12")
    assert list((served.path / "templates").iterdir()) == []
    assert list((served.path / "domains").iterdir()) == []


def test_the_systems_default_template_is_not_removed(served: Home) -> None:
    served.build(name="other")
    served.ask("admin.property.Set", argument="default_template", payload="other")
    failed = served.refused("admin.vm.Remove", "other")
    assert failed.fault == Fault.IN_USE
    way = "'bento prefs --global default_template --default' first"
    assert failed.sentence == f"'other' is the default_template of the system; {way}"
    served.ask("admin.property.Reset", argument="default_template")
    served.ask("admin.vm.Remove", "other")
    assert served.ask("admin.property.Get", argument="default_template") == "default=True type=vm "
    served.create("work")
    assert served.row("work")["template"] == "debian-12"


def test_a_clone_has_what_its_source_had(served: Home) -> None:
    served.create("work", label="blue")
    served.ask("admin.vm.property.Set", "work", "memory", "512")
    served.ask("admin.vm.tag.Set", "work", "mail")
    served.ask("admin.vm.feature.Set", "work", "colour", "warm")
    served.start("work")
    served.shutdown("work")
    (served.data_dir("work") / "private.img").write_bytes(b"what was written")
    served.ask("bento.vm.Clone", "work", "copy")
    assert (served.data_dir("copy") / "private.img").read_bytes() == b"what was written"
    assert served.ask("admin.vm.property.Get", "copy", "memory") == "default=False type=int 512"
    assert served.ask("admin.vm.tag.List", "copy") == "mail\n"
    assert served.ask("admin.vm.feature.Get", "copy", "colour") == "warm"
    assert served.ask("admin.vm.property.Get", "copy", "qid").split()[-1] == "3"
    row = served.row("copy")
    assert (row["class"], row["label"], row["template"]) == ("AppVM", "blue", "debian-12")
    assert row["uuid"] != served.row("work")["uuid"]
    served.start("copy")
    served.start("work")


def test_a_clone_that_never_ran_needs_no_volume(served: Home) -> None:
    served.create("work")
    served.ask("bento.vm.Clone", "work", "copy")
    served.start("copy")


def test_a_running_domain_is_not_cloned(served: Home) -> None:
    served.create("work")
    served.start("work")
    assert served.refused("bento.vm.Clone", "work", "copy").fault == Fault.NOT_HALTED
    assert "copy" not in served.states()


@pytest.mark.parametrize("name", ["disp1", "disp12", "disp99999"])
def test_names_that_disposables_get_by_themselves_are_nobody_elses(unchanged: Home, name: str) -> None:
    refusals = (
        unchanged.refused("admin.vm.Create.AppVM", argument="debian-12", payload=f"name={name} label=red"),
        unchanged.refused("bento.vm.Clone", "debian-12", name),
    )
    for failed in refusals:
        assert failed.fault == Fault.BAD_VALUE
        assert failed.sentence == f"'{name}' is a name that disposables get by themselves; choose another name"


@pytest.mark.parametrize("name", ["debian-12", "dom0", "9", ""])
def test_a_clone_needs_a_name_of_its_own(unchanged: Home, name: str) -> None:
    assert unchanged.refused("bento.vm.Clone", "debian-12", name).fault == Fault.BAD_VALUE


def test_a_template_clone_is_a_template_with_its_changes(served: Home) -> None:
    served.start("debian-12")
    served.kill("debian-12")  # so that its changes are kept and are no version yet
    (delta,) = served.data_dir("debian-12").glob("root-delta-*")
    delta.write_bytes(b"what was installed")
    served.ask("bento.vm.Clone", "debian-12", "other")
    assert (served.data_dir("other") / "root-delta-1.img").read_bytes() == b"what was installed"
    assert (served.path / "templates/other/1/root.erofs").read_text() == "debian-12 minimal"
    served.create("work", "other")
    served.ask("admin.vm.Remove", "debian-12")
    served.start("work")


def test_a_standalone_keeps_the_root_it_began_with(served: Home) -> None:
    served.create("alone", klass="StandaloneVM")
    served.start("alone")
    assert sorted(path.name for path in served.data_dir("alone").iterdir()) == [
        "console.log",
        "private.img",
        "root-delta-1.img",
    ]
    served.shutdown("alone")
    served.build()
    assert served.row("debian-12")["template_version"] == 2
    assert served.row("alone")["template_version"] == 1
    assert (served.path / "templates/debian-12/1").exists()
    served.start("alone")
    assert served.row("alone")["template_version"] == 1
    served.shutdown("alone")
    assert (served.data_dir("alone") / "root-delta-1.img").exists()
    served.ask("admin.vm.Remove", "alone")
    assert not (served.path / "templates/debian-12/1").exists()


def test_current_state_counts_as_the_field_does(served: Home) -> None:
    served.create("work")
    assert served.ask("admin.vm.CurrentState", "work") == "mem=0 mem_static_max=0 cputime=0 power_state=Halted"
    served.start("work")
    state = dict(word.split("=") for word in served.ask("admin.vm.CurrentState", "work").split())
    assert state["power_state"] == "Running"
    assert int(state["mem"]) > 1000


def test_a_full_disk_is_a_sentence_and_leaves_no_domain(home: Home) -> None:
    full = home.path / "full"
    home.start_manager(BENTO_TEST_FULL=str(full))
    home.build()
    home.create("work")
    full.touch()
    failed = home.refused("admin.vm.Start", "work")
    assert "disk is full" in failed.sentence
    assert home.state("work") == "Halted"
    assert list(home.data_dir("work").iterdir()) == []
    full.unlink()
    home.start("work")


def test_a_full_disk_changes_nothing_that_is_known(home: Home) -> None:
    full = home.path / "full"
    home.start_manager(BENTO_TEST_FULL=str(full))
    home.build()
    home.create("work")
    home.create("running")
    home.start("running")
    before = home.states(), home.ask("admin.vm.property.GetAll", "work")
    directories = sorted((home.path / "domains").iterdir())
    full.write_text("state")
    for method, destination, argument, payload in (
        ("admin.vm.Create.AppVM", "dom0", "", "name=other label=red"),
        ("admin.vm.Start", "work", "", ""),
        ("bento.vm.Clone", "work", "other", ""),
        ("bento.vm.Clone", "debian-12", "other", ""),
        ("admin.vm.property.Set", "work", "memory", "512"),
        ("admin.vm.tag.Set", "work", "mail", ""),
    ):
        assert "is the disk full?" in home.refused(method, destination, argument, payload).sentence
    assert (home.states(), home.ask("admin.vm.property.GetAll", "work")) == before
    assert sorted((home.path / "domains").iterdir()) == directories
    assert not (home.path / "templates/other").exists()
    # What runs can be ended all the same, and ends for good once there is room to say so.
    home.kill("running")
    assert home.state("running") == "Halted"
    full.unlink()
    home.kill_manager()
    home.start_manager()
    assert home.state("running") == "Halted"
    home.start("running")


def test_a_domain_that_is_being_cloned_holds_still(home: Home) -> None:
    gate = home.path / "gate"
    os.mkfifo(gate)
    home.start_manager(BENTO_TEST_GATE=str(gate))
    home.build()
    home.create("work")
    home.start("work")
    home.shutdown("work")
    with home.send("bento.vm.Clone", "work", "copy") as cloning:
        with open(gate, "wb"):  # opens when the copy is about to begin, which it does when this closes
            for method in ("admin.vm.Start", "admin.vm.Remove"):
                failed = home.refused(method, "work")
                assert failed.fault == Fault.IN_USE
                assert "is being cloned" in failed.sentence
            assert home.refused("bento.vm.Clone", "work", "other").fault == Fault.IN_USE
            assert home.refused("admin.vm.Create.AppVM", payload="name=copy label=red").fault == Fault.IN_USE
            assert home.refused("admin.vm.Start", "copy").fault == Fault.NOT_FOUND
            # Whatever else is set of it goes with it.
            home.ask("admin.vm.tag.Set", "work", "late")
            home.create("other")
        answer(cloning)
    assert home.ask("admin.vm.tag.List", "copy") == "late\n"
    assert len({home.row(name)["uuid"] for name in ("work", "copy", "other")}) == 3
    home.start("work")
    home.start("copy")


def test_a_clone_that_fails_leaves_nothing(served: Home) -> None:
    served.create("work")
    served.start("work")
    served.shutdown("work")
    private = served.data_dir("work") / "private.img"
    private.rename(private.with_name("away"))
    private.mkdir()
    before = sorted((served.path / "domains").iterdir())
    assert "private.img" in served.refused("bento.vm.Clone", "work", "copy").sentence
    assert sorted((served.path / "domains").iterdir()) == before
    assert "copy" not in served.states()
    private.rmdir()
    private.with_name("away").rename(private)
    served.ask("bento.vm.Clone", "work", "copy")
