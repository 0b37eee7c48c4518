"""What makes a contract sound, beyond its spelling: everything that is wrong with it, each with its line.

Every state can be reached, somebody has the initiative in it, and an end can be reached from it. No side can go round
for ever by itself: each of its loops has a bound, or comes by a turn of the other. Who interrupts the other is not
fooled by what was under way: it leads to a state that does not hear it. That the messages of a state can be told apart
is found by `table.py`, which has to tell them apart.
"""

from collections.abc import Iterator

from bento.host.contract.language import (
    BytesField,
    Contract,
    Ends,
    MessageKind,
    RestField,
    Says,
    State,
    Turn,
)
from bento.host.model.fault import Fault
from bento.wire.rpc import Role

Graph = dict[str, list[str]]


def check(contract: Contract) -> tuple[Fault, ...]:
    """All faults, in the order of their lines."""
    found = [*_unknown(contract), *_messages(contract)]
    if not found:  # else there is no graph to speak of
        found = [
            *_unreachable(contract),
            *_loops(contract),
            *(fault for state in contract.states.values() for fault in _state(contract, state)),
        ]
    return tuple(Fault(contract.file, line, 0, problem) for line, problem in sorted(found))


def reachable(contract: Contract, start: str) -> frozenset[str]:
    """The states that a conversation may come to from `start`, which is one of them."""
    return _closure({state.name: [move.to for move in _moves(state)] for state in contract.states.values()}, start)


Complaints = Iterator[tuple[int, str]]


def _moves(state: State) -> tuple[Says | Ends, ...]:
    return (*state.says, *state.ends)


def _closure(graph: Graph, start: str) -> frozenset[str]:
    found = {start}
    waiting = [start]
    while waiting:
        for to in graph[waiting.pop()]:
            if to not in found:
                found.add(to)
                waiting.append(to)
    return frozenset(found)


def _unknown(contract: Contract) -> Complaints:
    for state in contract.states.values():
        for move in _moves(state):
            if move.to not in contract.states:
                yield move.line, f"there is no state {move.to}"
            if isinstance(move, Says) and move.message not in contract.messages:
                yield move.line, f"there is no message {move.message}"


def _messages(contract: Contract) -> Complaints:
    said = {says.message for state in contract.states.values() for says in state.says}
    for kind in contract.messages.values():
        if kind.name not in said:
            yield kind.line, f"no state has the message {kind.name}"
        yield from _fields(kind)


def _fields(kind: MessageKind) -> Complaints:
    match kind.fields:
        case ():
            yield kind.line, f"message {kind.name} has no fields"
        case (BytesField(count=0, line=line), *_):  # what no field comes before, has no length field
            yield line, f"message {kind.name} may be empty"
    for one in kind.fields[:-1]:
        if isinstance(one, RestField):
            yield one.line, f"nothing can follow {one.name}, which goes to the end of the stream"


def _unreachable(contract: Contract) -> Complaints:
    start = next(iter(contract.states))
    found = reachable(contract, start)
    for state in contract.states.values():
        if state.name not in found:
            yield state.line, f"state {state.name} is never reached from {start}, where a conversation begins"


def _loops(contract: Contract) -> Complaints:
    for side in Role:
        graph = {
            state.name: [says.to for says in state.of(side) if says.at_most is None and not says.unbounded]
            for state in contract.states.values()
        }
        for state in contract.states.values():
            for says in state.of(side):
                if says.to in graph[state.name] and state.name in _closure(graph, says.to):
                    yield (
                        says.line,
                        f"in state {state.name} the {side.value} may say {says.message} for ever, without a turn of the"
                        f" {side.other.value}; say 'at most N'",
                    )


def _state(contract: Contract, state: State) -> Complaints:
    for side in Role:
        yield from _initiative(state, side)
        yield from _ending(contract, state, side)
        yield from _unheard(contract, state, side)
    if not any(contract.states[name].codes for name in reachable(contract, state.name)):
        yield state.line, f"from state {state.name} no end can be reached; say 'exit' where the server may end"
    for says in state.says:
        if says.unbounded and state.turn is not Turn.BOTH:
            yield says.line, f"{says.message} may be unbounded only in a state of both sides; say 'at most N'"


def _initiative(state: State, side: Role) -> Complaints:
    if not state.turn.is_of(side) or state.of(side) or any(end.side is side for end in state.ends):
        return
    if side is Role.CALLER or not state.codes:
        yield state.line, f"state {state.name} waits for the {side.value}, who may say nothing in it"


def _ending(contract: Contract, state: State, side: Role) -> Complaints:
    """Once its stream is at its end, nothing waits for a side; and the end of a stream means one thing."""
    rests = [says for says in state.of(side) if isinstance(contract.messages[says.message].fields[-1], RestField)]
    ends = [end for end in state.ends if end.side is side]
    bare = [says for says in rests if len(contract.messages[says.message].fields) == 1]
    enders: tuple[Says | Ends, ...] = (*ends, *bare)
    for extra in enders[1:]:
        yield extra.line, f"in state {state.name} the {side.value}'s end of stream means two things"
    last: tuple[Says | Ends, ...] = (*rests, *ends)
    for move in last:
        for name in sorted(reachable(contract, move.to)):
            waits = contract.states[name]
            if waits.turn.value == side.value and not (side is Role.SERVER and waits.codes):
                yield move.line, f"the {side.value}'s end of stream leads to state {name}, which waits for it"


def _unheard(contract: Contract, state: State, side: Role) -> Complaints:
    """Where `side` may be in the middle of something when the other one goes on, it must not be heard from then on."""
    if side in state.unheard:
        for move in _moves(state):
            if move.side is side:
                yield move.line, f"state {state.name} does not hear the {side.value}"
        if state.turn.is_of(side) and not (side is Role.SERVER and state.codes):
            yield state.line, f"state {state.name} does not hear the {side.value}, but waits for it"
    may_speak = state.turn.is_of(side) or side in state.unheard
    for move in _moves(state):
        heard = move.to != state.name and side not in contract.states[move.to].unheard
        if move.side is side.other and may_speak and heard:
            yield (
                move.line,
                f"the {side.value} may be speaking when this leads from state {state.name} to {move.to};"
                f" say '{side.value} unheard' in {move.to}",
            )
