"""The broker: one jailed process a domain, between a hostile guest and everyone else. It decides nothing.

Read in this order: `broker.py` (the loop and how it ends), `channel.py` (the
guest's bytes), `relay.py` (its calls), `leg.py` (one call's socket),
`console.py`, and below them `loop.py` and `packets.py`. `nursery.py` forks it.
"""
