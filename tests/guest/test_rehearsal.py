"""What the agent of a seed does ahead, on any machine. What its copies gain, `bench/` measures."""

import gc
import os
from pathlib import Path

import pytest

from bento.guest import rehearsal
from bento.guest.agent import Agent
from bento.guest.loop import Loop
from bento.guest.place import PRIVATE_AWAITED, Domain, Loopback
from bento.guest.rehearsal import NOBODY, PROGRAM, play, use_the_time
from bento.wire.rpc import Identity
from bento.wire.vmexec import encode_command


class Stage(Loopback):
    """Remembers what was asked of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root), lambda: None)
        self.became: list[str] = []
        self.settled: list[str] = []

    def adopt(self, identity: Identity) -> None:
        self.became.append(identity.name)

    def settle(self, identity: Identity) -> None:
        self.settled.append(identity.name)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_a_rehearsal_goes_from_the_greeting_to_the_end_of_a_call(stage: Stage, tmp_path: Path) -> None:
    served, services = tmp_path / "served", tmp_path / "etc/qubes-rpc"
    services.mkdir(parents=True)
    service = services / f"qubes.VMExec+{encode_command([PROGRAM])}"
    service.write_text(f"#!/bin/sh\necho done >{served}\n")
    service.chmod(0o755)
    play(stage)
    assert stage.became == stage.settled == [NOBODY]
    assert served.read_text() == "done\n"


def test_a_rehearsal_runs_nothing_but_what_the_template_has() -> None:
    its = rehearsal.stage()
    assert (its.services, its.settings) == (("/etc/qubes-rpc",), ("/etc/qubes/rpc-config",))
    assert os.path.isabs(PROGRAM)


def test_a_rehearsal_leaves_nothing_behind_and_can_be_repeated(stage: Stage) -> None:
    gc.collect()  # of other tests
    before, born = set(os.listdir("/proc/self/fd")), children()
    play(stage)
    play(stage)
    gc.collect()
    assert os.listdir(stage.run) == []
    assert set(os.listdir("/proc/self/fd")) == before
    assert children() <= born


def children() -> set[str]:
    """Of this process, also such as ended and were not waited for (proc(5)): other tests may have left some."""
    return {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


def test_a_machine_that_was_greeted_has_no_time_for_a_rehearsal(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played: list[object] = []
    monkeypatch.setattr("bento.guest.rehearsal.play", played.append)
    monkeypatch.setattr("bento.guest.rehearsal.stage", lambda: None)
    agent = Agent(Loop(), stage)
    use_the_time(agent)
    assert len(played) == 1
    agent.hear(b"\0")
    use_the_time(agent)
    assert len(played) == 1


def test_a_rehearsal_does_not_take_the_volume_that_waits_for_the_domain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A seed of AppVMs that is saved late, or a copy that is greeted late, rehearses when it has let go of its volume.
    taken: list[str] = []
    monkeypatch.setattr("bento.guest.identity.adopt", lambda _identity, _run: None)
    monkeypatch.setattr(Domain, "mind_private", lambda domain, *_words: taken.append(domain.run))
    (tmp_path / PRIVATE_AWAITED).touch()
    identity = Identity(NOBODY, "AppVM", bytes(32), 0)
    Domain(str(tmp_path / "rehearsal")).adopt(identity)
    assert taken == []
    Domain(str(tmp_path)).adopt(identity)
    assert taken == [str(tmp_path)]
