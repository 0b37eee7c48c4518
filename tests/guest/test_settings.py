"""What a settings file may say, and what is refused: text in, settings out."""

import pytest

from bento.guest.settings import Malformed, Settings, parse


def test_a_file_that_says_nothing_leaves_everything_as_it_is() -> None:
    assert parse("") == parse("\n# nothing\n\n") == Settings()


def test_everything_a_file_may_say_is_understood() -> None:
    assert parse("wait-for-session = true\nforce-user = 'root'\n") == Settings(wait_for_session=True, force_user="root")
    assert parse("skip-service-descriptor=1\nexit-on-client-eof =1\nexit-on-service-eof= true\n") == Settings(
        skip_service_descriptor=True, exit_on_client_eof=True, exit_on_service_eof=True
    )


def test_false_and_nought_are_no() -> None:
    assert parse("wait-for-session = false\nexit-on-client-eof = 0\n") == Settings()


@pytest.mark.parametrize("line", ["wait-for-session=1", "wait-for-session\t=  1 # why", "wait-for-session = 1 \t\r"])
def test_space_and_comments_around_a_value_say_nothing(line: str) -> None:
    assert parse(f"{line}\n") == parse(line) == Settings(wait_for_session=True)


def test_a_key_of_a_later_version_is_passed_over() -> None:
    assert parse("colour = 'red'\nwait-for-session = 1\nsize = 12\n") == Settings(wait_for_session=True)


@pytest.mark.parametrize(
    "line",
    [
        "wait-for-session",
        "wait-for-session =",
        "wait-for-session = 00",
        "wait-for-session = 01",
        "wait-for-session = 2",
        "wait-for-session = -1",
        "wait-for-session = yes",
        "wait-for-session = True",
        "wait-for-session = 'true'",
        'wait-for-session = "true"',
        "wait-for-session = 1 1",
        " wait-for-session = 1",
        "[section]",
        "= 1",
        "1 = 1",
        "force-user = root",
        "force-user = 1",
        "force-user = ''",
        'force-user = "root"',
        "force-user = '''root'''",
        "force-user = 'root",
        "force-user = 'root' and more",
        "nobody-knows = maybe",
        "nobody-knows = 'a\0b'",
    ],
)
def test_what_is_no_setting_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(Malformed) as refused:
        parse(f"# first\nexit-on-client-eof = 1\n{line}\n")
    assert refused.value.line == 3


def test_a_setting_that_is_there_twice_is_refused() -> None:
    with pytest.raises(Malformed, match="wait-for-session is there twice"):
        parse("wait-for-session = 1\nwait-for-session = 1\n")


@pytest.mark.parametrize("key", ["skip-service-descriptor", "exit-on-client-eof", "exit-on-service-eof"])
def test_a_user_for_programs_and_a_setting_for_sockets_do_not_go_together(key: str) -> None:
    for text in (f"{key} = true\nforce-user = 'root'\n", f"force-user = 'root'\n{key} = true\n"):
        with pytest.raises(Malformed, match="sockets only"):
            parse(text)
