"""`python -S -E -m bento.host.sealing seal|open IMAGE STREAM [DISK...]`: one passage; started by the manager, in a box.

Numbers of open files. Ends with 0 when all has passed (and is on disk), else with a `Failure`: see `wire/sealing.py`.
"""

import os
import sys

from bento.host.sealing.format import MAX_DISKS
from bento.host.sealing.process import main

match sys.argv[1:]:
    case ["seal" | "open" as way, *numbers] if 2 <= len(numbers) <= 2 + MAX_DISKS and all(
        number.isdecimal() for number in numbers
    ):
        image, stream, *disks = map(int, numbers)
        # Not by way of Python's own end, which wants more than the profile allows.
        os._exit(main(way, image, stream, disks))
    case _:
        sys.exit("bento.host.sealing: started by the manager for one machine; not for use by hand")
