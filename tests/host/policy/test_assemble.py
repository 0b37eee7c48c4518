"""Files to one policy: which count, in which order, which one wins, and what a bad one does."""

import pytest

from bento.host.policy.files import Policy, PolicyBroken, PolicyRules, assemble

DENY = b"s * * * deny\n"
ALLOW = b"s * * * allow\n"


def sound(*files: tuple[str, bytes]) -> PolicyRules:
    policy = assemble(files)
    assert isinstance(policy, PolicyRules)
    return policy


def broken(*files: tuple[str, bytes]) -> PolicyBroken:
    policy = assemble(files)
    assert isinstance(policy, PolicyBroken)
    return policy


def test_no_files_make_a_policy_without_rules() -> None:
    assert sound().rules == ()


def test_files_are_taken_in_the_order_of_their_names() -> None:
    policy = sound(("90-default.policy", DENY), ("30-user.policy", ALLOW), ("3.policy", ALLOW), ("_.policy", DENY))
    assert [rule.file for rule in policy.rules] == ["3.policy", "30-user.policy", "90-default.policy", "_.policy"]


def test_of_two_files_of_one_name_the_first_handed_in_wins() -> None:
    policy = sound(("30-user.policy", ALLOW), ("20-x.policy", DENY), ("30-user.policy", DENY + DENY))
    assert [str(rule) for rule in policy.rules] == ["s * * * deny", "s * * * allow"]


def test_an_empty_file_shadows_a_full_one() -> None:
    assert sound(("30-user.policy", b""), ("30-user.policy", ALLOW)).rules == ()


def test_an_included_file_is_shadowed_too_and_may_lie_in_another_directory() -> None:
    """In the field it lies in the directory of the file that names it."""
    policy = sound(
        ("include/a", DENY), ("30-user.policy", b"!include include/a\n!include b"), ("include/a", ALLOW), ("b", ALLOW)
    )
    assert [str(rule) for rule in policy.rules] == ["s * * * deny", "s * * * allow"]


def test_a_malformed_file_that_is_shadowed_does_no_harm() -> None:
    assert len(sound(("30-user.policy", ALLOW), ("30-user.policy", b"nonsense")).rules) == 1


@pytest.mark.parametrize(
    "name", ["README", "30-user.policy~", "30-user.policy.bak", ".30-user.policy", ".policy", "policy"]
)
def test_what_is_no_policy_file_by_its_name_is_passed_over(name: str) -> None:
    assert sound((name, b"nonsense"), ("30-user.policy", ALLOW)) == sound(("30-user.policy", ALLOW))


@pytest.mark.parametrize("name", ["30-User.policy", "30 user.policy", "30-usér.policy", "x\n.policy"])
def test_a_policy_file_with_a_bad_name_breaks_the_policy(name: str) -> None:
    fault = broken(("10-good.policy", ALLOW), (name, ALLOW)).fault
    assert (fault.line, fault.column) == (0, 0)
    assert "rename the file" in str(fault)
    assert str(fault).isprintable()
    assert str(fault).isascii()


def test_one_malformed_file_breaks_the_policy_and_is_named() -> None:
    policy = broken(("10-good.policy", ALLOW), ("30-user.policy", b"# ok\ns * * * perhaps\n"), ("90.policy", DENY))
    assert str(policy.fault) == "30-user.policy:2:9: expected allow, ask or deny, found 'perhaps'"


@pytest.mark.parametrize(
    ("content", "place"),
    [(b"\xff", "1:1"), (b"s * * * deny\n# caf\xe9\n", "2:6"), ("# \u00e9\r\n\u00e9".encode() + b"\xc3", "2:2")],
)
def test_a_file_that_is_not_utf_8_breaks_the_policy_at_the_bad_byte(content: bytes, place: str) -> None:
    assert str(broken(("30-user.policy", content)).fault) == f"30-user.policy:{place}: expected text in UTF-8"


def test_the_digest_changes_with_any_name_or_byte_that_counts() -> None:
    policies: list[Policy] = [
        sound(),
        sound(("a.policy", DENY)),
        sound(("b.policy", DENY)),
        sound(("a.policy", DENY + b"#")),
        sound(("a.policy", DENY), ("b.policy", b"")),
        sound(("a.policy", b"#b.policy")),
        sound(("a.policy", b"#"), ("b.policy", b"")),
        broken(("a.policy", b"nonsense")),
        broken(("a.policy", b"nonsense"), ("A.policy", b"")),
    ]
    assert len({policy.digest for policy in policies}) == len(policies)


def test_the_digest_is_the_same_whatever_the_order_and_the_shadowed_files() -> None:
    one = sound(("a.policy", DENY), ("b.policy", ALLOW), ("b.policy", DENY), ("README", b""))
    other = sound(("b.policy", ALLOW), ("a.policy", DENY))
    assert one.digest == other.digest


def test_a_name_that_no_encoding_knows_still_has_a_digest() -> None:
    assert len(broken(("\udcff.policy", DENY)).digest) == 64
