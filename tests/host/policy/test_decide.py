"""Decisions, as tables: the field's behaviours first, then what is Bento's own.

The field's cases are facts about QubesOS core-qrexec, taken from
`qrexec/policy/parser.py` (4.4) and what its `qrexec/tests/policy_parser.py`
holds; the group and test that shows each is named beside it.
"""

from dataclasses import replace

import pytest

from bento.host.model.domain import ADMIN, DomainClass
from bento.host.policy.decide import Allowed, Asking, Call, Decision, Denied, Reason, decide
from bento.host.policy.files import assemble
from bento.host.policy.world import DomainFacts, World
from bento.wire.names import DomainName, ServiceArgument, ServiceName, Tag, TargetName


def facts(klass: DomainClass, *tags: str) -> DomainFacts:
    return DomainFacts(klass, frozenset(Tag.parse(tag) for tag in tags), running=True)


WORLD = World(
    {
        ADMIN: facts(DomainClass.ADMIN, "admin-tag"),
        DomainName("work"): facts(DomainClass.APP, "one", "two"),
        DomainName("random"): facts(DomainClass.APP, "two"),
        DomainName("vault"): facts(DomainClass.APP, "three"),
        DomainName("debian"): facts(DomainClass.TEMPLATE, "one", "two"),
        DomainName("alone"): facts(DomainClass.STANDALONE),
    }
)


def decision(
    policy: str, source: str, target: str, service: str = "s", argument: str = "", world: World = WORLD
) -> Decision:
    call = Call(
        DomainName.parse(source), ServiceName.parse(service), ServiceArgument.parse(argument), TargetName.parse(target)
    )
    return decide(assemble([("t.policy", policy.encode())]), call, world)


def outcome(policy: str, source: str, target: str, service: str = "s", argument: str = "") -> str:
    """In a word: where an allowed call goes, what is to choose from (the default in brackets), or why not."""
    decided = decision(policy, source, target, service, argument)
    match decided:
        case Allowed(end):
            return f"-> {end}"
        case Asking(ends, default):
            return "? " + " ".join(f"[{end}]" if end == default else str(end) for end in ends)
        case Denied(reason):
            return reason.value


# Does SELECTOR, as a target, match a call to TARGET? A match shows as the redirection to `alone`.
MATCHES: list[tuple[str, str, bool]] = [
    # TC_00_VMToken, test_100_match_single
    ("@anyvm", "work", True),
    ("@anyvm", "@default", True),
    ("@anyvm", "", True),
    ("@anyvm", "dom0", False),
    ("@anyvm", "@adminvm", False),
    ("@default", "@default", True),
    ("@default", "", True),
    ("@default", "no-such-domain", True),
    ("@default", "work", False),
    ("@default", "dom0", False),
    ("@adminvm", "@adminvm", True),
    ("@adminvm", "dom0", True),
    ("dom0", "@adminvm", True),
    ("dom0", "dom0", True),
    ("dom0", "work", False),
    ("*", "work", True),
    ("*", "@adminvm", True),
    ("*", "@default", True),
    ("*", "no-such-domain", True),
    ("@tag:one", "work", True),
    ("@tag:one", "vault", False),
    ("@tag:one", "@default", False),
    ("@tag:one", "no-such-domain", False),
    ("@tag:one", "dom0", False),
    ("@tag:admin-tag", "dom0", False),
    ("@tag:admin-tag", "@adminvm", False),
    ("@type:AppVM", "work", True),
    ("@type:AppVM", "debian", False),
    ("@type:TemplateVM", "debian", True),
    ("@type:AdminVM", "dom0", False),
    ("@type:AdminVM", "@adminvm", False),
    ("@type:RemoteVM", "work", False),
    ("work", "work", True),
    ("work", "vault", False),
    ("work", "@default", False),
    # an unknown name is @default, so a rule that names it does not match either (IntendedTarget.verify)
    ("no-such-domain", "no-such-domain", False),
]


@pytest.mark.parametrize(("selector", "target", "matches"), MATCHES)
def test_a_target_selector_matches_as_in_the_field(selector: str, target: str, matches: bool) -> None:
    assert outcome(f"* * * {selector} allow target=alone", "random", target) == ("-> alone" if matches else "no-rule")


@pytest.mark.parametrize(
    ("selector", "source", "matches"),
    [
        ("*", "work", True),
        ("*", "dom0", True),
        ("@anyvm", "work", True),
        ("@anyvm", "dom0", False),
        ("@adminvm", "dom0", True),
        ("dom0", "dom0", True),
        ("@adminvm", "work", False),
        ("@tag:one", "work", True),
        ("@tag:one", "vault", False),
        ("@tag:admin-tag", "dom0", False),
        ("@type:AppVM", "work", True),
        ("@type:TemplateVM", "work", False),
        ("@type:AdminVM", "dom0", False),
        ("work", "work", True),
        ("work", "random", False),
    ],
)
def test_a_source_selector_matches_by_the_same_rules(selector: str, source: str, matches: bool) -> None:
    assert outcome(f"* * {selector} alone allow", source, "alone") == ("-> alone" if matches else "no-rule")


@pytest.mark.parametrize(
    ("columns", "argument", "matches"),
    [
        ("* *", "", True),
        ("* *", "x", True),
        ("s *", "", True),
        ("s *", "x", True),
        ("s +", "", True),
        ("s +", "x", False),
        ("s +x", "x", True),
        ("s +x", "", False),
        ("s +x", "xx", False),
        ("s +x", "X", False),
        ("s.t *", "", False),
        ("S *", "", False),
    ],
)
def test_a_service_and_its_argument_match_exactly_or_by_a_star(columns: str, argument: str, matches: bool) -> None:
    decided = outcome(f"{columns} * * allow", "random", "work", "s", argument)
    assert decided == ("-> work" if matches else "no-rule")


# TC_20_Policy, test_010_find_rule: rules are tried from the top, and the first that matches is the one.
FIRST_MATCH = """\
* * work random allow
* * work @anyvm deny
* * random @tag:one deny
* * random @tag:two allow target=alone
* * @type:AppVM @default allow target=vault
* * @tag:one @type:AppVM allow
"""


@pytest.mark.parametrize(
    ("source", "target", "line"),
    [
        ("work", "random", 1),
        ("work", "vault", 2),
        ("work", "@default", 2),
        ("random", "work", 3),
        ("random", "debian", 3),
        ("vault", "@default", 5),
        ("vault", "no-such-domain", 5),
        ("debian", "vault", 6),
        ("debian", "alone", None),
        ("alone", "@default", None),
        ("vault", "work", None),
    ],
)
def test_the_first_rule_that_matches_decides(source: str, target: str, line: int | None) -> None:
    rule = decision(FIRST_MATCH, source, target).rule
    assert (rule and rule.line) == line


# TC_40_evaluate
EVALUATED: list[tuple[str, str, str, str]] = [
    # POLICY (its lines parted by ;), SOURCE, TARGET, OUTCOME
    ("* * @anyvm @anyvm deny", "work", "random", "rule"),  # test_000
    ("* * work random allow", "work", "random", "-> random"),  # test_030
    ("* * work random allow", "random", "@default", "no-rule"),  # test_030
    ("* * work @default allow target=random", "work", "@default", "-> random"),  # test_031
    ("* * @tag:two @anyvm allow", "debian", "@default", "no-target"),  # test_031: the call says no target, nor the rule
    ("* * @tag:two * allow", "debian", "no-such-domain", "no-target"),
    ("* * vault @adminvm allow", "vault", "dom0", "-> dom0"),  # test_060
    ("* * vault @adminvm allow", "vault", "@adminvm", "-> dom0"),  # test_061
    ("* * vault dom0 allow", "vault", "@adminvm", "-> dom0"),
    ("* * @anyvm @anyvm allow target=random", "vault", "work", "-> random"),  # test_080
    ("* * @anyvm @anyvm allow target=dom0", "vault", "work", "-> dom0"),  # test_084
    ("* * @anyvm @anyvm allow target=@adminvm", "vault", "work", "-> dom0"),  # test_085
    ("* * vault @anyvm allow target=no-such-domain", "vault", "@default", "no-target"),  # test_086
    ("* * vault @anyvm allow target=no-such-domain", "vault", "work", "no-target"),
    # AllowResolution.execute: a call that would end where it began is denied, by name or by redirection ...
    ("* * * * allow", "work", "work", "itself"),
    ("* * * * allow target=work", "work", "random", "itself"),
    ("* * @anyvm @default allow target=work", "work", "", "itself"),
    ("* * * * allow", "dom0", "@adminvm", "itself"),
    # ... but one that is sent elsewhere is not
    ("* * work work allow target=random", "work", "work", "-> random"),
    # Request: a keyword that is no call's target is refused, whatever the rules (TC_01_Request, test_002)
    ("* * * * allow target=work", "random", "@anyvm", "target-invalid"),
    ("* * * * allow target=work", "random", "@tag:one", "target-invalid"),
    ("* * * * allow target=work", "random", "@type:AppVM", "target-invalid"),
    ("* * * * allow target=work", "random", "@invalid", "target-invalid"),
    # a deny above an allow, and below it
    ("s * random work deny;s * random work allow", "random", "work", "rule"),
    ("s * random work allow;s * random work deny", "random", "work", "-> work"),
    # filecopy: the use of it all
    ("s * random work allow;s * @anyvm vault deny", "random", "vault", "rule"),
]


@pytest.mark.parametrize(("policy", "source", "target", "expected"), EVALUATED)
def test_a_call_is_decided_as_in_the_field(policy: str, source: str, target: str, expected: str) -> None:
    assert outcome(policy.replace(";", "\n"), source, target) == expected


@pytest.mark.parametrize(
    ("action", "target", "notify"),
    [
        # test_line_notify: allow is quiet by default, deny is not
        ("allow", "work", False),
        ("allow notify=yes", "work", True),
        ("deny", "work", True),
        ("deny notify=no", "work", False),
        # exc.AccessDenied: what the rule allows but cannot be notifies, whatever the rule says
        ("allow notify=no", "@default", True),
        ("allow notify=no", "random", True),
        ("allow notify=no target=nobody", "work", True),
    ],
)
def test_notify_is_the_rules_or_the_fields_default(action: str, target: str, notify: bool) -> None:
    assert decision(f"* * * * {action}", "random", target).notify is notify


def test_a_call_that_no_rule_is_about_notifies() -> None:
    assert decision("", "random", "work").notify


def test_an_allowed_call_carries_user_autostart_and_the_rule() -> None:
    decided = decision("\n* * * * allow user=root autostart=no", "random", "work")
    assert isinstance(decided, Allowed)
    assert (decided.user, decided.autostart, decided.rule.place) == ("root", False, "t.policy:2")
    plain = decision("* * * * allow", "random", "work")
    assert isinstance(plain, Allowed)
    assert (plain.user, plain.autostart) == (None, True)


# ---- Bento's own ---------------------------------------------------------------------------------


def test_a_broken_policy_denies_even_what_a_sound_file_allows_and_says_where() -> None:
    policy = assemble([("10.policy", b"* * * * allow"), ("20.policy", b"* * * * maybe")])
    call = Call(DomainName("random"), ServiceName("s"), ServiceArgument("x"), TargetName("work"))
    assert decide(policy, call, WORLD) == Denied(
        Reason.POLICY_BROKEN,
        "'s+x' from 'random' to 'work' is denied as every call is until the policy is mended: "
        "20.policy:1:9: expected allow, ask or deny, found 'maybe'",
    )


def test_a_source_that_does_not_exist_may_nothing() -> None:
    """The field would let `@anyvm` match it; a domain may be removed while its call waits for a decision."""
    decided = decision("* * * * allow", "ghost", "work")
    assert isinstance(decided, Denied)
    assert decided.reason is Reason.SOURCE_UNKNOWN


def test_the_admin_domain_is_there_even_if_the_inventory_does_not_list_it() -> None:
    world = replace(WORLD, domains={name: what for name, what in WORLD.domains.items() if name != ADMIN})
    to_admin = decision("* * * * allow", "random", "dom0", world=world)
    from_admin = decision("* * * * allow", "dom0", "random", world=world)
    assert isinstance(to_admin, Allowed)
    assert isinstance(from_admin, Allowed)
    assert (to_admin.target, from_admin.target) == ("dom0", "random")


@pytest.mark.parametrize(
    ("policy", "target", "sentence"),
    [
        ("", "work", "'s' from 'random' to 'work' is denied because no rule of the policy allows it"),
        ("", "", "'s' from 'random' to '@default' is denied because no rule of the policy allows it"),
        ("", "wrok", "'s' from 'random' to 'wrok' is denied because there is no such domain, and no rule for @default"),
        ("* * * * deny", "work", "'s' from 'random' to 'work' is denied by t.policy:1"),
        (
            "* * * * allow",
            "",
            "'s' from 'random' to '@default' is denied because t.policy:1 allows it "
            "but neither the caller nor target= names an existing domain",
        ),
        (
            "* * * * allow target=gone",
            "work",
            "'s' from 'random' to 'work' is denied because t.policy:1 sends it to gone, which doesn't exist",
        ),
        (
            "* * * * allow",
            "random",
            "'s' from 'random' to 'random' is denied because t.policy:1 would have a domain call itself",
        ),
        (
            "* * * * allow",
            "@tag:one",
            "'s' from 'random' to '@tag:one' is denied because a call's target is "
            "a domain, @adminvm, @default, @dispvm or @dispvm:NAME of a domain for disposables",
        ),
    ],
)
def test_a_denial_says_in_one_sentence_what_was_denied_and_why(policy: str, target: str, sentence: str) -> None:
    decided = decision(policy, "random", target)
    assert isinstance(decided, Denied)
    assert decided.sentence == sentence


def test_a_denials_sentence_is_bounded_however_long_the_argument() -> None:
    decided = decision("", "random", "work", argument="x" * 60_000)
    assert isinstance(decided, Denied)
    assert len(decided.sentence) < 300
