"""The manager: it decides, and is the only writer of state. It reads no guest bytes and never runs as root.

__main__.py    names the drivers
daemon.py      the process: holds its home, puts the pieces together
server.py      the Admin API's socket: one request a connection
methods/       the table: method -> function
inventory.py   all domains and versions, in memory and in the store
lifecycle.py   start, shutdown, kill, pause: lists of steps with their undo
live.py        one domain's power while it is not halted
machines.py    what machine a domain's record asks for
channels.py    the channel to each of those: a broker attached, replaced, waited for
brokers.py     the nursery and the brokers, as the manager sees them
calls.py       what a broker asks: policy, then two legs
policy.py      the person's policy files, read again when they change
errand.py      one of Bento's own commands in a guest, for its exit code
templates.py   building, committing and forgetting template versions
recovery.py    after a crash: what still runs, what nobody owns
properties.py  what can be set of a domain: one table
places.py      where each thing lies below a home
events.py, notices.py, reports.py   what listeners, the person and the log are told
"""
