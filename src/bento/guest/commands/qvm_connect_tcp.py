"""`qvm-connect-tcp`: makes a port of another domain one of this domain's own, as the field's command of that name.

It listens on loopback only, and each connection is a call of `qubes.ConnectTCP`: the policy is asked each time.
"""

import os
import re
import socket
import sys
import threading
from typing import NoReturn

from bento.guest.commands.call import Call, NoCall
from bento.guest.commands.qrexec_client_vm import feed
from bento.wire.rpc import Data, Eof, Exit, Stream

COMMANDS = ("qvm-connect-tcp",)
SERVICE = "qubes.ConnectTCP"

USAGE = """\
usage: qvm-connect-tcp [--foreground] [LOCALPORT]:[TARGET]:PORT

Connections to LOCALPORT (the same as PORT, if left out) of this domain go to PORT of the domain TARGET (whichever the
policy says). Goes on in the background until this domain ends, or with --foreground until it is interrupted.
"""

WANTED = re.compile(r"(?P<local>[0-9]{0,5}):(?P<target>[^:]*(?::[^:]*)?):(?P<port>[0-9]{1,5})", re.ASCII)

MAX_PORT = 0xFFFF
BACKLOG = 128


def main(arguments: list[str]) -> int:
    if arguments[:1] in (["-h"], ["--help"]):
        print(USAGE, end="")
        return 0
    foreground = arguments[:1] == ["--foreground"]
    wanted = WANTED.fullmatch(arguments[foreground]) if len(arguments) == 1 + foreground else None
    ports = [int(wanted["local"] or wanted["port"]), int(wanted["port"])] if wanted else []
    if wanted is None or not all(0 < port <= MAX_PORT for port in ports):
        print(USAGE, end="", file=sys.stderr)
        return 1
    local, port = ports
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", local))
        listener.listen(BACKLOG)
    except OSError as error:
        print(f"qvm-connect-tcp: port {local} of this domain cannot be used: {error.strerror}.", file=sys.stderr)
        return 1
    print(f"Port {local} of this domain leads to port {port} of {wanted['target'] or 'the domain the policy names'}.")
    sys.stdout.flush()
    if not foreground:
        go_to_background()
    try:
        serve(listener, wanted["target"], port)
    except KeyboardInterrupt:
        return 130


def go_to_background() -> None:
    """The command returns, this process goes on, without the terminal it was typed on."""
    if os.fork():
        os._exit(0)
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nowhere, number)


def serve(listener: socket.socket, target: str, port: int) -> NoReturn:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=carry, args=(connection, target, port), daemon=True).start()


def carry(connection: socket.socket, target: str, port: int) -> None:
    """One connection to its end. A call that is refused closes it."""
    with connection:
        try:
            call = Call(target, f"{SERVICE}+{port}")
            call.wait()
        except NoCall as refused:
            print(f"qvm-connect-tcp: {refused}", file=sys.stderr, flush=True)
            return
        feeding = threading.Thread(target=feed, args=(call, connection.fileno()), daemon=True)
        feeding.start()
        try:
            answer(call, connection)
        except OSError:
            pass  # the program here has closed
        finally:
            call.close()
            try:
                connection.shutdown(socket.SHUT_RDWR)  # ends the thread's reading
            except OSError:
                pass
            feeding.join()


def answer(call: Call, connection: socket.socket) -> None:
    for message in call.messages():
        match message:
            case Data(stream=Stream.STDOUT):
                connection.sendall(message.payload)
            case Eof(stream=Stream.STDOUT):
                connection.shutdown(socket.SHUT_WR)
            case Exit():
                return
            case _:
                pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
