"""Calls: from the host, between domains, and by what the policy says of them."""

import json
import os
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from bento.host.manager.channels import MAX_OUT_OF_STEP
from bento.wire.admin import Fault
from bento.wire.rpc import ExitCode
from tests.host.manager.home import Home, new_home
from tests.host.manager.liar import Liar

WHERE = 'echo "$QREXEC_REMOTE_DOMAIN asked for $QREXEC_REQUESTED_TARGET as $USER with ${1:-nothing}"; cat'


@pytest.fixture(scope="module")
def three() -> Iterator[Home]:
    """`work` and `random` run, `vault` does not; `work` serves test.Where."""
    with new_home() as home:
        home.start_manager()
        home.build()
        for name in ("work", "random", "vault"):
            home.create(name)
        home.start("work")
        home.start("random")
        home.install("work", "test.Where", WHERE)
        yield home


@pytest.fixture
def quiet(three: Home) -> Home:
    """The same, with no rule."""
    three.policy("")
    return three


def test_what_no_rule_allows_is_refused(quiet: Home) -> None:
    assert quiet.run_from("random", "work", "test.Where").code == ExitCode.REFUSED


def test_an_allowed_call_reaches_its_target_with_its_true_source(quiet: Home) -> None:
    quiet.policy("test.Where * random work allow\n")
    outcome = quiet.run_from("random", "work", "test.Where+arg", stdin=b"and more")
    assert outcome.code == 0
    assert outcome.stdout == b"random asked for work as user with arg\nand more"


def test_a_policy_that_changes_counts_from_the_next_call_on(quiet: Home) -> None:
    for _ in range(2):
        quiet.policy("test.Where * random work allow\n")
        assert quiet.run_from("random", "work", "test.Where").code == 0
        quiet.policy("test.Where * random work deny\n")
        assert quiet.run_from("random", "work", "test.Where").code == ExitCode.REFUSED


def test_an_edit_with_a_mistake_changes_nothing_but_at_a_start_denies_everything_until_it_is_mended(
    quiet: Home,
) -> None:
    quiet.policy("test.Where * random work allow\n")
    assert quiet.run_from("random", "work", "test.Where").code == 0
    quiet.policy("test.Where * random\n", "50-broken.policy")
    assert quiet.run_from("random", "work", "test.Where").code == 0
    assert "50-broken.policy" in quiet.log()
    quiet.stop_manager()
    quiet.start_manager()
    assert quiet.run_from("random", "work", "test.Where").code == ExitCode.REFUSED
    (quiet.path / "config/policy.d/50-broken.policy").unlink()
    assert quiet.run_from("random", "work", "test.Where").code == 0


def test_a_policy_file_that_cannot_be_read_is_a_mistake(quiet: Home) -> None:
    quiet.policy("test.Where * random work allow\n")
    assert quiet.run_from("random", "work", "test.Where").code == 0
    strange = quiet.path / "config/policy.d/10-strange.policy"
    makers: list[Callable[[], None]] = [
        strange.mkdir,
        partial(os.symlink, "nowhere", strange),
        partial(os.mkfifo, strange),
    ]
    for make in makers:
        make()
        (found,) = [one for one in json.loads(quiet.ask("bento.policy.Check")) if one["oddity"] == "broken"]
        assert found["sentence"] == (
            "cannot be read: is not a plain file; until this is mended, the policy of before holds"
        )
        assert quiet.run_from("random", "work", "test.Where").code == 0
        (strange.rmdir if strange.is_dir() else strange.unlink)()


def test_a_tag_that_a_rule_names_counts_at_once(quiet: Home) -> None:
    quiet.policy("test.Where * @tag:friend work allow\n")
    assert quiet.run_from("random", "work", "test.Where").code == ExitCode.REFUSED
    quiet.ask("admin.vm.tag.Set", "random", "friend")
    assert quiet.run_from("random", "work", "test.Where").code == 0
    quiet.ask("admin.vm.tag.Remove", "random", "friend")
    assert quiet.run_from("random", "work", "test.Where").code == ExitCode.REFUSED


def test_a_rule_may_name_the_user_and_another_target(quiet: Home) -> None:
    quiet.policy("test.Where * random @default allow target=work user=root\n")
    outcome = quiet.run_from("random", "@default", "test.Where")
    assert outcome.stdout == b"random asked for  as root with nothing\n"


def test_a_call_starts_its_target_if_the_rule_lets_it(quiet: Home) -> None:
    quiet.policy("qubes.VMShell * random vault allow autostart=no\n")
    assert quiet.run_from("random", "vault", "qubes.VMShell").code == ExitCode.REFUSED
    assert quiet.state("vault") == "Halted"
    quiet.policy("qubes.VMShell * random vault allow\n")
    assert quiet.run_from("random", "vault", "qubes.VMShell", stdin=b"exit 5\n").code == 5
    assert quiet.state("vault") == "Running"
    quiet.shutdown("vault")


def test_a_call_fails_when_its_target_cannot_start(quiet: Home) -> None:
    quiet.create("stillborn")
    quiet.policy("qubes.VMShell * random stillborn allow\n")
    assert quiet.run_from("random", "stillborn", "qubes.VMShell").code == ExitCode.FAULT
    quiet.ask("admin.vm.Remove", "stillborn")


def test_the_admin_domain_serves_nothing_even_where_a_rule_allows_it(quiet: Home) -> None:
    assert quiet.run_from("random", "dom0", "test.Where").code == ExitCode.REFUSED
    quiet.policy("test.Where * random @adminvm allow\n")
    assert quiet.run_from("random", "dom0", "test.Where").code == ExitCode.NOT_FOUND
    assert quiet.run_from("random", "@adminvm", "test.Where").code == ExitCode.NOT_FOUND


def test_a_target_that_does_not_exist_is_refused(quiet: Home) -> None:
    quiet.policy("test.Where * @anyvm @anyvm allow\n")
    assert quiet.run_from("random", "nowhere", "test.Where").code == ExitCode.REFUSED


def test_a_service_that_the_target_does_not_have(quiet: Home) -> None:
    quiet.policy("* * random work allow\n")
    assert quiet.run_from("random", "work", "test.Nothing").code == ExitCode.NOT_FOUND


def test_what_a_paused_domain_waits_for_is_said(quiet: Home) -> None:
    quiet.ask("admin.vm.Pause", "work")
    try:
        refused = quiet.refused("bento.vm.Call", "work", "test.Where")
    finally:
        quiet.ask("admin.vm.Unpause", "work")
    assert refused.sentence == "'work' is not running, it is paused; 'bento unpause work' lets it go on"


def test_the_host_calls_without_a_policy(quiet: Home) -> None:
    with quiet.call("work", "test.Where+arg") as leg:
        leg.give(b"")
        assert leg.outcome().stdout == b"dom0 asked for work as user with arg\n"


def test_a_host_call_runs_as_the_user_it_names_or_the_domains_own(quiet: Home) -> None:
    assert quiet.run("work", "sh", "-c", "echo $USER", user="root").stdout == b"root\n"
    quiet.ask("admin.vm.property.Set", "work", "default_user", "alice")
    assert quiet.run("work", "sh", "-c", "echo $USER").stdout == b"alice\n"
    quiet.ask("admin.vm.property.Reset", "work", "default_user")


def test_a_host_call_may_be_on_a_terminal(quiet: Home) -> None:
    assert quiet.run("work", "stty", "size", rows="24", columns="80").stdout == b"24 80\r\n"


@pytest.mark.parametrize(
    ("service", "payload"),
    [
        ("", ""),
        (".hidden", ""),
        ("test.Where", "user=Root"),
        ("test.Where", "rows=-1"),
        ("test.Where", "columns=65536"),
        ("test.Where", "rows=\u0661"),
        ("test.Where", "colour=warm"),
        ("test.Where", "user=a\nuser=b"),
        ("test.Where", "autostart=perhaps"),
        ("test.Where", b"user=\xff"),
    ],
)
def test_a_host_call_that_makes_no_sense(quiet: Home, service: str, payload: str | bytes) -> None:
    assert quiet.refused("bento.vm.Call", "work", service, payload).fault == Fault.BAD_VALUE


def test_a_host_call_starts_its_target_unless_told_not_to(quiet: Home) -> None:
    failed = quiet.refused("bento.vm.Call", "vault", "qubes.VMShell", "autostart=no")
    assert failed.fault == Fault.NOT_RUNNING
    assert "bento start vault" in failed.sentence
    assert quiet.run("vault", "true").code == 0
    quiet.shutdown("vault")


def test_an_agent_that_died_with_a_greeting_read_is_greeted_again(quiet: Home) -> None:
    quiet.create("deaf")
    quiet.start("deaf")
    quiet.ask("admin.vm.property.Set", "deaf", "qrexec_timeout", "5")
    with Liar(quiet, "deaf") as liar:
        liar.hear_a_greeting_and_die()
        liar.answer()  # the next broker's greeting, which comes to its successor
        assert quiet.state("deaf") == "Running"
    quiet.kill("deaf")
    quiet.ask("admin.vm.Remove", "deaf")


def test_a_guest_that_breaks_the_protocol_is_cut_off_and_nobody_else_notices(quiet: Home) -> None:
    quiet.create("liar")
    quiet.start("liar")
    with quiet.events() as events, quiet.call("work", "qubes.VMShell") as neighbour:
        with Liar(quiet, "liar") as liar:
            liar.claim_to_be_the_host()
            (told,) = [e for e in events.until("domain-cut-off", "liar") if e.name == "domain-cut-off"]
            failed = quiet.refused("bento.vm.Call", "liar", "qubes.VMShell")
        assert "bento kill liar" in failed.sentence
        assert dict(told.details)["reason"]
        assert quiet.refused("admin.vm.Shutdown", "liar").sentence == failed.sentence
        assert quiet.state("liar") == "Running"
        neighbour.give(b"echo still here\n")
        assert neighbour.outcome().stdout == b"still here\n"
    quiet.kill("liar")
    quiet.start("liar")
    assert quiet.run("liar", "true").code == 0
    quiet.kill("liar")
    quiet.ask("admin.vm.Remove", "liar")


@pytest.mark.slow
def test_a_guest_that_is_out_of_step_for_ever_is_cut_off(quiet: Home) -> None:
    quiet.create("liar")
    quiet.start("liar")
    with quiet.events() as events, Liar(quiet, "liar") as liar:
        for _ in range(MAX_OUT_OF_STEP):
            liar.fall_out_of_step()
            liar.answer()
        liar.fall_out_of_step()
        events.until("domain-cut-off", "liar")
        assert "bento kill liar" in quiet.refused("bento.vm.Call", "liar", "qubes.VMShell").sentence
    quiet.kill("liar")
    quiet.ask("admin.vm.Remove", "liar")
