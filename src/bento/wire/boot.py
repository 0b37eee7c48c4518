"""Words of a guest kernel's command line by which the host tells the first programs in there what this start is.

The guest's agent reads some of them, its boot scripts (`guest/boot/`) the same ones and the others.
"""

SEED = "bento.seed"
"""The machine is to be saved before it is anybody."""

PRIVATE_LATER = "bento.private=later"
"""Likewise, with `SEED`: what goes on from it has a private volume of its own, in place of a copy of this one."""

ROOT_KEPT = "bento.root=kept"
"""The root's changes outlive this start (TemplateVM, StandaloneVM)."""
