"""`qubes.GpgImportKey`: takes keys that another domain sends into this domain's keyring, as the field's service does.

gpg reads them as it would read them from anywhere, and trusts none of them. Nothing here asks: whoever the policy lets
may add keys, so the policy had better `ask`.
"""

import os
import sys

from bento.guest.services.gpg import FIRST, GPG
from bento.wire.rpc import ExitCode

SERVICE = "qubes.GpgImportKey"


def main() -> int:
    try:
        os.execvp(GPG, [GPG, *FIRST, "--import"])
    except OSError as error:
        print(f"{SERVICE}: {GPG} in {os.uname().nodename}: {error.strerror}", file=sys.stderr)
        return ExitCode.NOT_FOUND


if __name__ == "__main__":
    sys.exit(main())
