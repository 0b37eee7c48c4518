"""`qvm-copy` and its siblings and `qrexec-client-vm` as a person types them: real agents, the test plays the policy."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bento.wire.rpc import Stream
from tests.guest import pair as pairs
from tests.guest.harness import PATIENCE
from tests.guest.pair import SOURCE, Pair, ended, type_command


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with pairs.pair(tmp_path) as made:
        made.install("qubes.Filecopy", "filecopy")
        yield made


@pytest.fixture
def home(pair: Pair) -> Path:
    return pair.asking.root / "home"


def test_a_file_arrives_where_it_belongs(pair: Pair, home: Path) -> None:
    content = os.urandom(3_000_000)
    (home / "report.pdf").write_bytes(content)
    process = pair.type("qvm_copy_to_vm", "work", "report.pdf")
    asked = pair.allow().asked
    assert asked is not None
    assert (asked.service, asked.target) == ("qubes.Filecopy", "work")
    assert ended(process) == (0, "")
    assert (pair.incoming / "report.pdf").read_bytes() == content
    assert (home / "report.pdf").exists()


def test_a_tree_arrives_as_it_was(pair: Pair, home: Path) -> None:
    (home / "tree" / "deep" / "er").mkdir(parents=True)
    (home / "tree" / "deep" / "er" / "leaf").write_text("leaf")
    (home / "tree" / "link").symlink_to("deep/er")
    (home / "tree" / "empty").mkdir()
    process = pair.type("qvm_copy", str(home / "tree") + "/")
    asked = pair.allow().asked
    assert asked is not None
    assert asked.target == ""
    assert ended(process) == (0, "")
    assert (pair.incoming / "tree" / "link" / "leaf").read_text() == "leaf"
    assert (pair.incoming / "tree" / "empty").is_dir()


def test_a_named_link_is_copied_as_what_it_leads_to(pair: Pair, home: Path) -> None:
    (home / "file").write_text("content")
    (home / "link").symlink_to("file")
    process = pair.type("bento", "copy", "--to", "work", "link")
    pair.allow()
    assert ended(process) == (0, "")
    assert (pair.incoming / "link").read_text() == "content"
    assert not (pair.incoming / "link").is_symlink()


def test_a_move_removes_what_has_arrived(pair: Pair, home: Path) -> None:
    (home / "tree").mkdir()
    (home / "tree" / "leaf").write_text("leaf")
    (home / "single").write_text("single")
    process = pair.type("qvm_move_to_vm", "work", "tree", "single")
    pair.allow()
    assert ended(process) == (0, "")
    assert list(home.iterdir()) == []
    assert (pair.incoming / "tree" / "leaf").read_text() == "leaf"


def test_a_move_that_fails_removes_nothing(pair: Pair, home: Path) -> None:
    (home / "x").write_text("mine")
    pair.incoming.mkdir(parents=True)
    (pair.incoming / "x").write_text("already there")
    process = pair.type("qvm_move", "x")
    pair.allow()
    assert ended(process) == (
        1,
        "qvm-move: 'x' already exists in the other domain, in its QubesIncoming; rename or remove it there.\n",
    )
    assert (home / "x").read_text() == "mine"
    assert (pair.incoming / "x").read_text() == "already there"


def test_a_move_keeps_what_came_meanwhile(pair: Pair, home: Path) -> None:
    (home / "tree").mkdir()
    (home / "tree" / "leaf").write_text("leaf")
    pair.serving.service(
        "qubes.Filecopy",
        f"echo new >{home}/tree/new; exec env PYTHONPATH={SOURCE} {sys.executable} -S -m bento.guest.services.filecopy",
    )
    process = pair.type("bento", "move", "tree")
    pair.allow()
    code, stderr = ended(process)
    assert (code, "stays here too" in stderr) == (1, True)
    assert [path.name for path in (home / "tree").iterdir()] == ["new"]


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (126, "Nothing was copied: refused by policy for work."),
        (125, "The call was refused."),
    ],
)
def test_a_refusal_is_told_in_one_sentence(pair: Pair, home: Path, code: int, sentence: str) -> None:
    (home / "x").write_text("x")
    process = pair.type("qvm_copy_to_vm", "work", "x")
    pair.refuse(code)
    assert ended(process) == (code, f"qvm-copy-to-vm: {sentence}\n")


def test_a_domain_that_cannot_receive_is_told(pair: Pair, home: Path) -> None:
    (home / "x").write_text("x")
    (pair.serving.root / "etc/qubes-rpc/qubes.Filecopy").unlink()
    process = pair.type("qvm_copy_to_vm", "work", "x")
    pair.allow()
    assert ended(process) == (127, "qvm-copy-to-vm: Nothing was copied: work cannot receive files.\n")


def test_a_copy_that_breaks_off_is_told_and_marked(pair: Pair, home: Path) -> None:
    (home / "x").write_bytes(bytes(5_000_000))
    process = pair.type("qvm_copy_to_vm", "work", "x")
    partial = pair.incoming / "x.partial"
    pair.allow(most=1_000_000, until=lambda: partial.exists() and partial.stat().st_size > 0)
    code, stderr = ended(process)
    assert (code, "broke off" in stderr) == (125, True)
    assert [path.name for path in pair.incoming.iterdir()] == ["x.partial"]


def test_an_answer_that_does_not_fit_is_no_success(pair: Pair, home: Path) -> None:
    (home / "x").write_bytes(b"x")
    pair.serving.service("qubes.Filecopy", "cat >/dev/null; head -c 16 /dev/zero")
    process = pair.type("qvm_move_to_vm", "work", "x")
    pair.allow()
    code, stderr = ended(process)
    assert (code, "is not what was sent" in stderr) == (1, True)
    assert (home / "x").exists()


def test_no_answer_is_no_success(pair: Pair, home: Path) -> None:
    (home / "x").write_bytes(b"x")
    pair.serving.service("qubes.Filecopy", "cat >/dev/null")
    process = pair.type("qvm_move_to_vm", "work", "x")
    pair.allow()
    code, stderr = ended(process)
    assert (code, "did not say how the copy went" in stderr) == (1, True)
    assert (home / "x").exists()
    assert pair.breaches.pop() == "in state done the server exited with 0, which is not for this state"


@pytest.mark.parametrize("module", ["qvm_copy", "qvm_move"])
def test_what_cannot_be_copied_is_told_before_anybody_is_asked(tmp_path: Path, module: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.mkfifo(home / "fifo")
    (home / "bad\nname").touch()
    (home / "tree").mkdir()
    (home / "tree" / "out").symlink_to("/etc")
    for name, part in (
        ("missing", "No such file"),
        ("fifo", "neither a file"),
        ("bad\nname", "do not print"),
        ("tree", "leads out"),
        ("/", "name of a file"),
    ):
        code, stderr = ended(type_command(tmp_path, module, name))
        assert (code, part in stderr, stderr.count(": ") > 0) == (2, True, True), stderr
    (home / "x").touch()
    code, stderr = ended(type_command(tmp_path, module, "x", "tree/../x"))
    assert (code, "have the name x" in stderr) == (2, True)


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("qvm_copy", []),
        ("qvm_copy_to_vm", ["work"]),
        ("qvm_move", ["--no-such-option", "x"]),
        ("qvm_copy", ["--without-progress", "--"]),
        ("bento", ["copy"]),
        ("bento", ["copy", "--to", "work"]),
        ("bento", ["copy", "--unknown", "x"]),
        ("bento", ["create", "x"]),
        ("qrexec_client_vm", ["work"]),
        ("qrexec_client_vm", ["--no-such-option", "work", "x"]),
    ],
)
def test_a_wrong_command_line_is_answered_with_the_usage(tmp_path: Path, module: str, arguments: list[str]) -> None:
    code, stderr = ended(type_command(tmp_path, module, *arguments))
    assert (code, "usage:" in stderr) == (2, True)


@pytest.mark.parametrize(
    "module", ["qvm_copy", "qvm_copy_to_vm", "qvm_move", "qvm_move_to_vm", "bento", "qrexec_client_vm"]
)
def test_help_is_given(tmp_path: Path, module: str) -> None:
    process = type_command(tmp_path, module, "--help")
    stdout, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, b"usage:" in stdout) == (0, True)


def test_a_call_without_an_agent_is_a_fault(tmp_path: Path) -> None:
    code, stderr = ended(type_command(tmp_path, "qrexec_client_vm", "work", "test.Service"))
    assert (code, "agent does not answer" in stderr) == (125, True)


def test_a_called_services_streams_and_code_are_ones_own(pair: Pair) -> None:
    pair.serving.service("test.Shout", "tr a-z A-Z; echo warned >&2; exit 7")
    process = pair.type("qrexec_client_vm", "--", "work", "test.Shout", stdin=b"hello\n")
    pair.allow()
    stdout, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stdout) == (7, b"HELLO\n")


def test_a_target_may_be_written_as_the_field_writes_it(pair: Pair) -> None:
    for written, meant in (("$default", "@default"), ("@dispvm", "@dispvm"), ("", "")):
        process = pair.type("qrexec_client_vm", written, "test.Service+arg")
        asked = pair.from_host.next_asked()
        assert asked.asked is not None
        assert (asked.asked.target, asked.asked.argument) == (meant, "arg")
        pair.from_host.refuse(asked, 126)
        pair.from_host.settle()
        assert ended(process)[0] == 126


def test_names_that_are_none_are_not_asked_for(tmp_path: Path) -> None:
    assert ended(type_command(tmp_path, "qrexec_client_vm", "a b", "test.Service"))[0] == 2
    assert ended(type_command(tmp_path, "qrexec_client_vm", "work", "test/Service"))[0] == 2


def test_a_local_program_is_connected_and_gives_the_code(pair: Pair, home: Path) -> None:
    pair.serving.service("test.Answer", 'read question; echo "answer to $question"')
    process = pair.type("qrexec_client_vm", "work", "test.Answer", "sh", "-c", "echo q; cat >got; exit 3")
    pair.allow()
    assert ended(process) == (3, "")
    assert (home / "got").read_text() == "answer to q\n"


def test_a_local_program_is_called_by_its_name_without_the_directory(pair: Pair, home: Path) -> None:
    pair.serving.service("test.Sink", "cat >/dev/null")
    process = pair.type("qrexec_client_vm", "work", "test.Sink", "/bin/sh", "-c", 'echo "$0" >name')
    pair.allow()
    assert ended(process) == (0, "")
    assert (home / "name").read_text() == "sh\n"


def test_a_local_program_that_does_not_exist_is_a_fault(pair: Pair) -> None:
    pair.serving.service("test.Answer", "cat")
    process = pair.type("qrexec_client_vm", "work", "test.Answer", "/no/such/program")
    pair.allow()
    assert ended(process)[0] == 125


def test_a_local_program_ended_by_a_signal_gives_128_and_its_number(pair: Pair) -> None:
    pair.serving.service("test.Answer", "cat")
    process = pair.type("qrexec_client_vm", "work", "test.Answer", "sh", "-c", "kill -TERM $$")
    pair.allow()
    assert ended(process)[0] == 128 + 15


def test_a_lost_host_ends_a_call_with_a_fault(pair: Pair) -> None:
    process = pair.type("qrexec_client_vm", "work", "test.Service")
    call = pair.from_host.next_asked()
    pair.from_host.accept(call)
    pair.from_host.drop(call)
    pair.from_host.settle()
    assert ended(process)[0] == 125
    assert Stream.STDOUT not in call.ended


EVIL = r"printf 'a\033]0;x\007b\377\n'"
FILTERED = b"a_]0;x\ab_\n"
PLAIN = b"a\033]0;x\ab\377\n"


@pytest.mark.parametrize(
    ("words", "stdout"),
    [
        (["-t"], FILTERED),
        (["-tT"], FILTERED),
        (["--filter-escape-chars-stdout"], FILTERED),
        (["--filter-escape-chars-stdo"], FILTERED),
        (["-t", "--no-filter-escape-chars-stdout"], PLAIN),
        (["--no-filter-escape-chars-stdo", "-t", "--"], FILTERED),
        (["-T"], PLAIN),
        (["--buffer-size=1", "--buffer-size", "2", "--buff", "3"], PLAIN),
        ([], PLAIN),
    ],
)
def test_what_does_not_print_is_replaced_when_asked(pair: Pair, words: list[str], stdout: bytes) -> None:
    pair.serving.service("test.Evil", EVIL)
    process = pair.type("qrexec_client_vm", *words, "work", "test.Evil")
    pair.allow()
    assert process.communicate(timeout=PATIENCE)[0] == stdout


@pytest.mark.parametrize(("words", "got"), [([], PLAIN), (["-t"], FILTERED)])
def test_what_a_local_program_reads_is_replaced_only_when_asked(
    pair: Pair, home: Path, words: list[str], got: bytes
) -> None:
    pair.serving.service("test.Evil", EVIL)
    process = pair.type("qrexec_client_vm", *words, "work", "test.Evil", "sh", "-c", "cat >got")
    pair.allow()
    assert ended(process) == (0, "")
    assert (home / "got").read_bytes() == got


@pytest.mark.parametrize(
    "words", [["-a", "{}"], ["-a{}"], ["-tTa", "{}"], ["-Tta{}"], ["--agent-socket={}"], ["--agent", "{}"]]
)
def test_another_agents_socket_can_be_named(tmp_path: Path, words: list[str]) -> None:
    nowhere = tmp_path / "nowhere.sock"
    process = type_command(tmp_path, "qrexec_client_vm", *(word.format(nowhere) for word in words), "work", "s")
    code, told = ended(process)
    assert (code, "does not answer" in told) == (125, True)


def test_the_service_reads_the_prefix_first(pair: Pair) -> None:
    pair.serving.service("test.Cat", "cat")
    process = pair.type("qrexec_client_vm", "--prefix-data=before ", "work", "test.Cat", stdin=b"after")
    pair.allow()
    assert process.communicate(timeout=PATIENCE)[0] == b"before after"


def test_a_local_program_comes_after_the_prefix(pair: Pair, home: Path) -> None:
    pair.serving.service("test.Cat", "cat")
    process = pair.type(
        "qrexec_client_vm", "-pbefore ", "work", "test.Cat", "sh", "-c", "echo after; exec >&-; cat >got"
    )
    pair.allow()
    assert ended(process) == (0, "")
    assert (home / "got").read_text() == "before after\n"


@pytest.mark.parametrize("words", [["work", "s"], ["work", "s", "cat"]])
def test_stdin_must_be_a_socket_to_be_one(tmp_path: Path, words: list[str]) -> None:
    assert ended(type_command(tmp_path, "qrexec_client_vm", "--use-stdin-socket", *words))[0] == 2


@pytest.mark.parametrize("word", ["-h", "--help", "-th"])
def test_help_is_no_mistake(tmp_path: Path, word: str) -> None:
    assert ended(type_command(tmp_path, "qrexec_client_vm", word)) == (0, "")


@pytest.mark.parametrize(
    "words",
    [
        ["work"],
        ["-p", "once", "-p", "twice", "work", "s"],
        ["-x", "work", "s"],
        ["-tx", "work", "s"],
        ["--filter", "work", "s"],
        ["--filter-escape-chars-stdout=yes", "work", "s"],
        ["--nothing", "work", "s"],
        ["-a"],
        ["--buffer-size"],
        ["-t", "--", "work"],
    ],
)
def test_options_that_are_none_are_answered_with_the_usage(tmp_path: Path, words: list[str]) -> None:
    code, told = ended(type_command(tmp_path, "qrexec_client_vm", *words))
    assert (code, told.startswith("usage: ")) == (2, True)
