"""Files between real domains, as the policy has it, and between a domain and this machine."""

import hashlib
from pathlib import Path

import pytest

from tests.vm.boxes import Boxes

pytestmark = pytest.mark.vm

MEGABYTES = 5


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_of_several_megabytes_is_copied_where_the_policy_allows(boxes: Boxes) -> None:
    sent = boxes.sh("random", f"head -c {MEGABYTES}M /dev/urandom > big.bin && sha256sum big.bin")
    boxes.sh("random", "chmod 640 big.bin; touch -d '2020-02-02 02:02:02 UTC' big.bin; qvm-copy-to-vm work big.bin")
    landed = boxes.sh("work", "cd QubesIncoming/random && sha256sum big.bin; stat -c '%s %a %U %Y' big.bin")
    assert landed.split("\n") == [sent, f"{MEGABYTES << 20} 640 user 1580608922"]


def test_a_copy_that_the_policy_denies_is_refused_and_starts_nothing(boxes: Boxes) -> None:
    boxes.sh("random", "echo secret > secret.txt")
    for target in ("vault", "no-such-domain", "dom0", "random"):
        said = boxes.bento("run", "random", "--", "qvm-copy-to-vm", target, "secret.txt")
        assert said.returncode == 126, target
        assert said.stderr == f"qvm-copy-to-vm: Nothing was copied: refused by policy for {target}.\n"
    row = boxes.ls("vault")["vault"]
    assert (row["state"], row["pid"]) == ("Halted", None)


def test_what_is_there_is_not_replaced_by_a_second_copy(boxes: Boxes) -> None:
    boxes.sh("random", "echo first > once.txt; qvm-copy-to-vm work once.txt; echo second > once.txt")
    said = boxes.bento("run", "random", "--", "qvm-copy-to-vm", "work", "once.txt")
    assert said.returncode == 1
    assert "'once.txt' already exists in work" in said.stderr
    assert boxes.sh("work", "cat QubesIncoming/random/once.txt; ls QubesIncoming/random | grep -c once") == "first\n1"


def test_a_directory_is_copied_with_its_links_and_empty_places(boxes: Boxes) -> None:
    make = "mkdir -p d/empty d/sub && echo deep > d/sub/file && ln -s sub/file d/link && ln -s ../file d/sub/up"
    boxes.sh("random", f"{make} && chmod 500 d/empty && qvm-copy-to-vm work d")
    look = "cd QubesIncoming/random/d && find . -printf '%y %P %l\\n' | sort && cat link && stat -c %a empty"
    assert boxes.sh("work", look).split("\n") == [
        "d  ", "d empty ", "d sub ", "f sub/file ", "l link sub/file", "l sub/up ../file", "deep", "500",
    ]  # fmt: skip  # what find prints, and what follows it


def test_a_link_that_leads_out_of_its_copy_is_not_taken(boxes: Boxes) -> None:
    boxes.sh("random", "mkdir out && ln -s ../../../.bashrc out/link")
    said = boxes.bento("run", "random", "--", "qvm-copy-to-vm", "work", "out")
    assert said.returncode != 0
    assert "out" in said.stderr
    assert boxes.sh("work", "cd QubesIncoming/random && find . -name link -path '*out*' | wc -l") == "0"


def test_a_moved_file_is_gone_where_it_came_from(boxes: Boxes) -> None:
    assert boxes.sh(
        "random", "echo going > moved.txt && qvm-move-to-vm work moved.txt && ls moved.txt || echo gone"
    ) == ("gone")
    assert boxes.sh("work", "cat QubesIncoming/random/moved.txt") == "going"


def test_a_file_of_this_machine_goes_in_and_comes_back(boxes: Boxes, tmp_path: Path) -> None:
    content = bytes(range(256)) * (MEGABYTES << 12)
    (tmp_path / "there.bin").write_bytes(content)
    boxes.do("cp", str(tmp_path / "there.bin"), "work:")
    assert boxes.sh("work", "sha256sum < QubesIncoming/dom0/there.bin").split()[0] == digest(content)
    boxes.do("cp", "work:QubesIncoming/dom0/there.bin", str(tmp_path / "back.bin"))
    assert digest((tmp_path / "back.bin").read_bytes()) == digest(content)


def test_a_file_goes_to_just_one_place_and_replaces_nothing(boxes: Boxes, tmp_path: Path) -> None:
    source = tmp_path / "note.txt"
    source.write_text("one\n")
    boxes.do("cp", str(source), "work:placed.txt")
    source.write_text("two\n")
    assert boxes.fail("cp", str(source), "work:placed.txt") == (
        2,
        "work:placed.txt exists already; --force replaces it",
    )
    assert boxes.sh("work", "cat placed.txt") == "one"
    boxes.do("cp", "--force", str(source), "work:placed.txt")
    assert boxes.sh("work", "cat placed.txt") == "two"


def test_a_directory_of_this_machine_goes_in(boxes: Boxes, tmp_path: Path) -> None:
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/leaf").write_text("green\n")
    (tmp_path / "tree/link").symlink_to("sub/leaf")
    boxes.do("cp", str(tmp_path / "tree"), "work:")
    assert boxes.sh("work", "cd QubesIncoming/dom0/tree && cat link && readlink link") == "green\nsub/leaf"


def test_a_file_that_the_user_may_not_read_does_not_come_out(boxes: Boxes, tmp_path: Path) -> None:
    code, sentence = boxes.fail("cp", "work:/etc/shadow", str(tmp_path / "shadow"))
    assert code == 2
    assert "--user" in sentence
    assert not list(tmp_path.iterdir())


def test_an_edit_of_the_policy_that_is_wrong_changes_nothing_until_it_is_mended(boxes: Boxes) -> None:
    boxes.sh("random", "echo later > later.txt")
    boxes.policy("qubes.Filecopy * random work perhaps\n", name="10-broken.policy")
    boxes.sh("random", "qvm-copy-to-vm work later.txt")
    assert "10-broken.policy" in boxes.log()
    boxes.policy("qubes.Filecopy * random work deny\n", name="10-broken.policy")
    boxes.sh("random", "echo never > never.txt")
    refused = boxes.bento("run", "random", "--", "qvm-copy-to-vm", "work", "never.txt")
    (boxes.path / "config/policy.d/10-broken.policy").unlink()
    assert refused.returncode == 126
    boxes.sh("random", "qvm-copy-to-vm work never.txt")
