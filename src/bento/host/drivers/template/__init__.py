"""Template builds: from a distribution's packages to the files that domains boot, without root.

`builder.py` runs in the manager and decides; `inside.py` does the work in namespaces of its own. Both trust the
distribution's signed packages and Bento's own sources. Neither ever opens a file system that a guest has written.
"""
