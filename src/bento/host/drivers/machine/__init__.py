"""What this machine gives: programs, kernel features, hardware, and whether its KVM works.

Everything here asks; nothing here changes the machine. Each question has a
deadline, none needs root, and each answer comes from a trial where a trial is
possible, because the existence of a file says little about what works.
"""
