"""Which services there are, as far as anybody here can know: for warnings about the policy, and for nothing else.

What lies in a domain's own directories only the domain knows, and is not asked. So there are: those that Bento's guest
half brings, those of the admin domain, those with a contract, and those that a domain's features name as
`supported-rpc.SERVICE`, the field's word for it, which a person can set.
"""

import ast
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import bento
from bento.host.manager.inventory import Inventory
from bento.host.manager.services import SHIPPED
from bento.wire.errors import WireError
from bento.wire.names import ServiceName

GUEST = Path(bento.__file__).parent / "guest"

SUPPORTED = "supported-rpc."


def known_services(
    inventory: Inventory, contracts: frozenset[ServiceName], directories: Iterable[Path]
) -> frozenset[ServiceName]:
    """`directories`: of the admin domain's own services."""
    found = {*_brought(), *contracts}
    for directory in (*directories, SHIPPED):
        with suppress(OSError):
            found.update(_named(path.name.partition("+")[0] for path in directory.iterdir()))
    for record in inventory:
        supported = (name.removeprefix(SUPPORTED) for name in record.features if name.startswith(SUPPORTED))
        found.update(_named(supported))
    return frozenset(found)


@cache
def _brought() -> frozenset[ServiceName]:
    """What the guest half calls a service: it stands there in constants, which are read and not run."""
    constants = (
        node.value.value
        for source in sorted(GUEST.glob("**/*.py"))
        for node in ast.parse(source.read_bytes()).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    )
    return frozenset(_named(text for text in constants if text.startswith("qubes.")))


def _named(texts: Iterable[str]) -> Iterator[ServiceName]:
    for text in texts:
        with suppress(WireError):
            yield ServiceName.parse(text)
