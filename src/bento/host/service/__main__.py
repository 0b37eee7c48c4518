"""`python -S -E -m bento.host.service --leg-fd N PROGRAM < PACKET`: one call; started by the manager, in its box."""

import os
import socket
import sys

from bento.host.service.call import serve
from bento.wire.control import FROM_MANAGER, MAX_PACKET, Open, decode_packet

match sys.argv[1:]:
    case ["--leg-fd", number, program] if number.isdecimal():
        call = decode_packet(FROM_MANAGER, sys.stdin.buffer.read(MAX_PACKET))
        assert isinstance(call, Open), "the manager sends the call that is to be served"
        # Not by way of Python's own end, which wants more than a relay may.
        os._exit(serve(socket.socket(fileno=int(number)), program, call))
    case _:
        sys.exit("bento.host.service: started by the manager for a call; not for use by hand")
