"""A hypervisor that only pretends: a machine is the guest's agent in a box of its own, on the host's kernel.

For tests and for work on everything above the hypervisor, where it starts a "domain" in a tenth of a second. It passes
the same contract suite as the real driver. It protects nobody from anybody: never for a person's data.
"""
