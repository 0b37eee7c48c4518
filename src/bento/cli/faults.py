"""What the manager answers, as a failure with the code to end with. Apart from `exits.py`, which must load at once."""

from bento.cli.exits import Code, Failed
from bento.wire.admin import Failure, Fault

BY_FAULT: dict[str, Code] = {
    Fault.NOT_FOUND: Code.BAD_INPUT,
    Fault.BAD_VALUE: Code.BAD_INPUT,
    Fault.BAD_PROPERTY_VALUE: Code.BAD_INPUT,
    Fault.NO_SUCH_PROPERTY: Code.BAD_INPUT,
    Fault.NO_SUCH_LABEL: Code.BAD_INPUT,
    Fault.NO_SUCH_TAG: Code.BAD_INPUT,
    Fault.NO_SUCH_FEATURE: Code.BAD_INPUT,
    Fault.NOT_RUNNING: Code.WRONG_STATE,
    Fault.NOT_HALTED: Code.WRONG_STATE,
    Fault.NOT_PAUSED: Code.WRONG_STATE,
    Fault.IN_USE: Code.WRONG_STATE,
    Fault.REFUSED: Code.REFUSED,
    Fault.NOT_STARTED: Code.OUTSIDE,
    Fault.NO_MEMORY: Code.OUTSIDE,
    Fault.PROTOCOL: Code.OUTSIDE,
    Fault.NO_METHOD: Code.OUTSIDE,
    Fault.GENERAL: Code.OUTSIDE,
}
"""What the manager answers -> what the command ends with. A class that is not here counts as the outside world's."""


def failed(failure: Failure) -> Failed:
    """As the manager put it."""
    return Failed(failure.sentence, BY_FAULT.get(failure.fault, Code.OUTSIDE), failure.fault)
