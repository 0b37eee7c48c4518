"""A trial always ends, and says in one line how."""

import asyncio
from pathlib import Path

from bento.host.drivers.machine.trial import Trial, attempt


def test_a_program_that_works_gives_its_words() -> None:
    assert asyncio.run(attempt(["echo", "fine"])) == Trial(True, "fine")


def test_a_program_that_fails_gives_its_last_words_in_one_line() -> None:
    trial = asyncio.run(attempt(["sh", "-c", "echo no >&2; echo way >&2; exit 3"]))
    assert not trial.worked
    assert "no" in trial.words
    assert "\n" not in trial.words


def test_a_program_that_is_not_there_did_not_work(tmp_path: Path) -> None:
    assert not asyncio.run(attempt([str(tmp_path / "absent")])).worked


def test_a_program_that_hangs_did_not_work() -> None:
    assert asyncio.run(attempt(["sleep", "infinity"], 0.0)) == Trial(False, "sleep did not end within 0 s")
