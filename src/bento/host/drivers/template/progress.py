"""How far a build has come, read off what mmdebstrap, apt and dpkg print. Pure: lines in, fractions out.

The shares of each stage were measured on one machine; they only have to move forward and not stand still for long.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Stage -> (phase as a person reads it, where it begins and ends in the whole, as fractions of 1).
STAGES = {
    "running apt-get update": ("reading package lists", 0.00, 0.05),
    "downloading packages with apt": ("downloading the base system", 0.05, 0.20),
    "extracting archives": ("unpacking the base system", 0.20, 0.32),
    "installing essential packages": ("installing the base system", 0.32, 0.48),
    "installing remaining packages": ("installing packages", 0.48, 0.80),
    "cleaning package lists and apt cache": ("arranging the root", 0.80, 0.84),
}
ARRANGING = ("arranging the root", 0.84)
PACKING = ("packing the images", 0.90)
DONE = ("done", 1.0)

_STAGE = re.compile(r"I: (.+?)(?: inside the chroot)?(?:\.\.\.)?$")
_PLANNED = re.compile(r"\d+ upgraded, (\d+) newly installed")
_FETCHED = re.compile(r"Get:(\d+) ")
_HANDLED = re.compile(r"(?:Unpacking|Setting up) \S+ \(")


@dataclass(slots=True)
class Meter:
    """Reads the output line by line; `read` gives the phase and the fraction done when they have changed."""

    phase: str = "preparing"
    _begin: float = 0.0
    _end: float = 0.0
    _planned: int = 0
    _handled: int = 0
    _reached: float = 0.0

    def read(self, line: str) -> tuple[str, float] | None:
        if stage := _STAGE.match(line):
            return self._enter(stage[1])
        if planned := _PLANNED.match(line):
            self._planned, self._handled = int(planned[1]), 0
            return None
        if not self._planned:
            return None
        if fetched := _FETCHED.match(line):
            # Of the stage that installs what it fetched itself, fetching is the first third.
            share = 1.0 if self.phase.startswith("downloading") else 1 / 3
            return self._at(share * min(int(fetched[1]) / self._planned, 1.0))
        if _HANDLED.match(line):
            self._handled += 1
            done = min(self._handled / (2 * self._planned), 1.0)
            return self._at(done if self.phase.endswith("base system") else 1 / 3 + done * 2 / 3)
        return None

    def _enter(self, stage: str) -> tuple[str, float] | None:
        if stage not in STAGES:
            return None
        self.phase, self._begin, self._end = STAGES[stage]
        self._handled = 0
        return self._at(0.0)

    def _at(self, share: float) -> tuple[str, float]:
        # apt announces what it fetches from two servers at once in no particular order.
        self._reached = max(self._reached, self._begin + share * (self._end - self._begin))
        return self.phase, self._reached
