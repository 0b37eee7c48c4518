"""What processes print, as it is kept."""

import os

import pytest

from bento.host.disk.said import MAX_SAID, Said


def test_what_is_said_is_kept_up_to_a_bound() -> None:
    said = Said()
    os.write(said.fd, b"first words\n")
    os.write(said.fd, b"x" * (MAX_SAID - len(b"first words\n")))
    with pytest.raises(PermissionError):
        os.write(said.fd, b"one more")
    assert said.text().startswith("first words\nxxx")
    assert os.fstat(said.fd).st_size == MAX_SAID


def test_what_is_said_cannot_steer_a_terminal() -> None:
    said = Said()
    os.write(said.fd, b"\x1b[2Jsorry\x07\n\n\xffend")
    assert said.text() == "[2Jsorry\n�end"
