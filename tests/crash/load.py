"""People who work with a home all at once, each with domains of their own, and who remember what they were told.

A request that was answered with OK happened; one that was refused did not; of one that was never answered either may
be true, but nothing between. So each keeps for every domain the facts that may be true now.
"""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tests.crash.story import NO_ANSWER
from tests.host.manager.home import Failed, Home

RUNNING, HALTED = frozenset({"Running"}), frozenset({"Halted"})
EITHER = RUNNING | HALTED


@dataclass(frozen=True)
class Facts:
    memory: str = "400"
    tags: frozenset[str] = frozenset()


@dataclass
class Box:
    """A domain as its owner knows it. `facts` None: it does not exist."""

    name: str
    facts: frozenset[Facts | None] = frozenset({None})
    states: frozenset[str] = HALTED

    @property
    def known(self) -> Facts | None:
        (facts,) = self.facts
        return facts


class Broken(Exception):
    """The manager is gone."""


class Ticks:
    """Counts what happens, and wakes somebody at a given count."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = threading.Condition()
        self._ended = False

    def tick(self) -> None:
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, count: int) -> None:
        """Return at that count, or when there will be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._count >= count or self._ended)


@dataclass
class Person:
    home: Home
    chance: random.Random
    boxes: list[Box]
    restless: float = 1.0
    """How often it starts and ends domains, where it could just work in them."""
    problems: list[str] = field(default_factory=list)

    def work(self, requests: int, ticks: Ticks) -> None:
        """Ask for so many things, or until the manager is gone."""
        try:
            for _ in range(requests):
                ticks.tick()
                self._ask_for_something()
        except Broken:
            pass
        except Exception as error:  # noqa: BLE001  # told to the test, which is in another thread
            self.problems.append(repr(error))

    def _ask_for_something(self) -> None:
        box = self.chance.choice([box for box in self.boxes if len(box.facts) == 1])
        facts = box.known
        if facts is None:
            self._create(box)
            return
        deeds: list[Callable[[Box, Facts], None]] = [self._set_memory, self._tag]
        moves: list[Callable[[Box, Facts], None]] = []
        if box.states == RUNNING:
            deeds += [self._call, self._copy, self._copy]
            moves += [self._shut_down, self._kill]
        elif box.states == HALTED:
            moves += [self._start, self._start, self._start, self._remove]
        else:
            moves += [self._make_sure_it_ended]
        if self.chance.random() < self.restless:
            deeds += moves
        self.chance.choice(deeds)(box, facts)

    def _create(self, box: Box) -> None:
        if self.chance.random() < 0.5 and (source := self._halted_other(box)):
            copied = source.known
            self._attempt(box, lambda: self.home.ask("bento.vm.Clone", source.name, box.name), facts=copied)
        else:
            self._attempt(box, lambda: self.home.create(box.name), facts=Facts())

    def _halted_other(self, box: Box) -> Box | None:
        others = [b for b in self.boxes if b is not box and b.states == HALTED and len(b.facts) == 1 and b.known]
        return self.chance.choice(others) if others else None

    def _set_memory(self, box: Box, facts: Facts) -> None:
        value = str(self.chance.randint(64, 4096))
        changed = replace(facts, memory=value)
        self._attempt(box, lambda: self.home.ask("admin.vm.property.Set", box.name, "memory", value), facts=changed)

    def _tag(self, box: Box, facts: Facts) -> None:
        tag = self.chance.choice("abc")
        method, tags = ("Remove", facts.tags - {tag}) if tag in facts.tags else ("Set", facts.tags | {tag})
        changed = replace(facts, tags=tags)
        self._attempt(box, lambda: self.home.ask(f"admin.vm.tag.{method}", box.name, tag), facts=changed)

    def _start(self, box: Box, facts: Facts) -> None:
        self._attempt(box, lambda: self.home.start(box.name), facts=facts, states=RUNNING)

    def _shut_down(self, box: Box, facts: Facts) -> None:
        self._attempt(box, lambda: self.home.shutdown(box.name), facts=facts, states=HALTED)

    def _kill(self, box: Box, facts: Facts) -> None:
        self._attempt(box, lambda: self.home.kill(box.name), facts=facts, states=HALTED)

    def _make_sure_it_ended(self, box: Box, facts: Facts) -> None:
        def kill() -> None:
            if self.home.state(box.name) != "Halted":
                self.home.kill(box.name)

        self._attempt(box, kill, facts=facts, states=HALTED)

    def _remove(self, box: Box, facts: Facts) -> None:
        self._attempt(box, lambda: self.home.ask("admin.vm.Remove", box.name), facts=None)

    def _call(self, box: Box, facts: Facts) -> None:
        def call() -> None:
            data = self.chance.randbytes(self.chance.choice((0, 100, 300_000)))
            outcome = self.home.run(box.name, "cat", stdin=data, autostart="no")
            assert outcome.code or outcome.stdout == data, "a call's bytes were changed"

        self._attempt(box, call, facts=facts, breakable=True)

    def _copy(self, box: Box, facts: Facts) -> None:
        """From one domain to another, by the policy."""
        others = [b for b in self.boxes if b is not box and b.states == RUNNING]
        if not others:
            return
        target = self.chance.choice(others)
        words = f"words for {target.name} {self.chance.random()}"

        def copy() -> None:
            said = self.home.run_from(box.name, target.name, "qubes.VMShell", f"echo '{words}'\n".encode())
            assert said.code or said.stdout.decode() == f"{words}\n", "a call's bytes were changed"

        self._attempt(box, copy, facts=facts, breakable=True)

    def _attempt(
        self,
        box: Box,
        do: Callable[[], object],
        *,
        facts: Facts | None,
        states: frozenset[str] | None = None,
        breakable: bool = False,
    ) -> None:
        """Do what leads to these facts. `breakable`: a call, which a killed broker or machine may end."""
        before = box.facts
        box.facts |= {facts}
        if states:
            box.states |= states
        try:
            do()
        except Failed as failed:
            if failed.sentence == NO_ANSWER:
                raise Broken from None
            box.facts = before
            return
        except OSError:
            if not breakable or self._manager_is_gone():
                raise Broken from None
            box.facts = before
            return
        box.facts = frozenset({facts})
        if states:
            box.states = states

    def _manager_is_gone(self) -> bool:
        try:
            self.home.ask("bento.manager.Status")
        except (OSError, Failed):
            return True
        return False

    def compare(self, *, machines_were_killed: bool) -> None:
        """Hold what is against what was promised, and take note of what became of the rest."""
        rows = {row["name"]: row for row in self.home.table()}
        for box in self.boxes:
            is_there = box.name in rows
            actual = self._look(box.name) if is_there else None
            assert actual in box.facts, f"{box.name}: {actual} is none of {box.facts}"
            if is_there:
                allowed = box.states | (HALTED if machines_were_killed else frozenset())
                assert rows[box.name]["state"] in allowed, f"{box.name}: {rows[box.name]['state']} is none of {allowed}"
                box.states = allowed
            else:
                box.states = HALTED
            box.facts = frozenset({actual})

    def _look(self, name: str) -> Facts:
        memory = self.home.ask("admin.vm.property.Get", name, "memory").split()[-1]
        return Facts(memory, frozenset(self.home.ask("admin.vm.tag.List", name).split()))
