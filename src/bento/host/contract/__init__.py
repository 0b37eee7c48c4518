"""Contracts of services: a file's text to a declaration, what is wrong with it, and the table that a broker runs.

Pure functions over trusted text, the person's or ours. Read in this order: `language.py` (what can be declared),
`grammar.py` (how it is spelled), `check.py` (what makes it sound), `table.py` (what the broker is sent; its other half
is `wire/contract.py`).
"""
