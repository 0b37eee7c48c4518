"""What the kernel must be asked about files, for whoever keeps some: names that outlive a power cut, where data is, and
a bound for what a process prints.

Below the manager, its drivers and what seals a suspended machine, since the same few lines stood in each of them.
Standard library only. It decides nothing, knows no domain, and looks at no byte of a file but what was printed, which
it shows as plain text.
"""
