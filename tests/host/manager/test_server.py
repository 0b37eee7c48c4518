"""The socket: who may ask, and that no client, whatever it does, harms another."""

import json
import os
import shutil
import socket
import subprocess
import sys
from uuid import UUID

import pytest

from bento.host.manager.server import MAX_CONNECTIONS
from bento.wire.admin import MAX_REQUEST, Failure, Fault, parse_reply
from tests.host.manager.home import Home, answer


def raw(home: Home, data: bytes) -> bytes:
    """What is answered to these bytes."""
    with home.connect() as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except OSError:  # it had enough before the end
            pass
        reply = b""
        try:
            while piece := connection.recv(65_536):
                reply += piece
        except ConnectionResetError:
            pass
        return reply


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"\0",
        b"admin.vm.List",
        b"admin.vm.List dom0 name dom0",
        b"admin.vm.List+ dom0 dom0\0",
        b"admin.vm.List+ dom0 uuid dom0\0",
        b"admin.vm.List+ dom0 keyword dom0\0",
        b"admin.vm.List+ dom0 name 9\0",
        b"admin.vm.List+ dom0 name uuid:9\0",
        b"admin.vm.List+ dom0 name uuid:6D7A02B5-532B-467F-B9FB-6596BAE03C33\0",
        b"admin.vm.List+ dom0 name dom0 more\0",
        b"admin.vm.List+a/b dom0 name dom0\0",
        b"../etc+ dom0 name dom0\0",
        b"\xff\xfe+ dom0 name dom0\0",
        b"x" * MAX_REQUEST + b"\0",
        b"admin.vm.feature.Set+a dom0 name dom0\0" + b"x" * MAX_REQUEST,
    ],
)
def test_a_request_that_is_none_gets_a_protocol_error(shared: Home, request_: bytes) -> None:
    reply = parse_reply(raw(shared, request_))
    assert isinstance(reply, Failure)
    assert reply.fault == Fault.PROTOCOL
    assert reply.sentence.isprintable()
    assert shared.ask("admin.label.List")


@pytest.mark.parametrize(
    "request_",
    [
        b"admin.vm.Nothing+ dom0 name dom0\0",
        b"admin.pool.List+ dom0 name dom0\0",
        b"admin.label.List+ dom0 name debian-12\0",
    ],
)
def test_a_method_that_is_not_there_is_what_the_fields_client_does_without(shared: Home, request_: bytes) -> None:
    reply = parse_reply(raw(shared, request_))
    assert isinstance(reply, Failure)
    assert reply.fault == Fault.NO_METHOD.value == "QubesDaemonAccessError"
    assert reply.sentence.startswith("there is no method")


def test_a_domain_can_be_meant_by_its_uuid(shared: Home) -> None:
    uuid = shared.row("debian-12")["uuid"]
    request = f"admin.vm.property.Get+name dom0 name uuid:{uuid}\0"
    assert raw(shared, request.encode()) == b"0\0default=False type=str debian-12"
    admin = f"admin.vm.property.Get+name dom0 name uuid:{UUID(int=0)}\0"
    assert raw(shared, admin.encode()) == b"0\0default=False type=str dom0"


def test_a_uuid_that_nobody_has_is_an_unknown_domain(shared: Home) -> None:
    reply = parse_reply(raw(shared, f"admin.vm.Start+ dom0 name uuid:{UUID(int=9)}\0".encode()))
    assert isinstance(reply, Failure)
    assert reply.fault == Fault.NOT_FOUND
    assert str(UUID(int=9)) in reply.sentence


def test_the_largest_request_is_carried_out(shared: Home) -> None:
    head = b"admin.vm.feature.Set+big dom0 name dom0\0"
    assert raw(shared, head + b"x" * (MAX_REQUEST - len(head))) == b"0\0"
    assert len(shared.ask("admin.vm.feature.Get", "dom0", "big")) == MAX_REQUEST - len(head)


def test_the_admin_domain_has_a_keyword(shared: Home) -> None:
    assert raw(shared, b"admin.label.Get+red dom0 keyword adminvm\0") == b"0\x000xcc0000"


def test_a_request_in_a_guests_name_is_refused_without_a_reason(shared: Home) -> None:
    shared.create("guest")
    before = shared.table()
    assert raw(shared, b"admin.vm.Remove+ guest name guest\0") == b""
    assert raw(shared, b"admin.vm.List+ debian-12 name dom0\0") == b""
    assert shared.table() == before


def test_a_stranger_is_refused_whatever_leads_it_to_the_socket(home: Home) -> None:
    """As another user of this host: one of our own sub-ids, at a socket that everybody may connect to."""
    home.path.chmod(0o711)
    (home.path / "open").mkdir(mode=0o777)
    path = home.path / "open/manager.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o777)
        (home.path / "open").chmod(0o755)
        listener.listen()
        start_activated(home, listener)
    program = f"""
import socket, os
connection = socket.socket(socket.AF_UNIX)
connection.connect({str(path)!r})
try:
    connection.sendall(b"admin.label.List+ dom0 name dom0\\0")
    answer = connection.recv(100)
except (BrokenPipeError, ConnectionResetError):
    answer = b""
print(os.getuid(), answer)
"""
    # 0 is ourselves in there, 1 the first of our sub-ids.
    box = ["unshare", "--user", "--map-root-user", "--map-auto", "setpriv", "--reuid=1", "--clear-groups", "--"]
    stranger = subprocess.run([*box, "/usr/bin/python3", "-S", "-c", program], capture_output=True, check=True)
    assert stranger.stdout == b"1 b''\n"
    assert "a stranger's connection was closed" in home.log()


def start_activated(home: Home, listener: socket.socket) -> None:
    """Start the manager as systemd does, with a socket that is open already."""
    program = (
        "import os, runpy, sys;"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1');"
        f"sys.argv = ['manager', '--ready-fd', '4'];"
        f"runpy.run_module({home.module[0]!r}, run_name='__main__', alter_sys=True)"
    )
    ready, tell = os.pipe()

    def arrange() -> None:
        # Out of the way first: the numbers may be taken by each other.
        ours, theirs = os.dup(listener.fileno()), os.dup(tell)
        os.dup2(ours, 3)
        os.dup2(theirs, 4)

    with open(home.path / "stderr", "ab") as stderr:
        home.process = subprocess.Popen(
            [sys.executable, "-c", program],
            env=home.environment(),
            preexec_fn=arrange,
            pass_fds=(3, 4),
            stdin=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
    os.close(tell)
    with open(ready, "rb") as told:
        assert told.readline() == b"ready\n", home.log()


def test_a_socket_that_systemd_opened_is_served_and_left(home: Home) -> None:
    (home.path / "run").mkdir()
    path = home.path / "run/manager.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        start_activated(home, listener)
        assert home.ask("admin.label.List").startswith("red")
        home.stop_manager()
        # It is systemd's: whoever comes now waits for the next manager.
        with home.send("admin.label.List") as waiting:
            start_activated(home, listener)
            assert answer(waiting).startswith("red")


def test_clients_that_hang_up_at_any_point_harm_nobody(shared: Home) -> None:
    whole = b"admin.vm.List+ dom0 name dom0\0"
    for cut in range(len(whole) + 1):
        with shared.connect() as connection:
            connection.sendall(whole[:cut])
    for _ in range(50):
        shared.send("admin.vm.List").close()
        shared.send("bento.vm.Table").close()
        shared.send("admin.Events").close()
        shared.send("no.such.Method").close()
    for _ in range(3):  # the first may be answered together with those before it
        assert shared.ask("admin.label.List")


def test_more_clients_than_may_be_connected_wait_their_turn(shared: Home) -> None:
    before = opened(shared)
    idle = [shared.connect() for _ in range(600)]
    while opened(shared) < before + MAX_CONNECTIONS:
        pass
    assert opened(shared) == before + MAX_CONNECTIONS
    with shared.send("admin.label.List") as last:
        for connection in idle:
            connection.close()
        assert answer(last).startswith("red")


def opened(home: Home) -> int:
    """Files that the manager has open."""
    return len(os.listdir(f"/proc/{home.pid}/fd"))


def test_open_files_do_not_grow(shared: Home) -> None:
    """A client that takes an open file, or goes away instead, leaves none behind in the manager."""
    shared.create("talker")
    shared.run("talker", "true")
    before = opened(shared)
    for _ in range(20):
        shared.run("talker", "true")
        shared.send("bento.vm.Call", "talker", "qubes.VMShell").close()
        shared.send("bento.vm.Console", "talker").close()
        os.close(shared.take_file("bento.vm.Log", "talker"))
        shared.send("admin.Events").close()
    shared.run("talker", "true")
    with shared.events():
        assert opened(shared) <= before + 6  # those of the last few that are still on their way out
    shared.kill("talker")


def test_a_mistake_of_the_manager_is_confessed_and_logged(served: Home) -> None:
    """Here a state that is damaged while the manager runs: its record names a version that the store does not know."""
    served.create("work")
    shutil.rmtree(served.path / "templates/debian-12/1")
    failed = served.refused("admin.vm.Start", "work")
    assert failed.fault == Fault.GENERAL
    assert "debian-12" in failed.sentence
    assert served.state("work") == "Halted"


def test_an_error_of_the_disk_is_a_sentence(served: Home) -> None:
    served.create("work")
    (served.path / "run/domains").rmdir()
    (served.path / "run/domains").touch()
    failed = served.refused("admin.vm.Start", "work")
    assert failed.fault == Fault.GENERAL
    assert "run/domains" in failed.sentence
    assert served.state("work") == "Halted"
    assert json.loads(served.ask("bento.Notices")) is not None


def test_the_socket_is_only_the_persons(shared: Home) -> None:
    path = shared.path / "run/manager.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0
