"""Properties, tags, features and labels: the field's words, and that a bad one changes nothing."""

from collections.abc import Iterator

import pytest

from bento.wire.admin import Event, Fault
from tests.host.manager.home import Home


@pytest.fixture
def work(shared: Home) -> Iterator[Home]:
    """The shared home with a domain `work` that nothing was set of."""
    shared.create("work")
    yield shared
    shared.ask("admin.vm.Remove", "work")


def all_of(home: Home, name: str) -> tuple[str, ...]:
    return tuple(home.ask(f"admin.vm.{what}", name) for what in ("property.GetAll", "tag.List", "feature.List"))


def test_every_listed_property_can_be_read_and_has_a_help(work: Home) -> None:
    for name in ("work", "debian-12", "dom0"):
        names = work.ask("admin.vm.property.List", name).splitlines()
        values = work.ask("admin.vm.property.GetAll", name).splitlines()
        assert [line.split()[0] for line in values] == names
        for prop, line in zip(names, values, strict=True):
            assert f"{prop} {work.ask('admin.vm.property.Get', name, prop)}" == line
            assert work.ask("admin.vm.property.Help", name, prop).endswith(".")
            work.ask("admin.vm.property.GetDefault", name, prop)


def test_properties_of_a_new_domain(work: Home) -> None:
    assert work.ask("admin.vm.property.GetAll", "work").splitlines() == [
        "name default=False type=str work",
        "klass default=False type=str AppVM",
        f"uuid default=False type=str {work.row('work')['uuid']}",
        "qid default=False type=int 2",
        "label default=False type=label red",
        "template default=False type=vm debian-12",
        "netvm default=True type=vm ",
        "default_dispvm default=True type=vm ",
        "memory default=True type=int 400",
        "vcpus default=True type=int 1",
        "default_user default=True type=str user",
        "qrexec_timeout default=True type=int 60",
        "shutdown_timeout default=True type=int 60",
        "template_for_dispvms default=True type=bool False",
        "fast_start default=True type=bool True",
    ]


def test_the_admin_domain_has_no_machine_to_set(work: Home) -> None:
    assert "memory" not in work.ask("admin.vm.property.List", "dom0")
    assert work.refused("admin.vm.property.Set", "dom0", "memory", "512").fault == Fault.NO_SUCH_PROPERTY


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("memory", "512", "512"),
        ("memory", "0512", "512"),
        ("vcpus", "2", "2"),
        ("default_user", "root", "root"),
        ("qrexec_timeout", "3600", "3600"),
        ("shutdown_timeout", "1", "1"),
        ("template_for_dispvms", "yes", "True"),
    ],
)
def test_a_value_that_is_set_is_kept_until_it_is_reset(work: Home, name: str, value: str, shown: str) -> None:
    default = work.ask("admin.vm.property.Get", "work", name)
    work.ask("admin.vm.property.Set", "work", name, value)
    kind = default.split()[1]
    assert work.ask("admin.vm.property.Get", "work", name) == f"default=False {kind} {shown}"
    assert work.ask("admin.vm.property.GetDefault", "work", name) == default.removeprefix("default=True ")
    work.ask("admin.vm.property.Reset", "work", name)
    assert work.ask("admin.vm.property.Get", "work", name) == default


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("memory", "", Fault.BAD_PROPERTY_VALUE),
        ("memory", "79", Fault.BAD_PROPERTY_VALUE),
        ("memory", "-1", Fault.BAD_PROPERTY_VALUE),
        ("memory", "1e3", Fault.BAD_PROPERTY_VALUE),
        ("memory", "9" * 50, Fault.BAD_PROPERTY_VALUE),
        ("memory", "512\n", Fault.BAD_PROPERTY_VALUE),
        ("memory", "\xb2", Fault.BAD_PROPERTY_VALUE),
        ("vcpus", "0", Fault.BAD_PROPERTY_VALUE),
        ("vcpus", "65", Fault.BAD_PROPERTY_VALUE),
        ("default_user", "Root", Fault.BAD_PROPERTY_VALUE),
        ("default_user", "", Fault.BAD_PROPERTY_VALUE),
        ("label", "pink", Fault.NO_SUCH_LABEL),
        ("template", "nowhere", Fault.NOT_FOUND),
        ("template", "work", Fault.BAD_PROPERTY_VALUE),
        ("template", "", Fault.BAD_PROPERTY_VALUE),
        ("netvm", "debian-12", Fault.BAD_PROPERTY_VALUE),
        ("name", "other", Fault.REFUSED),
        ("klass", "TemplateVM", Fault.REFUSED),
        ("uuid", "1", Fault.REFUSED),
        ("qid", "9", Fault.REFUSED),
        ("colour", "warm", Fault.NO_SUCH_PROPERTY),
        ("", "1", Fault.NO_SUCH_PROPERTY),
    ],
)
def test_what_cannot_be_set(work: Home, name: str, value: str, fault: Fault) -> None:
    before = all_of(work, "work")
    assert work.refused("admin.vm.property.Set", "work", name, value).fault == fault
    assert all_of(work, "work") == before


@pytest.mark.parametrize("method", ["Get", "GetDefault", "Help", "Reset"])
def test_a_property_nobody_knows(work: Home, method: str) -> None:
    for name in ("colour", ""):
        assert work.refused(f"admin.vm.property.{method}", "work", name).fault == Fault.NO_SUCH_PROPERTY
    assert work.refused(f"admin.vm.property.{method}", "debian-12", "template").fault == Fault.NO_SUCH_PROPERTY


def test_what_a_domain_is_has_no_default_to_go_back_to(work: Home) -> None:
    assert work.refused("admin.vm.property.Reset", "work", "label").fault == Fault.REFUSED


def test_a_label_changes_at_any_time(work: Home) -> None:
    work.ask("admin.vm.property.Set", "work", "label", "orange")
    assert work.row("work")["label"] == "orange"


def test_no_netvm_is_the_only_netvm(work: Home) -> None:
    for value in ("", "None"):
        work.ask("admin.vm.property.Set", "work", "netvm", value)


def test_a_template_changes_only_while_the_domain_is_halted(served: Home) -> None:
    served.build(name="other")
    served.create("work", "debian-12")
    served.start("work")
    assert served.refused("admin.vm.property.Set", "work", "template", "other").fault == Fault.NOT_HALTED
    served.shutdown("work")
    served.ask("admin.vm.property.Set", "work", "template", "other")
    assert served.row("work")["template"] == "other"
    served.ask("admin.vm.Remove", "debian-12")
    assert served.refused("admin.vm.Remove", "other").fault == Fault.IN_USE


def test_system_properties(work: Home) -> None:
    ask = work.ask
    assert ask("admin.property.List") == "default_template\ndefault_dispvm\n"
    assert ask("admin.property.Get", argument="default_template") == "default=True type=vm "
    ask("admin.property.Set", argument="default_template", payload="debian-12")
    assert ask("admin.property.Get", argument="default_template") == "default=False type=vm debian-12"
    assert ask("admin.property.GetAll") == (
        "default_template default=False type=vm debian-12\ndefault_dispvm default=True type=vm \n"
    )
    assert ask("admin.property.Help", argument="default_template").endswith(".")
    ask("admin.property.Reset", argument="default_template")
    assert ask("admin.property.Get", argument="default_template") == "default=True type=vm "
    assert ask("admin.property.GetDefault", argument="default_template") == "type=vm "


@pytest.mark.parametrize("nothing", ["", "None"])
def test_a_system_property_can_be_set_to_nothing(work: Home, nothing: str) -> None:
    work.ask("admin.property.Set", argument="default_template", payload="debian-12")
    with work.events() as events:
        work.ask("admin.property.Set", argument="default_template", payload=nothing)
        told = Event("", "property-set:default_template", (("name", "default_template"), ("newvalue", "")))
        assert events.until("property-set:default_template") == [told]
    assert work.ask("admin.property.Get", argument="default_template") == "default=True type=vm "


@pytest.mark.parametrize(
    ("method", "name", "value", "fault"),
    [
        ("Get", "colour", "", Fault.NO_SUCH_PROPERTY),
        ("Help", "colour", "", Fault.NO_SUCH_PROPERTY),
        ("GetDefault", "colour", "", Fault.NO_SUCH_PROPERTY),
        ("Reset", "", "", Fault.NO_SUCH_PROPERTY),
        ("Set", "colour", "debian-12", Fault.NO_SUCH_PROPERTY),
        ("Set", "default_template", "work", Fault.BAD_PROPERTY_VALUE),
        ("Set", "default_template", "nowhere", Fault.NOT_FOUND),
        ("Set", "default_template", "9", Fault.BAD_PROPERTY_VALUE),
    ],
)
def test_what_the_system_cannot_be_set_to(work: Home, method: str, name: str, value: str, fault: Fault) -> None:
    assert work.refused(f"admin.property.{method}", argument=name, payload=value).fault == fault
    assert work.ask("admin.property.Get", argument="default_template") == "default=True type=vm "


def test_tags_come_and_go(work: Home) -> None:
    assert work.ask("admin.vm.tag.List", "work") == ""
    for tag in ("mail", "a.b-c_1"):
        work.ask("admin.vm.tag.Set", "work", tag)
        work.ask("admin.vm.tag.Set", "work", tag)
    assert work.ask("admin.vm.tag.List", "work") == "a.b-c_1\nmail\n"
    assert work.ask("admin.vm.tag.Get", "work", "mail") == "1"
    work.ask("admin.vm.tag.Remove", "work", "mail")
    assert work.ask("admin.vm.tag.Get", "work", "mail") == "0"
    assert work.refused("admin.vm.tag.Remove", "work", "mail").fault == Fault.NO_SUCH_TAG


@pytest.mark.parametrize("kind", ["tag", "feature"])
@pytest.mark.parametrize("name", ["", "a+b", "x" * 128])
def test_words_that_name_no_tag_and_no_feature(work: Home, kind: str, name: str) -> None:
    before = all_of(work, "work")
    for method in ("Get", "Set", "Remove"):
        assert work.refused(f"admin.vm.{kind}.{method}", "work", name).fault == Fault.BAD_VALUE
    assert all_of(work, "work") == before


def test_features_come_and_go(work: Home) -> None:
    work.ask("admin.vm.feature.Set", "work", "colour", "warm 'n' 100%")
    work.ask("admin.vm.feature.Set", "work", "empty", "")
    assert work.ask("admin.vm.feature.List", "work") == "colour\nempty\n"
    assert work.ask("admin.vm.feature.Get", "work", "colour") == "warm 'n' 100%"
    assert work.ask("admin.vm.feature.Get", "work", "empty") == ""
    work.ask("admin.vm.feature.Remove", "work", "colour")
    for method in ("Get", "Remove", "CheckWithTemplate"):
        assert work.refused(f"admin.vm.feature.{method}", "work", "colour").fault == Fault.NO_SUCH_FEATURE


@pytest.mark.parametrize("value", ["two\nlines", "caf\xe9", "\x1b[31m"])
def test_a_feature_is_printable_ascii(work: Home, value: str) -> None:
    assert work.refused("admin.vm.feature.Set", "work", "colour", value).fault == Fault.BAD_VALUE
    assert work.ask("admin.vm.feature.List", "work") == ""


def test_a_feature_is_looked_for_where_the_method_says(work: Home) -> None:
    for name, feature in (("debian-12", "ours"), ("dom0", "ours"), ("dom0", "mine")):
        work.ask("admin.vm.feature.Set", name, feature, f"of {name}")

    def check(where: str, feature: str) -> str:
        return work.ask(f"admin.vm.feature.CheckWith{where}", "work", feature)

    assert check("Template", "ours") == "of debian-12"
    assert check("AdminVM", "ours") == "of dom0"
    assert check("TemplateAndAdminVM", "ours") == "of debian-12"
    assert check("TemplateAndAdminVM", "mine") == "of dom0"
    assert work.refused("admin.vm.feature.CheckWithTemplate", "work", "mine").fault == Fault.NO_SUCH_FEATURE
    work.ask("admin.vm.feature.Set", "work", "ours", "own")
    assert check("TemplateAndAdminVM", "ours") == "own"


def test_the_fields_labels(shared: Home) -> None:
    names = "red orange yellow green gray blue purple black".split()
    assert shared.ask("admin.label.List").splitlines() == names
    assert shared.ask("admin.label.Get", argument="red") == "0xcc0000"
    assert [shared.ask("admin.label.Index", argument=name) for name in names] == list("12345678")
    for method in ("Get", "Index"):
        assert shared.refused(f"admin.label.{method}", argument="pink").fault == Fault.NO_SUCH_LABEL


def test_classes_are_listed(shared: Home) -> None:
    assert shared.ask("admin.vmclass.List") == "AppVM\nStandaloneVM\nDispVM\nTemplateVM\nAdminVM\n"


def test_what_was_set_outlives_the_manager(served: Home) -> None:
    served.create("work", label="gray")
    served.ask("admin.vm.property.Set", "work", "memory", "512")
    served.ask("admin.vm.tag.Set", "work", "mail")
    served.ask("admin.vm.feature.Set", "work", "colour", "warm")
    served.ask("admin.property.Set", argument="default_template", payload="debian-12")
    before = all_of(served, "work"), served.ask("admin.vm.List"), served.ask("admin.property.GetAll")
    served.kill_manager()
    served.start_manager()
    assert (all_of(served, "work"), served.ask("admin.vm.List"), served.ask("admin.property.GetAll")) == before
