"""`python -S -E -m bento.host.service --control-fd N PROGRAM`: one call; started by the manager, in its box."""

import os
import socket
import sys

from bento.host.service.call import serve

match sys.argv[1:]:
    case ["--control-fd", number, program] if number.isdecimal():
        # Not by way of Python's own end, which wants more than a relay may.
        os._exit(serve(socket.socket(fileno=int(number)), program))
    case _:
        sys.exit("bento.host.service: started by the manager for a call; not for use by hand")
