"""Properties: `admin.vm.property.*`, and `admin.property.*` for those of the whole system.

Some are the domain itself (its name, class, label, template); the others are
in the table of `manager/properties.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from bento.host.manager import properties as table
from bento.host.manager.methods.domains import (
    default_template,
    find_disposable_template,
    find_label,
    find_template,
    require_halted,
)
from bento.host.manager.methods.kinds import Manager, Method, Reply, plain, subject
from bento.host.model.domain import ADMIN, DomainClass
from bento.host.model.errors import Invalid, Kind, NoSuch, Refused
from bento.host.model.inventory import DomainRecord
from bento.wire.admin import Request
from bento.wire.names import DomainName


@dataclass(frozen=True, slots=True)
class Shown:
    """A property as it stands: the Admin API's type word, its value, whether that is the default."""

    kind: str
    value: str
    default: bool


@dataclass(frozen=True, slots=True)
class Own:
    """A property that is part of the domain, or whose value is another domain.

    `change` gives the record with a new value; None: it cannot be changed. One that is `settable` stands among the
    record's properties once it was set, and has a default to go back to.
    """

    kind: str
    help: str
    get: Callable[[Manager, DomainRecord], str]
    change: Callable[[Manager, DomainRecord, str], DomainRecord] | None = None
    classes: frozenset[DomainClass] = frozenset(DomainClass)
    settable: bool = False


def _set_label(manager: Manager, record: DomainRecord, value: str) -> DomainRecord:
    return replace(record, domain=replace(record.domain, label=find_label(value)))


def _set_template(manager: Manager, record: DomainRecord, value: str) -> DomainRecord:
    if record.domain.klass is DomainClass.DISPOSABLE:
        raise Refused(f"'{record.name}' is a disposable; make another one from another template")
    manager.inventory.require_unused(record.name)
    require_halted(manager, record, "change its template")
    return replace(record, domain=replace(record.domain, template=find_template(manager, value)))


def require_netvm(value: str) -> None:
    """Raises `Invalid` unless a domain may have it as its netvm."""
    if value.lower() not in ("", "none"):
        raise Invalid("no domain provides network in this version of Bento; a domain's netvm is none")


def _set_netvm(manager: Manager, record: DomainRecord, value: str) -> DomainRecord:
    require_netvm(value)
    return record


def _set_default_dispvm(manager: Manager, record: DomainRecord, value: str) -> DomainRecord:
    chosen = "" if value in ("", "None") else find_disposable_template(manager, value)
    return replace(record, properties={**record.properties, "default_dispvm": chosen})


OWN: Mapping[str, Own] = {
    "name": Own("str", "Name of the domain.", lambda m, r: r.name),
    "klass": Own("str", "Class of the domain.", lambda m, r: r.domain.klass),
    "uuid": Own("str", "Never changes, and no other domain has it.", lambda m, r: str(r.domain.uuid)),
    "qid": Own("int", "Number of the domain in this home; 0 is the admin domain.", lambda m, r: str(r.slot)),
    "label": Own("label", "Colour that says how far the domain is trusted.", lambda m, r: r.domain.label, _set_label),
    "template": Own(
        "vm",
        "Template whose image is the domain's root.",
        lambda m, r: r.domain.template or "",
        _set_template,
        frozenset({DomainClass.APP, DomainClass.DISPOSABLE}),
    ),
    "netvm": Own(
        "vm", "Domain that gives it network; none in this version.", lambda m, r: "", _set_netvm, table.RUNNABLE
    ),
    "default_dispvm": Own(
        "vm",
        "Domain that disposables are made from which this one asks for.",
        lambda m, r: m.inventory.default_dispvm(r) or "",
        _set_default_dispvm,
        table.RUNNABLE,
        settable=True,
    ),
}


@dataclass(frozen=True, slots=True)
class System:
    """A property of the whole system; its value is a domain, and kept with the admin domain."""

    help: str
    get: Callable[[Manager], DomainName | None]
    find: Callable[[Manager, str], DomainName]


SYSTEM: Mapping[str, System] = {
    "default_template": System("Template of new domains when none is named.", default_template, find_template),
    "default_dispvm": System(
        "Domain that disposables are made from when neither the policy nor the one who asks names another.",
        lambda manager: manager.inventory.default_dispvm(manager.inventory.get(ADMIN)),
        find_disposable_template,
    ),
}


def show(manager: Manager, record: DomainRecord, name: str) -> Shown:
    own = OWN.get(name)
    if own and record.domain.klass in own.classes:
        is_default = name not in record.properties if own.settable else name == "netvm"
        return Shown(own.kind, own.get(manager, record), default=is_default)
    found = table.find(record, name)
    return Shown(found.kind, table.text(record, name), default=name not in record.properties)


def all_names(record: DomainRecord) -> list[str]:
    own = [name for name, p in OWN.items() if record.domain.klass in p.classes]
    return own + [name for name, p in table.PROPERTIES.items() if record.domain.klass in p.classes]


async def list_names(manager: Manager, request: Request) -> Reply:
    return "".join(f"{name}\n" for name in all_names(subject(manager, request))).encode()


async def get(manager: Manager, request: Request) -> Reply:
    return _words(show(manager, subject(manager, request), request.argument)).encode()


async def get_all(manager: Manager, request: Request) -> Reply:
    record = subject(manager, request)
    return "".join(
        f"{name} {_words(show(manager, record, name), escape=True)}\n" for name in all_names(record)
    ).encode()


async def get_default(manager: Manager, request: Request) -> Reply:
    record, name = subject(manager, request), request.argument
    if name in OWN:
        show(manager, record, name)
        if OWN[name].settable:
            return f"type={OWN[name].kind} {OWN[name].get(manager, _without(record, name))}".encode()
        return b""  # as in the field: no default, an empty answer
    found = table.find(record, name)
    return f"type={found.kind} {found.default}".encode()


async def help_text(manager: Manager, request: Request) -> Reply:
    record, name = subject(manager, request), request.argument
    show(manager, record, name)
    return (OWN[name].help if name in OWN else table.PROPERTIES[name].help).encode()


async def set_value(manager: Manager, request: Request) -> Reply:
    record, name, value = subject(manager, request), request.argument, plain(request.payload)
    show(manager, record, name)
    if name in OWN:
        change = OWN[name].change
        if change is None:
            raise Refused(f"property '{name}' of '{record.name}' cannot be changed")
        changed = change(manager, record, value)
    else:
        try:
            kept = table.find(record, name).check(value)
        except Invalid as error:
            raise Invalid(f"property '{name}' of '{record.name}' {error}") from None
        changed = replace(record, properties={**record.properties, name: kept})
    _put(manager, changed)
    manager.events.tell(record.name, f"property-set:{name}", name=name, newvalue=show(manager, changed, name).value)
    return b""


async def reset(manager: Manager, request: Request) -> Reply:
    record, name = subject(manager, request), request.argument
    show(manager, record, name)
    if name in OWN and not OWN[name].settable:
        raise Refused(f"property '{name}' of '{record.name}' has no default to go back to")
    _put(manager, _without(record, name))
    manager.events.tell(record.name, f"property-reset:{name}", name=name)
    return b""


def _put(manager: Manager, changed: DomainRecord) -> None:
    if changed.domain.klass is DomainClass.APP and not table.makes_disposables(changed):
        manager.inventory.require_unused(changed.name)
    manager.inventory.put(changed)


def _without(record: DomainRecord, name: str) -> DomainRecord:
    return replace(record, properties={key: value for key, value in record.properties.items() if key != name})


async def system_list(manager: Manager, request: Request) -> Reply:
    return "".join(f"{name}\n" for name in SYSTEM).encode()


async def system_get(manager: Manager, request: Request) -> Reply:
    return _words(_show_system(manager, _system_name(request))).encode()


async def system_get_all(manager: Manager, request: Request) -> Reply:
    return "".join(f"{name} {_words(_show_system(manager, name), escape=True)}\n" for name in SYSTEM).encode()


async def system_help(manager: Manager, request: Request) -> Reply:
    return SYSTEM[_system_name(request)].help.encode()


async def system_get_default(manager: Manager, request: Request) -> Reply:
    _system_name(request)
    return b"type=vm "  # none of them has one


async def system_set(manager: Manager, request: Request) -> Reply:
    """To nothing, too, which is what it is by default."""
    name, value = _system_name(request), plain(request.payload)
    record = _without(manager.inventory.get(ADMIN), name)
    if value and value != "None":
        value = SYSTEM[name].find(manager, value)
        record = replace(record, properties={**record.properties, name: value})
    else:
        value = ""
    manager.inventory.put(record)
    manager.events.tell("", f"property-set:{name}", name=name, newvalue=value)
    return b""


async def system_reset(manager: Manager, request: Request) -> Reply:
    name = _system_name(request)
    record = manager.inventory.get(ADMIN)
    manager.inventory.put(_without(record, name))
    manager.events.tell("", f"property-reset:{name}", name=name)
    return b""


def _system_name(request: Request) -> str:
    if request.argument not in SYSTEM:
        raise NoSuch(f"there is no system property '{request.argument}'; there are: {', '.join(SYSTEM)}", Kind.PROPERTY)
    return request.argument


def _show_system(manager: Manager, name: str) -> Shown:
    value = SYSTEM[name].get(manager)
    return Shown("vm", value or "", default=value is None)


def _words(shown: Shown, *, escape: bool = False) -> str:
    value = shown.value.replace("\\", "\\\\").replace("\n", "\\n") if escape else shown.value
    return f"default={shown.default} type={shown.kind} {value}"


METHODS: dict[str, Method] = {
    "admin.vm.property.List": list_names,
    "admin.vm.property.Get": get,
    "admin.vm.property.GetAll": get_all,
    "admin.vm.property.GetDefault": get_default,
    "admin.vm.property.Help": help_text,
    "admin.vm.property.Set": set_value,
    "admin.vm.property.Reset": reset,
    "admin.property.List": system_list,
    "admin.property.Get": system_get,
    "admin.property.GetAll": system_get_all,
    "admin.property.GetDefault": system_get_default,
    "admin.property.Help": system_help,
    "admin.property.Set": system_set,
    "admin.property.Reset": system_reset,
}
