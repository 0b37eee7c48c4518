"""What the kernel must be asked about files, for whoever keeps some: names that outlive a power cut, and where data is.

Below the manager, its drivers and what seals a suspended machine, since the same few lines stood in each of them.
Standard library only. It decides nothing, knows no domain, and looks at no byte of a file.
"""
