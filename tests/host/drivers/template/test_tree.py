"""What a distribution's root becomes: Bento's half added, every trace of the build taken away."""

import marshal
import os
import struct
import subprocess
import sys
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import pytest

from bento.host.drivers.template import tree as root


@pytest.fixture
def package(tmp_path: Path, tree: Path) -> Path:
    """A small Bento: one command, one service, and a host's half that must stay where it is."""
    package = tmp_path / "bento"
    for name, text in {
        "__init__.py": "VERSION = 1\n",
        "wire/names.py": "",
        "host/manager/secret.py": "",
        "guest/__main__.py": "import sys\nprint('agent', sys.argv[1:])\n",
        "guest/commands/copy.py": 'COMMANDS = ("qvm-copy", "qvm-move")\n',
        "guest/commands/common.py": "",
        "guest/services/filecopy.py": 'SERVICE = "qubes.Filecopy"\nraise SystemExit("imported")\n',
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    (package / "guest/boot").symlink_to(tree / "src/bento/guest/boot")
    return package


def test_the_guest_half_is_installed_and_nothing_of_the_host(tmp_path: Path, package: Path) -> None:
    root.add_guest_half(tmp_path / "root", package)
    home = tmp_path / "root" / root.HOME / "bento"
    assert {str(path.relative_to(home)) for path in home.rglob("*.py")} == {
        "__init__.py",
        "wire/names.py",
        "guest/__main__.py",
        "guest/commands/copy.py",
        "guest/commands/common.py",
        "guest/services/filecopy.py",
    }


def test_commands_and_services_stand_where_people_and_calls_look_for_them(tmp_path: Path, package: Path) -> None:
    root.add_guest_half(tmp_path / "root", package)
    for path, module in {
        "usr/bin/qvm-copy": "bento.guest.commands.copy",
        "usr/bin/qvm-move": "bento.guest.commands.copy",
        "etc/qubes-rpc/qubes.Filecopy": "bento.guest.services.filecopy",
    }.items():
        launcher = tmp_path / "root" / path
        assert launcher.read_text() == f"#!/usr/lib/bento/run {module}\n"
        assert os.access(launcher, os.X_OK)
    assert len(list((tmp_path / "root/usr/bin").iterdir())) == 2


def test_scripts_of_the_field_find_the_command_for_calls_where_they_look(tmp_path: Path, package: Path) -> None:
    root.add_guest_half(tmp_path / "root", package)
    root.add_guest_half(tmp_path / "root", package)
    for name in ("qrexec-client-vm", "qrexec_client_vm"):
        place = tmp_path / "root/usr/lib/qubes" / name
        assert (place.parent / place.readlink()).resolve() == tmp_path / "root/usr/bin/qrexec-client-vm"


def test_installing_it_again_leaves_nothing_of_the_old_half(tmp_path: Path, package: Path) -> None:
    root.add_guest_half(tmp_path / "root", package)
    (package / "wire/names.py").rename(package / "wire/other.py")
    root.add_guest_half(tmp_path / "root", package)
    assert not (tmp_path / "root" / root.HOME / "bento/wire/names.py").exists()


def test_a_launched_program_sees_its_own_name_and_its_callers_arguments(tmp_path: Path, package: Path) -> None:
    root.add_guest_half(tmp_path / "root", package)
    home = tmp_path / "root" / root.HOME
    script = (home / "run").read_text().replace('home = "/usr/lib/bento"', f'home = "{home}"')
    assert str(home) in script
    (tmp_path / "run").write_text(script)
    (tmp_path / "bento").rename(tmp_path / "elsewhere")
    (tmp_path / "sys.py").write_text("raise SystemExit('a module from the working directory')")
    ran = subprocess.run(
        [sys.executable, "-IS", tmp_path / "run", "bento.guest.__main__", "/usr/lib/bento/agent", "one", "two"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert ran.stdout == "agent ['one', 'two']\n"


def test_traces_of_the_build_are_taken_away(tmp_path: Path) -> None:
    for name in (
        "etc/passwd", "etc/passwd-", "etc/machine-id", "etc/resolv.conf", "etc/apt/apt.conf.d/99mmdebstrap",
        "etc/apt/apt.conf.d/01autoremove", "var/log/dpkg.log", "var/log/apt/history.log", "var/lib/dpkg/status",
        "var/lib/dpkg/status-old", "var/lib/apt/lists/partial/x", "var/cache/ldconfig/aux-cache", "tmp/x", "dev/null",
        "boot/initrd.img",
    ):  # fmt: skip  # a list to be read across
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "usr").mkdir()
    root.clean(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {
        "etc/passwd",
        "etc/machine-id",
        "etc/apt/apt.conf.d/01autoremove",
        "var/lib/dpkg/status",
    }
    assert (tmp_path / "etc/machine-id").read_text() == ""
    assert (tmp_path / "var/log/apt").is_dir()


def test_compiled_modules_are_fresh_in_an_image_whose_files_all_have_one_time(tmp_path: Path) -> None:
    source = tmp_path / "usr/lib/python3/thing.py"
    cache = source.parent / f"__pycache__/thing.{sys.implementation.cache_tag}.pyc"
    cache.parent.mkdir(parents=True)
    source.write_text("raise SystemExit('compiled anew')\n")
    code = marshal.dumps(compile("FROM_CACHE = True", "thing.py", "exec"))
    cache.write_bytes(MAGIC_NUMBER + struct.pack("<I", 0b11) + b"12345678" + code)
    orphan = cache.with_name("orphan.pyc")
    orphan.write_bytes(b"left as it is")
    root.settle_python_caches(tmp_path / "usr")
    os.utime(source, (root.EPOCH, root.EPOCH))
    ran = subprocess.run(
        [sys.executable, "-c", "import thing; print(thing.FROM_CACHE)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=source.parent,
    )
    assert ran.stdout == "True\n"
    assert orphan.read_bytes() == b"left as it is"


def test_what_modules_declare_is_read_without_running_them(package: Path) -> None:
    assert root.declared(package / "guest/services", "SERVICE") == {"filecopy": ("qubes.Filecopy",)}
    assert root.declared(package / "guest/commands", "COMMANDS") == {"copy": ("qvm-copy", "qvm-move")}
