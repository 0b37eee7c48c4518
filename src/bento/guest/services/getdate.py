"""`qubes.GetDate`: the time of this domain, as `date -u -Iseconds` prints it."""

import sys
import time

SERVICE = "qubes.GetDate"


def main() -> int:
    print(time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
