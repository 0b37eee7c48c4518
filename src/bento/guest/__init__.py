"""UNTRUSTED: all of Bento that is installed inside a domain. The host believes nothing that comes from here.

Python's own library and the wire, nothing else; and no secret of the host is
ever in reach. What it serves its own domain, it serves against other domains,
which it distrusts as the host distrusts it.
"""
