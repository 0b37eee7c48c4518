"""The consent port: somebody who can put a question before the person.

Its drivers run beside the manager, as processes of the person that attend over
the Admin API: `bento agent` on a terminal, `bento agent --desktop` as a window.
What they answer comes back by `Consent.answer`.
"""

from typing import Protocol

from bento.wire.consent import Told


class Agent(Protocol):
    def tell(self, told: Told) -> None:
        """Show a question, take it back, or show a notice. Returns at once; an agent that does not keep up is gone."""
        ...
