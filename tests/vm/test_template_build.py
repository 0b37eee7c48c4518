"""A real build, packages and all: what is promised of it beside that it boots, which every other test here tries."""

import asyncio
from pathlib import Path

import pytest

from bento.host.drivers.template.builder import DebianBuilder
from bento.host.drivers.template.manifest import MANIFEST, Manifest, decode_manifest
from bento.host.ports.templates import FILES
from tests.vm.template import built_template

pytestmark = [pytest.mark.vm, pytest.mark.slow]


def test_two_builds_of_the_same_packages_give_the_same_image(tmp_path: Path) -> None:
    first = decode_manifest((built_template().directory / MANIFEST).read_text())
    news: list[tuple[str, float | None]] = []
    second = built_in(tmp_path / "second", news)
    if second.packages != first.packages:  # the archive has changed since the first one was built, maybe long ago
        news.clear()
        first, second = second, built_in(tmp_path / "third", news)
    assert second.packages == first.packages
    assert second.files == first.files
    assert second.digest == first.digest
    fractions = [fraction for _, fraction in news if fraction is not None]
    assert fractions == sorted(fractions)
    assert news[-1] == ("done", 1.0)


def built_in(directory: Path, news: list[tuple[str, float | None]]) -> Manifest:
    """Of a build into a directory of its own. `news`: gets what it tells."""
    directory.mkdir()
    asyncio.run(DebianBuilder().build("debian-12", "minimal", directory, lambda *new: news.append(new)))
    assert sorted(path.name for path in directory.iterdir()) == sorted(FILES)
    return decode_manifest((directory / MANIFEST).read_text())
