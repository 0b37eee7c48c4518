"""The policy's directories: which file counts, and that an edit is taken in whole, once it is done, or not at all."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bento.host.manager import policy as module
from bento.host.manager.edited import read
from bento.host.manager.policy import PATIENCE, SETTLE, PolicyFiles
from bento.host.policy.files import Policy, PolicyBroken, PolicyRules

DENY = "s * * * deny\n"
ALLOW = "s * * * allow\n"
LONG_AGO = 1_000_000.0


class Directories:
    """Three of them, and a clock that moves only while the policy waits."""

    def __init__(self, tmp_path: Path) -> None:
        self.run, self.own, self.system = (tmp_path / name for name in ("run", "own", "system"))
        self.own.mkdir()
        self.time = 0.0
        self.wall = 4e9
        """Long after every file here was written; see `just_now`."""
        self.meanwhile: Callable[[], object] = lambda: None
        self.told: list[str] = []
        self.policies = self.manager()

    def manager(self) -> PolicyFiles:
        """As one that has just started."""
        directories = self.run, self.own, self.system
        return PolicyFiles(
            directories,
            self.own,
            self.told.append,
            clock=lambda: self.time,
            now=lambda: self.wall,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.time += seconds
        self.meanwhile()

    def just_now(self) -> None:
        """Every edit is fresh from here on."""
        self.wall = 0.0

    def current(self) -> Policy:
        step = self.policies.current()
        with pytest.raises(StopIteration) as done:
            step.send(None)
        policy: Policy = done.value.value
        return policy

    def rules(self) -> list[str]:
        policy = self.current()
        assert isinstance(policy, PolicyRules)
        return [str(rule) for rule in policy.rules]


@pytest.fixture
def at(tmp_path: Path) -> Directories:
    return Directories(tmp_path)


def write(directory: Path, name: str, text: str) -> None:
    (directory / name).parent.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(text)


def test_the_run_time_directory_shadows_the_persons_and_that_the_systems(at: Directories) -> None:
    for directory in (at.system, at.own, at.run):
        write(directory, f"{directory.name}.policy", f"{directory.name} * * * deny\n")
        write(directory, "all.policy", f"all.{directory.name} * * * deny\n")
    write(at.system, "both.policy", "both.system * * * deny\n")
    write(at.own, "both.policy", "both.own * * * deny\n")
    services = ["all.run", "both.own", "own", "run", "system"]
    assert at.rules() == [f"{service} * * * deny" for service in services]


def test_an_included_file_is_shadowed_by_its_path(at: Directories) -> None:
    write(at.system, "30.policy", "!include include/x\n!include-dir more\n!compat-4.0\n")
    write(at.system, "include/x", DENY)
    write(at.own, "include/x", ALLOW)
    write(at.own, "more/a.policy", "a * * * deny\n")
    write(at.run, "compat-4.0/b", "$anyvm $anyvm deny\n")
    assert at.rules() == ["s * * * allow", "a * * * deny", "b * @anyvm @anyvm deny"]


def test_only_the_persons_directory_has_to_be_there(at: Directories) -> None:
    assert at.rules() == []
    at.own.rmdir()
    at.policies = at.manager()
    policy = at.current()
    assert isinstance(policy, PolicyBroken)
    assert str(policy.fault) == f"{at.own}: cannot be read: No such file or directory"
    at.own.mkdir()
    assert at.rules() == []


def test_files_that_did_not_change_are_not_read_again(at: Directories, monkeypatch: pytest.MonkeyPatch) -> None:
    write(at.own, "30.policy", DENY)
    first = at.current()
    monkeypatch.setattr(module, "assemble", lambda _files: pytest.fail("it was read again"))
    assert at.current() is first


@pytest.mark.parametrize("directory", ["run", "own", "system"])
def test_an_edit_anywhere_takes_effect_at_the_next_call(at: Directories, directory: str) -> None:
    write(at.own, "30.policy", DENY)
    assert at.rules() == ["s * * * deny"]
    path = getattr(at, directory)
    write(path, "20.policy", ALLOW)
    assert at.rules() == ["s * * * allow", "s * * * deny"]
    write(path, "20.policy", "")
    assert at.rules() == ["s * * * deny"]
    write(path, "deep/x", ALLOW)
    write(path, "20.policy", "!include deep/x\n")
    assert at.rules() == ["s * * * allow", "s * * * deny"]
    write(path, "deep/x", DENY)
    assert at.rules() == ["s * * * deny", "s * * * deny"]
    (path / "20.policy").rename(path / "20.off")
    assert at.rules() == ["s * * * deny"]


def test_a_mistake_at_the_start_denies_everything_until_it_is_mended(at: Directories) -> None:
    write(at.own, "10.policy", ALLOW)
    write(at.own, "20.policy", "s * * * perhaps\n")
    assert isinstance(at.current(), PolicyBroken)
    assert at.told == [
        "the policy has a mistake, and every call is denied until it is mended: "
        "20.policy:1:9: expected allow, ask or deny, found 'perhaps'"
    ]
    write(at.own, "20.policy", "s * * * maybe\n")
    assert isinstance(at.current(), PolicyBroken)
    assert len(at.told) == 2
    write(at.own, "20.policy", DENY)
    assert at.rules() == ["s * * * allow", "s * * * deny"]


def test_after_the_start_a_mistake_leaves_the_policy_of_before_in_force_and_is_told_once(at: Directories) -> None:
    write(at.own, "10.policy", ALLOW)
    before = at.current()
    write(at.own, "10.policy", "s * * * perhaps\n")
    for _ in range(3):
        assert at.current() is before
    assert str(at.policies.fault).startswith("10.policy:1:9: ")
    write(at.own, "README", "this changes nothing")
    assert at.current() is before
    assert at.told == [
        "the policy has a mistake, and the policy of before holds until it is mended: "
        "10.policy:1:9: expected allow, ask or deny, found 'perhaps'"
    ]
    write(at.own, "10.policy", DENY)
    assert at.rules() == ["s * * * deny"]
    assert at.policies.fault is None
    write(at.own, "10.policy", "s * * * perhaps\n")
    assert isinstance(at.current(), PolicyRules)
    assert len(at.told) == 2


def test_a_policy_file_that_cannot_be_read_is_a_mistake(at: Directories) -> None:
    write(at.own, "10.policy", ALLOW)
    before = at.current()
    os.mkfifo(at.own / "20.policy")
    assert at.current() is before
    assert at.current() is before
    assert [told.rpartition(": ")[2] for told in at.told] == ["is not a plain file"]
    (at.own / "20.policy").unlink()
    write(at.own, "10.policy", DENY)
    assert at.rules() == ["s * * * deny"]


def test_what_cannot_be_included_is_missed_only_where_it_is_included(at: Directories) -> None:
    os.mkfifo(at.own / "pipe")
    write(at.own, "large", "#" * (module.MAX_INCLUDED + 1))
    (at.own / "gone").symlink_to("nowhere")
    write(at.own, ".hidden/x", ALLOW)
    write(at.own, "10.policy", ALLOW)
    assert at.rules() == ["s * * * allow"]
    for name in ("pipe", "large", "gone", ".hidden/x"):
        write(at.own, "10.policy", f"!include {name}\n")
        at.current()
        assert f"there is no '{name}' below the policy" in str(at.policies.fault)


def test_directories_are_looked_into_so_deep_and_no_loop_of_links_holds_that_up(at: Directories) -> None:
    write(at.own, "a/b/c/d/x", ALLOW)
    (at.own / "a/again").symlink_to(at.own)
    write(at.own, "10.policy", "!include a/b/c/d/x\n")
    assert at.rules() == ["s * * * allow"]


# ---- edits that are under way --------------------------------------------------------------------


def test_a_call_waits_until_an_edit_is_done(at: Directories) -> None:
    write(at.own, "10.policy", f"{DENY}{ALLOW}")
    at.current()
    at.just_now()
    steps = iter([ALLOW[:5], ALLOW, f"{ALLOW}{DENY}"])
    at.meanwhile = lambda: write(at.own, "10.policy", next(steps)) if at.time < SETTLE else None
    write(at.own, "10.policy", "")  # the writer has emptied the file ...
    assert at.rules() == ["s * * * allow", "s * * * deny"]  # ... and nobody saw it empty
    assert at.told == []
    assert SETTLE < at.time < 4 * SETTLE


def test_an_edit_that_was_done_long_ago_is_not_waited_for(at: Directories) -> None:
    write(at.own, "10.policy", DENY)
    at.current()
    write(at.own, "10.policy", ALLOW)
    assert at.rules() == ["s * * * allow"]
    assert at.time == 0.0


def test_a_file_that_never_rests_leaves_the_policy_of_before_in_force(at: Directories) -> None:
    write(at.own, "10.policy", DENY)
    before = at.current()
    at.just_now()
    at.meanwhile = lambda: write(at.own, "10.policy", "#" * int(at.time * 1000))
    write(at.own, "10.policy", "")
    assert at.current() is before
    assert PATIENCE <= at.time < PATIENCE + SETTLE


def test_files_that_change_while_they_are_read_are_read_again(at: Directories, monkeypatch: pytest.MonkeyPatch) -> None:
    write(at.own, "10.policy", DENY)
    write(at.own, "20.policy", DENY)
    at.current()
    write(at.own, "10.policy", ALLOW)
    edits = iter([lambda: write(at.own, "10.policy", "t * * * allow\n")])

    def read_slowly(path: Path) -> bytes:
        content = read(path)
        next(edits, lambda: None)()
        return content

    monkeypatch.setattr(module, "read", read_slowly)
    assert at.rules() == ["t * * * allow", "s * * * deny"]


def test_a_start_amid_files_that_never_rest_denies_everything(at: Directories, monkeypatch: pytest.MonkeyPatch) -> None:
    write(at.own, "10.policy", ALLOW)
    texts = iter(range(10**6))

    def read_in_vain(path: Path) -> bytes:
        content = read(path)
        write(at.own, "10.policy", "#" * next(texts))
        return content

    monkeypatch.setattr(module, "read", read_in_vain)
    for policy in (at.current(), at.policies.in_force()):
        assert isinstance(policy, PolicyBroken)
        assert str(policy.fault) == f"{at.own}: expected files that rest for a moment; they keep changing"
    monkeypatch.undo()
    assert at.rules() == []


def test_a_start_does_not_wait_for_an_edit_that_was_just_made(at: Directories) -> None:
    at.just_now()
    write(at.own, "10.policy", DENY)
    assert at.rules() == ["s * * * deny"]
    assert at.time == 0.0


# ---- the default ---------------------------------------------------------------------------------


def test_a_new_home_gets_a_policy_that_explains_itself_and_allows_nothing(at: Directories) -> None:
    at.own.rmdir()
    at.policies.ensure_default()
    assert [path.name for path in at.own.iterdir()] == ["90-default.policy"]
    assert at.rules() == []


@pytest.mark.parametrize("directory", ["own", "system"])
def test_where_there_is_a_policy_none_is_written(at: Directories, directory: str) -> None:
    write(getattr(at, directory), "30.policy", DENY)
    at.policies.ensure_default()
    assert [path.name for path in at.own.iterdir()] == (["30.policy"] if directory == "own" else [])
