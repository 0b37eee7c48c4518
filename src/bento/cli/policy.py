"""`bento policy`: what the policy says, and what an edit of it would change. Nothing here changes anything.

The policy in force is the manager's to read; that of another directory is read
here and sent along, so that the manager opens no file that somebody names.
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from bento.cli.exits import Code, Failed
from bento.cli.files import ROOM, read_text
from bento.cli.harmless import harmless
from bento.cli.manager import Manager, request
from bento.cli.numbers import whole
from bento.cli.picture import Bundle, Tie, bundled, draw
from bento.cli.render import place, print_json, print_table, say
from bento.wire.names import ADMIN, DomainName, ServiceName, TargetName, parse_called

Json = dict[str, Any]

INCLUDING = ("!include", "!compat-4.0")
"""Words without which no policy file includes another."""

SHOWN = 10
"""How many of the rules that nearly matched the text shows."""


# ---- check ---------------------------------------------------------------------------------------


def declare_check(parser: argparse.ArgumentParser) -> None:
    parser.description = "Say what is odd about the policy: mistakes, rules that can never match, names of nobody."
    parser.add_argument("directory", nargs="?", metavar="DIR", help="the policy files there, not those in force")
    parser.add_argument("--json", action="store_true", help="a list of objects")


def check(words: argparse.Namespace, manager: Manager) -> int:
    asked: Json = {}
    if words.directory is not None:
        asked["files"] = policy_files(words.directory)
        if not asked["files"]:
            raise Failed(f"there is no policy file in {words.directory}; their names end in .policy", Code.BAD_INPUT)
    found = ask(manager, "Check", asked)
    if words.json:
        print_json(found)
    elif not found:
        print("Nothing is odd about this policy.")
    else:
        for one in found:
            print(harmless(f"{place(one)}: {one['sentence']}"))
    return Code.BAD_INPUT if any(one["oddity"] == "broken" for one in found) else Code.DONE


# ---- explain -------------------------------------------------------------------------------------


def declare_explain(parser: argparse.ArgumentParser) -> None:
    parser.description = "Say what the policy makes of a call, by which line, and which lines above nearly matched."
    parser.add_argument("source", metavar="SRC", help="the domain that calls")
    parser.add_argument("service", metavar="SERVICE[+ARG]")
    parser.add_argument("target", metavar="DST", help="what the caller names as its target, such as @default")
    parser.add_argument("--json", action="store_true", help="one object")


def explain(words: argparse.Namespace, manager: Manager) -> int:
    service, argument = parse_called(words.service)
    asked = {
        "source": DomainName.parse(words.source),
        "service": service,
        "argument": argument,
        "target": TargetName.parse(words.target),
    }
    found = ask(manager, "Explain", asked)
    if words.json:
        print_json(found)
        return Code.DONE
    if found["allowed"]:
        print(f"It is allowed and goes to {found['target']}, {_terms(found)}.")
    elif "candidates" in found:
        print(f"You are asked, and may send it to {' or '.join(found['candidates'])}: {_terms(found)}.")
    else:
        print(harmless(found["sentence"]))
    if found["rule"]:
        print(f"  {_rule(found['rule'])}")
    if found["nearly"]:
        print("nearly matched, above that:" if found["rule"] else "nearly matched:")
    for miss in found["nearly"][-SHOWN:]:
        print(f"  {_rule(miss)}\n    but {miss['why']}")
    if (more := len(found["nearly"]) - SHOWN) > 0:
        print(f"  and {more} further up; --json has them all")
    return Code.DONE


def _rule(rule: Json) -> str:
    return f"{rule['file']}:{rule['line']}  {rule['rule']}"


def _terms(terms: Json) -> str:
    said = [f"as {terms['user']}" if terms["user"] else "as its default user"]
    if terms["asked"]:
        said.append("if you agree (it is the one chosen)" if terms["chosen"] else "if you agree")
    if not terms["autostart"]:
        said.append("if it runs already")
    if terms["notify"]:
        said.append("and you are told")
    return ", ".join(said)


# ---- reach ---------------------------------------------------------------------------------------


def declare_reach(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Say who can reach whom by calls, directly or by way of others: for each the way with the fewest hops, and the"
        " way on which you are asked least."
    )
    parser.add_argument("--to", metavar="D", dest="target", help="only ways to this domain, or @dispvm:D")
    parser.add_argument("--from", metavar="D", dest="source", help="only ways from this domain, or @dispvm:D")
    parser.add_argument("--through", metavar="SERVICE", help="only by calls of this service")
    parser.add_argument("--max-hops", metavar="N", type=whole, help="only ways of at most N calls one after the other")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="one object: paths and the links that they are made of")
    output.add_argument("--dot", action="store_true", help="the links as a graph for Graphviz")
    output.add_argument("--svg", action="store_true", help="the links as a picture, for a browser")


def reach(words: argparse.Namespace, manager: Manager) -> int:
    asked = {
        "from": words.source and _node(words.source),
        "to": words.target and _node(words.target),
        "through": words.through and ServiceName.parse(words.through),
        "max_hops": words.max_hops,
    }
    found = ask(manager, "Reach", {key: value for key, value in asked.items() if value is not None})
    if words.json:
        print_json(found)
        return Code.DONE
    # The host reaches everybody, which is no news: its own ways are shown to those who ask for them.
    paths = [path for path in found["paths"] if path["from"] != ADMIN or words.source == ADMIN]
    if found["fault"]:
        say(f"the policy is broken and denies every call: {found['fault']}")
    if words.dot or words.svg:
        steps = {step for path in paths for step in pairwise(path["domains"])}
        links = [link for link in found["links"] if (link["from"], link["to"]) in steps]
        print(graph(links) if words.dot else _picture(links, found["domains"]), end="")
    else:
        _print_ways(paths, found["links"])
    return Code.DONE


def _node(text: str) -> str:
    """A domain, or `@dispvm:NAME`: a new disposable of one."""
    base = text.removeprefix("@dispvm:")
    return text.removesuffix(base) + DomainName.parse(base)


def graph(links: list[Json]) -> str:
    """For Graphviz. Names and services hold nothing that would end a quoted word."""
    lines = [
        f'  "{link["from"]}" -> "{link["to"]}" [label="{link["text"]}"{", style=dashed" if link["asked"] else ""}];\n'
        for link in links
    ]
    return "".join(["digraph reach {\n", *lines, "}\n"])


def _picture(links: list[Json], domains: list[Json]) -> str:
    ties = [Tie(link["from"], link["to"], what, link["asked"]) for link in links for what in link["words"]]
    colours = {node: domain["colour"] for domain in domains for node in (domain["name"], f"@dispvm:{domain['name']}")}
    return draw(ties, colours, "Who can reach whom")


def _print_ways(paths: list[Json], links: list[Json]) -> None:
    if not paths:
        print("Nobody.")
        return
    quiet, asking = (_texts(link for link in links if link["asked"] == asked) for asked in (False, True))
    rows = []
    for path in paths:
        domains = path["domains"]
        ways = [quiet.get(step) or asking[step] for step in pairwise(domains)]
        by = " -> ".join(f"[{way}] {end}" for way, end in zip(ways, domains[1:], strict=True))
        hops, questions = str(path["hops"]), str(path["questions"] or "-")
        rows.append([domains[0], domains[-1], hops, questions, ways[0] if len(ways) == 1 else by])
    print_table(("FROM", "TO", "HOPS", "ASKS", "BY"), rows, right=("HOPS", "ASKS"))


def _texts(links: Iterable[Json]) -> dict[tuple[str, str], str]:
    """What joins each pair."""
    texts: dict[tuple[str, str], str] = {}
    for link in links:
        ends = (link["from"], link["to"])
        texts[ends] = f"{texts[ends]}; {link['text']}" if ends in texts else link["text"]
    return texts


# ---- diff ----------------------------------------------------------------------------------------


def declare_diff(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Say what the policy NEW makes of calls that OLD made something else of, among today's domains."
    )
    parser.add_argument("old", metavar="OLD", help="a directory of policy files")
    parser.add_argument("new", metavar="NEW", help="another")
    parser.add_argument("--json", action="store_true", help="one object")


def diff(words: argparse.Namespace, manager: Manager) -> int:
    found = ask(manager, "Diff", {"old": policy_files(words.old), "new": policy_files(words.new)})
    if words.json:
        print_json(found)
        return Code.DONE
    for which, fault in found["faults"].items():
        if fault:
            print(harmless(f"The {which} policy is broken and denies every call: {fault}"))
    rows = [
        [fate, ", ".join(bundle.sources), ", ".join(bundle.targets), "; ".join(bundle.what)]
        for fate in ("allowed", "asked", "denied", "altered")
        for bundle in _alike(found[fate])
    ]
    if rows:
        print_table(("NOW", "FROM", "TO", "SERVICES"), rows)
    else:
        print("The two make the same of every call.")
    return Code.DONE


def _alike(changes: list[Json]) -> list[Bundle]:
    """Domains that fare alike are told together: each of the first with each other one of the second."""
    ties = [Tie(change["from"], change["to"], f"{change['text']}: {_on_terms(change)}") for change in changes]
    alone = [Bundle((tie.source,), (tie.target,), (tie.what,), False) for tie in ties if tie.source == tie.target]
    return bundled(tie for tie in ties if tie.source != tie.target) + alone


def _on_terms(change: Json) -> str:
    before, after = (" or ".join(_terms(terms) for terms in change[when]) or "denied" for when in ("before", "after"))
    return f"{after}; before {before}"


# ---- invariant -----------------------------------------------------------------------------------


def declare_invariant(parser: argparse.ArgumentParser) -> None:
    parser.description = "Say whether the statements hold that you want to hold whatever the policy says."
    parser.add_argument("file", nargs="?", metavar="FILE", help="the statements there, not those in force")
    parser.add_argument("--policy", metavar="DIR", help="under the policy files there, not those in force")
    parser.add_argument("--json", action="store_true", help="one object")


def invariant(words: argparse.Namespace, manager: Manager) -> int:
    asked: Json = {}
    if words.file is not None:
        asked["statements"] = read_text(Path(words.file))
    if words.policy is not None:
        asked["files"] = policy_files(words.policy)
    found = ask(manager, "Invariant", asked)
    statements = found["statements"]
    if words.json:
        print_json(found)
    elif not statements and not found["fault"]:
        print("There are no statements.")
    for one in () if words.json else statements:
        print(harmless(f"{one['file']}:{one['line']}: {'holds' if one['holds'] else 'BROKEN'}: {one['statement']}"))
        if not one["holds"]:
            print(harmless(f"    {one['breach']['text']}"))
        if one["nobody"]:
            print(harmless(f"    for now nobody is {' or '.join(one['nobody'])}"))
    if found["fault"] and not words.json:
        say(found["fault"])
    if found["fault"]:
        return Code.BAD_INPUT
    return Code.DONE if all(one["holds"] for one in statements) else Code.BROKEN


# ---- asking --------------------------------------------------------------------------------------


def ask(manager: Manager, method: str, asked: Json) -> Any:
    # Bytes of a file that are no UTF-8 go as they are (surrogateescape both ways), for the manager to find the fault.
    payload = json.dumps(asked, ensure_ascii=False)
    length = len(payload.encode("utf-8", "surrogateescape"))
    if length > ROOM:
        raise Failed(f"that is too much policy for one request: {length} bytes, at most {ROOM}", Code.BAD_INPUT)
    return json.loads(manager.ask(request(f"bento.policy.{method}", payload=payload)))


def policy_files(directory: str) -> list[Json]:
    """The policy files of a directory, which are those that the manager would read, and what they may include."""
    root = Path(directory)
    try:
        paths = sorted(path for path in root.iterdir() if path.name.endswith(".policy"))
        texts = {path.name: read_text(path) for path in paths if not path.name.startswith(".")}
        if any(word in text for text in texts.values() for word in INCLUDING):
            texts = dict(_below(root)) | texts
    except OSError as error:
        raise Failed(f"{error.filename or directory} cannot be read: {error.strerror}", Code.BAD_INPUT) from None
    return [{"name": name, "text": text} for name, text in texts.items()]


def _below(root: Path) -> Iterator[tuple[str, str]]:
    """All files below `root` by their paths, and the directories, whose paths end in /."""
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if any(part.startswith(".") for part in name.parts):
            continue
        if path.is_dir():
            yield f"{name}/", ""
        elif path.is_file():
            yield str(name), read_text(path)
