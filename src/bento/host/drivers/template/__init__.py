"""Template builds: from a distribution's packages to the four files that domains boot, without root.

`build.py` runs in the manager and decides; `inside.py` does the work in namespaces of its own. Both trust the
distribution's signed packages and Bento's own sources. Neither ever reads a byte that a running guest could write.
"""

from bento.host.drivers.template.build import BuildRequest, BuiltTemplate, build

__all__ = ["BuildRequest", "BuiltTemplate", "build"]
