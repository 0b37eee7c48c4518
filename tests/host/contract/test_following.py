"""What a broker makes of conversations: every legal one passes whole, every other is cut where it goes wrong."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bento.host.contract.check import check
from bento.host.contract.table import encode
from bento.wire.contract import Broken, Follower
from bento.wire.rpc import Role
from tests.examples import examples
from tests.host.contract.conversations import Bad, Draw, Ended, Event, Exited, Said, illegal, legal
from tests.host.contract.examples import CONTRACTS
from tests.wire.strategies import cut

TABLES = {name: encode(contract) for name, contract in CONTRACTS.items()}

NAMES = st.sampled_from(sorted(CONTRACTS))


def drawing(data: st.DataObject) -> Draw:
    return lambda least, most: data.draw(st.integers(least, most))


def tell(follower: Follower, event: Event, data: st.DataObject | None = None) -> bytes:
    """What passes of it; with `data`, in pieces."""
    match event:
        case Said(side, whole):
            pieces = data.draw(cut(whole)) if data else [whole]
            return b"".join(follower.say(side, memoryview(piece)) for piece in pieces)
        case Ended(side):
            follower.end(side)
        case Exited(code):
            follower.exit(code)
    return b""


@pytest.mark.parametrize("name", CONTRACTS)
def test_the_examples_are_sound(name: str) -> None:
    assert check(CONTRACTS[name]) == ()


@examples(400)
@given(name=NAMES, data=st.data())
def test_every_legal_conversation_passes_whole_in_whatever_pieces(name: str, data: st.DataObject) -> None:
    follower = Follower(TABLES[name])
    for event in legal(CONTRACTS[name], drawing(data)):
        passed = tell(follower, event, data)
        assert not isinstance(event, Said) or passed == event.data


def broken(name: str, bad: Bad, data: st.DataObject | None) -> Broken:
    follower = Follower(TABLES[name])
    for event in bad.legal:
        tell(follower, event, data)
    with pytest.raises(Broken) as found:
        for event in bad.last:
            tell(follower, event, data)
    return found.value


@examples(400)
@given(name=NAMES, data=st.data())
def test_a_conversation_is_cut_where_it_goes_wrong_and_the_right_side_is_to_blame(
    name: str, data: st.DataObject
) -> None:
    bad = illegal(CONTRACTS[name], drawing(data))
    assume(bad is not None)
    assert bad is not None
    whole = broken(name, bad, None)
    assert whole.blame is bad.blame, bad.how
    pieces = broken(name, bad, data)
    assert (pieces.blame, str(pieces)) == (whole.blame, str(whole))


@examples(200)
@given(
    name=NAMES,
    said=st.lists(st.tuples(st.sampled_from(Role), st.binary(max_size=40)), max_size=10),
    data=st.data(),
)
def test_any_bytes_pass_or_are_somebodys_fault_the_same_in_whatever_pieces(
    name: str, said: list[tuple[Role, bytes]], data: st.DataObject
) -> None:
    verdicts: list[tuple[Role | None, str]] = []
    for split in (None, data):
        follower = Follower(TABLES[name])
        passed = b""
        try:
            for side, whole in said:
                passed += tell(follower, Said(side, whole), split)
        except Broken as error:
            verdicts.append((error.blame, str(error)))
        else:
            verdicts.append((None, passed.hex()))
    assert verdicts[0] == verdicts[1]
