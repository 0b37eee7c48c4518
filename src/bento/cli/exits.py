"""The exit codes of `bento` in one table, and the one error that carries a code. docs/cli.md tells the person.

Every way to fail ends as a `Failed`: one sentence for standard error and the
code. `bento run` passes on its program's own code instead, and so do 125, 126
and 127 mean what they mean to the field's qrexec.
"""

from enum import IntEnum


class Code(IntEnum):
    DONE = 0
    BAD_INPUT = 2
    """What was asked for makes no sense: an unknown name, class, label, property or value, or wrong usage."""
    WRONG_STATE = 3
    """It makes sense, but not now: the domain is not running, not halted, in use."""
    OUTSIDE = 4
    """The outside world: a full disk, a QEMU that died, a manager that cannot start."""
    BROKEN = 5
    """What was to be verified is not so: the audit log is not whole, or a statement about the policy does not hold."""
    CHANNEL = 125
    """A call broke before its program could end."""
    REFUSED = 126
    """The policy says no."""
    NOT_FOUND = 127
    """The program, or the service, is not in the domain."""
    INTERRUPTED = 130
    """Ctrl-C."""
    CLOSED = 141
    """Nobody reads the output any more, as after `| head`: what a shell shows for a program that SIGPIPE ended."""


class Failed(Exception):
    """The command cannot do what was asked: one sentence for the person, and the code to end with."""

    def __init__(self, sentence: str, code: Code, fault: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code
        self.fault = fault
        """The manager's class of the failure, where it is the manager's."""
