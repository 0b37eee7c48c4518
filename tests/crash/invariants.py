"""What must hold of a home whenever its manager answers, whatever was killed before."""

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.host.manager.home import PATIENCE, Failed, Home, Listener

IMAGE = {"suspended.img", "suspended.json"}
ALWAYS_THERE = {"private.img", "console.log"}


def settle(home: Home) -> None:
    """Check everything; what is only on its way (a broker that ends, a burial) gets time to arrive."""
    eventually(lambda: check(home))
    for name, state in home.states().items():
        if state == "Running" and name != "dom0":
            serves(home, name)
    eventually(lambda: check(home))


def serves(home: Home, name: str) -> None:
    """A domain that runs takes calls, unless it is just ending."""
    try:
        assert home.run(name, "true", autostart="no").code == 0
    except (AssertionError, ConnectionError, Failed) as error:
        why = f"calls to {name} do not work: {error}"
        eventually(lambda: _assert(home.state(name) == "Halted", why))


def _assert(condition: bool, why: str) -> None:
    assert condition, why


def eventually(holds: Callable[[], bool | None]) -> None:
    """Look again until it is true, or, of what asserts by itself, until nothing fails."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            assert holds() is not False
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            os.sched_yield()
        else:
            return


def check(home: Home) -> None:
    rows = {row["uuid"]: row for row in home.table() if row["name"] != "dom0"}
    running = {uuid for uuid, row in rows.items() if row["state"] not in ("Halted", "Suspended")}
    states = {row["state"] for row in rows.values()}
    assert states <= {"Halted", "Running", "Paused", "Suspended"}, "a state that only passes"
    check_processes(home, rows, running)
    check_files(home, rows, running)
    check_templates(home, rows)
    check_log(home)


def check_log(home: Home) -> None:
    with home.send("bento.audit.Verify") as connection:
        found = Listener(connection).rest()
    assert {event.name for event in found} <= {"sound"}, "the audit log is broken"


def check_processes(home: Home, rows: dict[str, dict[str, Any]], running: set[str]) -> None:
    """A machine for each domain that runs and none besides; likewise a broker."""
    machines: dict[str, set[int]] = {}
    for pid in home.machine_pids():
        machines.setdefault(_uuid(home, pid), set()).add(pid)
    machines.pop("", None)  # it ended while we looked
    assert set(machines) == running, "machines are not those of the domains that run"
    for uuid in running:
        assert rows[uuid]["pid"] in machines[uuid], "another process than the domain's"
    served = sorted(home.brokers())
    assert served == sorted(rows[uuid]["name"] for uuid in running), "brokers are not those of the domains that run"


def check_files(home: Home, rows: dict[str, dict[str, Any]], running: set[str]) -> None:
    assert _names(home.path / "domains") == set(rows), "directories are not those of the domains"
    assert _names(home.path / "run/domains") == running, "run directories are not those of the domains that run"
    for uuid, row in rows.items():
        kept = _names(home.path / "domains" / uuid) - ALWAYS_THERE
        if row["class"] in ("TemplateVM", "StandaloneVM"):
            version = home.row(row["name"])["template_version"]
            kept -= {f"root-delta-{version}.img"}
        if row["state"] != "Halted":
            kept -= {"volatile.img", "next-root.img"}
        if row["state"] == "Suspended":
            assert kept >= IMAGE, "half of what was saved"
            kept -= IMAGE
        assert not kept, f"files of {row['name']} that nobody needs"


def check_templates(home: Home, rows: dict[str, dict[str, Any]]) -> None:
    names = {row["name"] for row in rows.values() if row["class"] == "TemplateVM"}
    assert _names(home.path / "templates") == names, "directories are not those of the templates"
    for name in names:
        info = json.loads(home.ask("bento.template.Info", argument=name))
        known = {str(version["version"]) for version in info["versions"]}
        assert _names(home.path / "templates" / name) == known, f"versions of {name} are not those on disk"
        assert str(info["version"]) in known
        for version in known:
            files = _names(home.path / "templates" / name / version)
            assert files == {"root.erofs", "modules.erofs", "kernel", "initrd", "manifest.json"}, "half a version"


def _names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def _uuid(home: Home, pid: int) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for word in Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0"):
            if home.mark in word:
                return word.partition(home.mark)[2][:36]
    return ""
