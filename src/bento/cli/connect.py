"""The manager's socket: a connection to it, or the answer that nobody listens there. Starts nothing, says nothing."""

import socket

from bento.cli.exits import Code, Failed
from bento.wire.home import Home


def connect(home: Home) -> socket.socket | None:
    """A connection, or None where no manager listens."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(home.manager_socket))
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except OSError as error:
        connection.close()
        raise Failed(f"cannot reach the manager at {home.manager_socket}: {error.strerror}", Code.OUTSIDE) from None
    return connection


def listens(home: Home) -> bool:
    """Whether a manager does."""
    if connection := connect(home):
        connection.close()
    return connection is not None
