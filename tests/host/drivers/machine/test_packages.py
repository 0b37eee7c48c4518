"""The one list of packages: read by the doctor, and by make on a machine that has nothing but python3."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

import bento
from bento.host.drivers.machine import packages
from bento.host.drivers.machine.software import query_packages

ALL = "\n".join(f"{package.name}\tinstalled" for package in packages.REQUIRED)


def test_nothing_is_missing_where_all_is_installed() -> None:
    assert packages.missing_from(ALL) == ()


def test_what_dpkg_does_not_know_is_missing() -> None:
    assert packages.missing_from("") == packages.REQUIRED


@pytest.mark.parametrize("status", ["config-files", "not-installed", "half-configured", "unpacked", ""])
def test_a_package_that_is_not_fully_installed_is_missing(status: str) -> None:
    report = ALL.replace("bubblewrap\tinstalled", f"bubblewrap\t{status}")
    assert [package.name for package in packages.missing_from(report)] == ["bubblewrap"]


@pytest.mark.parametrize("other", ["before", "after"])
def test_one_installed_architecture_is_enough(other: str) -> None:
    foreign = "bubblewrap\tconfig-files"
    report = f"{foreign}\n{ALL}" if other == "before" else f"{ALL}\n{foreign}"
    assert packages.missing_from(report) == ()


def test_lines_that_are_no_entries_are_passed_over() -> None:
    assert packages.missing_from(f"garbage\n\n{ALL}\nbubblewrap") == ()


def test_each_package_stands_once_and_has_a_reason() -> None:
    listed = [package.name for package in packages.REQUIRED]
    assert len(set(listed)) == len(listed)
    assert all(package.reason for package in packages.REQUIRED)


def test_one_command_installs_what_is_missing() -> None:
    command = packages.install_command(packages.REQUIRED[:2])
    assert command == "sudo apt-get install --yes --no-install-recommends qemu-system-x86 bubblewrap"


def test_it_runs_on_a_bare_python_and_asks_the_dpkg_in_the_path(tmp_path: Path) -> None:
    fake_dpkg(tmp_path, "printf 'uidmap\\tinstalled\\n'; exit 1")
    done = run_bare(tmp_path)
    assert done.returncode == 0
    assert done.stdout.split() == [package.name for package in packages.REQUIRED if package.name != "uidmap"]


def test_the_command_form_prints_the_command(tmp_path: Path) -> None:
    fake_dpkg(tmp_path, "exit 1")
    assert run_bare(tmp_path, "--command").stdout.strip() == packages.install_command(packages.REQUIRED)


def test_with_all_installed_both_forms_print_nothing(tmp_path: Path) -> None:
    fake_dpkg(tmp_path, f"cat <<END\n{ALL}\nEND")
    for arguments in ((), ("--command",)):
        done = run_bare(tmp_path, *arguments)
        assert (done.returncode, done.stdout) == (0, "")


def test_without_dpkg_one_sentence_names_what_to_install(tmp_path: Path) -> None:
    done = run_bare(tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "mmdebstrap" in done.stderr


def test_the_doctor_and_the_makefile_get_the_same_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_dpkg(tmp_path, "printf 'uidmap\\tinstalled\\n'; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = packages.missing_packages()
    assert missing == tuple(package for package in packages.REQUIRED if package.name != "uidmap")
    assert asyncio.run(query_packages()) == missing


def test_a_dpkg_that_breaks_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_dpkg(tmp_path, "exit 2")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert isinstance(asyncio.run(query_packages()), packages.NoPackageManager)


def test_an_unknown_argument_is_a_usage_error(tmp_path: Path) -> None:
    assert run_bare(tmp_path, "--install").returncode == 2


def fake_dpkg(directory: Path, script: str) -> None:
    program = directory / "dpkg-query"
    program.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
    program.chmod(0o755)


def run_bare(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As on a fresh machine: no site packages (-S), no environment but the search path."""
    source = os.path.dirname(os.path.dirname(bento.__file__))
    return subprocess.run(
        [sys.executable, "-S", "-m", packages.__name__, *arguments],
        env={"PATH": str(path), "PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
