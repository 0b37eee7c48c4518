"""`bento cp`: files from here into a domain, or one file out of it.

Into `DOMAIN:` they go by the service that domains use among themselves
(`send.py`) and land in its QubesIncoming. `DOMAIN:PATH` is one file at just
that place (`place.py`).
"""

import argparse
from pathlib import Path

from bento.cli.exits import Code, Failed
from bento.cli.manager import Manager
from bento.wire.names import DomainName, UserName


def declare_cp(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        f"{parser.prog} FILE... DOMAIN:              into ~/QubesIncoming/dom0 of the domain\n"
        f"       {parser.prog} [--force] FILE DOMAIN:PATH  to just that place\n"
        f"       {parser.prog} [--force] DOMAIN:PATH FILE  out of the domain"
    )
    parser.add_argument("paths", nargs="+", metavar="FILE")
    parser.add_argument("--force", "-f", action="store_true", help="replace a file that is there already")
    parser.add_argument("--user", "-u", metavar="USER", help="the account in the domain (its default user)")


def cp(words: argparse.Namespace, manager: Manager) -> int:
    *sources, target = words.paths
    inside = _inside(target)
    if not sources:
        raise Failed("say what to copy and where to, as in: bento cp notes.txt work:", Code.BAD_INPUT)
    user = UserName.parse(words.user) if words.user else ""
    if inside and any(_inside(source) for source in sources):
        raise Failed("between domains, copy in the source domain with qvm-copy", Code.BAD_INPUT)
    if inside and not inside[1]:
        from bento.cli.send import send

        return send(manager, inside[0], [Path(source) for source in sources], user)
    from bento.cli import place

    if len(sources) > 1:
        raise Failed("several files go to DOMAIN: only, without a path", Code.BAD_INPUT)
    if inside:
        return place.put(manager, Path(sources[0]), *inside, user, force=words.force)
    if source := _inside(sources[0]):
        return place.get(manager, *source, user, Path(target), force=words.force)
    raise Failed("neither of the two is in a domain; write DOMAIN:PATH for the one that is", Code.BAD_INPUT)


def _inside(text: str) -> tuple[DomainName, str] | None:
    """`work:notes.txt` as domain and path; None for a path here, which may hold a colon behind a slash, as ./a:b."""
    name, colon, path = text.partition(":")
    if not colon or "/" in name:
        return None
    return DomainName.parse(name), path.removeprefix("~/")
