"""`make tcb`: which files of each trusted process read what a guest wrote, and how many lines of code they are.

Nothing of it is kept by hand:

- A *process* is a room with a `__main__`, outside of `bento.guest`: all modules of that room and what they import.
- A *door* is a `Codec` of `bento.wire` that knows a message which a guest may send. Through doors, bytes of a guest
  (or of a broker, which is believed no more) become values; past them they are names, numbers and payloads. So is a
  module of `bento.wire` with a function that takes a frame apart by hand: one that is given its `untrusted_tag`.
- A *reader* is a module of the process, `bento.wire` left out, that uses a door or makes a `Codec` of its own; and in a
  process that confines itself (it is there for what guests write) also one that names anything `untrusted...`, as all
  of Bento calls a peer's bytes until they are parsed.
- *What reads* is the readers and everything of Bento that they import, directly or not. So code is out of it only if
  no reader can call it: a new import in a relay raises the count by all that the import brings.
- A reader reads *calls* if it imports, directly or not, the messages of calls (`bento.wire.rpc`) or a module that takes
  frames apart by hand. Others (a console) are listed apart.

A line of code is a line that is not blank, comment, docstring or import statement (what is imported is counted where
it stands). The lines with imports are shown beside.
"""

import argparse
import ast
import io
import json
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from inspect import isfunction, signature
from pathlib import Path
from pkgutil import iter_modules

import grimp

import bento
import bento.wire
from bento.wire.layout import Codec, Sender

SOURCE = Path(bento.__file__).parents[1]
CALLS = "bento.wire.rpc"
CONFINEMENT = "bento.host.jail.profiles"
NO_CODE = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
}


@dataclass(frozen=True, slots=True)
class File:
    path: str
    lines: int
    lines_with_imports: int


@dataclass(frozen=True, slots=True)
class Process:
    """One trusted process: the files that read calls, and those that read something else of a guest's."""

    name: str
    calls: tuple[File, ...]
    others: tuple[File, ...]

    @property
    def lines(self) -> int:
        """Of what reads calls."""
        return sum(file.lines for file in self.calls)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make tcb", description="What reads a guest's bytes, process by process.")
    parser.add_argument("--json", action="store_true")
    processes = list(measure(grimp.build_graph("bento", cache_dir=None), SOURCE))
    if parser.parse_args().json:
        print(json.dumps([asdict(process) for process in processes], indent=2))
        return 0
    for process in processes:
        print(f"{process.name}")
        for what, files in (("calls", process.calls), ("other than calls", process.others)):
            for file in files:
                print(f"  {file.lines:5}  {file.lines_with_imports:5}  {file.path}")
            total, with_imports = sum(file.lines for file in files), sum(file.lines_with_imports for file in files)
            print(f"  {total:5}  {with_imports:5}  in all, {what}\n")
    print("Lines of code without and with import statements; see scripts/tcb.py for what is counted and why.")
    return 0


def measure(graph: grimp.ImportGraph, source: Path) -> Iterator[Process]:
    """All trusted processes of the tree below `source`, whose imports `graph` knows."""
    doors = {name for name, codec in codecs() if is_door(codec)}
    by_hand = set(modules_by_hand())
    for main in sorted(name for name in graph.modules if name.endswith(".__main__")):
        room = main.removesuffix(".__main__")
        if room.startswith("bento.guest"):
            continue
        members = {module for module in graph.modules if module == room or module.startswith(f"{room}.")}
        loaded = {module for module in closure(graph, members) if not module.startswith("bento.wire")}
        confined = bool(graph.find_modules_that_directly_import(CONFINEMENT) & members)
        readers = {
            module
            for module in loaded
            if reads(path_of(module, source).read_text(), doors, confined=confined)
            or by_hand & graph.find_modules_directly_imported_by(module)
        }
        of_calls = {module for module in readers if closure(graph, [module]) & {CALLS, *by_hand}}
        calls = closure(graph, of_calls)
        others = closure(graph, readers - of_calls) - calls
        yield Process(room, tuple(files(calls, source)), tuple(files(others, source)))


def codecs() -> Iterator[tuple[str, Codec]]:
    """Every codec of the wire, by the name it has there."""
    for found in iter_modules(bento.wire.__path__, "bento.wire."):
        for name, value in vars(import_module(found.name)).items():
            if isinstance(value, Codec):
                yield name, value


def modules_by_hand() -> Iterator[str]:
    """The wire's modules that decode without a codec."""
    for found in iter_modules(bento.wire.__path__, "bento.wire."):
        functions = [value for value in vars(import_module(found.name)).values() if isfunction(value)]
        if any("untrusted_tag" in signature(function).parameters for function in functions):
            yield found.name


def is_door(codec: Codec) -> bool:
    return any(kind.SENDER & Sender.GUEST for kind in codec._by_tag.values())


def closure(graph: grimp.ImportGraph, modules: Iterable[str]) -> set[str]:
    """The modules and all that they import."""
    found = {*modules}
    left = [*found]
    while left:
        new = graph.find_modules_directly_imported_by(left.pop()) - found
        found |= new
        left += new
    return found


def reads(text: str, doors: set[str], *, confined: bool) -> bool:
    """Whether a module with this text is a reader."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name) | ast.arg(arg=name):
                if name in doors or name == "Codec" or (confined and name.startswith("untrusted")):
                    return True
            case _:
                pass
    return False


def files(modules: Iterable[str], source: Path) -> Iterator[File]:
    for module in sorted(modules):
        path = path_of(module, source)
        code, imports = lines_of(path.read_text())
        if code or imports:
            yield File(path.relative_to(source).as_posix(), len(code - imports), len(code))


def path_of(module: str, source: Path) -> Path:
    path = source.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def lines_of(text: str) -> tuple[set[int], set[int]]:
    """The numbers of lines that hold code, and of those that import statements are on."""
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    imports: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Expr(value=ast.Constant(value=str()), lineno=first, end_lineno=last):
                code.difference_update(range(first, (last or first) + 1))
            case ast.Import(lineno=first, end_lineno=last) | ast.ImportFrom(lineno=first, end_lineno=last):
                imports.update(range(first, (last or first) + 1))
            case _:
                pass
    return code, imports


if __name__ == "__main__":
    sys.exit(main())
