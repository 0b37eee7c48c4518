"""A suspended machine's way onto the disk and back: one jailed process a passage, between QEMU's stream and a file.

It moves what a guest wrote and looks at none of it. It holds the key of that one file, its open files, and nothing
else in the world; whose state it is, where the key comes from and what becomes of the file, the manager knows.
"""
