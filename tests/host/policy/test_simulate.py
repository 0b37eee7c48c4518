"""The audit log against another policy: the same policy changes nothing, another one what it decides otherwise."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bento.host.model.audit import Verdict, argument_digest
from bento.host.model.domain import ADMIN, DomainClass
from bento.host.policy.decide import Allowed, Asking, Call, decide
from bento.host.policy.files import Policy, assemble
from bento.host.policy.rules import Rule
from bento.host.policy.simulate import Logged, Simulation, simulate
from bento.host.policy.world import DomainFacts, World
from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName
from tests.host.policy.made import calls, policies, policy_of, worlds

WORK, RANDOM, VAULT = map(DomainName, ("work", "random", "vault"))
WORLD = World({name: DomainFacts(DomainClass.APP) for name in (WORK, RANDOM, VAULT)})


def policy(text: str) -> Policy:
    return assemble([("t.policy", text.encode())])


def logged(verdict: Verdict, chosen: str = "", *, argument: str = "", asked: str = "work") -> Logged:
    digest = argument_digest(ServiceArgument(argument))
    return Logged(RANDOM, ServiceName("s"), digest, TargetName(asked), TargetName(chosen), verdict)


def simulated(text: str, *log: Logged) -> Simulation:
    return simulate(Counter(log), policy(text), WORLD)


def fates(found: Simulation) -> list[str]:
    return [type(change.decision).__name__ for change in found.changed]


ALLOWED = logged(Verdict.ALLOWED, "work")


def test_a_call_that_fares_the_same_is_only_counted() -> None:
    assert simulated("s * random work allow", ALLOWED, ALLOWED) == Simulation(2, (), {}, 0)


def test_a_call_that_fares_otherwise_is_told_with_its_decision() -> None:
    found = simulated("s * random work deny", ALLOWED, ALLOWED)
    assert (found.same, fates(found), found.changed[0].calls) == (0, ["Denied"], 2)
    assert fates(simulated("s * random work allow target=vault", ALLOWED)) == ["Allowed"]
    assert fates(simulated("s * random work ask", ALLOWED)) == ["Asking"]


def test_what_the_person_said_to_a_question_is_not_the_policys() -> None:
    yes, no = logged(Verdict.CONSENTED, "work"), logged(Verdict.WITHHELD)
    assert simulated("s * random work ask", yes, no) == Simulation(2, (), {}, 0)
    assert fates(simulated("s * random work allow", yes, no)) == ["Allowed", "Allowed"]
    assert fates(simulated("s * random work ask target=vault", yes, no)) == ["Asking"]


def test_an_argument_is_known_by_its_digest_if_a_rule_names_it() -> None:
    text = "s +a random work deny\ns * random work allow\n"
    log = [logged(Verdict.ALLOWED, "work", argument=argument) for argument in ("a", "b", "", "b")]
    found = simulated(text, *log)
    assert (found.same, [change.argument for change in found.changed]) == (3, ["a"])
    found = simulated("s + random work allow", *log)
    assert [(change.argument, change.calls) for change in found.changed] == [(None, 2), (None, 1)]


def test_an_argument_that_rules_happen_to_name_is_not_taken_for_one_they_do_not() -> None:
    text = "s +other0 random work deny\ns * random work allow\n"
    assert simulated(text, logged(Verdict.ALLOWED, "work", argument="secret")).same == 1


def test_calls_of_domains_that_are_no_more_and_of_the_person_are_left_out() -> None:
    gone = replace(ALLOWED, source=DomainName("gone"))
    command = replace(ALLOWED, source=ADMIN, verdict=Verdict.ADMIN)
    assert simulated("", gone, gone, command) == Simulation(0, (), {DomainName("gone"): 2}, 1)


def test_a_call_that_was_cut_counts_once() -> None:
    cut = replace(ALLOWED, verdict=Verdict.CUT)
    assert simulated("s * random work allow", ALLOWED, cut) == Simulation(1, (), {}, 0)


def test_a_target_that_may_have_run_or_not_is_given_the_benefit_of_the_doubt() -> None:
    text = "s * random work allow autostart=no"
    assert simulated(text, ALLOWED, logged(Verdict.DENIED)).same == 2


def test_the_most_frequent_change_comes_first() -> None:
    vault = logged(Verdict.ALLOWED, "vault", asked="vault")
    found = simulated("", ALLOWED, vault, vault)
    assert [change.logged.asked for change in found.changed] == ["vault", "work"]


def test_a_broken_policy_denies_every_call() -> None:
    assert fates(simulated("nonsense", ALLOWED)) == ["Denied"]


def log_of(policy: Policy, made: list[Call], world: World, agreed: bool) -> Counter[Logged]:
    """What the audit log would have of these calls."""
    log: Counter[Logged] = Counter()
    for call in made:
        verdict, chosen = Verdict.DENIED, ""
        match decide(policy, call, world):
            case Allowed(target):
                verdict, chosen = Verdict.ALLOWED, str(target)
            case Asking(candidates) if agreed:
                verdict, chosen = Verdict.CONSENTED, str(candidates[-1])
            case Asking():
                verdict = Verdict.WITHHELD
        digest = argument_digest(call.argument)
        log[Logged(call.source, call.service, digest, call.target, TargetName(chosen), verdict)] += 1
    return log


halted_or_running = st.builds(
    lambda world, running: World({name: replace(facts, running=running) for name, facts in world.domains.items()}),
    worlds,
    st.booleans(),
)


@given(policies, st.lists(calls), halted_or_running, st.booleans())
def test_the_policy_that_made_a_log_changes_nothing_in_it(
    made: list[Rule], asked: list[Call], world: World, agreed: bool
) -> None:
    found = simulate(log_of(policy_of(made), asked, world, agreed), policy_of(made), world)
    assert found.changed == ()
    assert found.same + sum(found.gone.values()) == len(asked)


@given(policies, policies, st.lists(calls), worlds)
def test_another_policy_changes_just_what_it_decides_otherwise(
    old: list[Rule], new: list[Rule], asked: list[Call], world: World
) -> None:
    running = World({name: replace(facts, running=True) for name, facts in world.domains.items()})
    found = simulate(log_of(policy_of(old), asked, running, True), policy_of(new), running)
    for change in found.changed:
        was = log_of(policy_of(new), [call for call in asked if same(call, change.logged)], running, True)
        assert change.logged not in was
    assert found.same + sum(found.gone.values()) + sum(change.calls for change in found.changed) == len(asked)


def same(call: Call, logged: Logged) -> bool:
    called = (call.source, call.service, argument_digest(call.argument), call.target)
    return called == (logged.source, logged.service, logged.argument, logged.asked)
