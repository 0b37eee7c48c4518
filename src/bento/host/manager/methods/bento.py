"""Bento's own methods, for what the field does by other means than its Admin API: calls, console, templates, doctor."""

import asyncio
import json
import os
import socket
import time
from collections.abc import AsyncGenerator, Callable, Coroutine

from bento.host.manager.methods.domains import disposable_template, find_label
from bento.host.manager.methods.kinds import File, Manager, Method, Reply, Stream, guest, lines, parsed, subject, yes
from bento.host.manager.methods.properties import require_netvm
from bento.host.model.domain import ADMIN, RGB, DomainClass, PowerState
from bento.host.model.errors import Conflict, Invalid, NoSuch
from bento.host.model.inventory import DomainRecord, TemplateVersion
from bento.host.policy.world import Disposable
from bento.wire.admin import Event, Request
from bento.wire.names import DomainName, UserName, parse_called

Tell = Callable[[Event], None]

OF_A_NEW_ONE = ("label", "netvm", "fresh")
"""Fields of a call's payload that are about the disposable that it makes."""


async def table(manager: Manager, request: Request) -> Reply:
    """All domains with what a person wants to see of them, as JSON."""
    rows = await asyncio.gather(*(_row(manager, record) for record in sorted(manager.inventory, key=lambda r: r.slot)))
    return json.dumps(rows).encode()


async def _row(manager: Manager, record: DomainRecord) -> dict[str, object]:
    """`memory_bytes`: what its machine takes of the host's memory now."""
    run = None if manager.lifecycle.state(record.name) is PowerState.HALTED else record.run
    machine = manager.lifecycle.machine(record.name)
    usage = await machine.usage() if machine else None
    return {
        **about(manager, record),
        "template": record.domain.template,
        "netvm": None,
        "memory_bytes": usage.memory_bytes if usage else 0,
        "start_seconds": round(run.start_seconds, 3) if run and run.start_seconds else None,
        "cpu_seconds": usage.cpu_ns / 1e9 if usage else 0.0,
        "template_version": run.version if run else record.base,
        "pid": machine.pid if machine else None,
        "uuid": str(record.domain.uuid),
    }


def about(manager: Manager, record: DomainRecord) -> dict[str, object]:
    """What every table of domains tells of one. `disk_bytes`: what it alone uses. A suspended one has no uptime."""
    domain, state = record.domain, manager.lifecycle.state(record.name)
    runs = record.run if state not in (PowerState.HALTED, PowerState.SUSPENDED) else None
    return {
        "name": record.name,
        "class": domain.klass,
        "label": domain.label,
        "label_rgb": f"#{RGB[domain.label]:06x}",
        "state": state,
        "uptime_seconds": round(max(0.0, time.time() - runs.started), 1) if runs else None,
        "disk_bytes": _disk_bytes(manager, record),
    }


def _disk_bytes(manager: Manager, record: DomainRecord) -> int:
    directory = manager.places.domain(record.domain.uuid)
    files = list(directory.iterdir()) if directory.exists() else []
    return sum(manager.storage.usage(file) for file in files) + manager.templates.disk_usage(record.name)


async def call(manager: Manager, request: Request) -> Reply:
    """A call from the admin domain, which the policy does not ask about: the person at the host commands its domains.

    `argument` is SERVICE+ARGUMENT; the answer's file is the caller's leg (`wire/rpc.py`). With `disposable=yes` a new
    disposable serves it, and ends with it: one made from the domain it is sent to, or, sent to the admin domain, from
    the system's default. Then `label` and `netvm` may be those properties of it, and `fresh=yes` boots it.
    """
    subject(manager, request)
    fields = lines(request.payload, "user", "rows", "columns", "autostart", "disposable", *OF_A_NEW_ONE)
    target: DomainName | Disposable
    if yes(fields, "disposable"):
        base = disposable_template(manager, "" if request.destination == ADMIN else request.destination)
        require_netvm(fields.get("netvm", ""))
        target = Disposable(base)
    elif given := [name for name in OF_A_NEW_ONE if name in fields]:
        raise Invalid(f"{given[0]} is for a call that makes a disposable")
    else:
        target = guest(manager, request).name
    service, argument = parsed(parse_called, request.argument)
    leg = await manager.calls.command(
        target,
        service,
        argument,
        user=parsed(UserName.parse, fields["user"]) if fields.get("user") else "",
        autostart=yes(fields, "autostart", default="yes"),
        rows=_cells(fields.get("rows", "0")),
        columns=_cells(fields.get("columns", "0")),
        label=find_label(fields["label"]) if "label" in fields else None,
        fresh=yes(fields, "fresh"),
    )
    return File(leg.detach())


def _cells(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) < 1 << 16):
        raise Invalid("a terminal has from 0 to 65535 rows and columns")
    return int(text)


async def suspend(manager: Manager, request: Request) -> Reply:
    """Progress as events, then an empty OK, or a failure. Who hangs up only stops watching."""
    name = guest(manager, request).name
    return Stream(_watched(lambda tell: manager.lifecycle.suspend(name, lambda done: tell(_progress(name, done)))))


async def resume(manager: Manager, request: Request) -> Reply:
    """As `suspend`."""
    name = guest(manager, request).name
    return Stream(_watched(lambda tell: manager.lifecycle.resume(name, lambda done: tell(_progress(name, done)))))


def _progress(name: DomainName, done: float | None, *more: tuple[str, str]) -> Event:
    return Event(name, "progress", (*more, ("fraction", "" if done is None else f"{done:.3f}")))


async def _watched(begin: Callable[[Tell], Coroutine[None, None, None]]) -> AsyncGenerator[Event, None]:
    """What the work tells, until it is done; raises what it raises. It is cancelled when nobody listens any more."""
    news: asyncio.Queue[Event | None] = asyncio.Queue()
    work = asyncio.create_task(begin(news.put_nowait))
    work.add_done_callback(lambda _: news.put_nowait(None))
    try:
        while event := await news.get():
            yield event
        await work
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def console(manager: Manager, request: Request) -> Reply:
    record = guest(manager, request)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours:
        await manager.lifecycle.console(record.name, theirs)
        return File(ours.detach())


async def console_log(manager: Manager, request: Request) -> Reply:
    """The console's log, to read. It is the guest's words: whoever prints it makes it harmless first."""
    record = guest(manager, request)
    try:
        return File(manager.journals.read(record.domain))
    except FileNotFoundError:
        since = " since the manager started" if record.domain.klass is DomainClass.DISPOSABLE else ""
        why = f"'{record.name}' never ran{since}, so it has no log"
        raise Conflict(why, actual="new", required="started") from None


async def template_build(manager: Manager, request: Request) -> Reply:
    """`argument`: the distribution. Progress as events, then an empty OK, or a failure."""
    fields = lines(request.payload, "flavor", "name")
    name = parsed(DomainName.parse, fields.get("name") or request.argument)

    async def build(tell: Tell) -> None:
        existed = name in manager.inventory
        await manager.templates.build(
            name,
            request.argument,
            fields.get("flavor", ""),
            lambda phase, done: tell(_progress(name, done, ("phase", phase))),
        )
        if not existed:
            manager.events.tell("", "domain-add", vm=name)
        manager.events.tell(name, "template-built")

    return Stream(_watched(build))


async def template_list(manager: Manager, request: Request) -> Reply:
    templates = [r for r in manager.inventory if r.domain.klass is DomainClass.TEMPLATE]
    return json.dumps([_template_row(manager, r) for r in sorted(templates, key=lambda r: r.name)]).encode()


def _template_row(manager: Manager, record: DomainRecord) -> dict[str, object]:
    version = manager.inventory.current(record.name)
    return {
        "name": record.name,
        "flavor": version.flavor,
        "version": version.number,
        "digest": version.digest,
        "size_bytes": version.size,
        "created": version.created,
        "packages": version.packages,
        "used_by": sorted(manager.inventory.based_on(record.name)),
        "state": manager.lifecycle.state(record.name),
    }


async def template_info(manager: Manager, request: Request) -> Reply:
    """One template, with its versions and what the builder recorded (its package list among it)."""
    record = _template(manager, request)
    kept: list[TemplateVersion] = manager.inventory.versions(record.name)
    info = _template_row(manager, record)
    info["versions"] = [
        {"version": v.number, "digest": v.digest, "size_bytes": v.size, "created": v.created} for v in kept
    ]
    info["manifest"] = manager.templates.manifest(manager.inventory.current(record.name))
    return json.dumps(info).encode()


async def seed_list(manager: Manager, request: Request) -> Reply:
    """What disposables and AppVMs can go on from, as JSON: `current` is false for what is about to be removed.

    `spare`: a machine waits for the next disposable, forked from it ahead.
    """
    spares = {spare.seed.key for spare in manager.spares.waiting() if not spare.claimed}
    rows = [
        {
            "base": seed.base,
            "for": seed.kind,
            "template_version": seed.version,
            "size_bytes": seed.size,
            "made": seed.made,
            "current": manager.seeds.is_current(seed),
            "spare": seed.key in spares,
            "key": seed.key,
        }
        for seed in sorted(manager.seeds.kept(), key=lambda seed: seed.made)
    ]
    return json.dumps(rows).encode()


async def doctor(manager: Manager, request: Request) -> Reply:
    return json.dumps(await manager.doctor()).encode()


async def notices(manager: Manager, request: Request) -> Reply:
    return json.dumps(manager.notices.take()).encode()


async def status(manager: Manager, request: Request) -> Reply:
    return json.dumps({"pid": os.getpid(), "data": str(manager.places.data), "run": str(manager.places.run)}).encode()


async def stop(manager: Manager, request: Request) -> Reply:
    """The manager ends; machines run on, and the next manager goes on with them."""
    manager.stop()
    return b""


def _template(manager: Manager, request: Request) -> DomainRecord:
    record = manager.inventory.get(parsed(DomainName.parse, request.argument))
    if record.domain.klass is not DomainClass.TEMPLATE:
        raise NoSuch(f"'{record.name}' is no template; 'bento template ls' shows those there are")
    return record


METHODS: dict[str, Method] = {
    "bento.vm.Table": table,
    "bento.vm.Call": call,
    "bento.vm.Suspend": suspend,
    "bento.vm.Resume": resume,
    "bento.vm.Console": console,
    "bento.vm.Log": console_log,
    "bento.template.Build": template_build,
    "bento.template.List": template_list,
    "bento.template.Info": template_info,
    "bento.seed.List": seed_list,
    "bento.Doctor": doctor,
    "bento.Notices": notices,
    "bento.manager.Status": status,
    "bento.manager.Stop": stop,
}
