"""Errors name the blame, and each is caught as what it is."""

import pytest

from bento.host.model.errors import BentoError, Conflict, Invalid, Kind, NoSuch, Refused, Unavailable
from bento.wire.errors import WireError


@pytest.mark.parametrize("error", [Invalid("a"), NoSuch("a"), Refused("a"), Unavailable("a")])
def test_each_is_an_error_of_bento_with_one_sentence(error: BentoError) -> None:
    assert isinstance(error, BentoError)
    assert str(error) == "a"


def test_a_conflict_says_what_is_and_what_should_be() -> None:
    conflict = Conflict("'work' runs", actual="Running", required="Halted")
    assert (str(conflict), conflict.actual, conflict.required) == ("'work' runs", "Running", "Halted")


def test_what_does_not_exist_is_bad_input_too_and_a_domain_unless_said_otherwise() -> None:
    assert issubclass(NoSuch, Invalid)
    assert NoSuch("no").kind is Kind.DOMAIN
    assert NoSuch("no", Kind.LABEL).kind is Kind.LABEL


def test_a_peers_fault_is_never_taken_for_one_of_the_persons() -> None:
    assert not issubclass(WireError, BentoError)
