"""Labels and events: `admin.label.*`, `admin.Events`."""

from collections.abc import AsyncGenerator

from bento.host.manager.methods.domains import find_label
from bento.host.manager.methods.kinds import Manager, Method, Reply, Stream, subject
from bento.host.model.domain import ADMIN, LABELS, Label
from bento.wire.admin import Event, Request
from bento.wire.names import DomainName


async def label_list(manager: Manager, request: Request) -> Reply:
    return "".join(f"{label.name}\n" for label in LABELS).encode()


async def label_get(manager: Manager, request: Request) -> Reply:
    return f"0x{_label(request).rgb:06x}".encode()


async def label_index(manager: Manager, request: Request) -> Reply:
    return str(_label(request).index).encode()


async def events(manager: Manager, request: Request) -> Reply:
    """Of everything, or of the one domain that it is sent to."""
    name = subject(manager, request).name
    return Stream(_listen(manager, None if name == ADMIN else name))


async def _listen(manager: Manager, only: DomainName | None) -> AsyncGenerator[Event, None]:
    with manager.events.listen() as queue:
        yield Event("", "connection-established")
        while event := await queue.get():
            if only in (None, event.subject):
                yield event


def _label(request: Request) -> Label:
    name = find_label(request.argument)
    return next(label for label in LABELS if label.name == name)


METHODS: dict[str, Method] = {
    "admin.label.List": label_list,
    "admin.label.Get": label_get,
    "admin.label.Index": label_index,
    "admin.Events": events,
}
