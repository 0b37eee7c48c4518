"""The house's import rules: the real tree keeps them, and lint-imports catches each deliberate violation.

A violation is a line in an otherwise empty copy of the house: every room, with
one empty module `probe` in it. So what a test sees is the contract objecting to
that line, whatever the real code imports.
"""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import grimp
import pytest

MAY_IMPORT = {
    "bento.wire": (),
    "bento.guest": ("bento.wire",),
    "bento.cli": ("bento.wire",),
    "bento.desktop": ("bento.wire",),
    "bento.host.jail": ("bento.wire",),
    "bento.host.broker": ("bento.host.jail", "bento.wire"),
    "bento.host.service": ("bento.host.jail", "bento.wire"),
    "bento.host.sealing": ("bento.host.jail", "bento.host.disk", "bento.wire"),
    "bento.host.disk": (),
    "bento.host.model": ("bento.wire",),
    "bento.host.policy": ("bento.host.model", "bento.wire"),
    "bento.host.contract": ("bento.host.model", "bento.wire"),
    "bento.host.ports": ("bento.host.model", "bento.wire"),
    "bento.host.drivers": (
        "bento.host.disk",
        "bento.host.ports",
        "bento.host.policy",
        "bento.host.contract",
        "bento.host.model",
        "bento.wire",
    ),
    "bento.host.manager": (
        "bento.host.disk",
        "bento.host.ports",
        "bento.host.policy",
        "bento.host.contract",
        "bento.host.model",
        "bento.wire",
    ),
}
"""Rules 1 to 4, room by room. What the manager's `__main__` may do more has a test of its own."""

PURE = ("bento.wire", "bento.host.model", "bento.host.policy", "bento.host.contract")
EFFECTS = ("os", "socket", "subprocess", "threading", "asyncio", "time", "random")


class House:
    """An empty copy of the package tree, and lint-imports with the real tree's contracts."""

    def __init__(self, folder: Path, tree: Path) -> None:
        self._folder, self._config = folder, tree / "pyproject.toml"
        for room in MAY_IMPORT:
            self.write(f"{room}.probe", "")
        self.write("bento.host.manager.__main__", "")

    def write(self, module: str, *lines: str) -> None:
        *packages, name = module.split(".")
        folder = self._folder
        for package in packages:
            folder /= package
            folder.mkdir(exist_ok=True)
            (folder / "__init__.py").touch()
        (folder / f"{name}.py").write_text("\n".join(lines))

    def lint(self) -> tuple[bool, str]:
        """Whether all contracts are kept, and what lint-imports printed."""
        return lint_imports(self._folder, self._config)


def lint_imports(folder: Path, config: Path) -> tuple[bool, str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo", "--config", str(config)]
    environment = {"PATH": os.environ["PATH"], "COLUMNS": "500"}  # wide: no line is broken in two
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert "Contracts:" in done.stdout, done.stdout + done.stderr
    return done.returncode == 0, done.stdout


def imports_of(targets: Iterable[str]) -> list[str]:
    return [f"import {target}" for target in targets]


deliberate = pytest.mark.slow
"""A violation on purpose takes a run of lint-imports of its own, and what it shows changes with the rules only."""


@pytest.fixture
def house(tmp_path: Path, tree: Path) -> House:
    return House(tmp_path, tree)


def test_the_real_tree_keeps_every_rule(tree: Path) -> None:
    kept, report = lint_imports(tree / "src", tree / "pyproject.toml")

    assert kept, report


@deliberate
def test_what_the_house_allows_breaks_no_contract(house: House) -> None:
    for room, allowed in MAY_IMPORT.items():
        house.write(f"{room}.probe", *imports_of(f"{other}.probe" for other in allowed))
    house.write("bento.host.manager.__main__", *imports_of(f"bento.host.{room}.probe" for room in ("drivers", "jail")))

    kept, report = house.lint()

    assert kept, report


@deliberate
@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_no_room_but_those_below_it(house: House, room: str) -> None:
    forbidden = [f"{other}.probe" for other in MAY_IMPORT if other not in (room, *MAY_IMPORT[room])]
    house.write(f"{room}.probe", *imports_of(forbidden))

    kept, report = house.lint()

    assert not kept
    assert [other for other in forbidden if f"{room}.probe -> {other}" not in report] == []


@deliberate
def test_a_screen_is_apart_from_its_siblings_from_its_first_line(house: House) -> None:
    house.write("bento.host.screen.probe", "import bento.host.broker.probe")

    kept, report = house.lint()

    assert not kept
    assert "bento.host.screen.probe -> bento.host.broker.probe" in report


@deliberate
@pytest.mark.parametrize("hidden", ["    import bento.host.drivers.probe", "    from bento.host.drivers import probe"])
def test_the_manager_names_no_driver_inside_a_function_either(house: House, hidden: str) -> None:
    house.write("bento.host.manager.probe", "def start() -> None:", hidden)

    kept, report = house.lint()

    assert not kept
    assert "bento.host.manager.probe -> bento.host.drivers.probe" in report


@deliberate
@pytest.mark.parametrize("room", PURE)
def test_a_pure_room_touches_nothing_outside(house: House, room: str) -> None:
    house.write(f"{room}.probe", *imports_of(EFFECTS))

    kept, report = house.lint()

    assert not kept
    assert [effect for effect in EFFECTS if f"{room}.probe -> {effect}" not in report] == []


@deliberate
@pytest.mark.parametrize("line", ["from os import path", "import os.path", "def late():\n    import os"])
def test_a_pure_room_finds_no_side_door(house: House, line: str) -> None:
    house.write("bento.wire.probe", line)

    kept, report = house.lint()

    assert not kept
    assert "bento.wire.probe -> os" in report


@deliberate
def test_two_modules_of_one_room_form_no_cycle(house: House) -> None:
    house.write("bento.wire.probe", "import bento.wire.other")
    house.write("bento.wire.other", "import bento.wire.probe")

    kept, report = house.lint()

    assert not kept
    assert "No cycles are allowed in bento.wire." in report


@deliberate
def test_two_folders_form_no_cycle_through_different_modules(house: House) -> None:
    house.write("bento.host.drivers.one.probe", "import bento.host.drivers.two.probe")
    house.write("bento.host.drivers.two.other", "import bento.host.drivers.one.other")
    house.write("bento.host.drivers.one.other", "")
    house.write("bento.host.drivers.two.probe", "")

    kept, report = house.lint()

    assert not kept
    assert "No cycles are allowed in bento.host.drivers." in report


def test_no_real_module_imports_itself_by_a_detour() -> None:
    assert detours(grimp.build_graph("bento", cache_dir=None)) == []


def test_a_detour_through_a_package_is_seen() -> None:
    # The contract compares siblings, so a package and its own child escape it.
    graph = grimp.ImportGraph()
    graph.add_import(importer="bento.wire", imported="bento.wire.probe")
    graph.add_import(importer="bento.wire.probe", imported="bento.wire")

    assert ("bento.wire", "bento.wire.probe") in detours(graph)


def detours(graph: grimp.ImportGraph) -> list[tuple[str, str]]:
    """The imports (importer, imported) that close a circle."""
    return [
        (importer, imported)
        for importer in sorted(graph.modules)
        for imported in sorted(graph.find_modules_directly_imported_by(importer))
        if graph.chain_exists(importer=imported, imported=importer)
    ]
