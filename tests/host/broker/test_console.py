"""The serial console: a log that stays small and keeps the end, and terminals that come and go."""

import os

from bento.host.broker.console import CHUNK, LOG_LIMIT, TYPED_ROOM
from bento.host.jail.profiles import BROKER
from bento.wire.control import Ending
from tests.host.broker.house import Domain, Nursery, all_read, domain, is_writable, read_until

MARK = b"<the mark of the end>"


def say(work: Domain, data: bytes) -> None:
    """The machine prints `data`; all of it is in the log when this returns."""
    terminal = work.join_console()
    # A joined terminal gets only what the machine prints after it joined: so the broker has it before `data` comes.
    terminal.sendall(b"?")
    assert work.machine.recv(1) == b"?"
    for at in range(0, len(data), CHUNK):
        work.machine.sendall(data[at : at + CHUNK])
        read_until(terminal, data[at : at + CHUNK])
    work.machine.sendall(MARK)
    read_until(terminal, MARK)


def test_what_the_machine_prints_is_kept_as_it_is(nursery: Nursery) -> None:
    with domain(nursery) as work:
        say(work, b"\x1b[2Jhello \xff\0 world\r\n")
        assert work.logged() == b"\x1b[2Jhello \xff\0 world\r\n" + MARK


def test_the_log_stays_small_and_keeps_the_end(nursery: Nursery) -> None:
    printed = b"".join(b"line %08d\n" % number for number in range(300_000))
    with domain(nursery) as work:
        say(work, printed)
        logged = work.logged()
        assert LOG_LIMIT // 2 <= len(logged) <= LOG_LIMIT
        assert (printed + MARK).endswith(logged)


def test_a_log_that_may_not_grow_any_more_is_cut_all_the_same(nursery: Nursery) -> None:
    with domain(nursery) as work:
        assert BROKER.limits
        os.ftruncate(work.log, BROKER.limits.file_size)  # by a broker that a guest had taken over
        with domain(nursery, log=work.log) as again:
            say(again, b"news")
            logged = again.logged()
            assert logged.endswith(b"news" + MARK)
            assert len(logged) <= LOG_LIMIT


def test_a_broker_goes_on_where_the_log_of_an_earlier_one_ends(nursery: Nursery) -> None:
    with domain(nursery) as work:
        say(work, b"first")
        with domain(nursery, log=work.log) as again:
            say(again, b"second")
            assert again.logged() == b"first" + MARK + b"second" + MARK


def test_the_last_words_of_a_machine_are_kept(nursery: Nursery) -> None:
    with domain(nursery) as work:
        work.begin()
        with work.stopped():
            work.machine.sendall(b"kernel panic" * 12_000)  # more than the broker reads in one round
            work.machine.close()
            work.guest.sock.close()
        assert work.end().ending == Ending.CLOSED
        assert work.logged() == b"kernel panic" * 12_000


def test_a_terminal_sees_and_types(nursery: Nursery) -> None:
    with domain(nursery) as work:
        terminal = work.join_console()
        terminal.sendall(b"root\n")
        assert work.machine.recv(100) == b"root\n"
        work.machine.sendall(b"Password: ")
        assert terminal.recv(100) == b"Password: "


def test_a_later_terminal_takes_over(nursery: Nursery) -> None:
    with domain(nursery) as work:
        first, second = work.join_console(), work.join_console()
        second.sendall(b"x")
        assert work.machine.recv(1) == b"x"
        assert first.recv(1) == b""
        work.machine.sendall(b"y")
        assert second.recv(1) == b"y"


def test_a_terminal_that_leaves_is_let_go(nursery: Nursery) -> None:
    with domain(nursery) as work:
        work.begin()
        before = work.files()
        terminal = work.join_console()
        terminal.sendall(b"x")
        assert work.machine.recv(1) == b"x"
        terminal.close()
        say(work, b"")
        assert work.files() == before + 1  # the one that `say` joined


def test_a_terminal_that_does_not_read_misses_some_and_holds_up_nothing(nursery: Nursery) -> None:
    with domain(nursery, agent=True) as work:
        terminal = work.join_console()
        terminal.sendall(b"?")
        assert work.machine.recv(1) == b"?"
        before = work.memory()
        work.machine.sendall(bytes(8 << 20))
        while not all_read(work.machine):
            assert work.open("test.Exit", "7").outcome() == (b"", b"", 7)
        assert work.memory() - before < 2 << 20
        say(work, b"later")
        assert work.logged().endswith(b"later" + MARK)


def test_a_machine_that_does_not_take_what_is_typed_holds_up_nothing(nursery: Nursery) -> None:
    with domain(nursery, agent=True) as work:
        terminal = work.join_console()
        typed = 0
        while is_writable(terminal):
            typed += terminal.send(bytes(1 << 14))
            assert work.open("test.Exit", "7").outcome() == (b"", b"", 7)
        assert typed > TYPED_ROOM
        work.machine.sendall(b"prints all the same")
        assert read_until(terminal, b"prints all the same")


def test_a_full_disk_costs_console_lines_and_no_calls(nursery: Nursery) -> None:
    with open("/dev/full", "r+b", buffering=0) as full, domain(nursery, agent=True, log=full.fileno()) as work:
        work.machine.sendall(b"lost")
        terminal = work.join_console()
        terminal.sendall(b"?")
        assert work.machine.recv(1) == b"?"
        work.machine.sendall(b"seen")
        assert read_until(terminal, b"seen")
        assert work.open("test.Exit", "7").outcome() == (b"", b"", 7)
