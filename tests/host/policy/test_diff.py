"""What an edit changes: nothing for a policy against itself, and otherwise just what `decide` says otherwise."""

from hypothesis import given

from bento.host.model.domain import ADMIN, DomainClass
from bento.host.policy.diff import Change, Diff, diff
from bento.host.policy.files import Policy, assemble
from bento.host.policy.outcomes import Terms
from bento.host.policy.rules import Rule
from bento.host.policy.services import Services, Span, Vocabulary
from bento.host.policy.world import Disposable, DomainFacts, World
from bento.wire.names import DomainName, ServiceName, UserName
from tests.host.policy.made import policies, policy_of, worlds
from tests.host.policy.outcomes import allows, outcomes

WORK, RANDOM, VAULT = map(DomainName, ("work", "random", "vault"))
WORLD = World({name: DomainFacts(DomainClass.APP) for name in (WORK, RANDOM, VAULT)})
PLAIN = Terms("", True, False)


def policy(text: str) -> Policy:
    return assemble([("t.policy", text.encode())])


def edit(old: str, new: str) -> Diff:
    return diff(policy(old), policy(new), WORLD)


def only(*names: str) -> Services:
    return Services(False, tuple(Span(ServiceName(name), "*") for name in names))


def test_an_allow_line_is_newly_allowed_and_gone_again_the_other_way() -> None:
    changed = edit("", "s * random work allow")
    assert changed == Diff((Change(RANDOM, WORK, only("s"), (), (PLAIN,)),), (), (), ())
    assert edit("s * random work allow", "") == Diff((), (), (Change(RANDOM, WORK, only("s"), (PLAIN,), ()),), ())


def test_lines_in_another_order_or_other_words_are_no_change() -> None:
    assert edit("s * random work allow\nt * work vault allow", "t * work vault allow\n\ns * random work allow") == Diff(
        (), (), (), ()
    )
    assert edit("* * * @adminvm allow\n", "* * @anyvm dom0 allow\ns * work vault deny") == Diff((), (), (), ())


def test_an_edit_that_redirects_a_call_is_told_by_where_it_ends() -> None:
    changed = edit("s * random @default allow target=work", "s * random @default allow target=vault")
    assert changed == Diff(
        (Change(RANDOM, VAULT, only("s"), (), (PLAIN,)),), (), (Change(RANDOM, WORK, only("s"), (PLAIN,), ()),), ()
    )


def test_a_call_that_becomes_roots_is_altered() -> None:
    changed = edit("s * random work allow", "s * random work allow user=root")
    root = Terms(UserName("root"), True, False)
    assert changed == Diff((), (), (), (Change(RANDOM, WORK, only("s"), (PLAIN,), (root,)),))


def test_terms_that_the_caller_can_choose_from_are_all_told() -> None:
    choice = "s * random @default allow target=work user=root\ns * random work allow"
    changed = edit("s * random work allow", choice)
    root = Terms(UserName("root"), True, False)
    assert changed == Diff((), (), (), (Change(RANDOM, WORK, only("s"), (PLAIN,), (PLAIN, root)),))


def test_a_new_deny_for_one_service_is_told_as_that_service() -> None:
    changed = edit("* * random work allow", "s * random work deny\n* * random work allow")
    assert changed == Diff((), (), (Change(RANDOM, WORK, only("s"), (PLAIN,), ()),), ())
    assert [str(change.services) for change in changed.denied] == ["s"]


def test_what_was_allowed_already_is_not_newly_allowed() -> None:
    changed = edit("s * random work allow", "* * random work allow")
    but_s = Services(True, only("s").spans)
    assert changed == Diff((Change(RANDOM, WORK, but_s, (), (PLAIN,)),), (), (), ())


def test_a_policy_that_breaks_denies_all_it_allowed() -> None:
    changed = edit("* * random work allow", "* * random work alow")
    assert changed == Diff((), (), (Change(RANDOM, WORK, Services(True, ()), (PLAIN,), ()),), ())


ASKED = Terms("", True, False, asked=True)


def test_what_asks_now_is_newly_asked_whether_it_was_allowed_or_denied() -> None:
    asking = "s * random work ask target=work"
    assert edit("", asking).asked == (Change(RANDOM, WORK, only("s"), (), (ASKED,)),)
    assert edit("s * random work allow", asking) == Diff(
        (), (Change(RANDOM, WORK, only("s"), (PLAIN,), (ASKED,)),), (), ()
    )
    assert edit(asking, "s * random work allow").allowed == (Change(RANDOM, WORK, only("s"), (ASKED,), (PLAIN,)),)
    assert edit(asking, "").denied == (Change(RANDOM, WORK, only("s"), (ASKED,), ()),)


def test_another_target_that_the_person_finds_chosen_is_altered() -> None:
    changed = edit("s * random @default ask target=work", "s * random @default ask target=work default_target=work")
    chosen = Terms("", True, False, asked=True, chosen=True)
    assert changed == Diff((), (), (), (Change(RANDOM, WORK, only("s"), (ASKED,), (chosen,)),))


def test_a_question_beside_a_way_without_one_is_altered() -> None:
    by_name = "s * random work allow\n"
    changed = edit(by_name, by_name + "s * random @default ask target=work")
    assert changed == Diff((), (), (), (Change(RANDOM, WORK, only("s"), (PLAIN,), (PLAIN, ASKED)),))


def test_a_call_to_a_new_disposable_is_told_by_its_base() -> None:
    world = World({**WORLD.domains, WORK: DomainFacts(DomainClass.APP, template_for_dispvms=True)})
    changed = diff(policy(""), policy("s * random @dispvm:work allow"), world)
    assert changed == Diff((Change(RANDOM, Disposable(WORK), only("s"), (), (PLAIN,)),), (), (), ())


@given(policies, worlds)
def test_a_policy_does_not_differ_from_itself(made: list[Rule], world: World) -> None:
    assert diff(policy_of(made), policy_of(made), world) == Diff((), (), (), ())


@given(policies, policies, worlds)
def test_a_diff_tells_just_the_calls_that_are_decided_otherwise(old: list[Rule], new: list[Rule], world: World) -> None:
    found = diff(policy_of(old), policy_of(new), world)
    changes = [*found.allowed, *found.asked, *found.denied, *found.altered]
    for asked in Vocabulary([*old, *new]).asked():
        before, after = outcomes(old, world, asked), outcomes(new, world, asked)
        expected = {
            (source, target): tuple(
                tuple(sorted(terms for one, other, terms in said if (one, other) == (source, target)))
                for said in (before, after)
            )
            for source, target, _ in before ^ after
        }
        told = [
            ((change.source, change.target), (change.before, change.after))
            for change in changes
            if allows(change.services, asked)
        ]
        assert len(told) == len(expected)
        assert dict(told) == expected


@given(policies, policies, worlds)
def test_a_diff_the_other_way_round_is_its_mirror(old: list[Rule], new: list[Rule], world: World) -> None:
    forth, back = diff(policy_of(old), policy_of(new), world), diff(policy_of(new), policy_of(old), world)
    assert all(change.source != ADMIN for change in forth.allowed)

    def mirrored(changes: Diff) -> set[Change]:
        every = (*changes.allowed, *changes.asked, *changes.denied, *changes.altered)
        return {Change(one.source, one.target, one.services, one.after, one.before) for one in every}

    assert mirrored(back) == {*forth.allowed, *forth.asked, *forth.denied, *forth.altered}
    assert {change.before == () for change in back.denied} <= {False}
    assert {change.after == () for change in back.denied} <= {True}
    assert all(any(not one.asked for one in change.after) for change in back.allowed)
    assert all(change.after and all(one.asked for one in change.after) for change in back.asked)
