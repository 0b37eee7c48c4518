"""Answers about the policy, as JSON both ways: the one in force, or one whose files came with the request.

Nothing here changes anything. What may take seconds for a large policy is
done in a thread beside the loop, on frozen values.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar, assert_never

from bento.host.manager.known import known_services
from bento.host.manager.methods.kinds import Manager, Method, Reply, parsed
from bento.host.model.audit import Verdict
from bento.host.model.domain import RGB
from bento.host.model.errors import Invalid
from bento.host.model.fault import Fault
from bento.host.model.inventory import DomainRecord
from bento.host.policy.check import Finding, Oddity, check
from bento.host.policy.decide import Allowed, Asking, Call, Decision, Denied, End
from bento.host.policy.diff import Change, diff
from bento.host.policy.explain import explain
from bento.host.policy.files import Policy, PolicyBroken, PolicyRules, assemble
from bento.host.policy.grammar import PolicyError
from bento.host.policy.invariant import Breach, breaches, nobody
from bento.host.policy.outcomes import Terms
from bento.host.policy.reach import Calls, Ground, Link, Path, reach
from bento.host.policy.rules import Rule
from bento.host.policy.services import Services
from bento.host.policy.simulate import Changed, Logged, simulate
from bento.host.policy.statements import Statement, parse
from bento.host.policy.world import Disposable, World
from bento.wire.admin import Request
from bento.wire.errors import WireError
from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName

Json = dict[str, object]

INVARIANTS = "invariants"
"""What statements that came with a request are called in messages about them: as the file that they may be for."""


async def explain_call(manager: Manager, request: Request) -> Reply:
    """`{"source", "service", "argument", "target"}` -> the decision, its rule, and the rules that nearly matched."""
    asked = _object(request, "source", "service", "argument", "target")
    call = Call(
        _parsed(DomainName.parse, asked, "source"),
        _parsed(ServiceName.parse, asked, "service"),
        _parsed(ServiceArgument.parse, asked, "argument"),
        _parsed(TargetName.parse, asked, "target"),
    )
    found = explain(await manager.calls.policy(), call, manager.calls.world())
    nearly = [
        {**_rule(miss.rule), "columns": [column.value for column in miss.columns], "why": miss.why}
        for miss in found.nearly
    ]
    allowed = isinstance(found.decision, Allowed)
    return json.dumps({"allowed": allowed, **_decision(found.decision), "nearly": nearly}).encode()


async def check_policy(manager: Manager, request: Request) -> Reply:
    """`{"files": [{"name", "text"}]}`, or `{}` for the policy in force -> a list of findings."""
    asked = _object(request, "files")
    policy = _policy(asked, "files") if "files" in asked else await manager.calls.policy()
    services = known_services(manager.inventory, manager.contracts.services(), manager.places.services)
    found = await asyncio.to_thread(check, policy, manager.calls.world(), services)
    if (fault := manager.calls.policy_fault) and "files" not in asked:
        holds = isinstance(policy, PolicyRules)
        until = "the policy of before holds" if holds else "every call is denied"
        sentence = f"{fault.problem}; until this is mended, {until}"
        broken = Finding(Oddity.BROKEN, fault.file, fault.line, fault.column, sentence)
        found = (broken, *found) if holds else (broken,)
    return json.dumps([_finding(one) for one in found]).encode()


async def reach_domains(manager: Manager, request: Request) -> Reply:
    """`{"from", "to", "through", "max_hops"}`, each of which may be left out -> paths, their links, all domains."""
    asked = _object(request, "from", "to", "through", "max_hops")
    world = manager.calls.world()
    source, target = _node(manager, asked, "from"), _node(manager, asked, "to")
    through = _parsed(ServiceName.parse, asked, "through") if "through" in asked else None
    max_hops = asked.get("max_hops")
    # A bool is an int to Python, and no number to anybody else.
    if max_hops is not None and (not isinstance(max_hops, int) or isinstance(max_hops, bool) or max_hops < 1):
        raise Invalid("max_hops is a whole number from 1")
    ground = Ground(await manager.calls.policy(), world, manager.contracts.services())
    found = await asyncio.to_thread(reach, ground, source=source, target=target, through=through, max_hops=max_hops)
    said = {
        "fault": _fault(ground.policy),
        "domains": [_domain(record) for record in sorted(manager.inventory, key=lambda record: record.name)],
        "paths": [_path(path) for path in found.paths],
        "links": [_link(link) for link in found.links],
    }
    return json.dumps(said).encode()


async def diff_policies(manager: Manager, request: Request) -> Reply:
    """`{"old", "new"}`, each a list of `{"name", "text"}` -> what is newly allowed, asked, denied; and what altered."""
    asked = _object(request, "old", "new")
    old, new = _policy(asked, "old"), _policy(asked, "new")
    found = await asyncio.to_thread(diff, old, new, manager.calls.world())
    said = {
        "faults": {"old": _fault(old), "new": _fault(new)},
        "allowed": [_change(change) for change in found.allowed],
        "asked": [_change(change) for change in found.asked],
        "denied": [_change(change) for change in found.denied],
        "altered": [_change(change) for change in found.altered],
    }
    return json.dumps(said).encode()


async def hold_invariants(manager: Manager, request: Request) -> Reply:
    """`{"statements", "files"}`: a text, and policy files; of what is left out, that in force -> whether each holds."""
    asked = _object(request, "statements", "files")
    policy = _policy(asked, "files") if "files" in asked else await manager.calls.policy()
    statements = _statements(asked) if "statements" in asked else manager.invariants.statements()
    if isinstance(statements, Fault):
        return json.dumps({"fault": str(statements), "statements": []}).encode()
    world = manager.calls.world()
    broken = await asyncio.to_thread(breaches, statements, Ground(policy, world))
    how = {breach.statement: breach for breach in broken}
    said = [_statement(statement, how.get(statement), world) for statement in statements]
    return json.dumps({"fault": _fault(policy), "statements": said}).encode()


async def simulate_calls(manager: Manager, request: Request) -> Reply:
    """`{"calls", "files"}`: calls of the audit log, each with a `count` -> those that would be decided otherwise.

    A call is an object with the fields `CALL`, of the log, and `count`. Without `files`, by the policy in force.
    """
    asked = _object(request, "calls", "files")
    log = _calls(asked)
    policy = _policy(asked, "files") if "files" in asked else await manager.calls.policy()
    found = await asyncio.to_thread(simulate, log, policy, manager.calls.world())
    changed = [_changed(one) for one in found.changed]
    said = {"fault": _fault(policy), "same": found.same, "changed": changed, "gone": found.gone}
    return json.dumps({**said, "commands": found.commands}).encode()


# ---- what comes in -------------------------------------------------------------------------------

T = TypeVar("T")


def _object(request: Request, *allowed: str) -> Json:
    """The payload. Bytes that are no UTF-8 stay what they are: in a policy file they are its fault, to be reported."""
    try:
        found = json.loads(request.payload.decode("utf-8", "surrogateescape") or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not found.keys() <= set(allowed):
        raise Invalid(f"the request's payload is a JSON object that may have: {', '.join(allowed)}")
    return found


def _text(asked: Json, key: str) -> str:
    value = asked.get(key)
    if not isinstance(value, str):
        raise Invalid(f"the request lacks the text {key}")
    return value


def _parsed(parse: Callable[[str], T], asked: Json, key: str) -> T:
    return parsed(parse, _text(asked, key))


def _node(manager: Manager, asked: Json, key: str) -> End | None:
    """A domain's name, or `@dispvm:NAME`."""
    if key not in asked:
        return None
    text = _text(asked, key)
    record = manager.inventory.get(parsed(DomainName.parse, text.removeprefix("@dispvm:")))
    if record.name == text:
        return record.name
    manager.disposables.require_base(record)
    return Disposable(record.name)


def _policy(asked: Json, key: str) -> Policy:
    files = asked.get(key)
    if not isinstance(files, list):
        raise Invalid(f"the request lacks the list {key} of policy files")
    return assemble([_file(file) for file in files])


CALL: Mapping[str, Callable[[str], object]] = {
    "source": DomainName.parse,
    "service": ServiceName.parse,
    "argument": str,
    "asked": TargetName.parse,
    "chosen": TargetName.parse,
    "verdict": Verdict,
}


def _calls(asked: Json) -> Mapping[Logged, int]:
    calls = asked.get("calls")
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise Invalid("the request lacks the list calls of objects")
    log: Counter[Logged] = Counter()
    for call in calls:
        count = call.get("count")
        if type(count) is not int or count < 1:
            raise Invalid("count of a call is a whole number from 1")
        try:
            values: dict[str, Any] = {key: parse(_text(call, key)) for key, parse in CALL.items()}
        except (WireError, ValueError) as error:
            raise Invalid(str(error)) from None
        log[Logged(**values)] += count
    return log


def _statements(asked: Json) -> tuple[Statement, ...] | Fault:
    try:
        return parse(INVARIANTS, _text(asked, "statements").encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        raise Invalid("the statements are no text") from None
    except PolicyError as error:
        return error.fault


def _file(file: object) -> tuple[str, bytes]:
    match file:
        case {"name": str(name), "text": str(text)}:
            try:
                return name, text.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError:
                pass
    raise Invalid("a policy file is an object with the texts name and text")


# ---- what goes out -------------------------------------------------------------------------------


def _fault(policy: Policy) -> str | None:
    return str(policy.fault) if isinstance(policy, PolicyBroken) else None


def _decision(decision: Decision) -> Json:
    match decision:
        case Allowed(target, user, autostart, notify, rule):
            return {"target": str(target), **_terms(Terms(user or "", autostart, notify)), "rule": _rule(rule)}
        case Asking(candidates, default, user, autostart, notify, rule):
            return {
                "candidates": [str(end) for end in candidates],
                "default": default and str(default),
                **_terms(Terms(user or "", autostart, notify, asked=True)),
                "rule": _rule(rule),
            }
        case Denied(reason, sentence, by, notify):
            return {"reason": reason.value, "sentence": sentence, "notify": notify, "rule": by and _rule(by)}
        case never:
            assert_never(never)


def _changed(changed: Changed) -> Json:
    before = {"verdict": changed.logged.verdict, "target": changed.logged.chosen or None}
    what = {"source": changed.logged.source, "service": changed.logged.service, "argument": changed.argument}
    after = {"allowed": isinstance(changed.decision, Allowed), **_decision(changed.decision)}
    return {"calls": changed.calls, **what, "asked": changed.logged.asked, "before": before, "after": after}


def _rule(rule: Rule) -> Json:
    return {"file": rule.file, "line": rule.line, "rule": str(rule)}


def _finding(found: Finding) -> Json:
    place = {"file": found.file, "line": found.line, "column": found.column}
    return {"oddity": found.oddity.value, **place, "sentence": found.sentence}


def _domain(record: DomainRecord) -> Json:
    label = record.domain.label
    return {"name": record.name, "label": label, "colour": f"#{RGB[label]:06x}"}


def _statement(statement: Statement, breach: Breach | None, world: World) -> Json:
    said = {"file": statement.file, "line": statement.line, "statement": statement.text, "holds": breach is None}
    if breach is not None:
        links = [_link(link) for link in breach.links]
        said["breach"] = {"from": str(breach.source), "to": str(breach.target), "text": str(breach), "links": links}
    return {**said, "nobody": [str(selector) for selector in nobody(statement, world)]}


def _path(path: Path) -> Json:
    domains = [str(node) for node in path.domains]
    ends = {"from": domains[0], "to": domains[-1]}
    return {**ends, "hops": path.hops, "questions": path.questions, "domains": domains}


def _link(link: Link) -> Json:
    means = link.means
    ends = {"from": str(link.source), "to": str(link.target), "kind": means.kind, "asked": means.asked}
    if not isinstance(means, Calls):
        return {**ends, "text": str(means), "words": [str(means)]}
    plain = [span.service for span in means.services.spans if means.is_plain(span)]
    marks = {} if means.contracts is None else {"plain": sorted(set(plain))}
    return {**ends, "text": str(means), "words": means.words(), **_services(means.services), **marks}


def _services(services: Services) -> Json:
    spans = [{"service": span.service, "argument": span.argument} for span in services.spans]
    return {"any_but": services.but, "services": spans}


def _change(change: Change) -> Json:
    return {
        "from": str(change.source),
        "to": str(change.target),
        "text": str(change.services),
        **_services(change.services),
        "before": [_terms(terms) for terms in change.before],
        "after": [_terms(terms) for terms in change.after],
    }


def _terms(terms: Terms) -> Json:
    return asdict(terms) | {"user": terms.user or None}


METHODS: dict[str, Method] = {
    "bento.policy.Check": check_policy,
    "bento.policy.Explain": explain_call,
    "bento.policy.Reach": reach_domains,
    "bento.policy.Diff": diff_policies,
    "bento.policy.Invariant": hold_invariants,
    "bento.policy.Simulate": simulate_calls,
}
