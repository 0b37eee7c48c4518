"""A remembered verdict answers exactly the question it was found for; everything else is no verdict."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.host.drivers.machine.kvm_cache import (
    MAX_FILE_BYTES,
    Question,
    decode,
    encode,
    read_question,
    recall,
    remember,
)
from bento.host.drivers.machine.kvm_steps import KvmVerdict, Step

QUESTION = Question("boot", "7.2.22", os.geteuid(), (0, 107), (0, 107, 0o20660, 2792, 12345))
GOOD = KvmVerdict(usable=True, step=None, reason="ran", millis=9)
BAD = KvmVerdict(usable=False, step=Step.LONG, reason="no answer within 300 ms", millis=400)
OTHER_QUESTIONS = [
    replace(QUESTION, boot_id="another boot"),
    replace(QUESTION, qemu_version="8.0"),
    replace(QUESTION, uid=QUESTION.uid + 1),
    replace(QUESTION, groups=(0,)),
    replace(QUESTION, device=(0, 107, 0o20666, 2792, 99999)),
]


@pytest.mark.parametrize("verdict", [GOOD, BAD])
def test_what_was_remembered_is_recalled(tmp_path: Path, verdict: KvmVerdict) -> None:
    remember(tmp_path / "new" / "directory", QUESTION, verdict)
    assert recall(tmp_path / "new" / "directory", QUESTION) == verdict


def test_the_later_verdict_counts(tmp_path: Path) -> None:
    remember(tmp_path, QUESTION, GOOD)
    remember(tmp_path, QUESTION, BAD)
    assert recall(tmp_path, QUESTION) == BAD


def test_nothing_but_the_verdict_is_left_in_the_directory(tmp_path: Path) -> None:
    remember(tmp_path, QUESTION, GOOD)
    assert [path.name for path in tmp_path.iterdir()] == [f"kvm-{QUESTION.uid}.json"]


@pytest.mark.parametrize("other", OTHER_QUESTIONS)
def test_a_verdict_for_another_question_is_none(other: Question) -> None:
    assert decode(encode(QUESTION, GOOD), QUESTION) == GOOD
    assert decode(encode(other, GOOD), QUESTION) is None


def test_a_file_torn_at_any_byte_is_no_verdict() -> None:
    whole = encode(QUESTION, GOOD)
    assert all(decode(whole[:length], QUESTION) is None for length in range(len(whole)))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"format": 1}',
        b"\xff\xfe",
        b"[" * 10_000,
        b'{"format": 1, "question": 0, "verdict": 0}',
    ],
)
def test_foreign_content_is_no_verdict(content: bytes) -> None:
    assert decode(content, QUESTION) is None


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_fail(content: bytes) -> None:
    assert decode(content, QUESTION) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"usable": true', b'"usable": false'),  # not usable, but no step failed
        (b'"step": null', b'"step": "long"'),  # usable, but a step failed
        (b'"step": null', b'"step": "unheard"'),
        (b'"usable": true', b'"usable": 1'),
        (b'"millis": 9', b'"millis": []'),
        (b'"millis": 9', b'"millis": Infinity'),
        (b'"format": 1', b'"format": 0'),
    ],
)
def test_a_verdict_that_contradicts_itself_is_none(old: bytes, new: bytes) -> None:
    whole = encode(QUESTION, GOOD)
    assert old in whole
    assert decode(whole.replace(old, new), QUESTION) is None


def test_a_link_in_the_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    remember(tmp_path / "elsewhere", QUESTION, GOOD)
    (tmp_path / "kvm").mkdir()
    name = f"kvm-{QUESTION.uid}.json"
    (tmp_path / "kvm" / name).symlink_to(tmp_path / "elsewhere" / name)
    assert recall(tmp_path / "kvm", QUESTION) is None


def test_a_pipe_in_the_place_of_the_file_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"kvm-{QUESTION.uid}.json")
    assert recall(tmp_path, QUESTION) is None


def test_a_file_of_another_account_is_no_verdict(tmp_path: Path) -> None:
    foreign = replace(QUESTION, uid=QUESTION.uid + 1)
    remember(tmp_path, foreign, GOOD)  # written by this account, so not by the one asked for
    assert (tmp_path / f"kvm-{foreign.uid}.json").exists()
    assert recall(tmp_path, foreign) is None


def test_an_endless_file_is_no_verdict(tmp_path: Path) -> None:
    padding = b" " * MAX_FILE_BYTES
    (tmp_path / f"kvm-{QUESTION.uid}.json").write_bytes(encode(QUESTION, GOOD) + padding)
    assert recall(tmp_path, QUESTION) is None


def test_a_directory_that_cannot_be_written_only_costs_the_memory(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    remember(blocked, QUESTION, GOOD)
    assert recall(blocked, QUESTION) is None


def test_a_changed_device_node_is_another_question(tmp_path: Path) -> None:
    node = tmp_path / "kvm"
    node.write_text("")
    before = read_question("7.2", node)
    node.chmod(0o640)
    after = read_question("7.2", node)
    assert before is not None
    assert before != after


def test_without_a_device_there_is_nothing_to_remember(tmp_path: Path) -> None:
    assert read_question("7.2", tmp_path / "absent") is None
