"""`make demo`: Bento's main job, as a person would do it, on real machines, and what one can see of it.

Everything here goes through the `bento` command; nothing looks behind it. Each
claim is checked, and the first that does not hold ends the demo with exit code 1.
"""

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bento.wire.home import Home, find_home

BENTO = [sys.executable, "-m", "bento.cli"]
TEMPLATE = "debian-12"
DOMAINS = {"personal": "yellow", "work": "blue", "bank": "green", "random": "red", "vault": "black"}
POLICY_FILE = "80-demo.policy"  # after 30-user.policy: what the person writes there is asked first
POLICY = """\
# Written by 'make demo'. Nobody reaches the vault; files from 'random' may land in 'work'; all else is denied.
# Your own rules, in 30-user.policy, are asked before these.
*               *  @anyvm  vault  deny
qubes.Filecopy  *  random  work   allow
"""
PROGRAM = 'import platform, hashlib; print(platform.node(), hashlib.sha256(b"bento").hexdigest()[:12])'
REAL_FILE = "/usr/bin/python3.11"


class Broken(Exception):
    """What the demo promised did not happen."""


def main() -> int:
    home = find_home(os.environ)
    try:
        if "--clean" in sys.argv[1:]:
            clean(home)
        else:
            demo(home)
    except Broken as broken:
        print(f"\ndemo: {broken}", file=sys.stderr)
        return 1
    return 0


def demo(home: Home) -> None:
    began = time.monotonic()
    title("This machine")
    for finding in json.loads(read("doctor", "--json")):
        if finding["key"] in ("kvm", "qemu", "memory", "disk", "sub-uids", "iommu"):
            print(f"  {finding['sentence']}")

    title("A template, and five boxes made of it")
    if TEMPLATE not in [row["name"] for row in json.loads(read("template", "ls", "--json"))]:
        show("template", "build", TEMPLATE)
    write_policy(home)
    there = rows()
    for name, label in DOMAINS.items():
        if name not in there:
            show("create", name, "--class", "AppVM", "--template", TEMPLATE, "--label", label)
    halted = [name for name, row in rows().items() if name in DOMAINS and row["state"] == "Halted"]
    if halted:
        show("start", *halted)

    title("A program in each")
    for name in DOMAINS:
        if name not in (said := show("run", name, "--", "python3", "-c", PROGRAM)):
            raise Broken(f"the program in '{name}' said {said!r}, not where it runs")

    copy_a_file()
    show_isolation()
    show_restart()

    title("What there is now")
    show("ls", "--disk")
    print(f"""
The demo took {time.monotonic() - began:.0f} s. The boxes run on; try for example

  .venv/bin/bento run work -- bash         a shell in a box (also: --user root)
  .venv/bin/bento cp README.md personal:   a file into a box
  .venv/bin/bento ls
  .venv/bin/bento shutdown work            stop one
  make demo-clean                          stop all of them and take everything away

The policy of the copy is in {home.policy / POLICY_FILE}.""")


def copy_a_file() -> None:
    title(f"A file from 'random' to 'work', as the policy allows: {REAL_FILE}")
    bento("run", "work", "--", "rm", "-rf", "QubesIncoming")
    show("run", "random", "--", "qvm-copy-to-vm", "work", REAL_FILE)
    sent = read("run", "random", "--", "sha256sum", REAL_FILE).split()[0]
    path = f"QubesIncoming/random/{Path(REAL_FILE).name}"
    landed = read("run", "work", "--", "sh", "-c", f"wc -c < {path}; sha256sum {path}")
    count, digest = landed.split()[:2]
    print(f"  {int(count):,} bytes landed; sha256 in random {sent[:16]}..., in work {digest[:16]}...")
    if sent != digest:
        raise Broken("the file that landed is not the file that was sent")

    title("The same file to 'vault', which nobody may reach")
    words = ("run", "random", "--", "qvm-copy-to-vm", "vault", REAL_FILE)
    print(f"  $ bento {shlex.join(words)}", flush=True)
    refused = bento(*words)
    print(indent(refused.stderr))
    if refused.returncode == 0 or "QubesIncoming" in read("run", "vault", "--", "ls", "-A"):
        raise Broken("the copy to 'vault' was not refused")


def show_isolation() -> None:
    title("A process, a file and a changed /etc in 'random'; and what 'work' and 'bank' see of them")
    mark = f"demo-{os.getpid()}"
    sleep = f"sleep 4242.{os.getpid()}"  # its own: a demo that was broken off may have left another
    plant = f"touch /tmp/{mark}; echo {mark} >> /etc/motd; setsid {sleep} >/dev/null 2>&1 </dev/null &"
    bento("run", "--user", "root", "random", "--", "sh", "-c", plant)
    look = f"ls /tmp | grep -c {mark}; grep -c {mark} /etc/motd; ps ax | grep -c '[s]{sleep[1:]}'"
    for name, expected in (("random", "1 1 1"), ("work", "0 0 0"), ("bank", "0 0 0")):
        seen = " ".join(bento("run", name, "--", "sh", "-c", look).stdout.split())
        print("  {:8} files: {}, lines in /etc: {}, processes: {}".format(name, *[*seen.split(), *"???"][:3]))
        if seen != expected:
            raise Broken(f"'{name}' sees {seen!r} where {expected!r} was to be seen")


def show_restart() -> None:
    title("'random' restarted: what root changed is gone, what lies at home is there")
    bento("run", "random", "--", "sh", "-c", "echo kept > home-file")
    show("shutdown", "--wait", "random")
    show("start", "random")
    seen = read("run", "random", "--", "sh", "-c", "grep -c demo- /etc/motd; cat home-file").split()
    print(f"  lines of root in /etc/motd: {seen[0]}; the file at home says: {seen[1]}")
    if seen != ["0", "kept"]:
        raise Broken("a restart must throw the root's changes away and keep what lies at home")


def clean(home: Home) -> None:
    there = rows()
    running = [name for name in DOMAINS if there.get(name, {}).get("state") not in (None, "Halted")]
    for name in running:
        show("kill", name)
    for name in DOMAINS:
        if name in there:
            show("rm", name)
    for row in json.loads(read("template", "ls", "--json")):
        if row["name"] == TEMPLATE and not row["used_by"]:
            show("template", "rm", TEMPLATE)
    with contextlib.suppress(FileNotFoundError):
        (Path(home.policy) / POLICY_FILE).unlink()
    left = [name for name in rows() if name != "dom0"]
    bento("manager", "stop")
    if left:
        print(f"  your own domains stay: {', '.join(left)}")
        return
    for path in (Path(home.data), Path(home.run)):
        shutil.rmtree(path, ignore_errors=True)
    print(f"  nothing is left; your policy in {home.policy} stays")


def write_policy(home: Home) -> None:
    directory = Path(home.policy)
    directory.mkdir(parents=True, exist_ok=True)
    aside = directory / f".{POLICY_FILE}.new"
    aside.write_text(POLICY)
    aside.replace(directory / POLICY_FILE)
    print(f"  policy {directory / POLICY_FILE}:")
    print(indent(POLICY))


def rows() -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in json.loads(read("ls", "--json"))}


def bento(*words: str) -> subprocess.CompletedProcess[str]:
    """What `bento WORDS` says and how it ends, without showing it."""
    return subprocess.run([*BENTO, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def read(*words: str) -> str:
    """The same where it must succeed: what it says."""
    done = bento(*words)
    if done.returncode:
        raise Broken(f"'bento {shlex.join(words)}' failed with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def show(*words: str) -> str:
    """The same, shown as a person would have typed it; its progress goes to the terminal."""
    print(f"  $ bento {shlex.join(words)}", flush=True)
    done = subprocess.run([*BENTO, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
    if done.stdout:
        print(indent(done.stdout), flush=True)
    if done.returncode:
        raise Broken(f"'bento {shlex.join(words)}' failed with {done.returncode}")
    return done.stdout


def title(text: str) -> None:
    print(f"\n== {text}", flush=True)


def indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines())


if __name__ == "__main__":
    sys.exit(main())
