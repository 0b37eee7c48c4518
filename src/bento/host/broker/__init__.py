"""The broker: one jailed process a domain, between a hostile guest and everyone else. It decides nothing.

Read in this order: `broker.py` (the loop and how it ends), `desk.py` (what
calls are for), and what reads a guest's bytes: `relay.py` (its calls),
`channel.py` (its channel), `leg.py` (one call's socket) and `console.py`. Below
them are `loop.py` and `packets.py`. `nursery.py` forks it.
"""
