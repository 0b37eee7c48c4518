"""The larger services between real domains: keys that stay where they are, and files opened elsewhere."""

from collections.abc import Iterator

import pytest

from tests.vm.boxes import TEMPLATE, Boxes, wait_until

pytestmark = pytest.mark.vm

POLICY = """\
qubes.Gpg           *     work    keys      allow
qubes.GpgImportKey  *     work    keys      allow
qubes.SshAgent      +git  work    keys      allow
qubes.SshAgent      *     @anyvm  @default  allow target=keys
qubes.OpenInVM      *     random  work      allow
qubes.OpenInVM      *     random  @dispvm   allow
qubes.OpenURL       *     random  work      allow
"""

EDITOR = """\
#!/bin/sh
case $1 in
    *://*) echo "$1" >~/links ;;
    *) [ -w "$1" ] || exit 0; { hostname; echo "$QREXEC_REMOTE_DOMAIN"; } >>"$1" ;;
esac
"""


@pytest.fixture(scope="module")
def keys(new: Boxes) -> Iterator[Boxes]:
    """`keys` has an OpenPGP key and ssh keys; `work` knows where its keys are."""
    new.policy(POLICY, name="32-services.policy")
    new.do("create", "keys", "--template", TEMPLATE, "--label", "black")
    new.do("start", *(name for name in ("keys", "work", "random") if new.ls(name)[name]["state"] == "Halted"))
    new.sh("keys", "gpg --batch --passphrase '' --quick-generate-key 'Me <me@keys>' future-default default never")
    new.sh("keys", "mkdir -p .ssh/identities.d/git; ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519")
    new.sh("keys", "ssh-keygen -q -t ed25519 -N '' -C for-git -f .ssh/identities.d/git/id_ed25519")
    new.sh("work", "echo keys >/rw/config/gpg-split-domain", user="root")
    yield new
    new.do("shutdown", "--wait", "keys")
    new.do("rm", "keys")
    new.policy("", name="32-services.policy")


def test_a_person_there_lets_a_domain_use_the_keys(keys: Boxes) -> None:
    keys.sh("keys", "rm -f /run/qubes-gpg-split/stat.work")
    said = keys.bento("run", "work", "--", "qubes-gpg-client", "--sign", stdin=b"text")
    assert said.returncode == 2
    assert said.stderr == (
        "qubes.Gpg: keys does not let work use its keys now;"
        " `touch /run/qubes-gpg-split/stat.work` there lets it for 300 seconds.\n"
    )
    keys.sh("keys", "touch /run/qubes-gpg-split/stat.work")
    keys.do("run", "work", "--", "qubes-gpg-client", "--sign", stdin=b"text")


def test_keys_sign_and_decrypt_for_another_domain_and_stay(keys: Boxes) -> None:
    keys.sh("keys", "touch /run/qubes-gpg-split/stat.work")
    keys.sh("work", "qubes-gpg-client --export me@keys | gpg --batch --import; head -c 300000 /dev/urandom >data")
    keys.sh("work", "qubes-gpg-client-wrapper --batch --yes -a --detach-sign --output data.asc data")
    assert "Good signature" in keys.sh("work", "gpg --verify data.asc data 2>&1")
    keys.sh("work", "gpg --batch --yes --trust-model always --encrypt -r me@keys -o data.gpg data")
    keys.sh("work", "qubes-gpg-client --decrypt data.gpg | cmp - data")
    assert "No secret key" in keys.bento("run", "work", "--", "gpg", "--decrypt", "data.gpg").stderr
    for words in (["--export-secret-keys"], ["--homedir", "/tmp"]):
        assert keys.bento("run", "work", "--", "qubes-gpg-client", *words).returncode == 2
    assert keys.bento("run", "random", "--", "env", "QUBES_GPG_DOMAIN=keys", "qubes-gpg-client", "-K").returncode == 126


def test_a_public_key_is_taken_in(keys: Boxes) -> None:
    keys.sh("keys", "touch /run/qubes-gpg-split/stat.work")
    # Made some time ago: a key from the future has no valid user, and the clocks of two domains drift apart.
    ago = "--faked-system-time 20260101T000000"
    keys.sh("work", f"gpg {ago} --batch --passphrase '' --quick-generate-key you@work future-default default never")
    keys.sh("work", "gpg --armor --export you@work | qubes-gpg-import-key")
    assert "you@work" in keys.sh("work", "qubes-gpg-client --list-keys")


def test_ssh_keys_sign_for_another_domain_and_stay(keys: Boxes) -> None:
    assert "for-git" in keys.sh("work", "qubes-ssh-agent --agent git keys -- ssh-add -l")
    keys.sh("work", "qubes-ssh-agent --agent git keys -- ssh-add -L >git.pub; echo signed >text; rm -f text.sig")
    sign = "ssh-keygen -q -Y sign -n file -f git.pub text"
    keys.sh("work", f'eval "$(qubes-ssh-agent --agent git keys)"; {sign}; ssh-agent -k; ! ssh-add -l')
    keys.sh(
        "work", 'echo "me $(cat git.pub)" >signers; ssh-keygen -Y verify -f signers -I me -n file -s text.sig <text'
    )
    assert keys.bento("run", "work", "--", *"qubes-ssh-agent --agent git keys -- ssh-add -D".split()).returncode == 1
    assert "for-git" in keys.sh("work", "qubes-ssh-agent --agent git keys -- ssh-add -l")


def test_the_policy_says_which_agent_a_domain_gets(keys: Boxes) -> None:
    assert "user@keys" in keys.sh("work", "qubes-ssh-agent -- ssh-add -l")
    said = keys.bento("run", "work", "--", *"qubes-ssh-agent --agent other keys -- ssh-add -l".split())
    assert "The call was refused" in said.stderr
    said = keys.bento("run", "work", "--", *"qubes-ssh-agent --agent other -- ssh-add -l".split())
    assert "there is no agent 'other' in keys" in said.stderr


def install_editor(boxes: Boxes, domain: str) -> None:
    path = "/usr/local/bin/qubes-open"
    boxes.do("run", "--user", "root", domain, "--", "sh", "-c", f"cat >{path}; chmod 755 {path}", stdin=EDITOR)


def test_a_file_is_edited_in_another_domain(keys: Boxes) -> None:
    install_editor(keys, "work")
    before = keys.sh("work", "ls -A /tmp")
    keys.sh("random", "echo some >notes; chmod 600 notes; qvm-open-in-vm work notes")
    assert keys.sh("random", "cat notes; stat -c %a notes").split() == ["some", "work", "random", "600"]
    keys.sh("random", "qvm-open-in-vm --view-only work notes")
    assert len(keys.sh("random", "cat notes").split()) == 3
    assert keys.sh("work", "ls -A /tmp") == before, "what is opened leaves nothing"
    keys.sh("random", "qvm-open-in-vm work 'https://example.org/?a=b&c'")
    assert keys.sh("work", "cat links") == "https://example.org/?a=b&c"


def test_a_domain_that_opens_nothing_says_so(keys: Boxes) -> None:
    keys.sh("work", "rm -f /usr/local/bin/qubes-open", user="root")
    said = keys.bento("run", "random", "--", "sh", "-c", "echo some >notes; qvm-open-in-vm work notes")
    assert said.returncode == 127
    assert said.stderr == (
        "qubes-open: Nothing here opens files: install xdg-utils in the template, or write a script for it,"
        " /usr/local/bin/qubes-open.\n"
        "qvm-open-in-vm: The other domain cannot open it.\n"
    )


def test_a_file_is_edited_in_a_disposable_that_is_gone_afterwards(keys: Boxes) -> None:
    keys.do("create", "once", "--template", TEMPLATE, "--label", "red")
    keys.do("start", "once")
    install_editor(keys, "once")
    keys.do("shutdown", "--wait", "once")
    keys.do("prefs", "once", "template_for_dispvms", "True")
    keys.do("prefs", "random", "default_dispvm", "once")
    try:
        keys.sh("random", "echo some >notes; qvm-open-in-dvm notes")
        some, where, whom = keys.sh("random", "cat notes").split()
        assert (some, whom) == ("some", "random")
        assert where.startswith("disp")
        wait_until(lambda: where not in keys.ls(), f"the end of {where}")
    finally:
        keys.do("prefs", "random", "default_dispvm", "--default")
        keys.do("rm", "once")
