"""What all fuzz targets share: a mutation loop with a seed and a budget, and how a finding is reported.

A target checks bytes: it says what became of them, or raises `WireError` where
they are refused; anything else that it raises is a finding. The loop mutates
inputs that a protocol's own encoders made, and inputs of which something new
became. It needs nothing but Python, so it runs wherever the tests do:

    python -m tests.fuzz.guest_channel --seconds 60 --seed 7
"""

import argparse
import random
import re
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

from bento.wire.errors import WireError

CORPUS = 2000
"""Inputs kept to be mutated; beyond that a new one takes the place of any but the seeds."""

LONGEST = 1 << 17
"""Bytes of an input at most."""

QUOTED = re.compile(r"'[^']*'|\d+")

NUMBERS = (b"\0", b"\x01", b"\x7f", b"\xff", b"\0\0\0\0", b"\0\0\0\x01", b"\0\x01\0\0", b"\0\x01\0\x01", b"\xff" * 4)


@dataclass(frozen=True, slots=True)
class Target:
    """`words` are pieces that mean something in the protocol; `seeds` are whole inputs that must not be refused."""

    check: Callable[[bytes], Hashable]
    seeds: Sequence[bytes]
    words: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """Inputs tried, those of them that were refused, and how many different things became of them all."""

    tried: int
    refused: int
    outcomes: int


@dataclass(frozen=True, slots=True)
class Refused:
    """One way to refuse an input: the complaint without what it quotes of it."""

    complaint: str


class Finding(Exception):
    """An input that is not handled as it should be; the text says how to see it again."""


def fuzz(target: Target, seed: int, budget: Iterator[object]) -> Report:
    """Try an input for each item of `budget`; the same seed tries the same inputs. Raises `Finding`."""
    chance = random.Random(seed)
    corpus = list(target.seeds)
    outcomes = {_outcome(target, whole, seed) for whole in corpus}
    if any(isinstance(outcome, Refused) for outcome in outcomes):
        raise Finding(f"a seed input is refused: {outcomes}")
    tried = refused = 0
    for _ in budget:
        data = mutated(chance, corpus, target.words)
        outcome = _outcome(target, data, seed)
        tried += 1
        refused += isinstance(outcome, Refused)
        if outcome not in outcomes:
            outcomes.add(outcome)
            if len(corpus) < CORPUS:
                corpus.append(data)
            else:
                corpus[chance.randrange(len(target.seeds), CORPUS)] = data
    return Report(tried, refused, len(outcomes))


def mutated(chance: random.Random, corpus: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """One of `corpus`, changed in a few places."""
    data = bytearray(chance.choice(corpus))
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        at = chance.randint(0, len(data))
        end = min(len(data), at + chance.choice((1, 1, 2, 4, 5, 16, 200)))
        match chance.randrange(7):
            case 0:
                data[at:end] = b""
            case 1:
                data[at:at] = data[at:end] * chance.choice((1, 2, 50))
            case 2:
                data[at:end] = chance.randbytes(end - at)
            case 3 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 4:
                data[at:end] = chance.choice(NUMBERS)
            case 5 if words:
                data[at : at if chance.random() < 0.5 else end] = chance.choice(words)
            case _:
                other = chance.choice(corpus)
                data[at:] = other[chance.randint(0, len(other)) :]
    return bytes(data[:LONGEST])


def pieces(data: bytes) -> Iterator[bytes]:
    """`data` cut as reads might cut it; the same data in the same way."""
    chance = random.Random(len(data))
    at = 0
    while at < len(data):
        size = chance.choice((1, 3, 100, 4096, 1 << 16))
        yield data[at : at + size]
        at += size


def main(name: str, target: Target) -> None:
    """The command line of a target."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    until = time.monotonic() + given.seconds
    try:
        report = fuzz(target, given.seed, iter(lambda: time.monotonic() < until, False))
    except Finding as finding:
        sys.exit(f"{finding}\n{finding.__cause__!r}")
    print(f"{report.tried} inputs, {report.refused} of them refused, {report.outcomes} different outcomes, no finding")


def _outcome(target: Target, data: bytes, seed: int) -> Hashable:
    try:
        try:
            return target.check(data)
        except WireError as error:
            assert str(error).isprintable(), "a complaint that is not safe to print"
            return Refused(QUOTED.sub("", str(error)))
    except Exception as error:
        raise Finding(f"with --seed {seed}, not handled as it should be: {data.hex()}") from error
