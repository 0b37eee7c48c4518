"""The manager with little room for seeds: `python -m tests.vm.cramped` has a small file system of memory there.

It stands in a mount namespace of its own, which takes no privilege, and shares the machine's users with nobody: so its
machines run as the person, who is the only user there is.
"""

import os
import sys

from bento.host.manager.places import Places
from bento.wire.home import find_home

SIZE = 600 << 20
"""Bytes: more than a manager wants to see free before it makes a seed."""

SCRIPT = """
mkdir -p "$1" && mount -t tmpfs -o size="$2",mode=700 cramped "$1" && mount --bind /dev/null /etc/subuid || exit
shift 2
exec setpriv --ambient-caps=-all --inh-caps=-all -- "$@"
"""

if __name__ == "__main__":
    alone = ("unshare", "--user", "--map-current-user", "--keep-caps", "--mount", "sh", "-c", SCRIPT, "sh")
    manager = (sys.executable, "-m", "bento.host.manager", *sys.argv[1:])
    os.execvp(alone[0], (*alone, str(Places.of(find_home(os.environ)).seeds), str(SIZE), *manager))
