"""Split GPG with a real gpg: keys live in one domain, are used in another, and stay where they are."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bento.guest.services.accepting import Accepting, NotAccepted
from bento.wire.gpg import COMMAND, ERROR, Block, BlockReader, Ended, encode_block, encode_command
from bento.wire.names import DomainName
from tests.guest import pair as pairs
from tests.guest.harness import PATIENCE
from tests.guest.pair import PYTHON, Pair, ended, type_command

ME = "Me <me@vault>"
SOURCE_NAME = DomainName("random")
SERVE = """\
import sys
from bento.guest.services.accepting import Accepting
from bento.guest.services.gpg import serve
sys.exit(serve(Accepting(sys.argv[1], sys.argv[2])))
"""


class Keys:
    """gpg in a directory of its own; its agent is ended with it."""

    def __init__(self) -> None:
        # A short name: gpg's agent listens on a socket in it.
        self.path = Path(tempfile.mkdtemp(prefix="bento-g-", dir="/tmp"))

    def gpg(self, *words: str, stdin: bytes = b"", code: int = 0) -> bytes:
        done = subprocess.run(
            ["gpg", "--homedir", self.path, "--batch", *words],
            check=False,
            input=stdin,
            capture_output=True,
            timeout=PATIENCE,
        )
        assert done.returncode == code, done.stderr.decode()
        return done.stdout

    def end(self) -> None:
        subprocess.run(["gpgconf", "--homedir", self.path, "--kill", "all"], check=True, timeout=PATIENCE)
        shutil.rmtree(self.path, ignore_errors=True)


@pytest.fixture(scope="module")
def with_key() -> Iterator[Keys]:
    """A keyring with a secret key to sign and to decrypt with, without a passphrase."""
    keys = Keys()
    try:
        keys.gpg("--passphrase", "", "--quick-generate-key", ME, "future-default", "default", "never")
        yield keys
    finally:
        keys.end()


@pytest.fixture
def public(with_key: Keys) -> Iterator[Keys]:
    """What anybody may have: the public key of `with_key`."""
    keys = Keys()
    try:
        keys.gpg("--import", stdin=with_key.gpg("--export"))
        yield keys
    finally:
        keys.end()


class Vault:
    """The domain with the keys, as the other one sees it. `accepts` until `forget`."""

    def __init__(self, pair: Pair, keys: Keys) -> None:
        self.pair = pair
        self.home = pair.asking.root / "home"
        self.settings = pair.serving.root / "autoaccept"
        self.stamp = pair.serving.root / "stamps" / f"stat.{SOURCE_NAME}"
        self.stamp.parent.mkdir()
        self.stamp.touch()
        script = pair.serving.root / "serve.py"
        script.write_text(SERVE)
        gnupg = f"export GNUPGHOME={keys.path}"
        pair.serving.service("qubes.Gpg", f"{gnupg}\nexec {PYTHON} {script} {self.stamp.parent} {self.settings}")
        pair.serving.service("qubes.GpgImportKey", f"{gnupg}\nexec {PYTHON} -m bento.guest.services.gpgimportkey")

    def run(
        self, *words: str, stdin: bytes = b"", module: str = "qubes_gpg_client", code: int = 0
    ) -> tuple[bytes, str]:
        """A command in the domain without keys, whose one call is allowed."""
        process = self.pair.type(module, *words, stdin=stdin, QUBES_GPG_DOMAIN="vault")
        asked = self.pair.allow().asked
        assert asked is not None
        assert asked.target == "vault"
        stdout, stderr = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, stderr.decode()
        return stdout, stderr.decode()

    def say(self, data: bytes) -> list[Block | Ended]:
        """What the service answers to bytes of no client of ours."""
        call = self.pair.to_host.run("qubes.Gpg", stdin=data, source=SOURCE_NAME)
        return list(BlockReader(10, answering=True).feed(bytes(call.stdout)))


@pytest.fixture
def vault(tmp_path: Path, with_key: Keys) -> Iterator[Vault]:
    with pairs.pair(tmp_path) as pair:
        yield Vault(pair, with_key)


@pytest.mark.parametrize("size", [0, 5, 1_000_000])
def test_what_is_signed_there_is_believed_here(vault: Vault, public: Keys, size: int) -> None:
    text = os.urandom(size)
    (vault.home / "text").write_bytes(text)
    signature, _ = vault.run("--armor", "--detach-sign", "-u", ME, "text")
    assert signature.startswith(b"-----BEGIN PGP SIGNATURE-----")
    (vault.home / "text.asc").write_bytes(signature)
    public.gpg("--verify", str(vault.home / "text.asc"), str(vault.home / "text"))
    (vault.home / "text").write_bytes(text + b"!")
    public.gpg("--verify", str(vault.home / "text.asc"), str(vault.home / "text"), code=1)


def test_what_is_encrypted_here_is_decrypted_there(vault: Vault, public: Keys) -> None:
    secret = os.urandom(30_000)
    encrypted = public.gpg("--trust-model", "always", "--encrypt", "-r", "me@vault", stdin=secret)
    (vault.home / "secret.gpg").write_bytes(encrypted)
    assert vault.run("--decrypt", "secret.gpg")[0] == secret
    assert vault.run("--decrypt", stdin=encrypted)[0] == secret
    assert vault.run("-d", "--output=-", "-", stdin=encrypted)[0] == secret


def test_signatures_are_verified_there_by_two_files(vault: Vault) -> None:
    (vault.home / "text").write_bytes(bytes(200_000))
    signature, _ = vault.run("--detach-sign", "text")
    (vault.home / "text.sig").write_bytes(signature)
    _, stderr = vault.run("--verify", "text.sig", "text")
    assert "Good signature" in stderr
    _, stderr = vault.run("--verify", "text.sig", "-", stdin=b"another", code=1)
    assert "BAD signature" in stderr
    _, stderr = vault.run("--verify", "-", "text", stdin=signature)
    assert "Good signature" in stderr


def test_a_signed_text_is_verified_and_given_back(vault: Vault) -> None:
    signed, _ = vault.run("--clearsign", stdin=b"hello\n")
    assert b"hello" in signed
    assert vault.run(stdin=signed)[0] == b"hello\n"


def test_keys_are_listed_for_programs_and_people(vault: Vault) -> None:
    listed, _ = vault.run("--list-secret-keys", "--with-colons", "me@vault")
    assert {"sec", "uid", "ssb"} <= {line.split(":")[0] for line in listed.decode().splitlines()}
    assert ME.encode() in vault.run("-K")[0]
    exported, _ = vault.run("--armor", "--export", "me@vault")
    assert exported.startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----")
    _, stderr = vault.run("--list-keys", "nobody@nowhere", code=2)
    assert "No public key" in stderr


def test_status_goes_to_the_file_that_was_named(vault: Vault) -> None:
    status = vault.home / "status"
    (vault.home / "text").write_text("text")
    with status.open("wb") as file:
        process = vault.pair.type(
            "qubes_gpg_client", "--sign", f"--status-fd={file.fileno()}", "text", keep=file.fileno()
        )
        vault.pair.allow()
        assert ended(process) == (0, "")
    assert "[GNUPG:] SIG_CREATED" in status.read_text()
    stdout, _ = vault.run("--detach-sign", "--status-fd=1", stdin=b"text")
    assert b"[GNUPG:] SIG_CREATED" in stdout
    _, stderr = vault.run("--detach-sign", "--status-fd=2", stdin=b"text")
    assert "[GNUPG:] SIG_CREATED" in stderr


def test_secret_keys_do_not_leave(vault: Vault, with_key: Keys) -> None:
    for words in (["--export-secret-keys"], ["--export-secret-subkeys", "me@vault"], ["--homedir", "/"], ["-r"]):
        blocks = vault.say(encode_command(words) + encode_block(Block(0, b"")))
        assert [type(block) for block in blocks] == [Block, Ended]
        assert isinstance(blocks[0], Block)
        assert blocks[0].file == ERROR
        assert blocks[0].data.startswith(b"qubes.Gpg: ")
        assert blocks[-1] == Ended(2)
    assert with_key.gpg("--export-secret-keys", "--passphrase", "", "--pinentry-mode", "loopback")


def test_no_file_of_the_domain_with_the_keys_is_read_or_written(vault: Vault, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("private")
    for words in (
        ["--store", str(plain)], ["--output", str(tmp_path / "out"), "--store"], ["--verify", str(plain)],
        ["--status-fd=1", "--store", "--", str(plain)], ["--sign", f"/dev/fd/../..{plain}"],
    ):  # fmt: skip  # a list to be read across
        blocks = vault.say(encode_command(words) + encode_block(Block(0, b"")))
        assert blocks[-1] == Ended(2)
        assert not any(isinstance(block, Block) and block.file != ERROR for block in blocks)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [["--decrypt"], []])
def test_gpg_does_not_ask_the_other_domain_for_a_file_to_read(
    vault: Vault, with_key: Keys, tmp_path: Path, command: list[str]
) -> None:
    """It would, for the data of a signature; and whoever guesses what is in a file has a signature that fits."""
    secret = tmp_path / "pin"
    secret.write_bytes(b"1234")
    signature = with_key.gpg("--detach-sign", stdin=b"1234")
    said = [Block(0, signature), Block(0, b""), Block(1, f"{secret}\n".encode()), Block(1, b"")]
    words = ["--status-fd=2", "--command-fd=5", *command]
    call = vault.pair.to_host.serve("qubes.Gpg", stdin=None, source=SOURCE_NAME)
    vault.pair.to_host.give(call, encode_command(words) + b"".join(map(encode_block, said)))
    answers = BlockReader(10, answering=True).feed(bytes(vault.pair.to_host.finish(call).stdout))
    told = b"".join(block.data for block in answers if isinstance(block, Block))
    assert b"GET_LINE" not in told
    assert b"Signature made" in told
    assert b"GOODSIG" not in told


@pytest.mark.parametrize(
    "untrusted",
    [
        b"\xff" * COMMAND.size,
        encode_command(["--sign"]) + encode_block(Ended(0)),
        encode_command(["--sign"]) + encode_block(Block(1, b"x")),
        encode_command(["--sign"]) + b"\0\0\0\0\xff\xff\xff\x7f",
        encode_command(["--sign"]) + encode_block(Block(0, b"never finished")),
    ],
)
def test_nonsense_ends_the_call_and_signs_nothing(vault: Vault, untrusted: bytes) -> None:
    blocks = vault.say(untrusted)
    assert isinstance(blocks[-1], Ended)
    assert blocks[-1].code != 0
    assert not any(isinstance(block, Block) and block.file == 0 and block.data for block in blocks)


@pytest.mark.parametrize("size", [0, COMMAND.size - 1])
def test_a_call_without_a_whole_command_line_is_not_answered(vault: Vault, size: int) -> None:
    assert vault.say(bytes(size)) == []


def test_a_caller_that_leaves_in_the_middle_ends_its_gpg(vault: Vault) -> None:
    call = vault.pair.to_host.serve("qubes.Gpg", stdin=encode_command(["--decrypt"]), source=SOURCE_NAME)
    assert vault.pair.to_host.finish(call).code == 128 + 15


def test_nobody_uses_the_keys_unless_a_person_there_lets_them(vault: Vault) -> None:
    vault.stamp.unlink()
    for _ in range(2):
        stdout, stderr = vault.run("--sign", stdin=b"text", code=2)
        assert stdout == b""
        own = os.uname().nodename
        assert stderr == (
            f"qubes.Gpg: {own} does not let random use its keys now;"
            f" `touch {vault.stamp}` there lets it for 300 seconds.\n"
        )
    vault.settings.write_text("random always\n")
    assert vault.run("--sign", stdin=b"text")[0]


@pytest.mark.parametrize(
    ("settings", "age", "accepted"),
    [
        (None, None, False),
        (None, 299, True),
        (None, 300, False),
        ("work 10", 299, True),
        ("random 10", 9, True),
        ("random 10", 10, False),
        ("# a comment\n\n  random  always  # work only\n", None, True),
        ("work always", None, False),
        ("work always\n* 5\nrandom always", 5, False),
        ("* always", None, True),
        ("random 0", 0, False),
        ("random always\nrandom ever", 0, False),
        ("random", 0, False),
        ("random -5", 0, False),
    ],
)
def test_a_yes_counts_as_long_as_the_settings_say(
    tmp_path: Path, settings: str | None, age: int | None, accepted: bool
) -> None:
    if settings is not None:
        (tmp_path / "settings").write_text(settings)
    if age is not None:
        (tmp_path / "stat.random").touch()
        os.utime(tmp_path / "stat.random", (1000, 1000))
    accepting = Accepting(str(tmp_path), str(tmp_path / "settings"), lambda: 1000.0 + (age or 0))
    try:
        accepting.check(SOURCE_NAME)
    except NotAccepted as refused:
        assert not accepted
        assert str(refused).isprintable()
    else:
        assert accepted


def test_the_environment_may_say_how_long_a_yes_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stat.random").touch()
    os.utime(tmp_path / "stat.random", (1000, 1000))
    accepting = Accepting(str(tmp_path), str(tmp_path / "settings"), lambda: 2000.0)
    for seconds, accepted in (("1001", True), ("1000", False), ("soon", False)):
        monkeypatch.setenv("QUBES_GPG_AUTOACCEPT", seconds)
        try:
            accepting.check(SOURCE_NAME)
        except NotAccepted:
            assert not accepted
        else:
            assert accepted


def test_a_key_is_imported_there(vault: Vault, with_key: Keys) -> None:
    other = Keys()
    try:
        other.gpg("--passphrase", "", "--quick-generate-key", "you@work", "future-default", "default", "never")
        (vault.home / "you.asc").write_bytes(other.gpg("--armor", "--export"))
    finally:
        other.end()
    _, stderr = vault.run("you.asc", module="qubes_gpg_import_key")
    assert "imported" in stderr or not stderr
    assert b"you@work" in with_key.gpg("--list-keys")
    vault.run("--import", "--batch", "you.asc", module="qubes_gpg_client_wrapper")
    assert vault.run(stdin=b"no key", module="qubes_gpg_import_key", code=2)


class TestWrapper:
    """Programs run it in place of gpg, with options that mean something here only."""

    def run(self, vault: Vault, *words: str, stdin: bytes = b"", code: int = 0) -> tuple[bytes, str]:
        return vault.run(*words, stdin=stdin, module="qubes_gpg_client_wrapper", code=code)

    def test_output_goes_to_a_file_and_status_stays(self, vault: Vault, public: Keys) -> None:
        status, _ = self.run(vault, "-a", "--sign", "--status-fd", "1", "--output", "signed.asc", stdin=b"text")
        assert all(line.startswith(b"[GNUPG:]") for line in status.splitlines())
        assert status
        assert public.gpg("--decrypt", str(vault.home / "signed.asc")) == b"text"
        assert self.run(vault, "signed.asc")[0] == b"text"
        self.run(vault, "-aso", "again.asc", stdin=b"text")
        assert public.gpg("--decrypt", str(vault.home / "again.asc")) == b"text"

    def test_the_log_goes_to_a_file(self, vault: Vault) -> None:
        _, stderr = self.run(vault, "--log-file", "log", "--verbose", "--sign", stdin=b"text")
        assert "signature from" in (vault.home / "log").read_text()
        assert stderr == ""

    def test_what_concerns_only_this_side_is_left_out(self, vault: Vault) -> None:
        words = (
            "--charset utf-8 --display-charset=utf-8 --no-tty --yes --quiet --batch --keyserver-options x --use-agent"
        )
        assert self.run(vault, *words.split(), "--ttyname=/dev/pts/0", "--detach", "-q", stdin=b"text")[0]

    def test_files_may_be_given_by_number(self, vault: Vault) -> None:
        signed, _ = self.run(vault, "--clearsign", stdin=b"text\n")
        assert self.run(vault, "--enable-special-filenames", "--", "-&0", stdin=signed)[0] == b"text\n"
        assert self.run(vault, "--enable-special-filenames", "-&0", stdin=signed)[0] == b"text\n"


@pytest.mark.parametrize("words", [["--gen-random", "x"], ["-Z"], ["--sign", "a", "b"], ["--export-secret-keys"]])
def test_what_is_not_allowed_is_told_before_anybody_is_asked(tmp_path: Path, words: list[str]) -> None:
    for module in ("qubes_gpg_client", "qubes_gpg_client_wrapper"):
        code, stderr = ended(type_command(tmp_path, module, *words))
        assert (code, stderr.startswith(f"{module.replace('_', '-')}: "), stderr.count("\n")) == (2, True, 1)


@pytest.mark.parametrize("words", [["--decrypt", "no-such-file"], ["--status-fd=1000", "--sign"], ["--verify", "gone"]])
def test_a_file_that_cannot_be_used_is_told(tmp_path: Path, words: list[str]) -> None:
    code, stderr = ended(type_command(tmp_path, "qubes_gpg_client", *words))
    assert (code, "No such file" in stderr or "is not open" in stderr) == (2, True)


def test_what_needs_no_keys_is_done_here(tmp_path: Path) -> None:
    process = type_command(tmp_path, "qubes_gpg_client_wrapper", "--print-md", "SHA1", stdin=b"x")
    stdout, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stdout.strip()) == (0, b"11F6 AD8E C52A 2984 ABAA  FD7C 3B51 6503 785C 2072")


def test_a_domain_that_may_not_is_refused(vault: Vault) -> None:
    process = vault.pair.type("qubes_gpg_client", "--sign", stdin=b"x")
    vault.pair.refuse(126)
    assert ended(process) == (126, "qubes-gpg-client: The call was refused.\n")


def test_a_domain_without_split_gpg_is_told(vault: Vault) -> None:
    (vault.pair.serving.root / "etc/qubes-rpc/qubes.Gpg").unlink()
    _, stderr = vault.run("--sign", stdin=b"x", code=127)
    assert stderr == "qubes-gpg-client: The other domain has no split GPG.\n"


@pytest.mark.parametrize("answer", ["head -c 999999 /dev/zero", "true", "printf 'hello there, this is no split GPG'"])
def test_an_answer_that_is_none_is_no_success(vault: Vault, answer: str) -> None:
    vault.pair.serving.service("qubes.Gpg", f"cat >/dev/null & {answer}; kill $!")
    _, stderr = vault.run("--sign", stdin=b"x", code=125)
    assert stderr.startswith("qubes-gpg-client: ")
    vault.pair.breaches.clear()  # a broker would have cut that short
