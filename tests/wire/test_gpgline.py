"""gpg's command lines: those of the field's list come out as they were meant; all others are refused by a sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.wire.errors import WireError
from bento.wire.gpgline import COMMANDS, MAX_FILES, OPTIONS, SHORT, Line, Takes, Value, parse, parse_remote, renumbered


def refused(*words: str) -> str:
    with pytest.raises(WireError) as caught:
        parse_remote(words)
    return str(caught.value)


def test_options_are_understood_however_they_are_written() -> None:
    written = [
        ["--armor", "--local-user", "me", "--detach-sign", "--output", "-"],
        ["--armor", "--local-user=me", "--detach-sign", "--output=-"],
        ["-a", "-u", "me", "-b", "-o", "-"],
        ["-aume", "-bo-"],
        ["-au", "me", "-bo", "-"],
    ]
    for words in written:
        assert parse(words).words == ["--armor", "--local-user=me", "--detach-sign", "--output=-"]


def test_a_value_is_never_an_option() -> None:
    line = parse_remote(["--comment", "--export-secret-keys", "--sign"])
    assert line.words == ["--comment=--export-secret-keys", "--sign"]


def test_user_ids_are_never_options() -> None:
    assert parse_remote(["--list-keys", "--", "--export-secret-keys"]).words == [
        "--list-keys",
        "--",
        "--export-secret-keys",
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--export-secret-keys"], "'--export-secret-keys' is no option"),
        (["--delete-secret-keys", "x"], "no option"),
        (["--homedir=/tmp"], "'--homedir' is no option"),
        (["--list-secret-key"], "no option"),
        (["--sig"], "no option"),
        (["-aX"], "'-X' is no option"),
        (["--passphrase-fd", "0"], "no option"),
        (["--cipher-algo", "3DES"], "no option"),
        (["--armor=1"], "takes no value"),
        (["--recipient"], "needs a value"),
        (["-ar"], "needs a value"),
        (["--status-fd", "x"], "not the number of a file"),
        (["--status-fd", "01"], "not the number of a file"),
        (["--status-fd", "1024"], "not the number of a file"),
        (["--command-fd=-1"], "not the number of a file"),
        (["--output", "/home/user/.bashrc"], "can only be -"),
        (["-o/tmp/x"], "can only be -"),
        (["--list-options", "show-photos"], "may not have 'show-photos'"),
        (["--list-options", "show-usage,show-keyring"], "may not have 'show-keyring'"),
        (["--verify-options", "pka-lookups"], "may not have 'pka-lookups'"),
        (["--decrypt", "/etc/passwd"], "names a file"),
        (["/etc/passwd"], "names a file"),
        (["--verify", "sig.asc"], "names a file"),
        (["--verify", "/dev/fd/3", "data"], "names a file"),
        (["--verify", "/dev/fd/3x"], "not the number of a file"),
        (["--verify", "/dev/fd/../../etc/passwd"], "not the number of a file"),
        (["--decrypt", "-", "-"], "2 files"),
        (["--verify", "a", "b", "c"], "3 files"),
        (["--list-keys", "--decrypt"], "do not go together"),
        (["--sign", "-", "--armor"], "options come first"),
        (["--list-keys", "me", "--armor"], "options come first"),
        (["--comment", "a\nb"], "do not print"),
        ([f"--status-fd={fd}" for fd in range(3, MAX_FILES + 2)], "more than"),
        ([f"--command-fd={fd}" for fd in range(1, MAX_FILES + 1)], "more than"),
    ],
)
def test_what_is_not_in_the_fields_list_is_refused(words: list[str], sentence: str) -> None:
    assert sentence in refused(*words)


@pytest.mark.parametrize(
    "words",
    [
        [], ["-"], ["--decrypt", "-"], ["--verify"], ["--verify", "-"], ["--verify", "/dev/fd/5", "-"],
        ["--list-keys", "a", "b", "c"], ["-k", "--with-colons"], ["--list-options", " show-usage , no-show-notations"],
        ["--verify-options=show-uid-validity"], ["--sign", "--armor", "--batch", "--status-fd=2"], ["--version"],
    ],
)  # fmt: skip  # a list to be read across
def test_what_is_in_the_fields_list_passes(words: list[str]) -> None:
    line = parse_remote(words)
    assert parse_remote(line.words) == line


def test_the_own_side_may_name_files() -> None:
    assert parse(["--decrypt", "letter.asc"]).arguments == ("letter.asc",)
    assert parse(["--verify", "letter.sig", "letter"]).arguments == ("letter.sig", "letter")
    assert parse(["--verify", "letter.sig"]).signature is None


def test_files_have_their_places_in_the_order_of_the_command_line() -> None:
    line = parse_remote(
        ["--status-fd=9", "--logger-fd", "2", "--command-fd=5", "--attribute-fd=7", "--verify", "/dev/fd/8", "-"]
    )
    assert line.inputs == [0, 5, 8]
    assert line.outputs == [1, 2, 9, 7]


def test_files_are_renumbered_and_nothing_else() -> None:
    line = parse_remote(
        ["--status-fd=9", "--logger-fd=2", "--command-fd=5", "--comment=9", "--verify", "/dev/fd/8", "-"]
    )
    again = renumbered(line, {0: 0, 5: 20, 8: 30}, {1: 1, 2: 2, 9: 40})
    assert again.words == [
        "--status-fd=40", "--logger-fd=2", "--command-fd=20", "--comment=9", "--verify", "--", "/dev/fd/30", "-",
    ]  # fmt: skip  # a command line
    assert again.inputs == [0, 20, 30]


def test_a_command_line_without_files_stays_as_it_is() -> None:
    line = parse_remote(["--sign", "-"])
    assert renumbered(line, {0: 0}, {1: 1, 2: 2}) == line


def test_every_letter_and_every_command_is_an_option() -> None:
    assert set(SHORT.values()) | set(COMMANDS) <= set(OPTIONS)


def test_nothing_of_the_list_takes_a_secret_key_out_or_starts_a_program() -> None:
    """A list of what must never come in, by whoever extends the list."""
    for part in (
        "secret-keys", "secret-subkeys", "passphrase", "homedir", "keyring", "photo", "exec", "agent-program", "delete",
        "edit", "gen-key", "import", "keyserver", "log-file", "options",
    ):  # fmt: skip  # a list to be read across
        named = {name for name in OPTIONS if part in name}
        assert named <= {"list-secret-keys", "list-options", "verify-options"}, part


WORDS = st.lists(
    st.one_of(
        st.sampled_from([f"--{name}" for name in OPTIONS] + [f"-{letter}" for letter in SHORT] + ["--", "-", "3"]),
        st.sampled_from(["--status-fd=3", "--verify", "/dev/fd/3", "--list-options=show-usage", "-o-"]),
        st.text(max_size=6),
    ),
    max_size=6,
)


@given(WORDS)
def test_any_words_are_a_command_line_or_refused(untrusted: list[str]) -> None:
    try:
        line = parse_remote(untrusted)
    except WireError as error:
        assert str(error).isprintable()
        return
    assert parse_remote(line.words) == line
    assert_harmless(line)


def assert_harmless(line: Line) -> None:
    """gpg gets known options in full, and no file but by its number."""
    for word in line.words[: len(line.options)]:
        name, _, _ = word.removeprefix("--").partition("=")
        assert OPTIONS[name] is Value.NOTHING or "=" in word
    if line.takes is not Takes.USERS:
        assert all(argument == "-" or argument.startswith("/dev/fd/") for argument in line.arguments)
