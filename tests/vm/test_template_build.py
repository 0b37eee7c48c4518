"""A real build, packages and all: what is promised of it beside that it boots, which every other test here tries."""

import asyncio
from pathlib import Path

import pytest

from bento.host.drivers.template.builder import DebianBuilder
from bento.host.drivers.template.manifest import MANIFEST, decode_manifest
from bento.host.ports.templates import FILES
from tests.vm.template import built_template

pytestmark = [pytest.mark.vm, pytest.mark.slow]


def test_two_builds_of_the_same_packages_give_the_same_image(tmp_path: Path) -> None:
    """If this fails with different packages, the archive has changed since the first build; remove the cached one."""
    first = decode_manifest((built_template().directory / MANIFEST).read_text())
    news: list[tuple[str, float | None]] = []
    asyncio.run(DebianBuilder().build("debian-12", "minimal", tmp_path, lambda *new: news.append(new)))
    second = decode_manifest((tmp_path / MANIFEST).read_text())
    assert second.packages == first.packages
    assert second.files == first.files
    assert second.digest == first.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    fractions = [fraction for _, fraction in news if fraction is not None]
    assert fractions == sorted(fractions)
    assert news[-1] == ("done", 1.0)
