"""How each process gives up what it does not need.

Two walls, built by different hands. Bubblewrap (`sandbox.py`) gives a process
an empty world to start in; the kernel's seccomp filter and resource limits
(`profiles.py`: what and why; `seccomp.py`, `limits.py`: how) take from it,
once it has started, what it needed only to start. Whoever breaks one wall from
inside stands before the other. A wall that cannot be built is an error, never
a warning.
"""
