"""The agent's loop, where a file is closed and another one gets its number while a round is handed out."""

import os
import socket

from bento.guest.loop import READ, Loop


def test_a_file_with_the_number_of_one_that_was_closed_in_the_same_round_hears_only_its_own_events() -> None:
    loop = Loop()
    rings, bell = socket.socketpair()
    old, its_peer = socket.socketpair()
    new, another = socket.socketpair()
    number = old.detach()
    heard: list[int] = []

    def replace(_: int) -> None:
        """As a leg that ends and the next one that is accepted."""
        bell.recv(1)
        loop.forget(number)
        os.dup2(new.fileno(), number)
        loop.watch(number, READ, heard.append)

    def go_on() -> None:
        assert heard == []
        another.send(b"news")
        loop.after_this_round(loop.stop)

    loop.watch(bell.fileno(), READ, replace)
    loop.watch(number, 0, heard.append)
    rings.send(b"!")
    its_peer.close()
    loop.after_this_round(go_on)
    loop.run()

    assert heard == [READ]
    os.close(number)
    for each in (rings, bell, new, another):
        each.close()
