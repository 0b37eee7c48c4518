"""Answers about the contracts of services, as JSON. Nothing here changes anything."""

import json

from bento.host.contract.table import examine
from bento.host.manager.contracts import Found
from bento.host.manager.methods.kinds import Manager, Method, Reply, plain
from bento.host.model.errors import Invalid
from bento.host.model.fault import Fault
from bento.wire.admin import Request
from bento.wire.names import ascii_only

Json = dict[str, object]


async def list_contracts(manager: Manager, _request: Request) -> Reply:
    """A list of all, by service: whose each is, where it lies, and what is wrong with it."""
    return json.dumps([_found(found) for found in manager.contracts.all()]).encode()


async def show_contract(manager: Manager, request: Request) -> Reply:
    """The contract of the service that the payload names, as in the list, with its text."""
    name = plain(request.payload)
    for found in manager.contracts.all():
        if found.service == name:
            return json.dumps({**_found(found), "text": found.text.decode(errors="replace")}).encode()
    raise Invalid(f"'{name}' has no contract; 'bento contract ls' shows which services have one")


async def check_contract(_manager: Manager, request: Request) -> Reply:
    """The payload is a file's name, a NUL, and the file's text -> what is wrong with it."""
    untrusted_name, _, text = request.payload.partition(b"\0")
    name = ascii_only(untrusted_name.decode("ascii", "replace"))
    return json.dumps([_fault(fault) for fault in examine(name, text)]).encode()


def _found(found: Found) -> Json:
    faults = [_fault(fault) for fault in found.faults]
    return {"service": found.service, "own": found.own, "path": str(found.path), "faults": faults}


def _fault(fault: Fault) -> Json:
    return {"file": fault.file, "line": fault.line, "column": fault.column, "problem": fault.problem}


METHODS: dict[str, Method] = {
    "bento.contract.List": list_contracts,
    "bento.contract.Show": show_contract,
    "bento.contract.Check": check_contract,
}
