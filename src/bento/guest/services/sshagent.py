"""`qubes.SshAgent`: another domain's ssh may list this one's keys and have them sign. Keys never leave.

The domain that asks is hostile. Of what it says only two kinds of requests reach the agent, each read in full and made
anew (`wire.sshagent`); all others are answered here, by a failure. The call's argument names the agent:

    none      the keys in ~/.ssh
    git       the keys in ~/.ssh/identities.d/git, which somebody has made for that; there is no other way to it

A socket or a link `agent.sock` in that directory is used if it is there (KeePassXC's, gpg-agent's). Otherwise an
ssh-agent is started at the first call and lives on; it gets the keys that want no passphrase, and a person adds others:

    SSH_AUTH_SOCK=/tmp/qubes-ssh-agent-1000/agent.git ssh-add ~/.ssh/identities.d/git/id_ed25519

Whoever may call may have everything signed, as long as the policy lets it; `ssh-add -c` asks for each key.
"""

import fcntl
import os
import re
import signal
import socket
import stat
import sys
from contextlib import suppress

from bento.guest.pipes import write_all
from bento.wire.errors import WireError
from bento.wire.sshagent import FAILURE, MessageReader, Other, decode_request, encode_message, encode_request

SERVICE = "qubes.SshAgent"

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
SOCKET = "agent.sock"

CHUNK = 1 << 16


class NoAgent(Exception):
    """One sentence."""


def main() -> int:
    try:
        with agent(os.environ.get("QREXEC_SERVICE_ARGUMENT", "")) as connection:
            filtered(0, connection, 1)
    except (NoAgent, WireError) as error:
        print(f"{SERVICE}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{SERVICE}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def filtered(untrusted: int, connection: socket.socket, answers: int) -> None:
    """Answer requests until there are no more. `WireError` when one is none, or the agent's answer is none."""
    requests, replies = MessageReader(), MessageReader()
    while read := os.read(untrusted, CHUNK):
        for message in requests.feed(read):
            request = decode_request(message)
            if isinstance(request, Other):
                write_all(answers, FAILURE)
            else:
                connection.sendall(encode_request(request))
                write_all(answers, encode_message(reply(connection, replies)))


def reply(connection: socket.socket, replies: MessageReader) -> bytes:
    while received := connection.recv(CHUNK):
        for message in replies.feed(received):
            return message
    raise NoAgent("the agent has ended")


def agent(name: str) -> socket.socket:
    """A connection to the agent of that name, which is started if there is none. `NoAgent` if there cannot be one."""
    if name and not NAME.fullmatch(name):
        raise NoAgent("the name of an agent is letters and digits, with _ . and - between them")
    keys = f"{os.environ['HOME']}/.ssh" + (f"/identities.d/{name}" if name else "")
    if not os.path.isdir(keys):
        raise NoAgent(f"there is no agent '{name}' in {os.uname().nodename}")
    given = f"{keys}/{SOCKET}"
    found = connected(given) if os.path.lexists(given) else started(keys, f"agent.{name}" if name else "agent")
    if found is None:
        raise NoAgent(f"no ssh-agent answers in {os.uname().nodename}; is openssh-client installed there?")
    return found


def started(keys: str, name: str) -> socket.socket | None:
    """The same for an agent of this service's own, whose socket has that name."""
    path = f"{own_directory()}/{name}"
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two first calls at once start one agent
        found = connected(path)
        if found is None:
            if os.path.lexists(path):
                os.unlink(path)
            run("ssh-agent", "-a", path)
            files = [f"{keys}/{file}" for file in sorted(os.listdir(keys)) if os.path.isfile(f"{keys}/{file}.pub")]
            if files:
                run("ssh-add", "-q", *files, SSH_AUTH_SOCK=path, SSH_ASKPASS_REQUIRE="never")
            found = connected(path)
    finally:
        os.close(lock)
    return found


def own_directory() -> str:
    """Of this user and closed to all others, who may have made it first."""
    path = f"{os.environ.get('TMPDIR', '/tmp')}/qubes-ssh-agent-{os.getuid()}"
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    state = os.lstat(path)
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid() or state.st_mode & 0o077:
        raise NoAgent(f"{path} is not a directory of this user's alone")
    return path


def connected(path: str) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        return None
    return connection


def run(*words: str, **environment: str) -> None:
    """To its end, without a word: what it says is not for the domain that asks."""
    silent = [(os.POSIX_SPAWN_OPEN, file, os.devnull, os.O_RDWR, 0) for file in range(3)]
    try:
        pid = os.posix_spawnp(
            words[0], words, os.environ | environment, file_actions=silent, setsigdef=[signal.SIGPIPE]
        )
    except FileNotFoundError:
        return  # then nothing answers, and that is told
    os.waitpid(pid, 0)


if __name__ == "__main__":
    sys.exit(main())
