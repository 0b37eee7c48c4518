"""Making, removing and copying domains, and their power: `admin.vm.*`, `bento.vm.Clone`."""

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import uuid4

from bento.host.disk.durable import make_directory
from bento.host.manager.disposables import NUMBERED
from bento.host.manager.inventory import names
from bento.host.manager.methods.kinds import Manager, Method, Reply, guest, lines, parsed, subject, yes
from bento.host.manager.properties import makes_disposables
from bento.host.model.domain import ADMIN, LABELS, Domain, DomainClass, PowerState
from bento.host.model.errors import Conflict, Invalid, Kind, NoSuch, Refused, Unavailable
from bento.host.model.inventory import DomainRecord
from bento.wire.admin import Request
from bento.wire.names import DomainName, LabelName

CREATABLE = (DomainClass.APP, DomainClass.STANDALONE, DomainClass.DISPOSABLE)
"""TemplateVMs come from a build or a clone."""


async def class_list(manager: Manager, request: Request) -> Reply:
    return "".join(f"{klass}\n" for klass in (*CREATABLE, DomainClass.TEMPLATE, DomainClass.ADMIN)).encode()


async def vm_list(manager: Manager, request: Request) -> Reply:
    """All domains, or the one it is sent to."""
    wanted = [r for r in manager.inventory if request.destination in (ADMIN, r.name)]
    if not wanted:
        subject(manager, request)
    rows = [
        f"{r.name} class={r.domain.klass} state={manager.lifecycle.state(r.name)} uuid={r.domain.uuid}\n"
        for r in sorted(wanted, key=lambda r: r.name)
    ]
    return "".join(rows).encode()


async def create(manager: Manager, request: Request, *, klass: DomainClass) -> Reply:
    """`argument`: the template; payload `name=... label=...`, as the field's client sends it."""
    if request.destination != ADMIN:
        raise Refused(f"domains are created by '{ADMIN}' only")
    fields = _words(request.payload)
    name, label = new_name(manager, fields.get("name", "")), find_label(fields.get("label", ""))
    template = _template(manager, request.argument)
    domain = Domain(uuid4(), name, klass, label, template if klass is DomainClass.APP else None)
    record = DomainRecord(domain, slot=manager.inventory.free_slot())
    if klass is DomainClass.STANDALONE:
        record = replace(record, origin=template, base=manager.inventory.current(template).number)
    with _directory(manager, domain):
        manager.inventory.put(record)
    manager.events.tell("", "domain-add", vm=name)
    return b""


async def create_disposable_named(manager: Manager, request: Request) -> Reply:
    """A disposable that stays when it halts, and whose runs all begin anew. `argument`: its disposable template."""
    if request.destination != ADMIN:
        raise Refused(f"domains are created by '{ADMIN}' only")
    fields = _words(request.payload)
    name, label = new_name(manager, fields.get("name", "")), find_label(fields.get("label", ""))
    base = disposable_template(manager, request.argument)
    manager.disposables.add(manager.inventory.get(base), name, label)
    return b""


async def create_disposable(manager: Manager, request: Request) -> Reply:
    """The name of a new disposable, not started, which is gone with its first run.

    With the payload `uuid` it is `uuid:UUID`. Sent to its disposable template, or to the admin domain for the one that
    is set as the system's.
    """
    to_admin = request.destination == ADMIN
    base = disposable_template(manager, "" if to_admin else request.destination)
    if request.payload not in (b"", b"uuid"):
        raise Invalid("admin.vm.CreateDisposable takes the word uuid or nothing")
    made = manager.disposables.make(base, asked_by=request.source)
    return f"uuid:{made.domain.uuid}".encode() if request.payload else made.name.encode()


def disposable_template(manager: Manager, text: str) -> DomainName:
    if text:
        return find_disposable_template(manager, text)
    if default := manager.inventory.default_dispvm(manager.inventory.get(ADMIN)):
        return default
    there = names(record for record in manager.inventory if makes_disposables(record))
    how = f"there are: {there}" if there else "'bento prefs NAME template_for_dispvms True' makes an AppVM one"
    raise Invalid(
        f"name the disposable template, or set one for all with 'bento prefs --global default_dispvm NAME' ({how})"
    )


async def remove(manager: Manager, request: Request) -> Reply:
    await manager.inventory.at_rest(request.destination)
    record = guest(manager, request)
    require_halted(manager, record, "remove it")
    manager.inventory.require_free(record.name)
    manager.inventory.require_unused(record.name)
    manager.inventory.require_no_default(record.name)
    # Forgotten first, then taken away: a crash between the two leaves files that the next start sweeps.
    manager.inventory.drop(record.name)
    for version in manager.inventory.versions(record.name):
        manager.inventory.drop_version(version)
    await asyncio.to_thread(shutil.rmtree, manager.places.domain(record.domain.uuid), ignore_errors=True)
    manager.journals.forget(record.domain.uuid)
    await manager.templates.sweep()
    manager.events.tell("", "domain-delete", vm=record.name)
    return b""


async def clone(manager: Manager, request: Request) -> Reply:
    """A halted domain's copy under the name in `argument`: volumes, properties, tags and features."""
    await manager.inventory.at_rest(request.destination)
    record = guest(manager, request)
    name = new_name(manager, request.argument)
    require_halted(manager, record, "clone it")
    hold = manager.inventory.hold
    with hold(record.name, "is being cloned"), hold(name, "is being made"):
        domain = replace(record.domain, uuid=uuid4(), name=name)
        with _directory(manager, domain):
            for source, target in _volumes(manager, record, domain):
                await manager.storage.clone(source, target)
            # What is set of it may have changed meanwhile, and others may have taken the slot that was free.
            record = manager.inventory.get(record.name)
            copy = replace(record, domain=domain, slot=manager.inventory.free_slot(), run=None)
            if domain.klass is DomainClass.TEMPLATE:
                manager.templates.clone(manager.inventory.current(record.name), copy)
            else:
                manager.inventory.put(copy)
    manager.events.tell("", "domain-add", vm=name)
    return b""


def _volumes(manager: Manager, record: DomainRecord, copy: Domain) -> list[tuple[Path, Path]]:
    """What a clone copies, from where to where."""
    places, uuid = manager.places, record.domain.uuid
    pairs = [(places.private(uuid), places.private(copy.uuid))]
    if record.base is not None:
        # A template's copy begins with a version of its own, number 1; a StandaloneVM's stands on the same.
        base = 1 if copy.klass is DomainClass.TEMPLATE else record.base
        pairs.append((places.delta(uuid, record.base), places.delta(copy.uuid, base)))
    return [(source, target) for source, target in pairs if source.exists()]


@contextmanager
def _directory(manager: Manager, domain: Domain) -> Iterator[None]:
    """A new domain's directory, gone again if what is done in it fails."""
    directory = manager.places.domain(domain.uuid)
    try:
        make_directory(directory)
        yield
    except BaseException as error:
        shutil.rmtree(directory, ignore_errors=True)
        if isinstance(error, OSError):
            raise Unavailable(f"'{domain.name}' cannot be made: {directory}: {error.strerror}") from error
        raise


def require_halted(manager: Manager, record: DomainRecord, to: str) -> None:
    if (state := manager.lifecycle.state(record.name)) is not PowerState.HALTED:
        way = f"'bento shutdown --wait {record.name}'"
        if state is PowerState.SUSPENDED:
            way = f"'bento resume {record.name}' and {way}, or 'bento kill {record.name}', which throws that away,"
        raise Conflict(
            f"'{record.name}' is {state.lower()}; {way} first, to {to}",
            actual=state,
            required=PowerState.HALTED,
        )


async def start(manager: Manager, request: Request) -> Reply:
    """With `fresh=yes` it boots, even where it could go on from a seed."""
    name = subject(manager, request).name
    await manager.lifecycle.start(name, fresh=yes(lines(request.payload, "fresh"), "fresh"))
    return b""


async def shutdown(manager: Manager, request: Request) -> Reply:
    """`argument`: `force`, `wait` or both with a `+`; nothing depends on a domain yet, so `force` changes nothing."""
    record = guest(manager, request)
    words = set(request.argument.split("+")) - {""}
    if words - {"force", "wait"}:
        raise Invalid("a shutdown takes the words force and wait, nothing else")
    await manager.lifecycle.shutdown(record.name, wait="wait" in words)
    return b""


async def kill(manager: Manager, request: Request) -> Reply:
    await manager.lifecycle.kill(guest(manager, request).name)
    return b""


async def pause(manager: Manager, request: Request) -> Reply:
    await manager.lifecycle.pause(guest(manager, request).name)
    return b""


async def unpause(manager: Manager, request: Request) -> Reply:
    await manager.lifecycle.unpause(guest(manager, request).name)
    return b""


async def current_state(manager: Manager, request: Request) -> Reply:
    """`mem` and `mem_static_max` in KiB, `cputime` in milliseconds, as in the field."""
    record = subject(manager, request)
    machine = manager.lifecycle.machine(record.name)
    usage = await machine.usage() if machine else None
    mem = usage.memory_bytes // 1024 if usage else 0
    cpu = usage.cpu_ns // 1_000_000 if usage else 0
    return f"mem={mem} mem_static_max={mem} cputime={cpu} power_state={manager.lifecycle.state(record.name)}".encode()


def find_label(text: str) -> LabelName:
    known = [label.name for label in LABELS]
    if text not in known:
        raise NoSuch(f"there is no label '{text}'; there are: {', '.join(known)}", Kind.LABEL)
    return LabelName(text)


def find_template(manager: Manager, text: str) -> DomainName:
    record = manager.inventory.get(parsed(DomainName.parse, text))
    if record.domain.klass is not DomainClass.TEMPLATE:
        raise Invalid(f"'{text}' is no template; 'bento template ls' shows those there are")
    return record.name


def find_disposable_template(manager: Manager, text: str) -> DomainName:
    """The AppVM of that name, if disposables may be made from it."""
    record = manager.inventory.get(parsed(DomainName.parse, text))
    manager.disposables.require_base(record)
    return record.name


def _template(manager: Manager, text: str) -> DomainName:
    if text:
        return find_template(manager, text)
    if default := default_template(manager):
        return default
    templates = [r for r in manager.inventory if r.domain.klass is DomainClass.TEMPLATE]
    if len(templates) == 1:
        return templates[0].name
    there_are = f"there are: {names(templates)}" if templates else "there is none; 'bento template build debian-12'"
    raise Invalid(f"name the template with --template ({there_are})")


def default_template(manager: Manager) -> DomainName | None:
    """What is set, unless it was removed since."""
    name = DomainName(manager.inventory.get(ADMIN).properties.get("default_template", ""))
    is_template = name in manager.inventory and manager.inventory.get(name).domain.klass is DomainClass.TEMPLATE
    return name if is_template else None


def new_name(manager: Manager, untrusted: str) -> DomainName:
    name = parsed(DomainName.parse, untrusted)
    if name in manager.inventory:
        raise Invalid(f"there is a domain '{name}' already; choose another name")
    if NUMBERED.fullmatch(name):
        raise Invalid(f"'{name}' is a name that disposables get by themselves; choose another name")
    manager.inventory.require_free(name)
    return name


def _words(payload: bytes) -> dict[str, str]:
    """`name=... label=...` separated by blanks; names and labels have none."""
    found: dict[str, str] = {}
    for word in payload.decode("ascii", errors="replace").split():
        key, equals, value = word.partition("=")
        if not equals or key not in ("name", "label") or key in found:
            raise Invalid("a domain is created with one name=... and one label=...")
        found[key] = value
    return found


async def _not_creatable(manager: Manager, request: Request) -> Reply:
    raise Refused("domains of this class are not made this way; templates come from 'bento template build' or a clone")


METHODS: dict[str, Method] = {
    "admin.vmclass.List": class_list,
    "admin.vm.List": vm_list,
    "admin.vm.Create.AppVM": partial(create, klass=DomainClass.APP),
    "admin.vm.Create.StandaloneVM": partial(create, klass=DomainClass.STANDALONE),
    "admin.vm.Create.TemplateVM": _not_creatable,
    "admin.vm.Create.DispVM": create_disposable_named,
    "admin.vm.CreateDisposable": create_disposable,
    "admin.vm.Remove": remove,
    "admin.vm.Start": start,
    "admin.vm.Shutdown": shutdown,
    "admin.vm.Kill": kill,
    "admin.vm.Pause": pause,
    "admin.vm.Unpause": unpause,
    "admin.vm.CurrentState": current_state,
    "bento.vm.Clone": clone,
}
