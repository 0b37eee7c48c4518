"""The `bento` command: it parses, asks the manager once, and renders. It knows the wire and the standard library only.

It decides nothing and keeps nothing. What it trusts is the manager; what came
from a guest (logs, a program's output) it treats as hostile to the terminal.
"""
