"""The whole examination, on whatever machine this is; and how a verdict on KVM becomes a sentence."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from bento.host.drivers.machine.doctor import Finding, Status, accelerator, as_json, examine, interpret_kvm
from bento.host.drivers.machine.kvm import KvmVerdict, Step
from bento.host.drivers.machine.kvm_access import Device
from bento.host.model.machine import Accelerator

KEYS = [
    "kvm",
    "qemu",
    "memory",
    "disk",
    "display",
    "user-namespaces",
    "sub-uids",
    "bubblewrap",
    "seccomp",
    "iommu",
    "tpm",
    "packages",
]

OPEN = Device(exists=True, may_open=True, group="kvm", mode=0o660, account="alice", cpu_can_virtualise=True)
USABLE = KvmVerdict(usable=True, step=None, reason="guest code ran in every mode that was tried", millis=12)
BROKEN = KvmVerdict(usable=False, step=Step.LONG, reason="no answer within 1200 ms", millis=1700)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all: where KVM hangs, the probe takes its time."""
    return tmp_path_factory.mktemp("cache")


def examined(data: Path, cache: Path) -> list[Finding]:
    display = {"DISPLAY": ":7"}
    return asyncio.run(examine(data_dir=data, cache_dir=cache, environment=display, domain_bytes=256 << 20))


def test_every_question_has_one_finding_in_a_fixed_order_and_form(tmp_path: Path, cache: Path) -> None:
    findings = examined(tmp_path, cache)
    assert [finding.key for finding in findings] == KEYS
    for finding in findings:
        for line in (finding.sentence, finding.remedy or "fine"):
            assert line
            assert "\n" not in line
        assert finding.sentence.endswith(".")
    read_again = json.loads(json.dumps(as_json(findings)))
    assert [list(each) for each in read_again] == [["key", "status", "value", "sentence", "remedy"]] * len(KEYS)


def test_an_examination_leaves_nothing_but_the_remembered_verdict(tmp_path: Path, cache: Path) -> None:
    examined(tmp_path / "data" / "to come", cache)
    assert list(tmp_path.iterdir()) == []
    assert {path.suffix for path in cache.iterdir()} <= {".json"}


def test_findings_on_one_machine_agree_with_each_other(tmp_path: Path, cache: Path) -> None:
    value = {finding.key: finding.value for finding in examined(tmp_path, cache)}
    assert value["qemu"]["accelerator"] in (None, "kvm" if value["kvm"]["usable"] else "tcg")
    assert value["display"] == {"kind": "x11", "name": ":7"}
    missing = value["packages"]["missing"]
    if isinstance(missing, list):
        assert ("bubblewrap" in missing) <= (not value["bubblewrap"]["usable"])
        assert ("qemu-system-x86" in missing) <= (value["qemu"]["version"] is None)


def test_nothing_on_the_search_path_makes_findings_and_no_failure(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    findings = {finding.key: finding for finding in examined(tmp_path, cache)}
    assert findings["qemu"].status is Status.MISSING
    assert findings["bubblewrap"].status is Status.MISSING
    assert findings["user-namespaces"].status is Status.MISSING
    assert findings["packages"].status is Status.WARN


def test_a_usable_kvm_is_the_accelerator() -> None:
    assert interpret_kvm(USABLE, OPEN).status is Status.OK
    assert accelerator(USABLE) is Accelerator.KVM
    assert accelerator(BROKEN) is Accelerator.TCG


def test_a_kvm_that_fails_is_told_with_the_step_and_the_reason() -> None:
    finding = interpret_kvm(BROKEN, OPEN)
    assert finding.status is Status.WARN
    assert finding.value == {"usable": False, "step": "long", "reason": "no answer within 1200 ms", "millis": 1700}
    assert "64-bit mode" in finding.sentence
    assert "no answer within 1200 ms" in finding.sentence
    assert "emulated" in finding.sentence


def test_a_kvm_that_may_not_be_opened_comes_with_the_command_that_opens_it() -> None:
    closed = replace(BROKEN, step=Step.OPEN, reason="account alice may not open /dev/kvm; members of group kvm may")
    finding = interpret_kvm(closed, replace(OPEN, may_open=False))
    assert finding.remedy is not None
    assert "usermod" in finding.remedy
    assert interpret_kvm(closed, OPEN).remedy is None


def test_a_probe_that_could_not_start_says_nothing_about_kvm() -> None:
    finding = interpret_kvm(replace(BROKEN, step=Step.START, reason="the probe's process died"), OPEN)
    assert "could not be tried" in finding.sentence
    assert finding.remedy is None
