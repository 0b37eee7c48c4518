"""The manager's words with QEMUs that misbehave, each in its own way."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from bento.host.drivers.qemu.qmp import MAX_ANSWER, execute, query_state
from bento.host.model.errors import Unavailable
from bento.host.model.machine import MachineState

GREETING = {"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}
A_HANG = 60.0
AT_ONCE = 0.3

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def say(writer: asyncio.StreamWriter, message: object) -> None:
    writer.write(json.dumps(message).encode() + b"\r\n")


async def hear(reader: asyncio.StreamReader) -> dict[str, object]:
    """One command. The library ends none with a line's end, and sends none before it has the last one's answer."""
    pending = b""
    while True:
        pending += await reader.readuntil(b"}")
        with suppress(json.JSONDecodeError):
            command: dict[str, object] = json.loads(pending)
            return command


def polite(answer: object) -> Peer:
    """Greets, agrees, and answers the one command with `answer`."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        say(writer, GREETING)
        await hear(reader)
        say(writer, {"return": {}})
        asked = await hear(reader)
        say(writer, answer | {"id": asked["id"]} if isinstance(answer, dict) else answer)
        await reader.read()

    return peer


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def gone(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def fickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hangs up as soon as there is a session."""
    say(writer, GREETING)
    await hear(reader)
    say(writer, {"return": {}})
    writer.close()


async def babbling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\xff no json\r\n")
    await reader.read()


async def endless_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b'{"QMP": "' + b"x" * (4 * MAX_ANSWER))
    await reader.read()


async def deep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"[" * 30_000 + b"\r\n")
    await reader.read()


async def excited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Tells of events without end, and never answers."""
    say(writer, GREETING)
    await hear(reader)
    say(writer, {"return": {}})
    event = {"event": "STOP", "timestamp": {"seconds": 0, "microseconds": 0}, "data": {"x": "y" * 1000}}
    while True:
        say(writer, event)
        await writer.drain()


def answering(line: bytes) -> Peer:
    """Greets, agrees, and answers the one command with these bytes."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        say(writer, GREETING)
        await hear(reader)
        say(writer, {"return": {}})
        await hear(reader)
        writer.write(line + b"\r\n")
        await reader.read()

    return peer


def ask(tmp_path: Path, peer: Peer, *, deadline: float = A_HANG) -> MachineState:
    async def conversation() -> MachineState:
        path = tmp_path / "qmp.sock"

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await peer(reader, writer)
            except ConnectionError:
                pass
            finally:
                writer.close()

        async with await asyncio.start_unix_server(answer, path):
            return await query_state(path, deadline=deadline)

    return asyncio.run(conversation())


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("running", MachineState.RUNNING),
        ("paused", MachineState.PAUSED),
        ("io-error", MachineState.PAUSED),
    ],
)
def test_the_state_is_what_qemu_says(tmp_path: Path, status: str, state: MachineState) -> None:
    assert ask(tmp_path, polite({"return": {"status": status}})) is state


def test_a_refusal_is_told_in_qemus_words(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="QEMU refused query-status: not now"):
        ask(tmp_path, polite({"error": {"class": "GenericError", "desc": "not now"}}))


@pytest.mark.parametrize("answer", [{"return": {"status": 7}}, {"return": []}, {"return": None}])
def test_an_answer_without_sense_is_none(tmp_path: Path, answer: object) -> None:
    with pytest.raises(Unavailable, match="makes no sense"):
        ask(tmp_path, polite(answer))


@pytest.mark.parametrize("peer", [gone, fickle, babbling, endless_line, deep, polite([]), polite({"error": 1})])
def test_a_qemu_that_breaks_the_protocol_is_unavailable(tmp_path: Path, peer: Peer) -> None:
    with pytest.raises(Unavailable):
        ask(tmp_path, peer)


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 30_000,
        b'{"return": ' + b"9" * 30_000 + b"}",
        b'{"return": "\xff"}',
        b'{"return": {}, "id": {}}',
        b'{"return": {}, "id": []}',
    ],
    ids=["deep", "long number", "no text", "unhashable dict", "unhashable list"],
)
def test_no_json_of_a_taken_over_qemu_is_more_than_unavailable(tmp_path: Path, line: bytes) -> None:
    with pytest.raises(Unavailable):
        ask(tmp_path, answering(line))


def test_qemus_words_are_one_short_printable_line(tmp_path: Path) -> None:
    words = "\x1b]0;owned\x07\n2026-01-01 INFO call allowed" + "A" * 40_000
    with pytest.raises(Unavailable) as refused:
        ask(tmp_path, polite({"error": {"class": "GenericError", "desc": words}}))
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("peer", [silent, excited])
def test_a_qemu_that_never_answers_is_given_up(tmp_path: Path, peer: Peer) -> None:
    with pytest.raises(Unavailable, match="did not answer"):
        ask(tmp_path, peer, deadline=AT_ONCE)


def test_no_qemu_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        asyncio.run(execute(tmp_path / "none.sock", "stop", deadline=A_HANG))
