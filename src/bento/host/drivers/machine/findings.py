"""What the doctor says: findings, each a fact about this machine and what follows from it. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """`ok`: as it should be. `warn`: Bento works, but worse. `missing`: something it needs or would use is not there.

    `info`: neither good nor bad.
    """

    OK = "ok"
    WARN = "warn"
    MISSING = "missing"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """`key` and `value` are stable, for programs; `sentence` and `remedy` are one line each, for people.

    `value` holds strings, whole numbers, booleans, None, and sequences of strings.
    """

    key: str
    status: Status
    value: Mapping[str, object]
    sentence: str
    remedy: str | None = None


def as_json(findings: Iterable[Finding]) -> list[dict[str, object]]:
    """The findings for `json.dumps`, with the same fields in the same order each."""
    return [
        {
            "key": finding.key,
            "status": finding.status.value,
            "value": dict(finding.value),
            "sentence": finding.sentence,
            "remedy": finding.remedy,
        }
        for finding in findings
    ]


def size(count: int) -> str:
    """A number of bytes for a person: "512 MiB", "23.6 GiB"."""
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count >> 20} MiB"
