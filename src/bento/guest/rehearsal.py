"""What the agent of a seed does before it opens the way to the host: all that its copies would each have to do again.

A seed is a machine that is saved as soon as its agent listens, and that disposables go on from. It is nobody yet, and
nothing here makes it somebody: modules are loaded, files get their places, a program runs that has no input and says
nothing. What is random must not be made here: every copy would have the same.
"""

import os

import bento.guest.served  # noqa: F401  # loading it is the rehearsal
from bento.guest import identity, lookup, spawn
from bento.guest.agent import Agent
from bento.guest.place import Place
from bento.wire.names import ADMIN, ServiceArgument, ServiceName, TargetName
from bento.wire.rpc import Serve

NOBODY = "seed"


def rehearse(place: Place, agent: Agent) -> None:
    agent.prepare()
    identity.settle(NOBODY, in_place=True)
    call = Serve(0, ServiceName(spawn.VMEXEC), ServiceArgument("true"), ADMIN, TargetName(""), "", 0, 0)
    # What is not there is remembered, too, and the directories need not be read from a disk.
    lookup.settings(place.settings, call.service, call.argument)
    lookup.find(place.services, call.service, call.argument)
    service = spawn.start(place, place.account(""), call, None)
    os.waitid(os.P_PIDFD, service.fd, os.WEXITED)
    for fd in (service.fd, service.stdin, service.stdout, service.stderr):
        if fd is not None:
            os.close(fd)
