"""A home with a template that was built before, as a build of its manager's would have left it."""

import contextlib
import shutil
import time
from pathlib import Path
from uuid import uuid4

from bento.host.drivers.sqlite import SqliteStore
from bento.host.drivers.template.manifest import MANIFEST, decode_manifest
from bento.host.model.domain import Domain, DomainClass
from bento.host.model.inventory import DomainRecord, TemplateVersion
from bento.host.ports.templates import FILES
from bento.wire.names import DomainName, LabelName
from tests.vm.template import built_template


def furnish(home: Path, name: str = "debian-12") -> None:
    """The template `name`, version 1. No manager may hold the home yet."""
    built = built_template().directory
    directory = home / "templates" / name / "1"
    directory.mkdir(parents=True)
    for file in FILES:
        shutil.copyfile(built / file, directory / file)
    manifest = decode_manifest((built / MANIFEST).read_text())
    domain = Domain(uuid4(), DomainName(name), DomainClass.TEMPLATE, LabelName("black"), None)
    version = TemplateVersion(
        domain.name, 1, manifest.digest, manifest.size, time.time(), manifest.flavor, len(manifest.packages)
    )
    (home / "domains" / str(domain.uuid)).mkdir(parents=True)
    with contextlib.closing(SqliteStore(home / "bento.db")) as store:
        store.put(DomainRecord(domain, slot=1, base=1), version=version)
