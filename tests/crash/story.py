"""A person's work with a home, step by step, where each step can be told to have been done or not: never half.

When the manager dies the next one is started, everything is checked, and the step is done again if it was not done.
What was answered before must still hold at the end of it all.
"""

import signal
from collections.abc import Callable
from dataclasses import dataclass

from tests.crash.invariants import settle
from tests.host.manager.home import Failed, Home, Listener

NO_ANSWER = "The manager refused the request without a reason."
"""What a client makes of a connection that closes without an answer."""


@dataclass(frozen=True)
class Step:
    do: Callable[[Home], object]
    done: Callable[[Home], bool]
    always: bool = False


def exists(name: str) -> Callable[[Home], bool]:
    return lambda home: name in home.states()


def missing(name: str) -> Callable[[Home], bool]:
    return lambda home: name not in home.states()


def in_state(name: str, state: str) -> Callable[[Home], bool]:
    return lambda home: home.states().get(name) == state


def asks(*words: str) -> Callable[[Home], object]:
    return lambda home: home.ask(*words)


def watches(method: str, name: str) -> Callable[[Home], object]:
    """A request that is answered with events."""

    def ask(home: Home) -> None:
        with home.send(method, name) as connection:
            Listener(connection).rest()

    return ask


def commit(home: Home) -> None:
    """A template that ended without its version, because its manager was killed, is started once more."""
    if home.state("debian-12") == "Halted":
        home.start("debian-12")
    home.shutdown("debian-12")


def committed(home: Home) -> bool:
    halted = home.state("debian-12") == "Halted" and home.row("debian-12")["template_version"] == 2
    if halted:
        assert (home.path / "templates/debian-12/2/root.erofs").read_text().rstrip("\0") == "the root of debian-12"
    return halted


def has_memory(home: Home) -> bool:
    return home.ask("admin.vm.property.Get", "work", "memory") == "default=False type=int 512"


def has_tag(home: Home) -> bool:
    return home.ask("admin.vm.tag.List", "work") == "mail\n"


def is_a_true_copy(home: Home) -> bool:
    if "copy" not in home.states():
        return False
    assert home.ask("admin.vm.property.Get", "copy", "memory") == "default=False type=int 512"
    assert (home.data_dir("copy") / "private.img").read_bytes() == (home.data_dir("work") / "private.img").read_bytes()
    return True


def write_private(home: Home) -> None:
    """What a guest would have written; the pretended ones have no disks."""
    path = home.data_dir("work") / "private.img"
    with open(path, "r+b") as volume:
        volume.write(b"a letter")
        volume.truncate(1 << 16)


NOTE = b"what only its machine knows"


def remember(home: Home) -> None:
    assert home.run("work", "sh", "-c", "cat >~/note", stdin=NOTE).code == 0


def remembers(home: Home) -> None:
    """A domain that was suspended and resumed, whoever was killed meanwhile, was never begun anew."""
    assert home.run("work", "cat", "note").stdout == NOTE


STORY = (
    Step(lambda home: home.build(), exists("debian-12")),
    Step(lambda home: home.create("work"), exists("work")),
    Step(asks("admin.vm.property.Set", "work", "memory", "512"), has_memory),
    Step(asks("admin.vm.tag.Set", "work", "mail"), has_tag),
    Step(lambda home: home.start("work"), in_state("work", "Running")),
    Step(remember, in_state("work", "Running"), always=True),
    Step(watches("bento.vm.Suspend", "work"), in_state("work", "Suspended")),
    Step(watches("bento.vm.Resume", "work"), in_state("work", "Running")),
    Step(remembers, in_state("work", "Running"), always=True),
    Step(lambda home: home.shutdown("work"), in_state("work", "Halted")),
    Step(write_private, lambda home: True, always=True),
    Step(asks("bento.vm.Clone", "work", "copy"), is_a_true_copy),
    Step(lambda home: home.create("alone", klass="StandaloneVM"), exists("alone")),
    Step(lambda home: home.start("alone"), in_state("alone", "Running")),
    Step(lambda home: home.start("debian-12"), in_state("debian-12", "Running")),
    Step(commit, committed),
    Step(lambda home: home.kill("alone"), in_state("alone", "Halted")),
    Step(asks("bento.vm.Clone", "debian-12", "other"), exists("other")),
    Step(lambda home: home.start("copy"), in_state("copy", "Running")),
    Step(asks("admin.vm.Remove", "alone"), missing("alone")),
    Step(asks("admin.vm.Remove", "other"), missing("other")),
)


class Teller:
    """Lives through the story. The first managers die at `points`, each at its own; `deaths` counts them."""

    def __init__(self, home: Home, *points: str) -> None:
        self._home = home
        self._points = list(points)
        self.deaths = 0

    def tell(self, *, started: bool = False) -> None:
        if not started:
            self._start()
        for step in STORY:
            self._live_through(step)
        self._live_through(Step(settle, lambda home: True, always=True))

    def _live_through(self, step: Step) -> None:
        home = self._home
        while True:
            try:
                if step.always or not step.done(home):
                    step.do(home)
                    assert step.done(home), "it was answered, and yet is not done"
                return
            except (OSError, Failed) as error:
                if isinstance(error, Failed) and error.sentence != NO_ANSWER:
                    raise
            self._come_back()

    def _come_back(self) -> None:
        assert self._home.wait_for_end() == -signal.SIGKILL, self._home.log()
        self.deaths += 1
        self._start()

    def _start(self) -> None:
        """Start managers until one lives to say that it is ready."""
        while self._points:
            if self._home.try_manager(BENTO_TEST_DIE=self._points.pop(0)) == "ready":
                return
            assert self._home.wait_for_end() == -signal.SIGKILL, self._home.log()
            self.deaths += 1
        self._home.start_manager()
        settle(self._home)
