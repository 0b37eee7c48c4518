"""What the kernel lets a user confine: a trial decides, and what stands in the way is named."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from bento.host.drivers.machine.confinement import (
    KNOBS,
    SubIds,
    interpret_bubblewrap,
    interpret_seccomp,
    interpret_sub_ids,
    interpret_user_namespaces,
    read_knobs,
    read_seccomp,
    read_sub_ids,
)
from bento.host.drivers.machine.findings import Status
from bento.host.drivers.machine.trial import Trial
from bento.host.drivers.subids import NEEDED

WORKED = Trial(True, "")
FAILED = Trial(False, "unshare failed with exit code 1: Operation not permitted")


def test_user_namespaces_that_work_are_well_whatever_the_switches_say() -> None:
    finding = interpret_user_namespaces(WORKED, KNOBS)
    assert finding.status is Status.OK
    assert finding.value == {"usable": True, "switch": None}


@pytest.mark.parametrize(
    ("knob", "value", "words", "remedy"),
    [
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "AppArmor", "apparmor_restrict_unprivileged_userns=0"),
        ("kernel.unprivileged_userns_clone", "0", "switched off", "unprivileged_userns_clone=1"),
        ("user.max_user_namespaces", "0", "limit", "max_user_namespaces=15000"),
    ],
)
def test_the_switch_that_forbids_user_namespaces_is_named(knob: str, value: str, words: str, remedy: str) -> None:
    finding = interpret_user_namespaces(FAILED, {knob: value})
    assert finding.status is Status.MISSING
    assert finding.value == {"usable": False, "switch": knob}
    assert words in finding.sentence
    assert finding.remedy is not None
    assert remedy in finding.remedy


def test_without_a_switch_to_blame_the_programs_own_words_are_told() -> None:
    finding = interpret_user_namespaces(FAILED, {"user.max_user_namespaces": "1000"})
    assert finding.status is Status.MISSING
    assert "Operation not permitted" in finding.sentence


def test_switches_that_this_kernel_lacks_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "user").mkdir()
    (tmp_path / "user/max_user_namespaces").write_text("0\n")
    assert read_knobs(tmp_path) == {"user.max_user_namespaces": "0"}


IDS = SubIds(account="alice", uids=NEEDED, gids=NEEDED, free=165536, newuidmap=True, newgidmap=True)


def test_sub_ids_that_could_be_mapped_are_well() -> None:
    finding = interpret_sub_ids(IDS, WORKED)
    assert finding.status is Status.OK
    assert finding.value["uids"] == NEEDED


@pytest.mark.parametrize("lack", [{"uids": 0}, {"gids": 0}, {"uids": NEEDED - 1}])
def test_too_few_sub_ids_come_with_a_command_for_a_free_span(lack: dict[str, int]) -> None:
    finding = interpret_sub_ids(replace(IDS, **lack), FAILED)  # type: ignore[arg-type]  # fields of it, by keyword
    assert finding.status is Status.MISSING
    span = "165536-231071"
    assert finding.remedy == f"sudo usermod --add-subuids {span} --add-subgids {span} alice"


@pytest.mark.parametrize("ids", [replace(IDS, newuidmap=False), replace(IDS, newgidmap=False)])
def test_without_the_mapping_programs_their_package_is_named(ids: SubIds) -> None:
    finding = interpret_sub_ids(ids, FAILED)
    assert finding.status is Status.MISSING
    assert finding.remedy is not None
    assert finding.remedy.endswith(" uidmap")


def test_sub_ids_that_look_well_but_do_not_map_are_a_warning() -> None:
    finding = interpret_sub_ids(IDS, FAILED)
    assert finding.status is Status.WARN
    assert "Operation not permitted" in finding.sentence


def test_a_free_span_lies_after_all_others_of_both_files(tmp_path: Path) -> None:
    assert read_sub_ids(tmp_path).free == 100_000
    (tmp_path / "subuid").write_text("nobody-of-this-name:100000:65536\n")
    (tmp_path / "subgid").write_text("nobody-of-this-name:300000:65536\n")
    found = read_sub_ids(tmp_path)
    assert (found.uids, found.gids, found.free) == (0, 0, 365536)


def test_ids_count_by_the_accounts_name_and_by_its_number(tmp_path: Path) -> None:
    account = read_sub_ids(tmp_path).account
    (tmp_path / "subuid").write_text(f"{account}:100000:7\n{os.geteuid()}:200000:5\n")
    assert read_sub_ids(tmp_path).uids == 12


def test_bubblewrap_is_judged_by_its_trial() -> None:
    assert interpret_bubblewrap(True, WORKED).status is Status.OK
    absent = interpret_bubblewrap(False, FAILED)
    assert absent.status is Status.MISSING
    assert absent.remedy is not None
    assert absent.remedy.endswith(" bubblewrap")
    broken = interpret_bubblewrap(True, FAILED)
    assert broken.status is Status.MISSING
    assert "Operation not permitted" in broken.sentence


def test_seccomp_needs_the_action_that_kills(tmp_path: Path) -> None:
    assert interpret_seccomp(("kill_process", "allow")).status is Status.OK
    assert interpret_seccomp(("allow",)).status is Status.MISSING
    assert interpret_seccomp(read_seccomp(tmp_path)).status is Status.MISSING
