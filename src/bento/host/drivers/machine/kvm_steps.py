"""The steps of the KVM probe, what its child process says of them, and the verdict. Pure.

The child says one line a step on its standard output: `pass STEP`, or
`fail STEP REASON` and nothing more. The parent expects the steps in the order
of `Step`; whatever else comes is garbage, and a verdict against KVM. The child
is our own program, but it runs inside a kernel interface that is on trial, so
its lines are bounded and shown to people in ASCII only.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never


class Step(StrEnum):
    """In the order in which they run. Each needs what the one before showed to work."""

    START = "start"
    OPEN = "open"
    API = "api"
    REAL = "real"
    PROTECTED = "protected"
    LONG = "long"
    RING3 = "ring3"
    INTERRUPT = "interrupt"

    @property
    def what(self) -> str:
        match self:
            case Step.START:
                return "starting the probe"
            case Step.OPEN:
                return "opening /dev/kvm"
            case Step.API:
                return "asking for the API version"
            case Step.REAL:
                return "16-bit real mode"
            case Step.PROTECTED:
                return "a loop in 32-bit protected mode"
            case Step.LONG:
                return "64-bit mode with paging and an exception"
            case Step.RING3:
                return "user mode, a protection fault and a system call"
            case Step.INTERRUPT:
                return "a timer interrupt of the in-kernel controller"
        assert_never(self)


@dataclass(frozen=True, slots=True)
class KvmVerdict:
    """Whether guests can run on this machine's KVM.

    `step` is the step that failed, None if usable. `reason` is a clause for a
    person, without a full stop. `millis` is how long the probe took.
    """

    usable: bool
    step: Step | None
    reason: str
    millis: int


@dataclass(frozen=True, slots=True)
class Failure:
    """The step that did not pass, and why; `hung` if a deadline ended it, which a loaded machine can fake."""

    step: Step
    reason: str
    hung: bool = False


LINE_LIMIT = 512
"""Longest line of the child, in bytes."""


def passed(step: Step) -> str:
    return f"pass {step}"


def failed(step: Step, reason: str) -> str:
    return f"fail {step} {' '.join(reason.split())}"[: LINE_LIMIT - 1]


def judge(expected: Step, untrusted_line: bytes) -> Failure | None:
    """What a line means while `expected` is under way; None if that step passed. b"" is the end of the output."""
    line = _printable(untrusted_line)
    if not untrusted_line.endswith(b"\n"):
        return Failure(expected, "the probe's process died")
    if line == passed(expected):
        return None
    announcement = failed(expected, "")
    if line.startswith(announcement) and len(line) > len(announcement):
        return Failure(expected, line.removeprefix(announcement))
    return Failure(expected, f"the probe answered garbage: {line[:60]!r}")


def verdict(failure: Failure | None, millis: int) -> KvmVerdict:
    if failure is None:
        return KvmVerdict(usable=True, step=None, reason="guest code ran in every mode that was tried", millis=millis)
    return KvmVerdict(usable=False, step=failure.step, reason=failure.reason, millis=millis)


def _printable(untrusted: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in untrusted.removesuffix(b"\n"))
