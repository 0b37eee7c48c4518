"""Files that include each other, and the old policy: in which order their rules come, and what is refused.

The field's cases are facts of QubesOS core-qrexec 4.4 (`qrexec/tests/policy_parser.py`, TC_20 and TC_90, and
`qrexec/policy/parser_compat.py`); the test that shows each is named beside it.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.host.policy.files import Policy, PolicyBroken, PolicyRules, assemble
from bento.host.policy.includes import MAX_DEPTH, MAX_LINES
from tests.host.policy.test_policy_properties import texts

MAIN = "30-user.policy"
A, B, C = "a * * * deny\n", "b * * * deny\n", "c * * * deny\n"


def made(files: dict[str, str]) -> Policy:
    return assemble([(name, text.encode()) for name, text in files.items()])


def rules(files: dict[str, str]) -> list[str]:
    policy = made(files)
    assert isinstance(policy, PolicyRules), policy.fault
    return [f"{rule.place} {rule}" for rule in policy.rules]


def fault(files: dict[str, str]) -> str:
    policy = made(files)
    assert isinstance(policy, PolicyBroken)
    return str(policy.fault)


def test_an_included_file_stands_where_it_is_included() -> None:  # test_002
    files = {MAIN: f"{A}!include include/more\n{C}", "include/more": f"# more\n{B}"}
    assert rules(files) == [
        "30-user.policy:1 a * * * deny",
        "include/more:2 b * * * deny",
        "30-user.policy:3 c * * * deny",
    ]


def test_a_file_counts_for_nothing_where_nobody_includes_it() -> None:
    assert rules({MAIN: A, "include/more": "nonsense", "include/b.policy": "nonsense", "readme": "nonsense"}) == [
        "30-user.policy:1 a * * * deny"
    ]


def test_paths_are_relative_to_the_policy_directory_wherever_they_are_written() -> None:
    files = {MAIN: "!include ./deep/../deep/one\n", "deep/one": f"{A}!include deep/two\n", "deep/two": B}
    assert rules(files) == ["deep/one:1 a * * * deny", "deep/two:1 b * * * deny"]


def test_a_file_may_be_included_more_than_once() -> None:
    assert len(rules({MAIN: "!include x\n!include x\n!include y\n", "x": A, "y": "!include x\n"})) == 3


def test_a_directory_is_its_policy_files_in_the_order_of_their_names() -> None:
    files = {
        MAIN: "!include-dir more/\n",
        "more/2.policy": B,
        "more/1.policy": A,
        "more/.3.policy": "nonsense",
        "more/readme": "nonsense",
        "more/deep/4.policy": "nonsense",
    }
    assert rules(files) == ["more/1.policy:1 a * * * deny", "more/2.policy:1 b * * * deny"]


def test_an_empty_directory_may_be_included() -> None:
    assert rules({MAIN: "!include-dir more\n", "more/": ""}) == []


def test_an_old_file_speaks_of_the_service_and_argument_that_it_is_included_for() -> None:  # test_003
    files = {
        MAIN: "!include-service my.List * old\n!include-service my.Start +x old\n!include-service * * old\n",
        "old": "work vault ask\n$anyvm $dispvm ask,default_target=$dispvm\n$include:older\n",
        "older": "@anyvm @adminvm allow\n",
    }
    assert rules(files)[:6] == [
        "old:1 my.List * work vault ask",
        "old:2 my.List * @anyvm @dispvm ask default_target=@dispvm",
        "older:1 my.List * @anyvm @adminvm allow",
        "old:1 my.Start +x work vault ask",
        "old:2 my.Start +x @anyvm @dispvm ask default_target=@dispvm",
        "older:1 my.Start +x @anyvm @adminvm allow",
    ]
    assert rules(files)[6:7] == ["old:1 * * work vault ask"]


def test_the_old_policy_has_a_file_a_service_and_those_for_an_argument_come_first() -> None:  # TC_90
    files = {
        MAIN: f"{A}!compat-4.0\n{B}",
        "compat-4.0/test.B": "work vault allow\n",
        "compat-4.0/test.B+arg": "$anyvm vault allow\n",
        "compat-4.0/test.A": "$include:include/x\n",
        "compat-4.0/include/x": "@adminvm work allow\n",
    }
    assert rules(files) == [
        "30-user.policy:1 a * * * deny",
        "compat-4.0/include/x:1 test.A * @adminvm work allow",
        "compat-4.0/test.B+arg:1 test.B +arg @anyvm vault allow",
        "compat-4.0/test.B+arg test.B +arg @anyvm @anyvm deny",  # test_100: what such a file does not allow, it denies
        "compat-4.0/test.B+arg test.B +arg @anyvm @adminvm deny",
        "compat-4.0/test.B:1 test.B * work vault allow",
        "30-user.policy:3 b * * * deny",
    ]


@pytest.mark.parametrize(
    "name", ["s.rpmsave", "s.rpmnew", "s.swp", ".s", "s~", "s+x,y", "s t", "include/s", "", "caf\u00e9"]
)
def test_what_is_no_services_name_is_no_old_policy(name: str) -> None:
    assert rules({MAIN: "!compat-4.0", f"compat-4.0/{name}": "nonsense"}) == []


def test_there_need_not_be_an_old_policy() -> None:
    assert rules({MAIN: "!compat-4.0"}) == []


@pytest.mark.parametrize(
    ("line", "column", "sentence"),
    [
        ("!include gone", 10, "expected a file that can be read, and there is no 'gone' below the policy"),
        ("!include more", 10, "there is no 'more' below the policy"),
        ("!include-service s * gone", 22, "there is no 'gone' below the policy"),
        ("!include-dir gone", 14, "expected a directory, and there is no 'gone/' below the policy"),
        ("!include-dir old", 14, "expected a directory, and there is no 'old/' below the policy"),
        ("!include ../x", 10, "expected a path that stays inside the policy directory, found '../x'"),
        ("!include a/../../x", 10, "expected a path that stays inside the policy directory"),
        ("!include /etc/passwd", 10, "expected a path that stays inside the policy directory"),
        ("!include-dir ..", 14, "expected a path that stays inside the policy directory"),
        ("!include-dir /", 14, "expected a path that stays inside the policy directory"),
        ("!include caf\u00e9", 10, "expected a path of ASCII letters, digits and signs, found 'caf?'"),
        (f"!include {MAIN}", 10, f"expected no file that leads back to itself: '{MAIN}' includes '{MAIN}'"),
        ("!include more/one", None, "more/two.policy:1:10: expected no file that leads back to itself: 'more/one' "),
        ("!include-dir more", None, "more/one:1:14: expected no file that leads back to itself: 'more/two.policy' "),
        (
            "!include-service s * old",
            None,
            "old:1:10: expected no file that leads back to itself: 'old' includes 'old'",
        ),
    ],
)
def test_an_include_that_cannot_be_is_named_at_its_place(line: str, column: int | None, sentence: str) -> None:
    files = {MAIN: f"{A}{line}\n", "old": "$include:old\n"}
    files |= {"more/": "", "more/one": "!include-dir more\n", "more/two.policy": "!include more/one\n"}
    found = fault(files)
    assert sentence in found
    if column is not None:
        assert found.startswith(f"{MAIN}:2:{column}: ")


@pytest.mark.parametrize(
    ("include", "text", "sentence"),
    [
        ("!include x", b"\n s * * maybe", "x:2:13: expected allow, ask or deny, found nothing"),
        ("!include x", b"\n\xff", "x:2:1: expected text in UTF-8"),
        ("!include-service s * x", b"\nwork vault maybe", "x:2:12: expected allow, ask or deny, found 'maybe'"),
        ("!include-dir d", b"\nmaybe", "d/x.policy:2:6: expected +ARGUMENT"),
        ("!compat-4.0", b"\nwork vault maybe", "compat-4.0/x:2:12: expected allow, ask or deny, found 'maybe'"),
    ],
)
def test_a_mistake_in_an_included_file_is_named_there(include: str, text: bytes, sentence: str) -> None:
    names = ["x", "d/x.policy", "compat-4.0/x"]
    policy = assemble([(MAIN, include.encode()), *((name, text) for name in names)])
    assert isinstance(policy, PolicyBroken)
    assert str(policy.fault).startswith(sentence)


def test_a_badly_named_policy_file_of_an_included_directory_breaks_the_policy() -> None:
    assert "rename the file" in fault({MAIN: "!include-dir d\n", "d/A.policy": ""})


def test_files_may_include_one_another_only_so_deep() -> None:
    chain = {f"f{at}": f"!include f{at + 1}\n" for at in range(MAX_DEPTH + 1)}
    assert fault({MAIN: "!include f0\n", **chain}) == (
        f"f{MAX_DEPTH - 2}:1:10: expected at most {MAX_DEPTH} files that include one another"
    )


def test_a_few_lines_cannot_become_millions() -> None:
    doubling = {f"f{at}": f"!include f{at + 1}\n" * 100 for at in range(5)}
    assert fault({MAIN: "!include f0\n", **doubling, "f5": ""}).endswith(
        f"expected at most {MAX_LINES} lines in all, each file counted as often as it is included"
    )


def test_the_digest_is_of_all_that_was_read_and_of_nothing_else() -> None:
    main = {MAIN: "!include x\n"}
    assert made({**main, "x": A}).digest == made({**main, "x": A, "y": B, "README": ""}).digest
    assert made({**main, "x": A}).digest != made({**main, "x": B}).digest
    assert made({**main, "x": "nonsense"}).digest != made({**main, "x": "nonsense "}).digest


names = st.sampled_from([MAIN, "90-b.policy", "include", "include/a", "include/b", "compat-4.0/s", "compat-4.0/s+x"])


@given(st.dictionaries(names, texts))
def test_any_files_are_a_policy_or_broken_at_a_place_within_one_of_them(files: dict[str, str]) -> None:
    match made(files):
        case PolicyBroken(found):
            lines = files[found.file].replace("\r\n", "\n").replace("\r", "\n").split("\n")
            assert found.line == 0 or found.column <= len(lines[found.line - 1]) + 1
            assert str(found).isprintable()
            assert str(found).isascii()
        case PolicyRules(rules):
            assert all(rule.file in files for rule in rules)
