"""A service of the host, called from a real domain, and what the audit log says of it."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.vm.boxes import Boxes

pytestmark = pytest.mark.vm


def test_a_domain_asks_the_host_for_the_time_and_the_log_tells_it(boxes: Boxes, tmp_path: Path) -> None:
    boxes.policy("qubes.GetDate  *  random  @adminvm  allow\n", name="33-date.policy")
    before = datetime.now(UTC).replace(microsecond=0)
    said = boxes.sh("random", "qrexec-client-vm dom0 qubes.GetDate")
    assert before <= datetime.fromisoformat(said) <= datetime.now(UTC)
    assert boxes.bento("run", "work", "--", "qrexec-client-vm", "dom0", "qubes.GetDate").returncode == 126

    (told,) = boxes.do("audit", "show", "--source", "random", "-n", "1", "--why", "--json").splitlines()
    line = json.loads(told)
    assert (line["service"], line["asked"], line["chosen"], line["verdict"]) == (
        "qubes.GetDate",
        "dom0",
        "dom0",
        "allow",
    )
    assert (line["rule"], line["rule_text"]) == ("33-date.policy:1", "qubes.GetDate * random @adminvm allow")
    assert "no rule of the policy allows it" in boxes.do("audit", "show", "--denied", "--source", "work", "--why")

    (tmp_path / "head").write_text(boxes.do("audit", "verify", "--head"))
    boxes.do("run", "work", "--", "true")
    assert "is whole" in boxes.do("audit", "verify", "--since", str(tmp_path / "head"))
    log = boxes.path / "audit/random/0000000000000001.log"
    whole = log.read_bytes()
    log.write_bytes(whole.replace(b'"verdict":"allow"', b'"verdict":"admin"', 1))
    code, sentence = boxes.fail("audit", "verify")
    assert (code, sentence.partition(":")[0]) == (5, "the log of random is broken")
    log.write_bytes(whole)
    boxes.do("audit", "verify")
