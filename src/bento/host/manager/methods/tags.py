"""Tags and features: `admin.vm.tag.*`, `admin.vm.feature.*`."""

from dataclasses import replace
from functools import partial

from bento.host.manager.methods.kinds import Manager, Method, Reply, parsed, plain, subject
from bento.host.model.domain import ADMIN
from bento.host.model.errors import Kind, NoSuch
from bento.host.model.inventory import DomainRecord
from bento.wire.admin import Request
from bento.wire.names import FeatureName, Tag


async def tag_list(manager: Manager, request: Request) -> Reply:
    return "".join(f"{tag}\n" for tag in sorted(subject(manager, request).tags)).encode()


async def tag_get(manager: Manager, request: Request) -> Reply:
    return b"1" if _tag(request) in subject(manager, request).tags else b"0"


async def tag_set(manager: Manager, request: Request) -> Reply:
    record, tag = subject(manager, request), _tag(request)
    manager.inventory.put(replace(record, tags=record.tags | {tag}))
    manager.events.tell(record.name, f"domain-tag-add:{tag}", tag=tag)
    return b""


async def tag_remove(manager: Manager, request: Request) -> Reply:
    record, tag = subject(manager, request), _tag(request)
    if tag not in record.tags:
        raise NoSuch(f"'{record.name}' has no tag '{tag}'", Kind.TAG)
    manager.inventory.put(replace(record, tags=record.tags - {tag}))
    manager.events.tell(record.name, f"domain-tag-delete:{tag}", tag=tag)
    return b""


async def feature_list(manager: Manager, request: Request) -> Reply:
    return "".join(f"{name}\n" for name in sorted(subject(manager, request).features)).encode()


async def feature_get(manager: Manager, request: Request, *, also: tuple[str, ...] = ()) -> Reply:
    """The feature's value; of the first that has it: the domain, then those in `also` (template, adminvm)."""
    record, name = subject(manager, request), _feature(request)
    candidates: list[DomainRecord] = [record]
    if "template" in also and record.domain.template:
        candidates.append(manager.inventory.get(record.domain.template))
    if "adminvm" in also:
        candidates.append(manager.inventory.get(ADMIN))
    for candidate in candidates:
        if name in candidate.features:
            return candidate.features[name].encode()
    raise NoSuch(f"'{record.name}' has no feature '{name}'", Kind.FEATURE)


async def feature_set(manager: Manager, request: Request) -> Reply:
    record, name, value = subject(manager, request), _feature(request), plain(request.payload)
    manager.inventory.put(replace(record, features={**record.features, name: value}))
    manager.events.tell(record.name, f"domain-feature-set:{name}", feature=name, value=value)
    return b""


async def feature_remove(manager: Manager, request: Request) -> Reply:
    record, name = subject(manager, request), _feature(request)
    if name not in record.features:
        raise NoSuch(f"'{record.name}' has no feature '{name}'", Kind.FEATURE)
    kept = {key: value for key, value in record.features.items() if key != name}
    manager.inventory.put(replace(record, features=kept))
    manager.events.tell(record.name, f"domain-feature-delete:{name}", feature=name)
    return b""


def _tag(request: Request) -> Tag:
    return parsed(Tag.parse, request.argument)


def _feature(request: Request) -> FeatureName:
    return parsed(FeatureName.parse, request.argument)


METHODS: dict[str, Method] = {
    "admin.vm.tag.List": tag_list,
    "admin.vm.tag.Get": tag_get,
    "admin.vm.tag.Set": tag_set,
    "admin.vm.tag.Remove": tag_remove,
    "admin.vm.feature.List": feature_list,
    "admin.vm.feature.Get": feature_get,
    "admin.vm.feature.CheckWithTemplate": partial(feature_get, also=("template",)),
    "admin.vm.feature.CheckWithNetvm": feature_get,  # no domain has a netvm
    "admin.vm.feature.CheckWithAdminVM": partial(feature_get, also=("adminvm",)),
    "admin.vm.feature.CheckWithTemplateAndAdminVM": partial(feature_get, also=("template", "adminvm")),
    "admin.vm.feature.Set": feature_set,
    "admin.vm.feature.Remove": feature_remove,
}
