"""The hypervisor port over QEMU: one confined process a domain, spoken to by QMP, which outlives the manager."""
