"""Programs in real domains, by `bento run`; and a domain's console."""

import json
import subprocess

import pytest

from tests.vm.boxes import PATIENCE, Boxes, Terminal

pytestmark = pytest.mark.vm


def test_a_programs_exit_code_is_the_commands(boxes: Boxes) -> None:
    assert boxes.bento("run", "work", "--", "sh", "-c", "exit 7").returncode == 7
    assert boxes.bento("run", "work", "--", "true").returncode == 0


def test_a_program_that_a_signal_ended_shows_it_as_in_a_shell(boxes: Boxes) -> None:
    assert boxes.bento("run", "work", "--", "sh", "-c", "kill -TERM $$").returncode == 128 + 15


def test_what_is_piped_in_reaches_the_program_and_its_end_too(boxes: Boxes) -> None:
    assert boxes.do("run", "work", "--", "cat", stdin="hi\n") == "hi\n"
    assert boxes.do("run", "work", "--", "wc", "-c").strip() == "0"


def test_a_hundred_megabytes_come_out_of_a_domain(boxes: Boxes) -> None:
    with boxes.begin("run", "work", "--", "head", "-c", "100M", "/dev/zero", stdout=subprocess.PIPE) as command:
        assert command.stdout
        count = 0
        while data := command.stdout.read(1 << 20):
            assert not data.strip(b"\0")
            count += len(data)
        assert command.wait(PATIENCE) == 0
    assert count == 104857600


def test_megabytes_go_into_a_domain(boxes: Boxes) -> None:
    assert boxes.do("run", "work", "--", "wc", "-c", stdin=bytes(10 << 20)).strip() == str(10 << 20)


def test_output_and_errors_come_apart(boxes: Boxes) -> None:
    said = boxes.bento("run", "work", "--", "sh", "-c", "echo out; echo err >&2")
    assert (said.stdout, said.stderr) == ("out\n", "err\n")


def test_a_program_can_open_its_own_streams(boxes: Boxes) -> None:
    said = boxes.bento("run", "work", "--", "sh", "-c", "echo out >/dev/stdout; echo err >/dev/stderr; cat </dev/stdin")
    assert (said.stdout, said.stderr, said.returncode) == ("out\n", "err\n", 0)


def test_words_arrive_as_they_were_given(boxes: Boxes) -> None:
    words = ("two words", "$HOME", "", "*", "ä\n\x01", "-x")
    assert boxes.do("run", "work", "--", "printf", "<%s>", *words) == "".join(f"<{word}>" for word in words)


def test_a_program_runs_as_the_default_user_at_home(boxes: Boxes) -> None:
    assert boxes.sh("work", "id -u; id -un; pwd; echo $HOME $USER").split("\n") == [
        "1000",
        "user",
        "/home/user",
        "/home/user user",
    ]


def test_a_program_runs_as_root_when_told_to(boxes: Boxes) -> None:
    assert boxes.sh("work", "id -u; pwd; echo $HOME", user="root").split("\n") == ["0", "/root", "/root"]


def test_a_user_whom_the_domain_does_not_know_is_one_sentence(boxes: Boxes) -> None:
    assert boxes.fail("run", "--user", "nobody-such", "work", "--", "true") == (
        125,
        "there is no user 'nobody-such' in this domain",
    )


def test_a_program_that_is_not_there_is_one_sentence(boxes: Boxes) -> None:
    assert boxes.fail("run", "work", "--", "no-such-program") == (127, "no-such-program: command not found")


def test_on_a_terminal_the_program_has_one_of_the_same_size(boxes: Boxes) -> None:
    with Terminal(boxes, "run", "work", "--", "sh", "-c", "tty; stty size; exit 3", rows=31, columns=97) as terminal:
        assert terminal.wait_for_end() == 3
    tty, size = terminal.seen.split("\n")[:2]
    assert tty.startswith("/dev/pts/")
    assert size == "31 97"


def test_a_shell_on_a_terminal_reads_what_is_typed(boxes: Boxes) -> None:
    with Terminal(boxes, "run", "work", "--", "sh") as terminal:
        terminal.type("echo $((6 * 7))\n")
        terminal.wait_for("42\n")
        terminal.type("\x04")
        assert terminal.wait_for_end() == 0


def test_a_call_that_is_interrupted_ends_its_program(boxes: Boxes) -> None:
    with boxes.begin("run", "work", "--", "sh", "-c", "echo on; exec sleep 4711", stdout=subprocess.PIPE) as command:
        assert command.stdout
        assert command.stdout.readline() == b"on\n"
        command.terminate()
    boxes.sh("work", "while pgrep -f '^sleep 4711'; do sleep 0.1; done")


def test_the_services_a_domain_installs_are_called_with_their_argument(boxes: Boxes) -> None:
    boxes.sh("work", "mkdir -p /usr/local/etc/qubes-rpc", user="root")
    script = r"printf '#!/bin/sh\necho $1 for $QREXEC_REMOTE_DOMAIN; cat\n' > /usr/local/etc/qubes-rpc/test.Greet"
    boxes.sh("work", f"{script}; chmod +x /usr/local/etc/qubes-rpc/test.Greet", user="root")
    boxes.policy("test.Greet  +you  random  work  allow\n", name="31-greet.policy")
    assert boxes.do("run", "random", "--", "qrexec-client-vm", "work", "test.Greet+you", stdin="hello") == (
        "you for random\nhello"
    )
    # ... also by the name that most scripts of the field call it by
    refused = boxes.bento("run", "random", "--", "/usr/lib/qubes/qrexec-client-vm", "work", "test.Greet+others")
    assert refused.returncode == 126


def test_a_domain_sees_nothing_of_what_another_does(boxes: Boxes) -> None:
    plant = (
        "echo mine | tee /tmp/planted /home/user/planted >> /etc/motd; setsid sleep 4242 </dev/null >/dev/null 2>&1 &"
    )
    boxes.sh("random", plant, user="root")
    look = (
        "cat /tmp/planted /home/user/planted 2>&1 | grep -c mine; grep -c mine /etc/motd; pgrep -fc '^sleep 4242'; true"
    )
    assert boxes.sh("random", look).split() == ["2", "1", "1"]
    assert boxes.sh("work", look).split() == ["0", "0", "0"]


def test_two_domains_of_one_template_are_two_machines(boxes: Boxes) -> None:
    facts = "hostname; cat /proc/sys/kernel/random/boot_id; head -c 16 /dev/urandom | od -An -tx1"
    work, random = (boxes.sh(name, facts).split("\n") for name in ("work", "random"))
    assert (work[0], random[0]) == ("work", "random")
    assert not set(work) & set(random)


def test_a_domain_has_no_network_of_its_own(boxes: Boxes) -> None:
    assert boxes.sh("work", "ls /sys/class/net").split() == ["lo"]


def test_the_console_is_a_shell_for_root_and_its_log_keeps_what_it_said(boxes: Boxes) -> None:
    with Terminal(boxes, "console", "work") as terminal:
        terminal.wait_for("Ctrl-] leaves it")
        terminal.type("\n")
        terminal.wait_for("# ")
        terminal.type("id -un; echo con$((40 + 2))\n")
        terminal.wait_for("con42")
        terminal.type("exit\n")
        terminal.wait_for("Press Enter")  # for whoever comes next
        terminal.type("\x1d")
        assert terminal.wait_for_end() == 0
    assert "root\ncon42" in terminal.seen
    assert "con42" in boxes.do("logs", "work")


def test_what_a_domain_writes_to_its_console_is_harmless_in_the_log(boxes: Boxes) -> None:
    boxes.sh("work", r"printf '\033]0;owned\007marked\n' > /dev/ttyS0", user="root")
    with Terminal(boxes, "logs", "--follow", "work") as terminal:
        terminal.wait_for("marked")
    assert "\x1b" not in terminal.seen
    assert "\a" not in terminal.seen


def test_a_domain_that_never_ran_has_no_log(boxes: Boxes) -> None:
    assert boxes.fail("logs", "vault") == (3, "'vault' never ran, so it has no log")


def test_a_halted_domain_is_not_started_for_a_program_that_may_not_start_it(boxes: Boxes) -> None:
    code, sentence = boxes.fail("run", "--no-autostart", "vault", "--", "true")
    assert code == 3
    assert "vault" in sentence
    assert json.loads(boxes.do("ls", "--json", "vault"))[0]["state"] == "Halted"
