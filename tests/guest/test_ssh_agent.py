"""The split ssh agent with OpenSSH's own programs: keys in one domain are listed and used in another, and stay."""

import os
import select
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bento.wire.sshagent import FAILURE, List, MessageReader, Sign, encode_message, encode_request
from tests.guest import pair as pairs
from tests.guest.harness import PATIENCE
from tests.guest.pair import PYTHON, Pair, ended, type_command


def run(*words: str, **environment: str) -> str:
    """What an OpenSSH program prints that must succeed."""
    done = subprocess.run(
        words, check=True, capture_output=True, stdin=subprocess.DEVNULL, env=os.environ | environment, timeout=PATIENCE
    )
    return done.stdout.decode()


class Vault:
    """The domain with the keys. Its agents' sockets lie in `sockets`, whose name is short."""

    def __init__(self, pair: Pair, sockets: Path) -> None:
        self.pair = pair
        self.sockets = sockets
        self.keys = pair.serving.root / "home" / ".ssh"
        self.keys.mkdir(mode=0o700)
        self.home = pair.asking.root / "home"
        pair.serving.service(
            "qubes.SshAgent", f"export TMPDIR={sockets}\nexec {PYTHON} -m bento.guest.services.sshagent"
        )

    def make_key(self, name: str = "id_ed25519", passphrase: str = "") -> str:
        """The new key's line of `ssh-add -l`, without its comment."""
        path = self.keys / name
        path.parent.mkdir(parents=True, exist_ok=True)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", name, "-f", str(path))
        return run("ssh-keygen", "-l", "-f", str(path)).split()[1]

    def use(self, *words: str, agent: str = "", code: int = 0) -> str:
        """What a command prints that has the agent of this domain in the other one."""
        named = ["--agent", agent] if agent else []
        process = self.pair.type("qubes_ssh_agent", *named, "vault", "--", *words)
        self.pair.allow_all(process)
        stdout, stderr = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, stderr.decode()
        return stdout.decode()

    def say(self, data: bytes, argument: str = "") -> tuple[list[bytes], int | None]:
        """What the service answers to bytes of no client of ours, and its exit code."""
        call = self.pair.to_host.run("qubes.SshAgent", argument, stdin=data, source="random")
        return list(MessageReader().feed(bytes(call.stdout))), call.code


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    with tempfile.TemporaryDirectory(prefix="bento-s-", dir="/tmp") as sockets, pairs.pair(tmp_path) as pair:
        try:
            yield Vault(pair, Path(sockets))
        finally:
            for pid in agents_below(sockets):
                os.kill(pid, signal.SIGTERM)


def agents_below(sockets: str) -> list[int]:
    """The ssh-agents that listen there: they were started by the service and belong to nobody."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if words[0] == b"ssh-agent" and any(word.startswith(f"{sockets}/".encode()) for word in words[1:]):
            found.append(int(path.parent.name))
    return found


def test_keys_are_listed(vault: Vault) -> None:
    key = vault.make_key()
    assert vault.use("ssh-add", "-l").split()[1] == key
    assert vault.use("ssh-add", "-L").split()[1] == (vault.keys / "id_ed25519.pub").read_text().split()[1]


def test_what_is_signed_with_a_key_there_is_believed_here(vault: Vault) -> None:
    vault.make_key()
    public = (vault.keys / "id_ed25519.pub").read_text()
    (vault.home / "key.pub").write_text(public)
    (vault.home / "text").write_text("some text")
    (vault.home / "signers").write_text(f"me {public}")
    vault.use("ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", "key.pub", "text")
    verify = ["ssh-keygen", "-Y", "verify", "-f", "signers", "-I", "me", "-n", "file", "-s", "text.sig"]
    for text, code in (("some text", 0), ("another", 255)):
        done = subprocess.run(verify, check=False, input=text.encode(), cwd=vault.home, timeout=PATIENCE)
        assert done.returncode == code


def test_an_agent_has_the_keys_of_its_own_name_only(vault: Vault) -> None:
    keys = {name: vault.make_key(f"identities.d/{name}/id_ed25519" if name else "id") for name in ("", "work", "home")}
    for name, key in keys.items():
        assert vault.use("ssh-add", "-l", agent=name).split()[1] == key
    assert len(agents_below(str(vault.sockets))) == 3


def test_one_agent_serves_all_calls(vault: Vault) -> None:
    vault.make_key()
    calls = [
        vault.pair.to_host.serve("qubes.SshAgent", stdin=encode_request(List()), source="random") for _ in range(8)
    ]
    for call in calls:
        assert vault.pair.to_host.finish(call).code == 0
        assert bytes(call.stdout)[4] == 12
    assert len(agents_below(str(vault.sockets))) == 1


def test_an_agent_that_died_is_started_anew(vault: Vault) -> None:
    key = vault.make_key()
    vault.use("ssh-add", "-l")
    (before,) = agents_below(str(vault.sockets))
    os.kill(before, signal.SIGKILL)
    assert vault.use("ssh-add", "-l").split()[1] == key


def test_a_key_with_a_passphrase_waits_for_a_person(vault: Vault) -> None:
    vault.make_key(passphrase="secret")
    assert "no identities" in vault.use("ssh-add", "-l", code=1)


def test_the_agent_that_a_person_named_is_used(vault: Vault) -> None:
    named = vault.sockets / "own"
    said = run("ssh-agent", "-a", str(named))
    pid = int(said.partition("SSH_AGENT_PID=")[2].partition(";")[0])
    try:
        (vault.keys / "agent.sock").symlink_to(named)
        vault.make_key("elsewhere/key")
        run("ssh-add", "-q", str(vault.keys / "elsewhere/key"), SSH_AUTH_SOCK=str(named))
        assert "elsewhere/key" in vault.use("ssh-add", "-l")
    finally:
        os.kill(pid, signal.SIGTERM)


def test_the_agent_cannot_be_changed_from_another_domain(vault: Vault) -> None:
    key = vault.make_key()
    vault.make_key("other")
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(vault.home / "mine"))
    for words in (["-D"], ["-d", str(vault.keys / "id_ed25519.pub")], ["mine"], ["-s", "/usr/lib/evil.so"]):
        process = vault.pair.type("qubes_ssh_agent", "vault", "--", "ssh-add", *words)
        vault.pair.allow_all(process)
        assert ended(process)[0] == 1, words
    listed = vault.use("ssh-add", "-l")
    assert key in listed
    assert len(listed.splitlines()) == 2


@pytest.mark.parametrize("kind", [1, 9, 17, 18, 19, 20, 22, 23, 25, 26, 27, 255])
def test_requests_that_change_an_agent_never_get_to_it(vault: Vault, kind: int) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(vault.sockets / "own"))
        silent.listen()
        (vault.keys / "agent.sock").symlink_to(vault.sockets / "own")
        answers, code = vault.say(encode_message(bytes((kind,)) + b"\0\0\0\1x") * 3)
        connection, _ = silent.accept()
        with connection:
            assert connection.recv(100) == b""
    assert (answers, code) == ([FAILURE[4:]] * 3, 0)


@pytest.mark.parametrize(
    "untrusted", [b"\xff" * 9, bytes(4), encode_message(b"\x0d\0\0"), encode_message(b"\x0bmore"), b"\0\x10\0\0\x0b"]
)
def test_nonsense_ends_the_call(vault: Vault, untrusted: bytes) -> None:
    vault.make_key()
    assert vault.say(untrusted) == ([], 1)


def test_a_request_that_breaks_off_is_not_passed_on(vault: Vault) -> None:
    vault.make_key()
    assert vault.say(encode_request(Sign(b"k", b"d", 0))[:-1]) == ([], 0)


@pytest.mark.parametrize("name", ["nobody", "..", ".hidden", "a+b"])
def test_an_agent_that_nobody_made_is_none(vault: Vault, name: str) -> None:
    vault.make_key("identities.d/git/id")
    assert vault.say(encode_request(List()), name) == ([], 1)
    vault.use("ssh-add", "-l", agent=name, code=1)


def test_a_directory_that_others_made_is_not_used(vault: Vault) -> None:
    vault.make_key()
    (vault.sockets / f"qubes-ssh-agent-{os.getuid()}").mkdir(mode=0o777)
    (vault.sockets / f"qubes-ssh-agent-{os.getuid()}").chmod(0o777)
    assert vault.say(encode_request(List())) == ([], 1)


def test_the_socket_lives_as_long_as_its_command(vault: Vault) -> None:
    path = vault.use("sh", "-c", 'stat -c %a "$SSH_AUTH_SOCK"; echo "$SSH_AUTH_SOCK"').split()
    assert path[0] == "600"
    assert not Path(path[1]).parent.exists()
    vault.use("sh", "-c", "exit 7", code=7)
    vault.use("sh", "-c", "kill -TERM $$", code=128 + 15)


def test_in_the_background_it_serves_until_it_is_told_to_end(vault: Vault) -> None:
    key = vault.make_key()
    path = vault.sockets / "here"
    process = vault.pair.type("qubes_ssh_agent", "-a", str(path), "vault")
    stdout, _ = process.communicate(timeout=PATIENCE)
    said = dict(part.split("=") for part in stdout.decode().replace("\n", "").split(";") if "=" in part)
    assert said["SSH_AUTH_SOCK"] == str(path)
    pid = int(said["SSH_AGENT_PID"])
    end = os.pidfd_open(pid)
    try:
        listing = subprocess.Popen(
            ["ssh-add", "-l"],
            env=os.environ | {"SSH_AUTH_SOCK": str(path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        vault.pair.allow_all(listing)
        assert key.encode() in listing.communicate(timeout=PATIENCE)[0]
        code, stderr = ended(vault.pair.type("qubes_ssh_agent", "-a", str(path), "vault"))
        assert (code, "another agent listens there" in stderr) == (1, True)
    finally:
        os.kill(pid, signal.SIGTERM)
    assert select.select([end], [], [], PATIENCE)[0]
    os.close(end)
    assert not path.exists()


def test_a_socket_that_nobody_listens_at_any_more_is_replaced(vault: Vault) -> None:
    path = vault.sockets / "stale"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    process = vault.pair.type("qubes_ssh_agent", "-a", str(path), "--", "test", "-S", str(path))
    vault.pair.allow_all(process)
    assert ended(process) == (0, "")


def test_a_call_that_is_refused_is_told(vault: Vault) -> None:
    process = vault.pair.type("qubes_ssh_agent", "--", "ssh-add", "-l")
    vault.pair.refuse(126)
    code, stderr = ended(process)
    assert code == 1
    # ssh-add says its word there, too, and neither waits for the other.
    assert "qubes-ssh-agent: The call was refused.\n" in stderr


def test_a_program_that_is_refused_may_still_ask(vault: Vault) -> None:
    """ssh-add asks in two pieces, and would die of SIGPIPE between them."""
    script = "import os, socket; s = socket.socket(socket.AF_UNIX); s.connect(os.environ['SSH_AUTH_SOCK'])"
    script += "; assert s.recv(1) == b''; s.sendall(b'who '); s.sendall(b'is there')"
    process = vault.pair.type("qubes_ssh_agent", "--", "/usr/bin/python3", "-c", script)
    vault.pair.refuse(126)
    assert ended(process) == (0, "qubes-ssh-agent: The call was refused.\n")


@pytest.mark.parametrize("words", [["-x"], ["vault", "another"], ["--agent"], ["-a"], ["--agent=x", "vault", "--what"]])
def test_a_wrong_command_line_is_answered_with_the_usage(tmp_path: Path, words: list[str]) -> None:
    code, stderr = ended(type_command(tmp_path, "qubes_ssh_agent", *words))
    assert (code, "usage:" in stderr) == (2, True)


def test_a_command_that_does_not_exist_is_told(tmp_path: Path) -> None:
    code, stderr = ended(type_command(tmp_path, "qubes_ssh_agent", "--", "/no/such/program"))
    assert (code, stderr) == (1, "qubes-ssh-agent: /no/such/program: No such file or directory.\n")
