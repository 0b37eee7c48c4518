"""Where a text of the person's stops making sense, and why: the same for policies, statements and contracts."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """`line` and `column` count from 1; `column` 0 means the line as a whole, `line` 0 the file.

    `file` and `problem` are safe to print.
    """

    file: str
    line: int
    column: int
    problem: str

    def __str__(self) -> str:
        place = "".join(f":{number}" for number in (self.line, self.column) if number)
        return f"{self.file}{place}: {self.problem}"


class Malformed(Exception):
    """A text is not what it should be. The exception's own text names file, line, column and what was expected."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault
