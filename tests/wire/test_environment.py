"""What a service is told of its call."""

import pytest

from bento.wire.environment import call_environment, full_name
from bento.wire.names import ADMIN, DomainName, ServiceArgument, ServiceName, TargetName

SERVICE, SOURCE = ServiceName("test.Add"), DomainName("work")


def told(argument: str = "", source: DomainName = SOURCE, target: str = "") -> dict[str, str]:
    return call_environment(SERVICE, ServiceArgument(argument), source, TargetName(target))


def test_a_service_is_told_who_calls_what() -> None:
    assert told("one+two") == {
        "QREXEC_REMOTE_DOMAIN": "work",
        "QREXEC_SERVICE_FULL_NAME": "test.Add+one+two",
        "QREXEC_SERVICE_ARGUMENT": "one+two",
        "QREXEC_REQUESTED_TARGET_TYPE": "",
    }


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("", {"TYPE": ""}),
        ("vault", {"TYPE": "name", "": "vault"}),
        ("@dispvm:web", {"TYPE": "keyword", "KEYWORD": "dispvm:web"}),
    ],
)
def test_it_is_told_the_target_as_the_caller_named_it(target: str, expected: dict[str, str]) -> None:
    found = {key: value for key, value in told(target=target).items() if "TARGET" in key}
    assert found == {f"QREXEC_REQUESTED_TARGET_{key}".removesuffix("_"): value for key, value in expected.items()}


def test_a_domains_call_has_an_argument_if_an_empty_one_and_the_hosts_need_not() -> None:
    assert told()["QREXEC_SERVICE_ARGUMENT"] == ""
    assert "QREXEC_SERVICE_ARGUMENT" not in told(source=ADMIN)
    assert full_name(SERVICE, ServiceArgument(""), SOURCE) == "test.Add+"
    assert full_name(SERVICE, ServiceArgument(""), ADMIN) == "test.Add"
    assert full_name(SERVICE, ServiceArgument("a"), ADMIN) == "test.Add+a"
