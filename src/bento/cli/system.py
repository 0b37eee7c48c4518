"""About the whole: this machine (`doctor`), what happens (`events`), the manager itself, and the version."""

import argparse
import json
import os
import select

import bento
from bento.cli.exits import Code, Failed
from bento.cli.harmless import harmless
from bento.cli.manager import Manager, request
from bento.cli.render import print_json, print_table, say

STOPPING = 30.0
"""Seconds that the manager has to end."""


def declare_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="a list of objects: key, status, value, sentence, remedy")


def doctor(words: argparse.Namespace, manager: Manager) -> int:
    findings = json.loads(manager.ask(request("bento.Doctor")))
    if words.json:
        print_json(findings)
        return Code.DONE
    width = max((len(finding["status"]) for finding in findings), default=0)
    for finding in findings:
        print(f"{finding['status']:{width}}  {harmless(finding['sentence'])}")
        if finding["remedy"]:
            print(f"{'':{width}}    -> {harmless(finding['remedy'])}")
    return Code.DONE


def declare_events(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="an object a line: subject, event, and its details")


def events(words: argparse.Namespace, manager: Manager) -> int:
    for event in manager.follow(request("admin.Events")):
        if words.json:
            shown = json.dumps({"subject": event.subject, "event": event.name, "details": dict(event.details)})
        else:
            details = [f"{key}={value}" for key, value in event.details]
            shown = harmless(" ".join([event.subject or "-", event.name, *details])).replace("\n", "^J")
        print(shown, flush=True)
    return Code.DONE


def declare_status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="an object; its running is false or true")


def status(words: argparse.Namespace, manager: Manager) -> int:
    found: dict[str, object] = {"running": False}
    try:
        found = {"running": True, **json.loads(manager.ask(request("bento.manager.Status")))}
    except Failed as failed:
        if failed.code is not Code.WRONG_STATE:
            raise
    if words.json:
        print_json(found)
    elif found["running"]:
        print_table(("MANAGER", ""), [[key, str(value)] for key, value in found.items()])
    else:
        print("The manager is not running; the next command that needs it starts it.")
    return Code.DONE if found["running"] else Code.WRONG_STATE


def declare_stop(_: argparse.ArgumentParser) -> None:
    pass


def stop(_: argparse.Namespace, manager: Manager) -> int:
    """Returns once it has ended, so that the next command starts a new one."""
    try:
        pid = json.loads(manager.ask(request("bento.manager.Status")))["pid"]
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return Code.DONE
    except Failed as failed:
        if failed.code is not Code.WRONG_STATE:
            raise
        say(failed.sentence)
        return Code.DONE
    try:
        manager.ask(request("bento.manager.Stop"))
        if not select.select([process], [], [], STOPPING)[0]:
            raise Failed(f"the manager (process {pid}) did not end within {STOPPING:.0f} seconds", Code.OUTSIDE)
    finally:
        os.close(process)
    return Code.DONE


def declare_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true")


def version(words: argparse.Namespace, _: Manager) -> int:
    if words.json:
        print_json({"version": bento.__version__})
    else:
        print(f"bento {bento.__version__}")
    return Code.DONE
