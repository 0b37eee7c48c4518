"""The audit log: a line for each call that proceeds before it does, and no source that washes out what others did."""

import asyncio
import errno
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bento.host.manager import audit as module
from bento.host.manager.audit import MINUTE, REFUSALS, Audit
from bento.host.manager.chains import Chain
from bento.host.manager.events import Events
from bento.host.model.audit import Began, Counted, Decided, Dropped, Entry, Sound, Verdict, parse_line, verify
from bento.host.model.errors import Unavailable
from bento.host.policy.decide import Call
from bento.wire.admin import Event, Fault
from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName
from bento.wire.rpc import ExitCode
from tests.host.manager.home import Home, Listener, new_home

FOE, WORK = TargetName("foe"), TargetName("work")


class Clock:
    now = 1_000 * MINUTE

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> Audit:
    return Audit(tmp_path / "audit", Events(), clock)


def call(source: str, service: str = "test.Add") -> Call:
    return Call(DomainName(source), ServiceName(service), ServiceArgument("secret"), TargetName("vault"))


def refuse(log: Audit, source: TargetName, times: int = 1) -> None:
    for _ in range(times):
        log.record(source, call(source), Verdict.DENIED, reason="no rule")


def allow(log: Audit, source: TargetName, times: int = 1) -> None:
    for _ in range(times):
        log.record(source, call(source), Verdict.ALLOWED, chosen=TargetName("vault"), rule="30-user.policy:1")


def entries(log: Audit, lane: str) -> list[Entry]:
    with log.read() as chains:
        return [parse_line(line).entry for line in chains[TargetName(lane)].lines()]


def sound(log: Audit) -> bool:
    with log.read() as chains:
        return all(isinstance(verify(c.lines(), c.first, [c.head]), Sound) for c in chains.values())


def test_a_decision_is_there_with_all_that_was_decided(log: Audit, clock: Clock) -> None:
    log.record(
        WORK,
        call("work"),
        Verdict.CONSENTED,
        chosen=TargetName("vault"),
        rule="30-user.policy:7",
        policy="f" * 64,
        grant="session:3",
        reason="Th\u00e9 person\nsaid so",
    )
    began, said = entries(log, "work")
    assert isinstance(began, Began)
    assert isinstance(said, Decided)
    assert (said.time, said.source, said.service, said.asked) == (clock.now, "work", "test.Add", "vault")
    assert (said.chosen, said.verdict, said.rule) == ("vault", Verdict.CONSENTED, "30-user.policy:7")
    assert (said.policy, said.grant, said.reason) == ("f" * 64, "session:3", "Th? person?said so")
    assert "secret" not in "".join(map(str, entries(log, "work")))


def test_refusals_without_end_are_counted_in_one_line_a_minute(log: Audit, clock: Clock) -> None:
    began = clock.now
    refuse(log, FOE, REFUSALS + 5)
    clock.now += MINUTE
    refuse(log, FOE)
    found = entries(log, "foe")[1:]
    assert [type(entry) for entry in found] == [*[Decided] * REFUSALS, Counted, Decided]
    assert found[REFUSALS] == Counted(clock.now, DomainName("foe"), began, 5)


def test_what_was_counted_is_written_when_the_minute_is_over_even_if_nothing_more_comes(
    log: Audit, clock: Clock
) -> None:
    refuse(log, FOE, REFUSALS + 5)
    clock.now += MINUTE - 1
    asyncio.run(log.settle())
    assert not isinstance(entries(log, "foe")[-1], Counted)
    clock.now += 1
    asyncio.run(log.settle())
    assert isinstance(entries(log, "foe")[-1], Counted)
    clock.now += MINUTE
    asyncio.run(log.settle())
    assert sum(isinstance(entry, Counted) for entry in entries(log, "foe")) == 1


def test_what_was_counted_is_written_at_the_end(log: Audit) -> None:
    refuse(log, FOE, REFUSALS + 5)
    asyncio.run(log.close())
    assert isinstance(entries(log, "foe")[-1], Counted)


def test_calls_that_proceed_have_their_own_line_however_many_were_refused(log: Audit) -> None:
    refuse(log, FOE, REFUSALS + 5)
    allow(log, FOE, 3 * REFUSALS)
    proceeded = [entry for entry in entries(log, "foe") if isinstance(entry, Decided) and entry.verdict.proceeds]
    assert len(proceeded) == 3 * REFUSALS


def test_the_refusals_of_one_do_not_count_against_another(log: Audit) -> None:
    refuse(log, FOE, REFUSALS + 5)
    refuse(log, WORK, REFUSALS)
    assert len(entries(log, "work")) == 1 + REFUSALS


def test_calls_that_a_server_spoils_cost_their_caller_no_line(log: Audit, clock: Clock) -> None:
    for _ in range(REFUSALS + 5):
        log.record(FOE, call("work"), Verdict.CUT, chosen=FOE)
    refuse(log, WORK, REFUSALS)
    assert [type(entry) for entry in entries(log, "work")] == [Began, *[Decided] * REFUSALS]
    asyncio.run(log.close())
    assert isinstance(entries(log, "work")[-1], Decided)
    assert isinstance(entries(log, "foe")[-1], Counted)


def test_who_floods_the_log_pushes_out_lines_of_its_own_and_no_others(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Chain", lambda directory, now: Chain(directory, now, 4000))
    log = Audit(tmp_path / "audit", Events(), clock, total=20_000)
    allow(log, WORK, 12)
    before = entries(log, "work")
    for _ in range(50):
        allow(log, FOE, 20)
        asyncio.run(log.settle())
        assert sum(path.stat().st_size for path in (tmp_path / "audit").rglob("*.log")) <= 20_000
        assert sound(log)
    assert entries(log, "work") == before
    left = entries(log, "foe")
    assert 10 < len(left) < 100
    assert any(isinstance(entry, Dropped) for entry in left)
    again = Audit(tmp_path / "audit", Events(), clock)
    assert entries(again, "foe") == left


def test_a_log_that_cannot_be_written_refuses_the_call_and_says_what_to_do_once(tmp_path: Path, clock: Clock) -> None:
    events = Events()
    (tmp_path / "audit").write_text("no directory")
    with events.listen() as heard:
        log = Audit(tmp_path / "audit", events, clock)
        for _ in range(2):
            with pytest.raises(Unavailable, match=r"cannot be written .*, so no call is made; free space"):
                allow(log, WORK)
        assert heard.qsize() == 1
        (tmp_path / "audit").unlink()
        (tmp_path / "audit").mkdir()
        allow(log, WORK)
        assert heard.qsize() == 1
    assert len(entries(log, "work")) == 2


def test_a_full_disk_refuses_calls_until_there_is_room(log: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(log, WORK)
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda _fd, _data: _raise(OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(Unavailable, match="No space left"):
            allow(log, WORK)
        with pytest.raises(Unavailable, match="No space left"):
            refuse(log, WORK)
    allow(log, WORK)
    assert [type(entry) for entry in entries(log, "work")] == [Began, Decided, Decided]
    assert sound(log)


def test_what_the_disk_did_not_keep_is_no_log_and_no_call_is_made_any_more(
    log: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(log, WORK)
    monkeypatch.setattr(module, "sync", lambda _: _raise(OSError(errno.EIO, "Input/output error")))
    asyncio.run(log.settle())
    monkeypatch.undo()
    with pytest.raises(Unavailable, match=r"did not take .*Input/output error.*'bento audit verify'"):
        allow(log, WORK)


def test_all_that_was_written_is_put_on_disk_with_its_names(
    tmp_path: Path, log: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[Path] = set()
    monkeypatch.setattr(module, "sync", synced.add)
    allow(log, WORK)
    asyncio.run(log.settle())
    place = tmp_path / "audit"
    assert synced == {place, place / "work", place / "work/0000000000000001.log"}
    synced.clear()
    asyncio.run(log.settle())
    assert not synced


def test_keeping_waits_for_something_to_keep(log: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SYNC_SECONDS", 0.0)
    rounds: list[int] = []

    async def keep() -> None:
        async def settle() -> None:
            await Audit.settle(log)
            rounds.append(len(entries(log, "work")))
            settled.set()

        settled = asyncio.Event()
        monkeypatch.setattr(log, "settle", settle)
        keeping = asyncio.create_task(log.keep())
        for _ in range(3):
            settled.clear()
            allow(log, WORK)
            await settled.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        keeping.cancel()

    asyncio.run(keep())
    assert rounds == [2, 3, 4]


def _raise(error: Exception) -> Any:
    raise error


# ---- with a manager ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two() -> Iterator[Home]:
    """`work` and `random` run; `work` serves test.Add, and `random` may call it."""
    with new_home() as home:
        home.start_manager()
        home.build()
        for name in ("work", "random"):
            home.create(name)
            home.start(name)
        home.install("work", "test.Add", "cat")
        home.policy("test.Add * random work allow\n")
        yield home


def shown(home: Home, **fields: str) -> list[dict[str, Any]]:
    return [json.loads(dict(event.details)["json"]) for event in streamed(home, "Show", fields) if event.name == "line"]


def streamed(home: Home, method: str, fields: dict[str, str]) -> list[Event]:
    payload = "".join(f"{key}={value}\n" for key, value in fields.items())
    with home.send(f"bento.audit.{method}", payload=payload) as connection:
        return Listener(connection).rest()


def verified(home: Home, kept: str = "") -> dict[str, Event]:
    with home.send("bento.audit.Verify", payload=kept) as connection:
        return {event.subject: event for event in Listener(connection).rest()}


def heads(found: dict[str, Event]) -> str:
    rows = [(event.subject, dict(event.details)) for event in found.values()]
    return "".join(f"{name} {row['count']} {row['hash']}\n" for name, row in rows)


def segment(home: Home, name: str) -> Path:
    return home.path / "audit" / name / "0000000000000001.log"


def test_an_allowed_a_refused_and_a_host_call_each_have_their_line(two: Home) -> None:
    assert two.run_from("random", "work", "test.Add+arg").code == 0
    assert two.run_from("random", "nowhere", "test.Other").code == ExitCode.REFUSED
    allowed, denied = shown(two, source="random", count="2")
    assert (allowed["service"], allowed["asked"], allowed["chosen"]) == ("test.Add", "work", "work")
    assert (allowed["verdict"], allowed["rule"], allowed["grant"]) == ("allow", "30-user.policy:1", "")
    assert (denied["verdict"], denied["asked"], denied["chosen"], denied["rule"]) == ("deny", "nowhere", "", "")
    assert "no rule for @default" in denied["reason"]
    assert allowed["policy"] == denied["policy"] != ""
    host = shown(two, source="dom0", count="1")[0]
    assert (host["verdict"], host["service"], host["chosen"], host["policy"]) == ("admin", "qubes.VMExec", "random", "")
    assert {event.name for event in verified(two).values()} == {"sound"}


def test_the_line_stands_before_the_service_says_a_word(two: Home) -> None:
    two.install("work", "test.Add", "echo here; cat")
    before = len(shown(two, source="random", target="work"))
    with two.call_from("random", "work", "test.Add") as leg:
        assert leg.sock.recv(1, socket.MSG_PEEK)
        assert len(shown(two, source="random", target="work")) == before + 1
        leg.give(b"")
        assert leg.outcome().code == 0


def test_lines_are_found_by_source_target_and_refusal(two: Home) -> None:
    two.run_from("random", "work", "test.Add")
    two.run_from("random", "work", "test.Refused")
    assert {row["source"] for row in shown(two, source="random") if row["kind"] == "decided"} == {"random"}
    assert {row["verdict"] for row in shown(two, denied="yes")} == {"deny"}
    assert {row["asked"] for row in shown(two, target="work")} == {"work"}
    assert shown(two, target="nobody") == []
    everything = shown(two, count="1000")
    assert [row["time"] for row in everything] == sorted(row["time"] for row in everything)
    assert shown(two, count="3") == everything[-3:]


def test_why_gives_the_rules_text_while_its_policy_is_in_force(two: Home) -> None:
    two.run_from("random", "work", "test.Add")
    (line,) = shown(two, source="random", count="1", why="yes")
    assert (line["in_force"], line["rule_text"]) == (True, "test.Add * random work allow")
    two.policy("test.Add * random work allow\n# another\n")
    (line,) = shown(two, source="random", count="1", why="yes")
    assert (line["in_force"], line["rule_text"]) == (False, None)
    (line,) = shown(two, source="dom0", count="1", why="yes")
    assert (line["in_force"], line["rule_text"]) == (False, None)


def test_a_log_that_was_changed_is_found_broken_at_its_line_and_shown_without_it(two: Home) -> None:
    two.run_from("random", "work", "test.Add")
    kept = heads(verified(two))
    two.run_from("random", "work", "test.Add")
    assert {event.name for event in verified(two, kept).values()} == {"sound"}
    path = segment(two, "random")
    before = path.read_bytes()
    try:
        path.write_bytes(before.replace(b'"verdict":"allow"', b'"verdict":"admin"', 1))
        found = verified(two)
        assert found["work" if "work" in found else "dom0"].name == "sound"
        broken = dict(found["random"].details)
        assert broken["why"] == "does not have the hash of what it says"
        assert streamed(two, "Show", {})[-1] == Event("", "damaged", (("count", "1"),))
    finally:
        path.write_bytes(before)
    missing = verified(two, f"{kept}vault 3 {'0' * 64}\n")["vault"]
    assert missing.name == "broken"


@pytest.mark.parametrize(
    ("method", "payload"),
    [
        ("Show", "count=0"),
        ("Show", "count=\u0661"),
        ("Show", "denied=perhaps"),
        ("Show", "source=-"),
        ("Show", "colour=red"),
        ("Verify", "work 1"),
        ("Verify", f"work 1 {'0' * 63}"),
        ("Verify", f"- 1 {'0' * 64}"),
        ("Verify", f"work -1 {'0' * 64}"),
    ],
)
def test_a_question_that_makes_no_sense(two: Home, method: str, payload: str) -> None:
    assert two.refused(f"bento.audit.{method}", payload=payload).fault == Fault.BAD_VALUE


def test_without_a_log_no_call_is_made(home: Home) -> None:
    home.start_manager()
    home.build()
    home.create("work")
    home.start("work")
    assert home.run("work", "true").code == 0
    (home.path / "audit/dom0").rename(home.path / "audit/.dom0")
    home.stop_manager()
    (home.path / "audit/dom0").write_text("in the way")
    home.start_manager()
    refused = home.refused("bento.vm.Call", "work", "qubes.VMShell")
    assert "the audit log cannot be written" in refused.sentence
    assert "no call is made" in refused.sentence


def test_a_killed_manager_loses_no_line(home: Home) -> None:
    home.start_manager()
    home.build()
    home.create("work")
    home.start("work")
    for _ in range(3):
        home.run("work", "true")
    before = segment(home, "dom0").read_bytes()
    home.kill_manager()
    with segment(home, "dom0").open("ab") as file:
        file.write(b"torn")
    home.start_manager()
    *_, last = shown(home, source="dom0")
    assert (last["kind"], last["size"]) == ("repaired", 4)
    assert segment(home, "dom0").read_bytes().startswith(before)
    assert verified(home)["dom0"].name == "sound"


def test_disposables_of_one_base_share_a_log(home: Home) -> None:
    home.start_manager()
    home.build()
    home.create("web")
    home.ask("admin.vm.property.Set", "web", "template_for_dispvms", "True")
    names = [home.ask("admin.vm.CreateDisposable", "web") for _ in range(2)]
    for name in names:
        home.start(name)
        home.run_from(name, "dom0", "test.Nothing")
    assert [(row["source"], row["log"]) for row in shown(home, denied="yes")] == [
        (name, "@dispvm:web") for name in names
    ]
