"""Properties, tags and features."""

import json

import pytest

from bento.wire.admin import Failure, Fault
from tests.cli.conftest import Bento
from tests.cli.fake import FakeManager

ALL = b"memory default=False type=int 300\nkernelopts default=True type=str a\\\\b\\nc\nnetvm default=True type=vm \n"


def test_all_properties_are_a_table(manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    manager.answers["admin.vm.property.GetAll"] = ALL
    assert bento("prefs", "work") == 0
    assert capsys.readouterr().out == (
        "PROPERTY    D  VALUE\nkernelopts  D  a\\b^Jc\nmemory         300\nnetvm       D  -\n"
    )


def test_all_properties_are_an_object(manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    manager.answers["admin.vm.property.GetAll"] = ALL
    assert bento("prefs", "work", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "memory": {"value": 300, "type": "int", "default": False},
        "kernelopts": {"value": "a\\b\nc", "type": "str", "default": True},
        "netvm": {"value": None, "type": "vm", "default": True},
    }


def test_one_property_is_its_value(manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    manager.answers["admin.vm.property.Get+autostart work"] = b"default=True type=bool True"
    assert bento("prefs", "work", "autostart") == 0
    assert bento("prefs", "work", "autostart", "--json") == 0
    assert capsys.readouterr().out == 'True\n{\n  "value": true,\n  "type": "bool",\n  "default": true\n}\n'


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("prefs", "work", "memory", "300"), "admin.vm.property.Set+memory work '300'"),
        (("prefs", "work", "kernelopts", ""), "admin.vm.property.Set+kernelopts work"),
        (("prefs", "work", "memory", "--default"), "admin.vm.property.Reset+memory work"),
        (("prefs", "--global", "clockvm", "work"), "admin.property.Set+clockvm dom0 'work'"),
        (("prefs", "--global", "clockvm", "-D"), "admin.property.Reset+clockvm dom0"),
        (("features", "work", "gui", "1"), "admin.vm.feature.Set+gui work '1'"),
        (("features", "work", "gui", ""), "admin.vm.feature.Set+gui work"),
        (("features", "work", "gui", "--unset"), "admin.vm.feature.Remove+gui work"),
    ],
)
def test_setting_and_taking_back(manager: FakeManager, bento: Bento, words: tuple[str, ...], asked: str) -> None:
    manager.answers[asked.partition("+")[0]] = b""
    assert bento(*words) == 0
    assert manager.asked == [asked]


@pytest.mark.parametrize(
    "words",
    [
        ("prefs",),
        ("prefs", "work", "memory", "1", "2"),
        ("prefs", "work", "--default"),
        ("prefs", "work", "memory", "300", "--default"),
        ("prefs", "work", "mem ory", "1"),
        ("prefs", "work", "", "1"),
        ("tags", "work", "add"),
        ("tags", "work", "add", "good", "b d"),
        ("tags", "work", "put", "x"),
        ("features", "work", "--unset"),
        ("features", "work", "g ui"),
        ("features",),
    ],
)
def test_what_makes_no_sense_is_one_sentence_and_never_asked(
    manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert bento(*words) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert manager.requests == []


@pytest.mark.parametrize(("verb", "what"), [("prefs", "a property name"), ("features", "a feature name")])
def test_a_name_that_cannot_be_is_called_what_it_was_meant_as(
    bento: Bento, capsys: pytest.CaptureFixture[str], verb: str, what: str
) -> None:
    assert bento(verb, "work", "x y", "1") == 2
    assert capsys.readouterr().err.startswith(f"bento: 'x y' is not {what} (")


def test_tags_are_lines(manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    manager.answers["admin.vm.tag.List"] = b"a\nb\n"
    assert bento("tags", "work") == 0
    assert bento("tags", "work", "--json") == 0
    assert capsys.readouterr().out == 'a\nb\n[\n  "a",\n  "b"\n]\n'


@pytest.mark.parametrize(("verb", "method"), [("add", "Set"), ("del", "Remove")])
def test_tags_change_one_by_one(manager: FakeManager, bento: Bento, verb: str, method: str) -> None:
    manager.answers[f"admin.vm.tag.{method}"] = b""
    assert bento("tags", "work", verb, "a", "b") == 0
    assert manager.asked == [f"admin.vm.tag.{method}+a work", f"admin.vm.tag.{method}+b work"]


def test_features_are_shown_with_their_values(
    manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]
) -> None:
    manager.answers["admin.vm.feature.List"] = b"gui\nempty\nos\n"
    manager.answers["admin.vm.feature.Get+gui work"] = b"1"
    manager.answers["admin.vm.feature.Get+empty work"] = b""
    manager.answers["admin.vm.feature.Get+os work"] = b"Linux"
    assert bento("features", "work") == 0
    assert bento("features", "work", "--json") == 0
    table, _, rest = capsys.readouterr().out.partition("{")
    assert table == "FEATURE  VALUE\nempty\ngui      1\nos       Linux\n"
    assert json.loads("{" + rest) == {"gui": "1", "empty": "", "os": "Linux"}
    assert bento("features", "work", "os") == 0
    assert bento("features", "work", "os", "--json") == 0
    assert capsys.readouterr().out == 'Linux\n"Linux"\n'


def test_an_unknown_feature_is_the_managers_sentence(
    manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]
) -> None:
    manager.answers["admin.vm.feature.List"] = b"gui\n"
    manager.answers["admin.vm.feature.Get"] = Failure(Fault.NO_SUCH_FEATURE, "'work' has no feature 'gui'")
    assert bento("features", "work", "gui") == 2
    assert bento("features", "work") == 2  # it went away between the two questions
    assert capsys.readouterr().err == "bento: 'work' has no feature 'gui'\n" * 2


def test_a_property_that_is_none_is_the_managers_fault(manager: FakeManager, bento: Bento) -> None:
    manager.answers["admin.vm.property.Get"] = b"42"
    assert bento("prefs", "work", "memory") == 4
