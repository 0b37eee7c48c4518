"""What holds for every file of the tree, and what a linter has no rule for."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

import place

THIRD_PARTY = {
    "src/bento/host/drivers/qemu": {"qemu"},
    "src/bento/host/drivers/keyfile.py": {"cryptography"},
    "src/bento/host/sealing": {"cryptography"},
    "src/bento/desktop": {"PySide6"},
}
"""Who may use which package that is not Python's own. Everybody else, and all that reads a guest's bytes: none."""

NOT_OURS = re.compile(
    r"/wor[k]/|/far[m]/|/tmp/[j]/"  # paths of the machine it was written on
    r"|https?://[a-z0-9.-]*(debian|pypi|pythonhosted|npmjs)|deb\.debian[.]org|pypi[.]org"  # where packages come from
)
UNFINISHED = re.compile(r"\b(TOD[O]|FIXM[E]|XX[X]|NotImplemented(?:)Error)\b|pytest\.(mark\.)?(ski[p]|xfai[l])\b")
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
MOST_LINES = 500


def texts(tree: Path) -> Iterator[tuple[str, str]]:
    """Name and text of every file of the tree that is text."""
    for path in place.files_of(tree):
        try:
            yield path.as_posix(), (tree / path).read_text()
        except (UnicodeDecodeError, IsADirectoryError):
            continue


def modules(tree: Path, *folders: str) -> Iterator[tuple[str, ast.Module]]:
    for folder in folders:
        for path in sorted((tree / folder).rglob("*.py")):
            yield path.relative_to(tree).as_posix(), parsed(path)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def test_no_file_names_this_machine_or_a_registry(tree: Path) -> None:
    found = [(name, match[0]) for name, text in texts(tree) for match in NOT_OURS.finditer(text)]

    assert found == []


def test_nothing_is_left_for_later(tree: Path) -> None:
    python = [(name, text) for name, text in texts(tree) if name.endswith(".py")]

    assert [(name, match[0]) for name, text in python for match in UNFINISHED.finditer(text)] == []


def test_every_module_opens_with_its_rule(tree: Path) -> None:
    assert [name for name, module in modules(tree, "src", "tests", "scripts", "bench") if not opens(module)] == []


def opens(module: ast.Module) -> bool:
    return ast.get_docstring(module) is not None


def test_every_module_is_one_story(tree: Path) -> None:
    sizes = {name: len(text.splitlines()) for name, text in texts(tree) if name.startswith("src/")}

    assert {name: size for name, size in sizes.items() if size > MOST_LINES} == {}


def test_no_command_goes_through_a_shell(tree: Path) -> None:
    everything = modules(tree, "src", "tests", "scripts", "bench")

    assert [(name, line) for name, module in everything for line in shell_calls(module)] == []


@pytest.mark.parametrize("call", ["subprocess.run('ls', shell=True)", "f(shell=mood)", "os.system('ls')"])
def test_a_shell_is_seen(call: str) -> None:
    assert list(shell_calls(ast.parse(call))) == [1]


def shell_calls(module: ast.Module) -> Iterator[int]:
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            asked = [keyword.value for keyword in node.keywords if keyword.arg == "shell"]
            if ast.unparse(node.func) in SHELLS or any(ast.unparse(value) != "False" for value in asked):
                yield node.lineno


def test_only_drivers_sealing_and_the_desktop_use_what_is_not_pythons_own(tree: Path) -> None:
    strangers = [
        (name, package)
        for name, module in modules(tree, "src")
        for package in sorted(foreign_packages(module) - allowed_in(name))
    ]

    assert strangers == []


def allowed_in(name: str) -> set[str]:
    return {"bento"}.union(
        *(packages for place, packages in THIRD_PARTY.items() if name == place or name.startswith(f"{place}/"))
    )


@pytest.mark.parametrize(
    "line", ["import yaml", "import yaml.loader as y", "from yaml import load", "def f(): import yaml"]
)
def test_a_foreign_package_is_seen(line: str) -> None:
    assert foreign_packages(ast.parse(line)) == {"yaml"}


def foreign_packages(module: ast.Module) -> set[str]:
    return {name.partition(".")[0] for name in imported(module)} - sys.stdlib_module_names


def imported(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


def test_the_import_rules_are_not_walked_around(tree: Path) -> None:
    """lint-imports reads import statements: whoever imports by name stays, visibly, in the own room."""
    late = [(name, line) for name, module in modules(tree, "src") for line in late_imports(module, room_of(name))]

    assert late == []


def room_of(name: str) -> str:
    _, *folders = name.split("/")
    return ".".join(folders[: 3 if folders[1] == "host" else 2])


@pytest.mark.parametrize(
    ("call", "caught"),
    [
        ("__import__('os')", True),
        ("importlib.import_module(name)", True),
        ("import_module('bento.host.manager')", True),
        ("import_module(f'bento.cli{name}')", True),
        ("import_module(f'bento.cli.{name}')", False),
    ],
)
def test_a_late_import_out_of_the_room_is_seen(call: str, caught: bool) -> None:
    assert bool(list(late_imports(ast.parse(call), room_of("src/bento/cli/verbs.py")))) is caught


def late_imports(module: ast.Module, room: str) -> Iterator[int]:
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("__import__", "import_module")):
            target = ast.unparse(node.args[0]).removeprefix("f").strip("'\"")
            if not target.startswith(f"{room}."):
                yield node.lineno


def test_the_coverage_gate_has_no_holes(tree: Path) -> None:
    gated = [
        (name, text)
        for name, text in texts(tree)
        if name.startswith(("src/bento/wire/", "src/bento/host/policy/", "src/bento/host/contract/"))
    ]

    assert gated
    assert [name for name, text in gated if "pragma:" in text] == []


def test_the_lock_holds_all_that_is_asked_for(tree: Path) -> None:
    """`make lock` was run after pyproject.toml or dev.in changed."""
    project = tomllib.loads((tree / "pyproject.toml").read_text())["project"]
    extras = [asked for extra in project["optional-dependencies"].values() for asked in extra]
    asked = [*project["dependencies"], *extras, *requirements(tree / "requirements/dev.in")]
    locked = {line.partition("==")[0] for line in requirements(tree / "requirements/lock.txt") if "==" in line}

    assert {normal(requirement) for requirement in asked} - locked == set()


def requirements(file: Path) -> Iterable[str]:
    return [line for line in file.read_text().splitlines() if line and not line.lstrip().startswith(("#", "-"))]


def normal(requirement: str) -> str:
    """The package's name as PEP 503 writes it."""
    name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()
