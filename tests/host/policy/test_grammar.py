"""What a policy file may say, and where a malformed one is said to be wrong."""

from uuid import UUID

import pytest

from bento.host.model.domain import ADMIN
from bento.host.policy.grammar import IncludeService, PolicyError, Word, parse, parse_old
from bento.host.policy.rules import (
    Action,
    Allow,
    AnyDomain,
    Ask,
    Both,
    Deny,
    DisposableOf,
    DisposableTagged,
    Everything,
    Identified,
    MadeFrom,
    MadeFromTagged,
    Named,
    NoTarget,
    OfClass,
    OwnDisposable,
    Rule,
    Source,
    Tagged,
    Target,
)
from bento.wire.names import DomainName, ServiceArgument, ServiceName, Tag, UserName

FILE = "30-user.policy"
WORK = DomainName("work")


def rule_of(line: str) -> Rule:
    (rule,) = rules_of(line)
    return rule


def rules_of(text: str) -> list[Rule]:
    return [statement for statement in parse(FILE, text) if isinstance(statement, Rule)]


def complaint_about(text: str) -> str:
    with pytest.raises(PolicyError) as caught:
        parse(FILE, text)
    return str(caught.value)


def test_a_rule_has_its_five_columns_its_file_and_its_line() -> None:
    assert parse(FILE, "\nqubes.Filecopy +  work @tag:friends allow\n") == (
        Rule(
            service=ServiceName("qubes.Filecopy"),
            argument=ServiceArgument(""),
            source=Named(WORK),
            target=Tagged(Tag("friends")),
            action=Allow(),
            file=FILE,
            line=2,
        ),
    )


def test_rules_keep_their_order() -> None:
    rules = rules_of("a * * * deny\nb * * * allow\nc * * * deny")
    assert [rule.service for rule in rules] == ["a", "b", "c"]
    assert [rule.place for rule in rules] == [f"{FILE}:1", f"{FILE}:2", f"{FILE}:3"]


@pytest.mark.parametrize("text", ["", "\n\n", "# all of it\n   # a comment", " \t \n\u00a0\n", "#\n##!ask\n"])
def test_comments_and_blank_lines_are_no_rules(text: str) -> None:
    assert parse(FILE, text) == ()


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_any_line_ending_of_an_editor_counts_as_one(ending: str) -> None:
    rules = rules_of(f"# top{ending}s * * * deny{ending}{ending}s * * * allow{ending}")
    assert [rule.line for rule in rules] == [2, 4]


@pytest.mark.parametrize("separator", ["\u2028", "\x0b", "\x0c", "\x85"])
def test_a_rule_cannot_hide_in_a_comment_behind_an_exotic_line_separator(separator: str) -> None:
    assert parse(FILE, f"# harmless{separator}* * * * allow") == ()


def test_any_white_space_parts_words_as_in_the_field() -> None:
    assert rule_of("s\t*  \u00a0work\u2003*\t allow  ").source == Named(WORK)


@pytest.mark.parametrize(
    ("words", "service", "argument"),
    [
        ("* *", None, None),
        ("qubes.OpenURL *", "qubes.OpenURL", None),
        ("qubes.OpenURL +", "qubes.OpenURL", ""),
        ("qubes.OpenURL +x", "qubes.OpenURL", "x"),
        ("qubes.OpenURL +a+b.c_d-e", "qubes.OpenURL", "a+b.c_d-e"),
    ],
)
def test_service_and_argument(words: str, service: str | None, argument: str | None) -> None:
    rule = rule_of(f"{words} * * deny")
    assert (rule.service, rule.argument) == (service, argument)


UUID_WORD = "c9024a97-9b15-46cc-8341-38d75d5d421b"

SELECTORS: list[tuple[str, Both]] = [
    ("*", Everything()),
    ("@anyvm", AnyDomain()),
    ("@adminvm", Named(ADMIN)),
    ("dom0", Named(ADMIN)),
    ("work", Named(WORK)),
    ("@tag:my-tag", Tagged(Tag("my-tag"))),
    ("@type:AppVM", OfClass("AppVM")),
    ("@type:AdminVM", OfClass("AdminVM")),
    ("@type:RemoteVM", OfClass("RemoteVM")),
    (f"uuid:{UUID_WORD}", Identified(UUID(UUID_WORD))),
]


@pytest.mark.parametrize(
    ("word", "selector"),
    [
        *SELECTORS,
        ("@dispvm:work", MadeFrom(Named(WORK))),
        (f"@dispvm:uuid:{UUID_WORD}", MadeFrom(Identified(UUID(UUID_WORD)))),
        ("@dispvm:@tag:t", MadeFromTagged(Tag("t"))),
    ],
)
def test_a_source_is_any_of_these(word: str, selector: Source) -> None:
    assert rule_of(f"s * {word} * deny").source == selector


@pytest.mark.parametrize(
    ("word", "selector"),
    [
        *SELECTORS,
        ("@default", NoTarget()),
        ("@dispvm", OwnDisposable()),
        ("@dispvm:work", DisposableOf(Named(WORK))),
        (f"@dispvm:uuid:{UUID_WORD}", DisposableOf(Identified(UUID(UUID_WORD)))),
        ("@dispvm:@tag:t", DisposableTagged(Tag("t"))),
    ],
)
def test_a_target_is_any_of_these(word: str, selector: Target) -> None:
    assert rule_of(f"s * * {word} deny").target == selector


@pytest.mark.parametrize(
    ("words", "action"),
    [
        ("allow", Allow(target=None, user=None, notify=False, autostart=True)),
        ("allow target=work", Allow(target=WORK)),
        ("allow target=@adminvm", Allow(target=ADMIN)),
        ("allow target=dom0", Allow(target=ADMIN)),
        ("allow user=root", Allow(user=UserName("root"))),
        ("allow user=DEFAULT", Allow(user=None)),
        ("allow notify=yes", Allow(notify=True)),
        ("allow notify=no", Allow(notify=False)),
        ("allow autostart=yes", Allow(autostart=True)),
        ("allow autostart=no", Allow(autostart=False)),
        (
            "allow autostart=no notify=yes user=user target=work",
            Allow(target=WORK, user=UserName("user"), notify=True, autostart=False),
        ),
        ("allow target=@dispvm", Allow(target=OwnDisposable())),
        ("allow target=@dispvm:work", Allow(target=DisposableOf(Named(WORK)))),
        (f"allow target=uuid:{UUID_WORD}", Allow(target=Identified(UUID(UUID_WORD)))),
        (f"allow target=@dispvm:uuid:{UUID_WORD}", Allow(target=DisposableOf(Identified(UUID(UUID_WORD))))),
        ("ask", Ask(target=None, default_target=None, user=None, notify=False, autostart=True)),
        ("ask target=work", Ask(target=WORK)),
        ("ask default_target=dom0", Ask(default_target=ADMIN)),
        (
            "ask autostart=no notify=yes user=user default_target=@dispvm target=@dispvm:work",
            Ask(DisposableOf(Named(WORK)), OwnDisposable(), UserName("user"), notify=True, autostart=False),
        ),
        ("deny", Deny(notify=True)),
        ("deny notify=yes", Deny(notify=True)),
        ("deny notify=no", Deny(notify=False)),
    ],
)
def test_an_action_with_its_parameters(words: str, action: Action) -> None:
    assert rule_of(f"s * * * {words}").action == action


def test_default_with_allow_needs_a_target() -> None:
    assert rule_of("s * * @default allow target=work").target == NoTarget()
    assert rule_of("s * * @default deny").target == NoTarget()
    assert complaint_about("s * * @default allow") == (
        f"{FILE}:1:21: expected target=DOMAIN, for @default says not where an allowed call goes, found nothing"
    )


MALFORMED: list[tuple[str, int, str]] = [
    # too few columns: the place is the end of the line
    ("s", 2, "expected +ARGUMENT (a bare + for an empty one) or *, found nothing"),
    ("s *", 4, "expected a source"),
    ("s * *", 6, "expected a target"),
    ("s * * *", 8, "expected allow, ask or deny, found nothing"),
    # the service
    ("qubes.Filecopy+x * * * deny", 1, "expected a service's name or *"),
    (".hidden * * * deny", 1, "expected a service's name or *"),
    ("\ufeffs * * * deny", 1, "expected a service's name or *"),
    ("s\x00 * * * deny", 1, "expected a service's name or *"),
    # the argument
    ("s x * * deny", 3, "expected +ARGUMENT"),
    ("s +a/b * * deny", 4, "expected letters, digits, or any of _ . + - after the +"),
    ("* + * * deny", 3, "expected *, the only argument that goes with the service *"),
    ("* +x * * deny", 3, "expected *, the only argument that goes with the service *"),
    # the source
    ("s * @default * deny", 5, "expected a source"),
    ("s * $anyvm * deny", 5, "expected a source"),
    ("s * work-* * deny", 5, "expected a source"),
    ("s * @invalid * deny", 5, "expected a source"),
    ("s * @uuid:x * deny", 5, "expected a source"),
    ("s * @tag: * deny", 10, "expected a tag after @tag:, found nothing"),
    ("s * @tag:a,b * deny", 10, "expected a tag after @tag:"),
    ("s * @tag:@x * deny", 10, "expected a tag after @tag:"),
    ("s * @type: * deny", 11, "expected one of AdminVM, AppVM, DispVM, RemoteVM, StandaloneVM, TemplateVM"),
    ("s * @type:AppVm * deny", 11, "expected one of AdminVM, AppVM, DispVM, RemoteVM, StandaloneVM, TemplateVM"),
    ("s * @dispvm * deny", 5, "expected a source"),
    ("s * @dispvm: * deny", 13, "expected a domain's name, uuid:UUID or @tag:TAG after @dispvm:, found nothing"),
    ("s * @dispvm:@tag: * deny", 18, "expected a tag after @tag:, found nothing"),
    ("s * @dispvm:dom0 * deny", 13, "expected a domain's name, uuid:UUID or @tag:TAG after @dispvm:, found 'dom0'"),
    ("s * * @dispvm:@adminvm deny", 15, "expected a domain's name, uuid:UUID or @tag:TAG after @dispvm:"),
    (f"s * * @dispvm:uuid:{UUID(int=0)} deny", 15, "expected a domain's name, uuid:UUID or @tag:TAG after @dispvm:"),
    ("s * * * ask target=@dispvm:dom0", 28, "expected a domain's name or uuid:UUID after @dispvm:, found 'dom0'"),
    ("s * @dispvm:@dispvm * deny", 13, "expected a domain's name, uuid:UUID or @tag:TAG after @dispvm:"),
    ("s * uuid:C9024A97-9B15-46CC-8341-38D75D5D421B * deny", 10, "expected a UUID in small letters after uuid:"),
    ("s * @dispvm:uuid:x * deny", 18, "expected a UUID in small letters after uuid:, found 'x'"),
    # the target
    ("s * * @dispvm: deny", 15, "expected a domain's name, uuid:UUID or @tag:TAG after @dispvm:, found nothing"),
    ("s * * @dispvm:@tag: deny", 20, "expected a tag after @tag:, found nothing"),
    ("s * * @dispvmx deny", 7, "expected a target"),
    ("s * * @nobody deny", 7, "expected a target"),
    ("s * * none deny", 7, "expected a target"),
    # the action and its parameters
    ("s * * * Allow", 9, "expected allow, ask or deny, found 'Allow'"),
    ("s * * * allow,target=work", 9, "expected allow, ask or deny"),
    ("s * * * allow extra", 15, "expected target= or user= or notify= or autostart= or the end of the line"),
    ("s * * * allow # why", 15, "a # comment needs a line of its own"),
    ("s * * * allow default_target=work", 15, "expected target= or user= or notify= or autostart="),
    ("s * * * ask extra", 13, "expected target= or default_target= or user= or notify= or autostart= or the end"),
    ("s * * * allow =yes", 15, "expected target= or user= or notify= or autostart="),
    ("s * * * deny target=work", 14, "expected notify= or the end of the line"),
    ("s * * * deny user=root", 14, "expected notify= or the end of the line"),
    ("s * * * deny autostart=no", 14, "expected notify= or the end of the line"),
    ("s * * * allow notify=no notify=no", 25, "notify= is given twice"),
    ("s * * * allow notify", 15, "expected target= or user= or notify="),
    ("s * * * allow notify=", 22, "expected yes or no, found nothing"),
    ("s * * * allow notify=true", 22, "expected yes or no, found 'true'"),
    ("s * * * deny notify=1", 21, "expected yes or no, found '1'"),
    ("s * * * allow autostart=on", 25, "expected yes or no, found 'on'"),
    (
        "s * * * allow target=",
        22,
        "expected a domain's name, uuid:UUID, @adminvm, @dispvm or @dispvm:NAME, found nothing",
    ),
    ("s * * * allow target=*", 22, "expected a domain's name, uuid:UUID, @adminvm, @dispvm or @dispvm:NAME"),
    ("s * * * allow target=@anyvm", 22, "expected a domain's name, uuid:UUID, @adminvm, @dispvm or @dispvm:NAME"),
    ("s * * * allow target=@default", 22, "expected a domain's name, uuid:UUID, @adminvm, @dispvm or @dispvm:NAME"),
    ("s * * * allow target=@tag:x", 22, "expected a domain's name, uuid:UUID, @adminvm, @dispvm or @dispvm:NAME"),
    ("s * * * allow target=@type:AppVM", 22, "expected a domain's name, uuid:UUID, @adminvm, @dispvm or @dispvm:NAME"),
    ("s * * * allow target=a=b", 22, "expected a domain's name, uuid:UUID, @adminvm, @dispvm or @dispvm:NAME"),
    ("s * * * allow target=@dispvm:", 30, "expected a domain's name or uuid:UUID after @dispvm:, found nothing"),
    ("s * * * allow target=@dispvm:@tag:x", 30, "expected a domain's name or uuid:UUID after @dispvm:"),
    ("s * * * allow target=uuid:", 27, "expected a UUID in small letters after uuid:, found nothing"),
    ("s * * * ask default_target=*", 28, "expected a domain's name, uuid:UUID, @adminvm, @dispvm or @dispvm:NAME"),
    ("s * * * allow user=", 20, "expected a user's name, found nothing"),
    ("s * * * allow user=../root", 20, "expected a user's name"),
    # directives
    ("!exclude x", 1, "expected a rule, !include, !include-dir, !include-service, !compat-4.0 or a # comment, found"),
    ("!", 1, "expected a rule, !include, !include-dir, !include-service, !compat-4.0 or a # comment, found '!'"),
    ("!include", 9, "expected the path of a file, found nothing"),
    ("!include a b", 12, "expected the end of the line, found 'b'"),
    ("!include-dir", 13, "expected the path of a directory, found nothing"),
    ("!include-service", 17, "expected a service, found nothing"),
    ("!include-service s", 19, "expected an argument, found nothing"),
    ("!include-service s *", 21, "expected the path of a file, found nothing"),
    ("!include-service s x f", 20, "expected +ARGUMENT"),
    ("!include-service * +x f", 20, "expected *, the only argument that goes with the service *"),
    ("!include-service s+x * f", 18, "expected a service's name or *"),
    ("!compat-4.0 x", 13, "expected the end of the line, found 'x'"),
    ("s * $dispvm:work * deny", 5, "expected a source"),
    ("$include:x", 1, "expected a service's name or *"),
]


@pytest.mark.parametrize(("line", "column", "sentence"), MALFORMED)
def test_a_malformed_line_is_named_with_its_column_and_what_was_expected(line: str, column: int, sentence: str) -> None:
    complaint = complaint_about(f"# fine\n\n{line}\ns * * * allow\n")
    assert complaint.startswith(f"{FILE}:3:{column}: ")
    assert sentence in complaint


OLD: list[tuple[str, str]] = [
    # a line of the old syntax, and the same as a rule
    ("work vault allow", "s +a work vault allow"),
    ("$anyvm $default allow,target=work,user=root", "s +a @anyvm @default allow target=work user=root"),
    ("$anyvm $adminvm ask,default_target=$adminvm", "s +a @anyvm @adminvm ask default_target=@adminvm"),
    ("$tag:t $dispvm:work deny notify=no", "s +a @tag:t @dispvm:work deny notify=no"),
    ("@type:AppVM  $dispvm:$tag:t\tallow", "s +a @type:AppVM @dispvm:@tag:t allow"),
    ("work,vault,deny", "s +a work vault deny"),
]


@pytest.mark.parametrize(("old", "new"), OLD)
def test_the_old_syntax_says_the_same_in_other_signs(old: str, new: str) -> None:
    (rule,) = parse_old(FILE, f"# $x, y\n  # z\n{old}", ServiceName("s"), ServiceArgument("a"))
    assert isinstance(rule, Rule)
    assert (str(rule), rule.line) == (new, 3)


@pytest.mark.parametrize("line", ["!include include/x", "$include:include/x"])
def test_the_old_syntax_includes_more_of_it(line: str) -> None:
    (found,) = parse_old(FILE, line, None, None)
    assert found == IncludeService(None, None, Word(FILE, 1, 10, "include/x"))


@pytest.mark.parametrize(
    ("line", "column", "sentence"),
    [
        ("!include-dir x", 1, "expected a rule, !include (the one directive of the old syntax) or a # comment, found"),
        ("!include", 9, "expected the path of a file, found nothing"),
        ("$include:a b", 12, "expected the end of the line"),
        ("$anyvm $anyvm", 14, "expected allow, ask or deny, found nothing"),
        ("$anyvm $anyvm allow,invalid=x", 21, "expected target="),
        ("$dispvm $default allow", 1, "expected a source"),
        ("$anyvm $default allow", 22, "expected target=DOMAIN"),
        ("work", 5, "expected a target"),
    ],
)
def test_a_mistake_in_the_old_syntax_is_named_at_its_column(line: str, column: int, sentence: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_old(FILE, line, ServiceName("s"), None)
    assert str(caught.value).startswith(f"{FILE}:1:{column}: ")
    assert sentence in str(caught.value)


def test_the_first_malformed_line_is_the_one_named() -> None:
    assert complaint_about("s * * * deny\nbad\nworse").startswith(f"{FILE}:2:")


def test_a_complaint_is_safe_to_print_and_bounded() -> None:
    complaint = complaint_about("s * \x1b[2J" + "x" * 10_000 + " * deny")
    assert complaint.isascii()
    assert complaint.isprintable()
    assert len(complaint) < 300


def test_a_fault_carries_file_line_and_column_for_programs() -> None:
    with pytest.raises(PolicyError) as caught:
        parse(FILE, "s * * * permit")
    fault = caught.value.fault
    assert (fault.file, fault.line, fault.column) == (FILE, 1, 9)
    assert fault.problem == "expected allow, ask or deny, found 'permit'"


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("s  *  *  *  allow", "s * * * allow"),
        ("s + dom0 dom0 allow target=dom0", "s + @adminvm @adminvm allow target=@adminvm"),
        (
            "* * @anyvm @default allow autostart=no notify=yes user=u target=work",
            "* * @anyvm @default allow target=work user=u notify=yes autostart=no",
        ),
        ("s +a @tag:t @type:AppVM deny notify=yes", "s +a @tag:t @type:AppVM deny"),
        ("s * work * deny notify=no", "s * work * deny notify=no"),
        ("s * @dispvm:work @dispvm:@tag:t ask  target=@dispvm", "s * @dispvm:work @dispvm:@tag:t ask target=@dispvm"),
        (
            "s * @dispvm:@tag:t @dispvm ask notify=yes default_target=dom0 target=work",
            "s * @dispvm:@tag:t @dispvm ask target=work default_target=@adminvm notify=yes",
        ),
    ],
)
def test_a_rule_prints_in_one_canonical_spelling(written: str, printed: str) -> None:
    assert str(rule_of(written)) == printed
    assert rule_of(printed) == rule_of(written)
