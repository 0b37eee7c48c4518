"""Builds against machines that lack something, and builds that end early: nothing left that looks finished.

Nothing is downloaded here: a script of a few lines stands in for mmdebstrap, everything around it is real.
"""

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bento.host.drivers.template import builder
from bento.host.drivers.template.builder import DebianBuilder
from bento.host.drivers.template.inside import seal
from bento.host.drivers.template.manifest import File, Manifest, decode_manifest
from bento.host.model.errors import Unavailable

Install = Callable[[str], None]


@pytest.fixture
def mmdebstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a script where builds find mmdebstrap; sources and a keyring are there too."""
    programs, apt = tmp_path / "programs", tmp_path / "apt"
    programs.mkdir()
    apt.mkdir()
    (apt / "sources.list").write_text("deb http://mirror.example/debian bookworm main\n")
    monkeypatch.setattr(builder, "_PATH", f"{programs}:{builder._PATH}")
    monkeypatch.setattr(builder, "_APT", apt)

    def install(script: str) -> None:
        (programs / "mmdebstrap").write_text(f"#!/bin/sh\n{script}\n")
        (programs / "mmdebstrap").chmod(0o755)

    install("exit 0")
    return install


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "template"
    directory.mkdir()
    return directory


def build(directory: Path, config: Path | None = None) -> list[tuple[str, float | None]]:
    news: list[tuple[str, float | None]] = []
    asyncio.run(DebianBuilder(config).build("debian-12", "minimal", directory, lambda *new: news.append(new)))
    return news


def is_unfinished(directory: Path) -> bool:
    return not (directory / "manifest.json").exists() and not (directory / "root.erofs").exists()


def test_the_first_complaint_of_a_failed_installation_reaches_the_person(mmdebstrap: Install, directory: Path) -> None:
    mmdebstrap("echo 'E: Failed to fetch http://x/bash.deb  404  Not Found' >&2; echo 'E: apt failed' >&2; exit 1")
    with pytest.raises(Unavailable, match=r"could not be installed: Failed to fetch http://x/bash\.deb"):
        build(directory)
    assert is_unfinished(directory)


def test_an_installation_that_ends_without_a_word_is_reported_too(mmdebstrap: Install, directory: Path) -> None:
    mmdebstrap("exit 7")
    with pytest.raises(Unavailable, match="mmdebstrap ended with 7"):
        build(directory)


def test_progress_is_told_while_the_installation_runs(mmdebstrap: Install, directory: Path) -> None:
    mmdebstrap("echo 'I: running apt-get update...'; echo 'I: extracting archives...'; exit 1")
    news: list[tuple[str, float | None]] = []
    with pytest.raises(Unavailable):
        asyncio.run(DebianBuilder().build("debian-12", "minimal", directory, lambda *new: news.append(new)))
    assert news[0] == ("preparing", None)
    assert [phase for phase, _ in news[1:]] == ["reading package lists", "unpacking the base system"]


def test_a_build_fills_no_disk_while_it_is_unfinished(mmdebstrap: Install, directory: Path) -> None:
    """What is being installed lies in memory that only the build sees, and is gone with it."""
    mmdebstrap('for tree; do case $tree in *work/root) mkdir "$tree"; echo big >"$tree/file";; esac; done; exit 1')
    with pytest.raises(Unavailable):
        build(directory)
    assert [path for path in directory.rglob("*") if path.is_file()] == []


def test_a_missing_program_is_named_with_its_package(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "_PATH", "/nonexistent")
    with pytest.raises(Unavailable, match="mmdebstrap is missing; install it with: apt-get install mmdebstrap"):
        build(directory)
    assert list(directory.iterdir()) == []


def test_a_full_disk_is_noticed_before_the_work(
    mmdebstrap: Install, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder, "DISK_NEEDED", 1 << 60)
    with pytest.raises(Unavailable, match="MiB left and a build needs"):
        build(directory)
    assert list(directory.iterdir()) == []


def test_too_little_memory_is_noticed_before_the_work(
    mmdebstrap: Install, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder, "MEMORY_NEEDED", 1 << 60)
    with pytest.raises(Unavailable, match="MiB of memory free and a build needs"):
        build(directory)


def test_a_machine_of_another_distribution_is_told_where_to_name_a_mirror(
    mmdebstrap: Install, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "apt/sources.list").write_text("deb http://archive.ubuntu.com/ubuntu noble main\n")
    config = tmp_path / "config"
    config.mkdir()
    with pytest.raises(Unavailable, match=rf"no bookworm archive .* name one in {config}/debian-12\.list"):
        build(directory, config)
    mmdebstrap('for last; do :; done; echo "E: asked for $last"; exit 1')
    (config / "debian-12.list").write_text("deb http://mirror.example.org/d12 bookworm main\n")
    with pytest.raises(Unavailable, match=r"asked for deb http://mirror\.example\.org/d12 bookworm main$"):
        build(directory, config)


def test_a_killed_builder_takes_the_whole_build_with_it(
    mmdebstrap: Install, directory: Path, tmp_path: Path, tree: Path
) -> None:
    """`kill -9` of the process that builds: the kernel closes the last process's end of the pipe, or this hangs."""
    alive = tmp_path / "alive"
    os.mkfifo(alive)
    mmdebstrap(f'exec 9>"{alive}"; sleep infinity & echo running >&9; wait')
    script = (
        "import sys, asyncio; from pathlib import Path; from bento.host.drivers.template import builder\n"
        f"builder._PATH, builder._APT = {builder._PATH!r}, Path({str(tmp_path / 'apt')!r})\n"
        f"asyncio.run(builder.DebianBuilder().build('debian-12', 'minimal', Path({str(directory)!r}), lambda *_: None))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tree / "src")}
    with subprocess.Popen([sys.executable, "-c", script], env=environment) as run, alive.open() as pipe:
        assert pipe.readline() == "running\n"
        run.send_signal(signal.SIGKILL)
        assert pipe.read() == ""
    assert is_unfinished(directory)


def test_a_cancelled_build_ends_its_processes(mmdebstrap: Install, directory: Path, tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    os.mkfifo(alive)
    mmdebstrap(f'exec 9>"{alive}"; echo "I: running apt-get update..."; wait; sleep infinity')

    async def cancel() -> None:
        started = asyncio.Event()

        def hear(_phase: str, fraction: float | None) -> None:
            if fraction is not None:
                started.set()

        task = asyncio.create_task(DebianBuilder().build("debian-12", "minimal", directory, hear))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with os.fdopen(os.open(alive, os.O_RDONLY | os.O_NONBLOCK), "rb") as pipe:
        asyncio.run(cancel())
        os.set_blocking(pipe.fileno(), True)
        assert pipe.read() == b""
    assert is_unfinished(directory)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A finished template."""
    old = tmp_path / "old"
    old.mkdir()
    files = {name: seal(_written(old / name)) for name in ("initrd", "kernel", "modules.erofs", "root.erofs")}
    manifest = Manifest("debian-12", "minimal", "12.13", "6.1", "quiet", 1, files, {"bash": "5.2"})
    builder.write_manifest(old, manifest)
    return old


def _written(path: Path) -> Path:
    path.write_text(path.name)
    return path


def test_a_new_root_makes_a_new_version_of_the_same_template(old: Path, directory: Path) -> None:
    (directory / "root.erofs").write_bytes(b"packed by a guest")
    built = asyncio.run(DebianBuilder(clock=lambda: 7.5).derive(old, directory))
    before, after = (decode_manifest((path / "manifest.json").read_text()) for path in (old, directory))
    assert (after.digest, after.size, after.created, built.packages) == (built.digest, built.size, 7, 1)
    assert after.files["root.erofs"] == File(hashlib.sha256(b"packed by a guest").hexdigest(), 17)
    assert after.digest != before.digest
    assert all(after.files[name] == before.files[name] for name in ("initrd", "kernel", "modules.erofs"))
    for name in ("initrd", "kernel", "modules.erofs"):
        assert (directory / name).samefile(old / name)


def test_a_version_that_cannot_be_written_is_reported_in_a_sentence(old: Path, directory: Path) -> None:
    with pytest.raises(Unavailable, match="the template cannot be written: No such file"):
        asyncio.run(DebianBuilder().derive(old, directory))
    assert not (directory / "manifest.json").exists()


def test_only_flavors_that_boot_as_domains_are_offered() -> None:
    assert DebianBuilder().distributions() == {"debian-12": ("minimal",)}
