"""A well-behaved domain's broker, from the greeting to its end."""

import os
import signal

import pytest

from bento.host.broker.nursery import NOBODY
from bento.wire.control import Asked, Deny, Ended, Ending, PowerOff, Up, Withdrawn
from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName
from bento.wire.rpc import (
    MAX_CALLS,
    Accepted,
    Ask,
    Data,
    Drop,
    Eof,
    Exit,
    Identity,
    Ready,
    Refused,
    Resize,
    Serve,
    Shutdown,
)
from tests.host.broker.house import Gone, Nursery, domain, open_message, status


def ask(call: int, service: str = "test.Ask") -> Ask:
    return Ask(call, ServiceName.parse(service), ServiceArgument.parse("now"), TargetName.parse("vault"))


def test_the_guest_learns_who_it_is_before_anything_else(nursery: Nursery) -> None:
    with domain(nursery, "bank") as bank:
        begin = bank.begin_message()
        bank.open("test.Echo")
        bank.tell(PowerOff())
        bank.tell(begin)
        bank.guest.greet()
        assert bank.guest.hear() == Identity(DomainName("bank"), "AppVM", begin.seed, begin.time)
        bank.guest.say(Ready(7))
        assert bank.hear() == Up(7)
        assert isinstance(bank.guest.hear(), Serve)
        assert bank.guest.hear() == Shutdown()


def test_what_an_earlier_agent_left_in_the_channel_is_thrown_away(nursery: Nursery) -> None:
    with domain(nursery) as work:
        work.guest.sock.sendall(os.urandom(100_000))
        work.begin()


def test_a_guest_serves_a_call(nursery: Nursery) -> None:
    with domain(nursery) as work:
        guest = work.begin()
        leg = work.open("test.Service", "argument", source="random")
        serve = guest.hear()
        expected = open_message("test.Service", "argument", source="random")
        assert serve == Serve(0, expected.service, expected.argument, expected.source, expected.target, "", 0, 0)
        leg.say(Data(0, 0, b"question"), Resize(0, 24, 80), Eof(0, 0))
        assert [guest.hear() for _ in range(3)] == [Data(0, 0, b"question"), Resize(0, 24, 80), Eof(0, 0)]
        guest.say(Data(0, 2, b"hm"), Eof(0, 2), Data(0, 1, b"answer"), Exit(0, 7))
        assert leg.outcome() == (b"answer", b"hm", 7)
        with pytest.raises(Gone):
            leg.hear()


def test_a_guest_calls(nursery: Nursery) -> None:
    with domain(nursery) as work:
        guest = work.begin()
        guest.say(ask(1))
        assert work.hear() == Asked(1, ServiceName("test.Ask"), ServiceArgument("now"), TargetName("vault"))
        leg = work.connect(1)
        assert guest.hear() == Accepted(1)
        guest.say(Data(1, 0, b"question"), Eof(1, 0))
        assert leg.hear_caller() == Data(0, 0, b"question")
        assert leg.hear_caller() == Eof(0, 0)
        leg.say(Data(0, 2, b"hm"), Data(0, 1, b"answer"), Eof(0, 1), Exit(0, 7))
        heard = [guest.hear() for _ in range(4)]
        assert heard == [Data(1, 2, b"hm"), Data(1, 1, b"answer"), Eof(1, 1), Exit(1, 7)]


def test_a_refused_guest_learns_a_code(nursery: Nursery) -> None:
    with domain(nursery) as work:
        guest = work.begin()
        guest.say(ask(1))
        work.expect(Asked)
        work.tell(Deny(1, 126))
        assert guest.hear() == Refused(1, 126)


def test_a_guest_that_gave_up_is_not_connected(nursery: Nursery) -> None:
    with domain(nursery) as work:
        guest = work.begin()
        guest.say(ask(1), Drop(1), ask(3), Drop(3), ask(5))
        for token in (1, 3):
            assert work.expect(Asked).token == token
            assert work.hear() == Withdrawn(token)
        assert work.expect(Asked).token == 5
        leg = work.connect(1)
        with pytest.raises(Gone):
            leg.hear_caller()
        work.tell(Deny(3, 126))
        work.tell(Deny(5, 127))
        assert guest.hear() == Refused(5, 127)


def test_the_manager_has_only_so_many_questions_open_however_fast_a_guest_gives_up(nursery: Nursery) -> None:
    with domain(nursery) as work:
        guest = work.begin()
        for call in range(1, 2 * MAX_CALLS, 2):
            guest.say(ask(call), Drop(call))
        last = 2 * MAX_CALLS + 3
        guest.say(ask(last - 2), ask(last))
        for token in range(1, 2 * MAX_CALLS, 2):
            asked = work.expect(Asked)
            assert asked.token == token
            assert work.hear() == Withdrawn(token)
        # The broker heard the last ones: it tells of them, but not before it has an answer.
        assert not work.says_now(guest)
        work.tell(Deny(1, 126))
        asked = work.expect(Asked)
        assert asked.token == last - 2
        assert not work.says_now(guest)
        work.tell(Deny(3, 126))
        asked = work.expect(Asked)
        assert asked.token == last


def test_a_guest_that_gives_up_before_the_manager_hears_of_it_is_not_asked_about(nursery: Nursery) -> None:
    with domain(nursery) as work:
        guest = work.begin()
        calls = range(1, 2 * MAX_CALLS, 2)
        guest.say(*map(ask, calls))
        for _ in calls:
            work.expect(Asked)
        guest.say(Drop(1), ask(1001), Drop(1001), ask(1003))
        work.settle()
        work.tell(Deny(3, 126))
        assert work.hear() == Withdrawn(1)
        asked = work.expect(Asked)
        assert asked.token == 1003


def test_power_off_reaches_the_guest(nursery: Nursery) -> None:
    with domain(nursery, agent=True) as work:
        work.tell(PowerOff())
        assert work.end().ending == Ending.CLOSED


def test_the_end_of_the_machine_ends_the_broker_and_its_calls(nursery: Nursery) -> None:
    with domain(nursery) as work:
        guest = work.begin()
        served, unheard = work.open("test.Echo"), work.open("test.Echo")
        guest.hear()
        guest.say(ask(1), Data(0, 1, b"half an ans"))
        work.hear()
        asked = work.connect(1)
        guest.hear()
        guest.sock.close()
        assert work.end() == Ended(Ending.CLOSED, "the machine closed the channel")
        assert served.outcome() == (b"half an ans", b"", 125)
        assert unheard.outcome() == (b"", b"", 125)
        with pytest.raises(Gone):
            asked.hear_caller()


def test_a_machine_that_ends_before_the_greeting_ends_the_broker(nursery: Nursery) -> None:
    with domain(nursery) as work:
        leg = work.open("test.Echo")
        work.guest.sock.close()
        assert work.end().ending == Ending.CLOSED
        assert leg.outcome()[2] == 125


def test_what_the_guest_said_before_its_end_arrives_with_a_slow_caller(nursery: Nursery) -> None:
    with domain(nursery) as work:
        guest = work.begin()
        leg = work.open("test.Echo")
        guest.hear()
        guest.say(*[Data(0, 1, bytes(1 << 16))] * 4, *[Data(0, 2, bytes(1 << 16))] * 4, Exit(0, 7))
        guest.sock.close()
        # The broker has seen the end, for it dropped the console; the caller begins to read only now.
        assert work.machine.recv(1) == b""
        assert leg.outcome() == (bytes(1 << 18), bytes(1 << 18), 7)
        assert work.end().ending == Ending.CLOSED


def test_a_new_broker_takes_over_a_guest_that_was_in_step_with_another(nursery: Nursery) -> None:
    with domain(nursery) as work:
        guest = work.begin()
        work.tell(work.begin_message())  # a broker greets once; being told twice is the manager's fault, and its end
        with pytest.raises(Gone):
            work.hear()
        with pytest.raises(Gone):
            guest.hear()


def test_a_broker_goes_with_its_manager(nursery: Nursery) -> None:
    with domain(nursery) as work:
        guest = work.begin()
        work.control.close()
        with pytest.raises(Gone):
            guest.hear()


def test_brokers_go_with_their_nursery() -> None:
    with Nursery() as nursery, domain(nursery) as work, domain(nursery, "bank") as bank:
        guests = work.begin(), bank.begin()
        nursery.process.send_signal(signal.SIGKILL)
        for guest in guests:
            with pytest.raises(Gone):
                guest.hear()


def test_a_nursery_goes_with_its_manager() -> None:
    with Nursery() as nursery:
        nursery.spawn().close()
        nursery.control.close()
        assert nursery.process.wait(60) == 0


def test_a_broker_that_is_killed_takes_nobody_along_and_is_told_of(nursery: Nursery) -> None:
    with domain(nursery, agent=True) as work, domain(nursery) as bank:
        bank.begin()
        os.kill(bank.pid, signal.SIGKILL)
        with pytest.raises(Gone):
            bank.hear()
        while f"broker {bank.pid} was ended by SIGKILL" not in nursery.said():
            nursery.spawn().close()
        assert work.open("test.Exit", "7").outcome() == (b"", b"", 7)


def test_a_fault_of_the_brokers_own_has_last_words(nursery: Nursery) -> None:
    with domain(nursery) as work:
        work.tell(PowerOff(), work.log)  # a message that no file belongs to
        with pytest.raises(Gone):
            work.hear()
    assert "the broker of work met a fault: WireError: 'PowerOff from the manager" in nursery.said()
    assert "packets.py:" in nursery.said()


ONE_FORK = """
import os, runpy, sys
forks = [os.fork]
def fork():
    if not forks:
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return forks.pop()()
os.fork = fork
runpy.run_module("bento.host.broker", run_name="__main__")
"""


def test_a_machine_that_cannot_fork_costs_nobody_the_broker_he_has() -> None:
    with Nursery("-c", ONE_FORK) as nursery, domain(nursery) as work, domain(nursery, "bank") as bank:
        assert bank.pid == NOBODY
        with pytest.raises(Gone):
            bank.hear()
        work.begin()
        work.settle()
        assert "asked for a broker of bank, met a fault: BlockingIOError" in nursery.said()


def test_a_broker_is_named_after_its_domain(nursery: Nursery) -> None:
    with domain(nursery, "personal") as personal:
        personal.begin()
        with open(f"/proc/{personal.pid}/comm") as comm:
            assert comm.read() == "bento:personal\n"


def test_a_broker_is_confined_and_so_is_the_nursery(nursery: Nursery) -> None:
    with domain(nursery) as work:
        work.begin()
        broker, parent, free = status(work.pid), status(nursery.process.pid), status(os.getpid())
        with open(f"/proc/{work.pid}/limits") as limits:
            assert "Max open files            2048 " in limits.read()
    assert broker["NoNewPrivs"] == parent["NoNewPrivs"] == "1"
    # The nursery's own filter, and the broker's on top of it.
    filters = [int(process["Seccomp_filters"]) for process in (free, parent, broker)]
    assert [filters[1] - filters[0], filters[2] - filters[1]] == [1, 1]


def test_a_broker_has_no_files_but_its_own(nursery: Nursery) -> None:
    with domain(nursery) as work, domain(nursery, "bank") as bank:
        bank.begin()
        work.begin()
        # stdin, stdout, stderr, control, channel, console, log, and the loop's.
        assert bank.files() == work.files() == 8
