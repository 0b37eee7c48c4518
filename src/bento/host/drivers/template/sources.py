"""Which of the machine's own apt sources may fill a template: those of the distribution itself, and no others.

A machine's sources also name third parties (a browser, a cloud's tools). What is installed from there would be in
every domain, so an entry counts only if it is for one of the release's suites and signed by the release's own keyring.
Pure: text in, entries out. Formats: sources.list(5), the one-line style and deb822.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from bento.host.drivers.template.flavors import Distribution
from bento.host.model.errors import Unavailable

_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)")

#: Local settings that reaching a mirror can depend on; the rest of apt's configuration is the host's own affair.
_CARRIED = re.compile(
    r"Acquire::(?:(?:http|https|ftp)::|(?:Check-Valid-Until|Check-Date|Retries|ForceIPv4|ForceIPv6|Max-ValidTime)\b)"
)


@dataclass(frozen=True, slots=True)
class Source:
    """One place to get packages from: a suite of an archive at a URI."""

    uri: str
    suite: str
    components: tuple[str, ...]

    def __str__(self) -> str:
        return f"deb {self.uri} {self.suite} {' '.join(self.components)}"


@dataclass(frozen=True, slots=True)
class _Entry:
    source: Source
    signed_by: str


def choose_sources(files: Mapping[str, str], release: Distribution, *, named: bool = False) -> list[Source]:
    """The entries in `files` (name -> text) that are `release`'s own, without repetitions, in the order found.

    `named`: a person put these files there for builds, so that a mirror may have any address. Raises `Unavailable` if
    there is no entry for the release proper.
    """
    entries = [entry for name, text in sorted(files.items()) for entry in _parse(name, text)]
    chosen = list(dict.fromkeys(entry.source for entry in entries if _belongs(entry, release, named=named)))
    if not any(source.suite == release.codename for source in chosen):
        where = ", ".join(sorted(files)) if named else "this machine's apt sources"
        raise Unavailable(f"there is no {release.codename} archive in {where}")
    return chosen


def carried_settings(apt_config_dump: str) -> list[str]:
    """Of `apt-config dump`, the lines a build needs to reach a mirror the way this machine does."""
    return [line for line in apt_config_dump.splitlines() if _CARRIED.match(line) and not line.endswith(' "";')]


def _belongs(entry: _Entry, release: Distribution, *, named: bool) -> bool:
    suites = (release.codename, f"{release.codename}-updates", f"{release.codename}-security")
    if entry.source.suite not in suites or "main" not in entry.source.components:
        return False
    if named:
        return True
    if entry.signed_by:
        return PurePosixPath(entry.signed_by).name.startswith(release.keyring_package)
    # Without a key of its own the entry relies on the system's, which is where the archive's own entries stood long.
    path = PurePosixPath(urlsplit(entry.source.uri).path)
    return path.name in ("debian", "debian-security")


def _parse(name: str, text: str) -> Iterator[_Entry]:
    return _parse_deb822(text) if name.endswith(".sources") else _parse_one_line(text)


def _parse_one_line(text: str) -> Iterator[_Entry]:
    for line in text.splitlines():
        match = _ONE_LINE.fullmatch(line.partition("#")[0].strip())
        if match:
            options = dict(option.partition("=")[::2] for option in (match["options"] or "").split())
            source = Source(match["uri"], match["suite"], tuple(match["components"].split()))
            yield _Entry(source, options.get("signed-by", ""))


def _parse_deb822(text: str) -> Iterator[_Entry]:
    for stanza in re.split(r"\n(?:[ \t]*\n)+", text):
        fields = _fields(stanza)
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false"):
            continue
        components = tuple(fields.get("components", "").split())
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield _Entry(Source(uri, suite, components), fields.get("signed-by", ""))


def _fields(stanza: str) -> dict[str, str]:
    """A continuation line belongs to the field above it: a key given in place starts with an empty line there."""
    fields: dict[str, str] = {}
    current = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in (" ", "\t") and current:
            fields[current] = f"{fields[current]} {line.strip()}".strip()
        elif ":" in line:
            current, _, value = line.partition(":")
            current = current.strip().lower()
            fields[current] = value.strip()
    return fields
