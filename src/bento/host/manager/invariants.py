"""The person's statements about the policy, held against what would break them: an edit of it, and a change of domains.

They stand in a file beside the policy's directory, and it is read anew each time, so that it is in force as soon as it
is saved. Nothing is looked at while there is no statement. A file that makes no sense lets no change through: whoever
wrote it believes that it holds.
"""

from collections.abc import Callable
from pathlib import Path

from bento.host.manager.edited import read
from bento.host.manager.inventory import Inventory
from bento.host.manager.world import KnownDomains
from bento.host.model.domain import PowerState
from bento.host.model.errors import Refused
from bento.host.model.fault import Fault
from bento.host.policy.files import Policy
from bento.host.policy.grammar import PolicyError
from bento.host.policy.invariant import Breach, breaches
from bento.host.policy.reach import Ground
from bento.host.policy.statements import Statement, parse
from bento.host.policy.world import World


class Invariants:
    def __init__(self, path: Path) -> None:
        self._path = path

    def statements(self) -> tuple[Statement, ...] | Fault:
        """What there is to hold, or why nobody can say."""
        try:
            if not self._path.exists():
                return ()
            return parse(self._path.name, read(self._path))
        except OSError as error:
            return Fault(str(self._path), 0, 0, f"cannot be read: {error.strerror}")
        except PolicyError as error:
            return error.fault

    def fault(self, policy: Policy, inventory: Inventory) -> Fault | None:
        """Why `policy` may not come into force among these domains, if it may not."""
        statements = self.statements()
        if isinstance(statements, Fault):
            return statements
        for breach in breaches(statements, Ground(policy, _world(inventory))):
            return Fault(breach.statement.file, breach.statement.line, 1, f"the policy breaks {_quoted(breach)}")
        return None

    def require(self, policy: Callable[[], Policy], before: Inventory, after: Inventory) -> None:
        """Raises `Refused` if a statement that holds `before` does not hold `after`."""
        statements = self.statements()
        if not statements:
            return
        if isinstance(statements, Fault):
            raise Refused(f"the statements that must hold cannot be read, so no domain may change: {statements}")
        was, becomes = _world(before), _world(after)
        if was == becomes or not (found := breaches(statements, Ground(policy(), becomes))):
            return
        broken_already = {breach.statement for breach in breaches(statements, Ground(policy(), was))}
        for breach in found:
            if breach.statement not in broken_already:
                raise Refused(f"it would break {breach.statement.place}, {_quoted(breach)}")


def _quoted(breach: Breach) -> str:
    return f"'{breach.statement.text}': {breach}"


def _world(inventory: Inventory) -> World:
    """What statements are about; which domains run just now is all one to them."""
    return World(dict(KnownDomains(inventory, lambda name: PowerState.HALTED)))
