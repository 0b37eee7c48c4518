"""A service of the admin domain, in a box of its own for each call, and the process beside it that reads the call.

Read `call.py`, `program.py` (how the service is started) and `relay.py` (the calling guest's frames). Whoever breaks
this process from outside finds what a broker's breaker finds, and one call of one service besides. `rpc/` has the
services that Bento brings.
"""
