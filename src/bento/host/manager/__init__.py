"""The manager: it decides, and is the only writer of state. It reads no guest bytes and never runs as root.

__main__.py    names the drivers
daemon.py      the process: holds its home, serves until it is told to stop
pieces.py      what each module here is given
server.py      the Admin API's socket: one request a connection
methods/       the table: method -> function
inventory.py   all domains and versions, in memory and in the store
lifecycle.py   start, shutdown, kill, pause: lists of steps with their undo
live.py        one domain's power while it is not halted
launches.py    a machine for each: booted, or gone on with from a seed, or from a spare that was forked ahead
seeds.py       what is gone on from: which there are, how one is made; seedfiles.py has their files
disposables.py, spares.py   domains that are gone with their run, and machines that wait for the next of these
suspension.py  to the disk and back, in an order; saved.py has the files, passage.py the process between
burials.py     what is done once a machine is gone
pressure.py, admission.py   the host's memory: who is asked for some, who may start
machines.py    what machine a domain's record asks for
channels.py    the channel to each of those: a broker attached, replaced, waited for
brokers.py     the nursery and the brokers, as the manager sees them
calls.py       what a broker asks: policy, then two legs
consent.py, grants.py   what the person is asked, and what was allowed for longer than once
services.py, boxes.py   calls of the admin domain's services, each in a box; children.py starts and ends such processes
policy.py      the person's policy files, read again when they change
errand.py      one of Bento's own commands in a guest, for its exit code
templates.py   building, committing and forgetting template versions
recovery.py    after a crash: what still runs, what nobody owns
properties.py  what can be set of a domain: one table
places.py      where each thing lies below a home
events.py, notices.py, reports.py   what listeners, the person and the log are told
"""
