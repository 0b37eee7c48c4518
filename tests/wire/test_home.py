"""Where Bento keeps things: what the environment says, and what it cannot say."""

from pathlib import PurePosixPath

import pytest

from bento.wire.errors import WireError
from bento.wire.home import LONGEST_SOCKET, MAX_SOCKET_PATH, Home, find_home


def paths(home: Home) -> tuple[str, str, str]:
    return str(home.data), str(home.config), str(home.run)


def test_bento_home_moves_everything() -> None:
    environment = {"HOME": "/h", "XDG_DATA_HOME": "/d", "XDG_CONFIG_HOME": "/c", "XDG_RUNTIME_DIR": "/r"}
    assert paths(find_home({"BENTO_HOME": "/b"} | environment)) == ("/b", "/b/config", "/b/run")


def test_contracts_are_the_persons() -> None:
    assert str(find_home({"HOME": "/h"}).contracts) == "/h/.config/bento/contracts"


def test_policies_lie_in_three_places_and_those_of_a_bento_home_below_it() -> None:
    everybody = find_home({"HOME": "/h", "XDG_RUNTIME_DIR": "/r"})
    assert [*map(str, everybody.policies)] == ["/r/bento/policy.d", "/h/.config/bento/policy.d", "/etc/bento/policy.d"]
    alone = find_home({"BENTO_HOME": "/b"})
    assert [*map(str, alone.policies)] == ["/b/run/policy.d", "/b/config/policy.d", "/b/system/policy.d"]


def test_services_of_the_admin_domain_lie_in_two_places_the_persons_first() -> None:
    assert [*map(str, find_home({"HOME": "/h"}).services)] == ["/h/.config/bento/qubes-rpc", "/etc/bento/qubes-rpc"]


def test_without_it_the_base_directories_hold() -> None:
    environment = {"HOME": "/h", "XDG_DATA_HOME": "/d", "XDG_CONFIG_HOME": "/c", "XDG_RUNTIME_DIR": "/r"}
    assert paths(find_home(environment)) == ("/d/bento", "/c/bento", "/r/bento")


@pytest.mark.parametrize("unset", [{}, dict.fromkeys(["XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"], "")])
def test_without_those_it_is_the_home_directory(unset: dict[str, str]) -> None:
    expected = "/home/you/.local/share/bento", "/home/you/.config/bento", "/home/you/.local/share/bento/run"
    assert paths(find_home({"HOME": "/home/you", "BENTO_HOME": "", **unset})) == expected


def test_a_relative_base_directory_is_ignored_as_its_specification_says() -> None:
    relative = {"HOME": "/h", "XDG_DATA_HOME": "d", "XDG_CONFIG_HOME": "./c", "XDG_RUNTIME_DIR": "r"}
    assert find_home(relative) == find_home({"HOME": "/h"})


def test_all_base_directories_make_a_home_directory_unnecessary() -> None:
    environment = {"XDG_DATA_HOME": "/d", "XDG_CONFIG_HOME": "/c", "XDG_RUNTIME_DIR": "/r"}
    assert paths(find_home(environment)) == ("/d/bento", "/c/bento", "/r/bento")


@pytest.mark.parametrize(
    ("environment", "blamed"),
    [
        ({}, "HOME"),
        ({"HOME": ""}, "HOME"),
        ({"HOME": "you"}, "HOME"),
        ({"XDG_DATA_HOME": "/d"}, "HOME"),
        ({"XDG_CONFIG_HOME": "/c"}, "HOME"),
        ({"BENTO_HOME": "bento", "HOME": "/h"}, "BENTO_HOME"),
        ({"BENTO_HOME": "~/bento", "HOME": "/h"}, "BENTO_HOME"),
    ],
)
def test_a_home_that_is_nowhere_is_refused(environment: dict[str, str], blamed: str) -> None:
    """Above all not taken for a folder in the root directory."""
    with pytest.raises(WireError, match=rf"^{blamed} must be an absolute path"):
        find_home(environment)


def test_a_home_too_long_for_sockets_is_refused_with_what_would_fit() -> None:
    with pytest.raises(WireError, match="set BENTO_HOME to a folder whose path has at most 45 bytes") as refusal:
        find_home({"BENTO_HOME": "/" + "b" * 45})
    assert str(refusal.value).startswith("'/bbb")
    assert str(find_home({"BENTO_HOME": "/" + "b" * 44}).data) == "/" + "b" * 44


@pytest.mark.parametrize("name", ["HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME"])
def test_whatever_makes_the_path_long_the_way_out_is_the_same(name: str) -> None:
    with pytest.raises(WireError, match="set BENTO_HOME"):
        find_home({"HOME": "/h", name: "/" + "x" * 100})


def test_lengths_are_counted_in_bytes() -> None:
    with pytest.raises(WireError, match="too long"):
        find_home({"BENTO_HOME": "/" + "ü" * 30})


def test_every_socket_fits_into_the_longest_home() -> None:
    home = find_home({"BENTO_HOME": "/" + "b" * 44})
    assert len(str(home.run) + LONGEST_SOCKET) == MAX_SOCKET_PATH


def test_the_places_in_a_home() -> None:
    home = find_home({"BENTO_HOME": "/b"})
    assert home.manager_socket == PurePosixPath("/b/run/manager.sock")
    assert home.manager_log == PurePosixPath("/b/manager.log")
    assert home.policy == PurePosixPath("/b/config/policy.d")
