"""Becoming a domain: what an identity changes. What it does to a machine's clock and random pool, `tests/vm` sees."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.guest.agent import Agent
from bento.guest.identity import OWN_ADDRESS, replace, rewrite, uuid4, with_own_name
from bento.guest.loop import Loop
from bento.guest.place import Loopback
from bento.guest.port import Port
from bento.wire.channel import NONCE_SIZE, VERSION, greeting, seal_of
from bento.wire.frames import encode_frame
from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName
from bento.wire.rpc import Identity, Ready, Serve

HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n"


def test_the_name_is_added_to_the_hosts() -> None:
    assert with_own_name(HOSTS, "work") == HOSTS + f"{OWN_ADDRESS}\twork\n"


def test_a_second_start_changes_nothing() -> None:
    once = with_own_name(HOSTS, "work")
    assert with_own_name(once, "work") == once


def test_the_name_of_the_template_gives_way_and_other_lines_stay() -> None:
    before = "# mine\n127.0.1.1 debian-12\n" + HOSTS + "127.0.1.10 printer\n"
    assert with_own_name(before, "work") == "# mine\n" + HOSTS + f"127.0.1.10 printer\n{OWN_ADDRESS}\twork\n"


def test_a_file_is_replaced_as_a_whole_and_only_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    replace(str(path), lambda text: text + "one\n")
    first = os.stat(path).st_ino
    replace(str(path), lambda text: text)
    assert os.stat(path).st_ino == first
    replace(str(path), lambda text: text + "two\n")
    assert path.read_text() == "one\ntwo\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["hosts"]


def test_a_file_in_memory_is_changed_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text(HOSTS + "127.0.1.1\ta-much-longer-name\n")
    before = path.stat().st_ino
    rewrite(str(path), lambda hosts: with_own_name(hosts, "work"))
    assert path.read_text() == HOSTS + f"{OWN_ADDRESS}\twork\n"
    assert path.stat().st_ino == before


@pytest.mark.parametrize("change", [replace, rewrite])
def test_a_file_of_any_size_and_coding_keeps_its_other_lines(
    tmp_path: Path, change: Callable[[str, Callable[[str], str]], None]
) -> None:
    path, blocked = tmp_path / "hosts", b"0.0.0.0\ttracker.example\n" * 5000 + b"# Caf\xe9\n"
    path.write_bytes(blocked)
    change(str(path), lambda hosts: with_own_name(hosts, "work"))
    assert path.read_bytes() == blocked + f"{OWN_ADDRESS}\twork\n".encode()


def test_a_change_that_fails_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("kept\n")

    def fail(_: str) -> str:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        replace(str(path), fail)
    assert path.read_text() == "kept\n"


class Stubborn(Loopback):
    """A machine that cannot be made unlike another one."""

    def adopt(self, identity: Identity) -> None:
        raise OSError("the pool takes nothing")


def test_a_machine_that_cannot_become_somebody_runs_nothing_and_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = children()
    ended: list[str] = []
    marker, nonce = tmp_path / "served", os.urandom(NONCE_SIZE)
    (tmp_path / "etc/qubes-rpc").mkdir(parents=True)
    (tmp_path / "etc/qubes-rpc/test.Mark").write_text(f"#!/bin/sh\n: >{marker}\n")
    (tmp_path / "etc/qubes-rpc/test.Mark").chmod(0o755)
    call = Serve(0, ServiceName("test.Mark"), ServiceArgument(""), DomainName("dom0"), TargetName(""), "", 0, 0)
    identity = Identity(DomainName("disp1"), "DispVM", bytes(32), 0)
    said = b"".join(encode_frame(message, seal_of(nonce)) for message in (identity, call, identity, call))
    loop, (ours, theirs) = Loop(), os.pipe2(os.O_NONBLOCK)
    agent = Agent(loop, Stubborn(str(tmp_path), lambda: ended.append("off")))
    port = Port(loop, theirs, agent.hear)
    agent.attach(port)
    agent.hear(greeting(nonce, first=True) + said)
    loop.after_this_round(loop.stop)
    loop.run()
    assert encode_frame(Ready(VERSION), seal_of(nonce)) not in os.read(ours, 1 << 16)
    assert ended, "the machine ends"
    assert "cannot become disp1" in capsys.readouterr().err
    assert children() <= before, "nothing was started"
    assert not marker.exists()


def children() -> set[str]:
    """Processes of this one, of whichever test."""
    return {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


@given(st.binary(min_size=16, max_size=16))
def test_a_boot_id_is_a_random_uuid(noise: bytes) -> None:
    made = uuid4(noise.hex())
    assert made == str(UUID(bytes=noise, version=4))
    assert UUID(made).variant == RFC_4122


def test_the_agent_of_a_seed_holds_no_generator_of_random_numbers() -> None:
    """Each copy would go on from the same state of one."""
    source = Path(__file__).parents[2] / "src"
    script = (
        f"import sys; sys.path.insert(0, {str(source)!r}); import bento.guest.__main__, bento.guest.rehearsal; "
        "print(*sorted({'random', 'secrets', 'ssl', 'tempfile', 'uuid'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-B", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
