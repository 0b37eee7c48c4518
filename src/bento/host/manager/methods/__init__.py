"""The Admin API's methods: one table from name to function. What is not in the table does not exist.

A method gets the manager and the parsed request and gives the reply's content,
a file to hand over, or a stream of events. Methods whose name has `.vm.` are
about the domain they are sent to, all others go to the admin domain; but events
may be asked for of either.
"""

from bento.host.manager.methods import audit, bento, consent, contract, domains, labels, policy, properties, tags, usage
from bento.host.manager.methods.kinds import Method


def is_about_a_domain(method: str) -> bool:
    """Whether it may be sent to others than the admin domain."""
    return ".vm." in method or method == "admin.Events"


METHODS: dict[str, Method] = {
    **domains.METHODS,
    **properties.METHODS,
    **tags.METHODS,
    **labels.METHODS,
    **bento.METHODS,
    **policy.METHODS,
    **audit.METHODS,
    **consent.METHODS,
    **contract.METHODS,
    **usage.METHODS,
}
