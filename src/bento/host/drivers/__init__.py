"""The ports' other side: what really starts machines, keeps volumes and builds templates, and the verified fakes.

A driver decides nothing. Nobody imports one but the manager's `__main__`; what
it may raise and promise stands in its port, and `tests/contracts/` holds it to that.
"""
