"""`python -S -E -m bento.host.broker --control-fd N`: the nursery, which the manager starts by `jail.sandbox`."""

import socket
import sys

from bento.host.broker import nursery

match sys.argv[1:]:
    case ["--control-fd", number] if number.isdecimal():
        nursery.run(socket.socket(fileno=int(number)))
    case _:
        sys.exit("bento.host.broker: started by the manager with --control-fd N; not for use by hand")
