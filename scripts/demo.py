"""`make demo`: Bento's main job, as a person would do it, on real machines, and what one can see of it.

Everything here goes through the `bento` command; nothing looks behind it, but for
the search for what a disposable might have left. Each claim is checked, and the
first that does not hold ends the demo with exit code 1.
"""

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bento.wire.home import Home, find_home

BENTO = [sys.executable, "-m", "bento.cli"]
TEMPLATE = "debian-12"
DOMAINS = {"personal": "yellow", "work": "blue", "bank": "green", "random": "red", "vault": "black"}
DISPOSABLE = "web"
"""The AppVM that disposables are made from."""
POLICY_FILE = "80-demo.policy"  # after 30-user.policy: what the person writes there is asked first
POLICY = """\
# Written by 'make demo'. Nobody reaches the vault; files from 'random' may land in 'work'; all else is denied.
# Your own rules, in 30-user.policy, are asked before these.
*               *  @anyvm  vault  deny
qubes.Filecopy  *  random  work   allow
# 'random' may have files opened in disposables made from 'web'.
qubes.OpenInVM  *  random  @dispvm  allow
"""
OPENER = """\
#!/bin/sh
# Written by 'make demo': opens files in the disposables of this domain, in place of a person with an editor.
# It leaves a trace wherever it may, which 'make demo' looks for afterwards.
[ -f "$1" ] || { echo "There is no browser in $(hostname); this script opens files." >&2; exit 1; }
echo "$(hostname) opens a file for $QREXEC_REMOTE_DOMAIN"
sha256sum <"$1" | cut -c1-64 | tee ~/trace /tmp/trace /dev/shm/trace >/dev/null
sync
[ ! -w "$1" ] || echo "Read and signed in $(hostname)." >>"$1"
"""
SEED_SECONDS = 180
"""How long the demo waits for the seed; without it, it goes on, and its disposables boot."""
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
    prepare_disposables()

    title("A program in each")
    for name in DOMAINS:
        if name not in (said := show("run", name, "--", "python3", "-c", PROGRAM)):
            raise Broken(f"the program in '{name}' said {said!r}, not where it runs")

    copy_a_file()
    show_isolation()
    show_restart()
    open_in_a_disposable(home)

    title("What there is now")
    show("ls", "--disk")
    print(f"""
The demo took {time.monotonic() - began:.0f} s. The boxes run on; try for example

  .venv/bin/bento run work -- bash         a shell in a box (also: --user root)
  .venv/bin/bento cp README.md personal:   a file into a box
  .venv/bin/bento run --disposable={DISPOSABLE} -- bash    a shell in a computer that is gone with it
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


def prepare_disposables() -> None:
    """`web` with something that opens files. Its seed is made in the background, while the demo goes on."""
    title(f"What disposables are made from: '{DISPOSABLE}', booted once in the background, and forked from then on")
    if DISPOSABLE not in rows():
        show("create", DISPOSABLE, "--class", "AppVM", "--template", TEMPLATE, "--label", "red")
    if read("prefs", DISPOSABLE, "template_for_dispvms").strip() != "True":
        # Set last: then it is furnished.
        write = f"printf %s {shlex.quote(OPENER)} >/usr/local/bin/qubes-open && chmod 755 /usr/local/bin/qubes-open"
        read("run", "--user", "root", DISPOSABLE, "--", "sh", "-c", write)
        print(f"  a script that opens files there, /usr/local/bin/qubes-open:\n{indent(OPENER)}")
        show("shutdown", "--wait", DISPOSABLE)
        show("prefs", DISPOSABLE, "template_for_dispvms", "True")
    if read("prefs", "random", "default_dispvm").strip() != DISPOSABLE:
        show("prefs", "random", "default_dispvm", DISPOSABLE)


def open_in_a_disposable(home: Home) -> None:
    title("A letter in 'random', opened in a computer that is made for it and gone with it")
    has_seed = wait_for_seed()
    text = f"A letter nobody should trust, {os.getpid()}-{time.time_ns()}."
    bento("run", "random", "--", "sh", "-c", f"echo '{text}' >letter.txt; sync")
    show("policy", "explain", "random", "qubes.OpenInVM", "@dispvm")
    with following() as events:
        began = time.monotonic()
        show("run", "random", "--", "qvm-open-in-dvm", "letter.txt")
        seconds = time.monotonic() - began
        name = heard(events, "domain-start")["subject"]
        heard(events, "domain-delete")
    came_back = show("run", "random", "--", "cat", "letter.txt")
    if came_back != f"{text}\nRead and signed in {name}.\n":
        raise Broken(f"the letter was to come back signed in '{name}'")

    how = "forked from the seed" if has_seed else "booted, since no seed is there yet"
    print(f"  opened, changed and back after {seconds:.1f} s, in a disposable that was {how}.")
    cold, warm = seconds_of("--fresh"), statistics.median(seconds_of() for _ in range(3))
    print(f"  A disposable that runs 'true', from the command to its exit code: {warm:.2f} s, the middle of three;")
    print(f"  one that boots instead (--fresh): {cold:.1f} s, {cold / warm:.0f} times as long.")
    print("  All on the machine above, with five boxes running; what is emulated there is emulated here.")

    print(f"\n  What is left of '{name}':")
    mark = hashlib.sha256(f"{text}\n".encode()).hexdigest()
    there = rows()
    look(f"domains of that name (of '{DISPOSABLE}' 1)", control=DISPOSABLE in there, left=name in there)
    look("processes of its machine (of 'random' 1)", control=has_machine("random"), left=has_machine(name))
    look("files with its trace (with the letter 1)", control=is_in_a_file(text, home), left=is_in_a_file(mark, home))


def wait_for_seed() -> bool:
    """Whether there is one now."""
    began = time.monotonic()
    while not any(one["base"] == DISPOSABLE and one["current"] for one in json.loads(read("disp", "seeds", "--json"))):
        waited = time.monotonic() - began
        if waited > SEED_SECONDS:
            print("  no seed is ready yet: the first disposable boots")
            return False
        if sys.stdout.isatty():
            print(f"\r  the seed of '{DISPOSABLE}' is being made, {waited:.0f} s\x1b[K", end="", flush=True)
        time.sleep(0.5)
    if sys.stdout.isatty():
        print("\r\x1b[K", end="")
    show("disp", "seeds")
    return True


def seconds_of(*options: str) -> float:
    """For a disposable that runs next to nothing."""
    began = time.monotonic()
    read("run", f"--disposable={DISPOSABLE}", *options, "--", "true")
    return time.monotonic() - began


@contextlib.contextmanager
def following() -> Iterator[Iterator[dict[str, str]]]:
    """What happens from now on, for a minute at the most: then whoever still listens hears the end."""
    argv = [*BENTO, "events", "--json"]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        patience = threading.Timer(60, process.kill)
        patience.start()
        try:
            assert process.stdout
            events = map(json.loads, process.stdout)
            heard(events, "connection-established")
            yield events
        finally:
            patience.cancel()
            process.kill()


def heard(events: Iterator[dict[str, str]], name: str) -> dict[str, str]:
    for event in events:
        if event["event"] == name:
            return event
    raise Broken(f"nothing was heard of {name}")


def look(what: str, *, control: bool, left: bool) -> None:
    """What was looked for in the same way, and is there, says that the look is worth something."""
    print(f"    {what}: {int(left)}")
    if left or not control:
        raise Broken(f"{what}: {'something is left' if left else 'the look finds nothing'}")


def has_machine(name: str) -> bool:
    """Whether a process of QEMU is that domain's, by its command line."""
    word = f"guest={name}/".encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word in path.read_bytes():
                return True
    return False


def is_in_a_file(text: str, home: Home) -> bool:
    """Whether one of Bento's files holds it: disks, seeds, logs, state."""
    argv = ["grep", "--recursive", "--quiet", "--no-messages", "--fixed-strings", "--devices=skip", "--", text]
    return subprocess.run([*argv, home.data, home.run], check=False).returncode == 0


def clean(home: Home) -> None:
    there = rows()
    ours = (*DOMAINS, DISPOSABLE)
    running = [name for name in ours if there.get(name, {}).get("state") not in (None, "Halted")]
    for name in running:
        show("kill", name)
    for name in ours:
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
        print(f"  what the demo made is gone; this stays, with its logs: {', '.join(left)}")
        return
    remove_state(home)
    print("  what the demo made is gone, and as that was all there was, so are Bento's logs and state;")
    print(f"  what you wrote in {home.config} stays")


def remove_state(home: Home) -> None:
    """All that the manager kept. With BENTO_HOME what the person wrote lies within that, and stays."""
    shutil.rmtree(home.run, ignore_errors=True)
    written = {Path(home.config), Path(home.system)}
    with contextlib.suppress(FileNotFoundError):
        for path in Path(home.data).iterdir():
            if path.is_dir() and not path.is_symlink() and path not in written:
                shutil.rmtree(path, ignore_errors=True)
            elif path not in written:
                path.unlink()


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
