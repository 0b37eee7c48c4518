"""The index finds what trying each rule in turn would find."""

from hypothesis import given
from hypothesis import strategies as st

from bento.host.policy.decide import Call
from bento.host.policy.index import Index
from bento.host.policy.rules import Rule
from bento.host.policy.world import DefaultDisposable, Disposable, Keyword, Party, World
from bento.wire.names import ADMIN, DomainName, ServiceArgument, ServiceName, TargetName
from tests.host.policy.linear import is_about, matches
from tests.host.policy.made import calls, names, policies, rules, worlds

parties: st.SearchStrategy[Party] = st.one_of(
    names,
    st.sampled_from(Keyword),
    st.builds(Disposable, names),
    st.builds(DefaultDisposable, st.none() | names),
)
many = policies | st.lists(rules(), min_size=5, max_size=40)


@given(many, calls, parties, worlds)
def test_the_first_rule_is_the_first_that_matches(made: list[Rule], call: Call, target: Party, world: World) -> None:
    expected = next((rule for rule in made if matches(rule, call, target, world)), None)
    assert Index(tuple(made)).first(call.service, call.argument, call.source, target, world) is expected


@given(many, calls, worlds)
def test_the_rules_about_a_call_are_all_that_the_target_alone_could_keep_from_matching(
    made: list[Rule], call: Call, world: World
) -> None:
    found = list(Index(tuple(made)).about(call.service, call.argument, call.source, world))
    assert list(map(id, found)) == [id(rule) for rule in made if is_about(rule, call, world)]


@given(rules(), parties, worlds)
def test_a_rule_alone_is_found_by_whatever_it_matches(rule: Rule, target: Party, world: World) -> None:
    service = rule.service or ServiceName("new")
    argument = ServiceArgument("new") if rule.argument is None else rule.argument
    for source in [*world.domains, ADMIN, DomainName("gone")]:
        call = Call(source, service, argument, TargetName(""))
        found = Index((rule,)).first(service, argument, source, target, world)
        assert (found is rule) == matches(rule, call, target, world)
