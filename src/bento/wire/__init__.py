"""Every byte that crosses a boundary is laid out here. Standard library only, no I/O.

Decoding is total: any bytes give a value or raise `WireError`, nothing else.
"""
