"""The socket between the manager and a broker, from the manager's side."""

import asyncio
import os
import socket
from collections.abc import Coroutine
from typing import Any, TypeVar
from uuid import UUID

import pytest

from bento.host.manager import brokers
from bento.host.manager.brokers import Broker, End
from bento.host.manager.packets import Packets
from bento.host.model.domain import Domain, DomainClass
from bento.host.model.errors import Unavailable
from bento.wire.control import (
    FROM_MANAGER,
    MAX_PACKET,
    Asked,
    Begin,
    Blame,
    Ended,
    Ending,
    Open,
    OpenConsole,
    Over,
    PowerOff,
    Up,
    decode_packet,
    encode_packet,
)
from bento.wire.names import DomainName, LabelName, ServiceArgument, ServiceName, TargetName
from bento.wire.rpc import MAX_CALLS, ExitCode

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    async def in_time() -> T:
        async with asyncio.timeout(60):
            return await work

    return asyncio.run(in_time())


def pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.settimeout(60)
    return ours, theirs


def test_nobody_hears_packets_any_more_once_closed() -> None:
    async def story() -> list[bytes]:
        ours, theirs = pair()
        heard: list[bytes] = []
        with theirs:
            packets = Packets(ours)

            def hear(packet: bytes) -> None:
                heard.append(packet)
                packets.close()

            packets.listen(hear)
            theirs.send(b"one")
            theirs.send(b"two")
            for _ in range(10):
                await asyncio.sleep(0)
        return heard

    assert run(story()) == [b"one"]


def test_closing_wakes_whoever_waits_to_send_and_spares_the_next_owner_of_the_number() -> None:
    async def story() -> None:
        ours, theirs = pair()
        with theirs:
            packets = Packets(ours)
            number = ours.fileno()

            async def send_for_ever() -> None:
                while True:
                    await packets.send(PowerOff())

            sending = asyncio.create_task(send_for_ever())
            for _ in range(10):
                await asyncio.sleep(0)
            packets.close()
            # The number goes to somebody else at once, who waits on it before the sender has noticed.
            read, write = os.pipe()
            os.dup2(write, number)
            ready = asyncio.Event()
            asyncio.get_running_loop().add_writer(number, ready.set)
            with pytest.raises(ConnectionAbortedError):
                await sending
            await ready.wait()
            asyncio.get_running_loop().remove_writer(number)
            for fd in {read, write, number}:
                os.close(fd)

    run(story())


def test_files_that_come_along_are_closed() -> None:
    async def story() -> None:
        ours, theirs = pair()
        with theirs:
            packets = Packets(ours)
            before = len(os.listdir("/proc/self/fd"))
            socket.send_fds(theirs, [b"\x04\0\1"], [0, 1, 2])
            assert await packets.receive() == b"\x04\0\1"
            assert len(os.listdir("/proc/self/fd")) == before
            packets.close()

    run(story())


DOMAIN = Domain(UUID(int=1), DomainName("work"), DomainClass.APP, LabelName("red"), None)


def asked(token: int) -> Asked:
    return Asked(token, ServiceName("test.Echo"), ServiceArgument(""), TargetName("vault"))


async def refuse(_: Asked) -> ExitCode:
    return ExitCode.REFUSED


async def wait_for_ever(_: Asked) -> ExitCode:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


def end_after(*packets: bytes, answer: Any = refuse) -> tuple[End, bool]:
    """How a broker ends that sends these, and whether it was up."""

    async def story() -> tuple[End, bool]:
        ours, theirs = pair()
        broker = Broker(DOMAIN, 1, ours)
        with theirs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            for packet in packets:
                theirs.send(packet)
        end = await broker.serve(answer)
        return end, await broker.up

    return run(story())


def test_a_broker_that_dies_without_a_word_may_be_replaced() -> None:
    assert end_after(encode_packet(Up(1))) == (End(None, "its broker is gone without a word"), True)


def test_a_broker_says_how_it_ended() -> None:
    ended = encode_packet(Ended(Ending.VIOLATION, "the guest lies"))
    assert end_after(ended) == (End(Ending.VIOLATION, "the guest lies"), False)


@pytest.mark.parametrize(
    "packets",
    [
        [b"\xff"],
        [encode_packet(Up(1)), encode_packet(Up(1))],
        [encode_packet(PowerOff())],
        [encode_packet(Begin(bytes(16), 0, DomainName("work"), "AppVM", bytes(32), 0))],
        [encode_packet(OpenConsole())],
        [encode_packet(Over(1, Blame.NOBODY, "a token of nobody's"))],
        [encode_packet(asked(0))[:-1]],
        [encode_packet(asked(0)) + bytes(MAX_PACKET)],
    ],
)
def test_a_broker_that_says_what_it_may_not_is_at_an_end(packets: list[bytes]) -> None:
    end, _ = end_after(*packets)
    assert end.ending is Ending.VIOLATION
    assert end.sentence.startswith("its broker sent")


def test_a_broker_may_have_only_so_many_questions_open() -> None:
    questions = [encode_packet(asked(token)) for token in range(MAX_CALLS)]

    async def story() -> End:
        ours, theirs = pair()
        broker = Broker(DOMAIN, 1, ours)
        serving = asyncio.create_task(broker.serve(wait_for_ever))
        with theirs:
            theirs.setblocking(False)
            for packet in questions:
                await asyncio.get_running_loop().sock_sendall(theirs, packet)
            assert not serving.done()
            await asyncio.get_running_loop().sock_sendall(theirs, encode_packet(asked(MAX_CALLS)))
            return await serving

    assert run(story()).ending is Ending.VIOLATION


def test_a_question_that_follows_at_once_on_the_answer_to_another_is_not_one_too_many() -> None:
    async def story() -> bool:
        ours, theirs = pair()
        broker = Broker(DOMAIN, 1, ours)
        now = asyncio.Event()

        async def decide(_: Asked) -> ExitCode:
            await now.wait()
            return ExitCode.REFUSED

        serving = asyncio.create_task(broker.serve(decide))
        with theirs:
            theirs.setblocking(False)
            for token in range(MAX_CALLS):
                await asyncio.get_running_loop().sock_sendall(theirs, encode_packet(asked(token)))
            await asyncio.sleep(0)
            theirs.send(encode_packet(asked(MAX_CALLS)))
            await asyncio.sleep(0)  # now the manager is about to read it, but first
            now.set()
            for _ in range(MAX_CALLS + 1):
                await asyncio.get_running_loop().sock_recv(theirs, 100)
            still = not serving.done()
        await serving
        return still

    assert run(story())


def test_a_question_whose_decision_fails_is_answered_all_the_same() -> None:
    async def fail(_: Asked) -> ExitCode:
        raise RuntimeError("a mistake")

    async def story() -> bytes:
        ours, theirs = pair()
        broker = Broker(DOMAIN, 1, ours)
        serving = asyncio.create_task(broker.serve(fail))
        with theirs:
            theirs.send(encode_packet(asked(7)))
            theirs.setblocking(False)
            reply = await asyncio.get_running_loop().sock_recv(theirs, 100)
        await serving
        return reply

    reply = run(story())
    assert reply[-1] == ExitCode.FAULT


def test_a_broker_at_its_limit_may_ask_again_as_soon_as_it_was_answered() -> None:
    async def story() -> End:
        ours, theirs = pair()
        broker = Broker(DOMAIN, 1, ours)
        serving = asyncio.create_task(broker.serve(refuse))
        loop = asyncio.get_running_loop()
        with theirs:
            theirs.setblocking(False)
            for token in range(MAX_CALLS):
                await loop.sock_sendall(theirs, encode_packet(asked(token)))
            for token in range(MAX_CALLS, 4 * MAX_CALLS):
                await loop.sock_recv(theirs, 100)
                await loop.sock_sendall(theirs, encode_packet(asked(token)))
                assert not serving.done()
        return await serving

    assert run(story()).ending is None


def test_a_broker_that_asks_and_takes_no_answers_is_at_an_end() -> None:
    async def story() -> tuple[End, int]:
        ours, theirs = pair()
        serving = asyncio.create_task(Broker(DOMAIN, 1, ours).serve(refuse))
        loop = asyncio.get_running_loop()
        with theirs:
            theirs.setblocking(False)
            for token in range(1 << 14):  # more answers than a socket holds
                sending = asyncio.create_task(loop.sock_sendall(theirs, encode_packet(asked(token))))
                await asyncio.wait({sending, serving}, return_when=asyncio.FIRST_COMPLETED)
                if serving.done():
                    sending.cancel()
                    break
        return await serving, token

    end, asked_for = run(story())
    assert end.ending is Ending.VIOLATION, f"it has {asked_for} answers waiting"


def test_a_broker_that_sends_without_pause_leaves_others_their_turn() -> None:
    count = 8  # as many packets may wait in a socket anywhere
    turns: list[int] = []

    async def story() -> None:
        turn = 0

        async def note(_: Asked) -> ExitCode:
            turns.append(turn)
            return ExitCode.REFUSED

        ours, theirs = pair()
        with theirs:
            for token in range(count):
                theirs.send(encode_packet(asked(token)))
            serving = asyncio.create_task(Broker(DOMAIN, 1, ours).serve(note))
            while len(turns) < count:
                turn += 1
                await asyncio.sleep(0)
        await serving

    run(story())
    assert turns[-1] - turns[0] > count // 2


CALL = Open(ServiceName("test.Echo"), ServiceArgument(""), DomainName("random"), TargetName(""), "", 0, 0)

Ends = list[tuple[int, Blame, str]]


class Reported:
    """A broker of the test's own, and what its calls' callers heard of them."""

    def __init__(self) -> None:
        ours, self.theirs = pair()
        self.theirs.setblocking(False)
        self.broker = Broker(DOMAIN, 1, ours)
        self.serving = asyncio.create_task(self.broker.serve(refuse))
        self.heard: Ends = []
        self.over = asyncio.Event()

    async def open(self, call: int) -> int:
        """Open a call that is reported: the token that the broker was told."""
        leg, far = socket.socketpair()
        far.close()

        def over(blame: Blame, sentence: str) -> None:
            self.heard.append((call, blame, sentence))
            self.over.set()

        await self.broker.open(CALL, leg, over)
        told = decode_packet(FROM_MANAGER, await asyncio.get_running_loop().sock_recv(self.theirs, MAX_PACKET))
        assert isinstance(told, Open)
        return told.token

    async def end(self) -> End:
        self.theirs.close()
        return await self.serving


def test_who_opened_a_call_hears_once_that_it_is_over() -> None:
    async def story() -> tuple[Ends, End]:
        reported = Reported()
        tokens = [await reported.open(call) for call in (0, 1)]
        assert 0 not in tokens
        reported.theirs.send(encode_packet(Over(tokens[1], Blame.CALLER, "the caller is gone")))
        reported.theirs.send(encode_packet(Over(tokens[0], Blame.NOBODY, "")))
        return reported.heard, await reported.end()

    heard, end = run(story())
    assert heard == [(1, Blame.CALLER, "the caller is gone"), (0, Blame.NOBODY, "")]
    assert end.ending is None


def test_a_token_is_for_one_use() -> None:
    async def story() -> tuple[Ends, End]:
        reported = Reported()
        token = await reported.open(0)
        for _ in range(2):
            reported.theirs.send(encode_packet(Over(token, Blame.NOBODY, "")))
        end = await reported.serving
        reported.theirs.close()
        return reported.heard, end

    heard, end = run(story())
    assert heard == [(0, Blame.NOBODY, "")]
    assert end == End(Ending.VIOLATION, "its broker sent Over when it may not")


def test_the_calls_of_a_broker_that_is_gone_are_over() -> None:
    async def story() -> Ends:
        reported = Reported()
        for call in (0, 1):
            await reported.open(call)
        await reported.end()
        with pytest.raises(OSError):
            await reported.open(2)  # it was told nobody, so nobody hears of it
        return reported.heard

    assert sorted(run(story())) == [(call, Blame.SERVER, "its broker is gone") for call in (0, 1)]


def test_a_broker_that_says_of_no_call_that_it_is_over_gets_no_more_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brokers, "MAX_REPORTS", 3)

    async def story() -> None:
        reported = Reported()
        tokens = [await reported.open(call) for call in range(3)]
        with pytest.raises(Unavailable, match="'work' has 3 calls that do not end"):
            await reported.open(3)
        reported.theirs.send(encode_packet(Over(tokens[0], Blame.NOBODY, "")))
        await reported.over.wait()
        await reported.open(4)
        await reported.end()

    run(story())
