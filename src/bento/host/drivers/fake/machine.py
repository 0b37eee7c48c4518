"""Inside the box: what stands in for the machine, as process 1. `python -m bento.host.drivers.fake.machine WHO FD`

Starts the agent in loopback mode, plays a serial console on the listening socket FD, reaps orphans as any process 1
must, and ends when the agent does, which is what powering off amounts to. WHO names the machine, for `ps` and the mark.
Standard library only.
"""

import os
import socket
import subprocess
import sys
import threading

RUN_DIR = "/machine"
"""The machine's run directory, as it is seen in the box."""


def main(who: str, console_fd: int) -> int:
    console = socket.socket(fileno=console_fd)
    threading.Thread(target=serve_console, args=(console, who), daemon=True).start()
    channel, root = f"{RUN_DIR}/channel.sock", f"{RUN_DIR}/guest"
    # The channel's socket takes its name in the box, so the agent makes it itself.
    agent = subprocess.Popen([sys.executable, "-S", "-m", "bento.guest", "--listen", channel, "--root", root])
    while True:
        pid, status = os.wait()
        if pid == agent.pid:
            agent.returncode = os.waitstatus_to_exitcode(status)
            return 0


def serve_console(console: socket.socket, who: str) -> None:
    """One connection at a time, as a chardev has it: the boot's last line, then an echo."""
    while True:
        connection, _ = console.accept()
        with connection:
            try:
                connection.sendall(f"{who} has started\r\n".encode())
                while typed := connection.recv(4096):
                    connection.sendall(typed)
            except OSError:  # the reader went away
                continue


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
