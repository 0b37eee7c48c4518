"""Every fuzz target for a fixed number of inputs; the long form is `python -m tests.fuzz --seconds N`."""

import random
from collections.abc import Callable

import pytest

from bento.wire.errors import WireError
from bento.wire.names import printable
from tests.fuzz.__main__ import opened, run, target_names
from tests.fuzz.engine import Finding, Target, fuzz, mutated, pieces

COUNT = 8000
DEAR = {"host_channel": 10, "filecopy_service": 25}
"""How many times dearer than elsewhere an input is here: so many times fewer are tried."""


@pytest.mark.parametrize("name", target_names())
@pytest.mark.parametrize("part", [pytest.param(8, id="eighth"), pytest.param(1, id="whole", marks=pytest.mark.slow)])
def test_no_input_is_handled_wrongly(name: str, part: int) -> None:
    with opened(name) as target:
        report = fuzz(target, 0, iter(range(COUNT // DEAR.get(name, 1) // part)))
    assert report.refused < report.tried
    assert report.outcomes > 8, "hardly an input gets past the door: the target tests nothing"


def test_a_run_by_the_clock_says_what_was_tried() -> None:
    outcome = run("names", seconds=0.05, seed=1)

    assert outcome.finding is None
    assert outcome.executions > 0
    assert outcome.outcomes > 0


def complains_unprintably(data: bytes) -> bool:
    if data != b"seed":
        raise WireError("refused\x1b[2J")
    return True


def breaks_on_zeros(data: bytes) -> bool:
    return data.count(b"\0") < 3 or data[len(data)] > 0


@pytest.mark.parametrize("check", [breaks_on_zeros, complains_unprintably])
def test_the_engine_finds_what_is_handled_wrongly(check: Callable[[bytes], bool]) -> None:
    with pytest.raises(Finding):
        fuzz(Target(check, seeds=[b"seed"]), 0, iter(range(5000)))


def test_the_engine_tells_how_to_see_a_finding_again() -> None:
    target = Target(breaks_on_zeros, seeds=[b"seed"])
    findings = []
    for _ in range(2):
        with pytest.raises(Finding, match="with --seed 3") as found:
            fuzz(target, 3, iter(range(5000)))
        findings.append(str(found.value))
    assert findings[0] == findings[1]


def test_a_seed_that_is_refused_is_a_finding() -> None:
    with pytest.raises(Finding, match="a seed input is refused"):
        fuzz(Target(refuses_short_ones, seeds=[b"seed"]), 0, iter(()))


def refuses_short_ones(data: bytes) -> bool:
    if len(data) < 10:
        raise WireError(f"only {len(data)} bytes: {printable(data.hex())}")
    return data[0] > 127


def test_the_engine_counts_what_is_refused_and_how_much_differs() -> None:
    report = fuzz(Target(refuses_short_ones, seeds=[b"a longer seed"]), 0, iter(range(1000)))
    assert report.tried == 1000
    assert 0 < report.refused < 1000
    assert report.outcomes == 3


def test_mutated_inputs_differ_and_are_bounded() -> None:
    chance = random.Random(0)
    corpus = [b"a seed", bytes(1 << 17)]
    inputs = [mutated(chance, corpus, [b"word"]) for _ in range(500)]
    assert len(set(inputs)) > 300
    assert max(map(len, inputs)) <= 1 << 17
    assert any(b"word" in data for data in inputs)


@pytest.mark.parametrize("size", [0, 1, 5, 100_000])
def test_pieces_are_the_whole(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert b"".join(pieces(data)) == data
    assert list(pieces(data)) == list(pieces(data))
