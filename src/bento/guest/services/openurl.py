"""`qubes.OpenURL`: opens another domain's link here, by `qubes-open`. What is no link for a browser is refused."""

import sys

from bento.guest.pipes import read_exactly
from bento.guest.services.openinvm import opened
from bento.wire.errors import WireError
from bento.wire.opening import MAX_LINK, decode_link

SERVICE = "qubes.OpenURL"


def main() -> int:
    untrusted = read_exactly(MAX_LINK + 1).partition(b"\n")[0]
    try:
        return opened(decode_link(untrusted))
    except (WireError, OSError) as error:
        print(f"{SERVICE}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
