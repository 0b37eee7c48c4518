"""Services between real domains, as the field's scripts have them: programs, sockets, addresses and their settings."""

import re

import pytest

from tests.vm.boxes import Boxes

pytestmark = pytest.mark.vm

POLICY = """\
qubes.GetDate      *     random  work  allow
qubes.GetAppmenus  *     random  work  allow
qubes.ConnectTCP   +1234 random  work  allow
qubes.VMExecGUI    *     random  work  allow
qubes.VMShell      *     random  work  allow
test.Socket        *     random  work  allow
test.Root          *     random  work  allow
"""


@pytest.fixture(scope="module", autouse=True)
def policy(new: Boxes) -> None:
    new.policy(POLICY, name="33-serving.policy")


def call(boxes: Boxes, service: str, stdin: str = "") -> str:
    return boxes.do("run", "random", "--", "qrexec-client-vm", "work", service, stdin=stdin)


def test_a_domain_asks_another_for_the_time_and_the_menu(boxes: Boxes) -> None:
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00\n", call(boxes, "qubes.GetDate"))
    boxes.sh(
        "work",
        r"mkdir -p /usr/local/share/applications; printf '[Desktop Entry]\nName=Mine\nExec=mine %%f\n'"
        " > /usr/local/share/applications/mine.desktop",
        user="root",
    )
    path = "/usr/local/share/applications/mine.desktop"
    assert f"{path}:Name=Mine\n{path}:Exec=qubes-desktop-run {path}\n\n" in call(boxes, "qubes.GetAppmenus")


def test_a_port_of_another_domain_is_reached_as_one_of_this_domain(boxes: Boxes) -> None:
    server = (
        "import socket\n"
        "listener = socket.create_server(('127.0.0.1', 1234))\n"
        "while True:\n"
        "    connection, _ = listener.accept()\n"
        "    connection.sendall(connection.recv(100).upper())\n"
        "    connection.close()\n"
    )
    boxes.sh(
        "work", f"cat > /tmp/server.py <<'END'\n{server}END\nsetsid python3 /tmp/server.py </dev/null >/dev/null 2>&1 &"
    )
    boxes.sh("random", "qvm-connect-tcp :work:1234")
    client = (
        "import socket; s = socket.create_connection(('127.0.0.1', 1234)); s.sendall(b'hello');"
        " print(s.recv(100).decode())"
    )
    boxes.sh(
        "work", "until python3 -c \"import socket; socket.create_connection(('127.0.0.1', 1234))\"; do sleep 0.1; done"
    )
    assert boxes.sh("random", f'python3 -c "{client}"') == "HELLO"


def test_a_socket_of_a_server_in_a_domain_is_a_service(boxes: Boxes) -> None:
    server = (
        "import os, socket\n"
        "os.makedirs('/run/qubes-rpc', exist_ok=True)\n"
        "listener = socket.socket(socket.AF_UNIX)\n"
        "listener.bind('/run/qubes-rpc/test.Socket')\n"
        "listener.listen()\n"
        "while True:\n"
        "    connection, _ = listener.accept()\n"
        "    data = b''\n"
        "    while more := connection.recv(100):\n"
        "        data += more\n"
        "    connection.sendall(data.replace(b'\\0', b'|'))\n"
        "    connection.close()\n"
    )
    boxes.sh(
        "work",
        f"cat > /tmp/unix.py <<'END'\n{server}END\nsetsid python3 /tmp/unix.py </dev/null >/dev/null 2>&1 &",
        user="root",
    )
    boxes.sh("work", "until [ -S /run/qubes-rpc/test.Socket ]; do sleep 0.1; done")
    assert call(boxes, "test.Socket+arg", stdin="hi") == "test.Socket+arg random|hi"


def test_a_service_runs_as_the_user_that_its_settings_force(boxes: Boxes) -> None:
    boxes.sh(
        "work",
        "mkdir -p /usr/local/etc/qubes-rpc /usr/local/etc/qubes/rpc-config;"
        r" printf '#!/bin/sh\nid -un; id -Gn; cat /proc/self/oom_score_adj; ulimit -n; grep CapEff /proc/self/status\n'"
        " > /usr/local/etc/qubes-rpc/test.Root; chmod +x /usr/local/etc/qubes-rpc/test.Root",
        user="root",
    )
    user, group, oom, files, capabilities = call(boxes, "test.Root").splitlines()
    assert (user, group, oom, files, capabilities.split()[1]) == ("user", "user", "0", "1024", "0" * 16)
    boxes.sh("work", "echo \"force-user = 'root'\" > /usr/local/etc/qubes/rpc-config/test.Root", user="root")
    assert call(boxes, "test.Root").splitlines()[0] == "root"


def test_a_shell_and_a_program_with_windows_run_in_another_domain(boxes: Boxes) -> None:
    said = boxes.bento("run", "random", "--", "qvm-run-vm", "work", "hostname; cat; exit 7", stdin="typed")
    assert (said.stdout, said.returncode) == ("work\ntyped", 7)
    assert call(boxes, "qubes.VMExecGUI+echo+seen") == "seen\n"
    assert boxes.do("run", "work", "--", "sh", "-c", "ls /etc/qubes/rpc-config").split() == [
        "qubes.ConnectTCP",
        "qubes.VMExecGUI",
        "qubes.VMShell+WaitForSession",
    ]
