"""Disposables: made from an AppVM that allows it, begun anew each time, gone with their run unless they have a name."""

import contextlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from uuid import UUID, uuid5

import pytest

from bento.host.drivers.sqlite import SqliteStore
from bento.host.manager.disposables import MAX_AT_ONCE, Disposables
from bento.host.manager.events import Events
from bento.host.manager.inventory import Inventory
from bento.host.manager.places import Places
from bento.host.manager.reports import LINES
from bento.host.model.domain import ADMIN, Domain, DomainClass
from bento.host.model.errors import Conflict
from bento.host.model.inventory import DomainRecord
from bento.wire import home
from bento.wire.admin import Fault
from bento.wire.names import DomainName, LabelName
from bento.wire.rpc import MAX_DATA, ExitCode
from bento.wire.vmexec import encode_command
from tests.host.manager.home import TREE, Home, end_process

CALL_AND_WAIT = [
    word.encode()
    for word in (
        *("env", f"PYTHONPATH={TREE / 'src'}", "/usr/bin/python3", "-S", "-m", "bento.guest.commands.qrexec_client_vm"),
        *("@dispvm:base", "qubes.VMExec+cat"),
    )
]
"""A program that asks for a disposable and keeps it: its input does not end."""


@pytest.fixture
def based(served: Home) -> Home:
    """A home with the disposable template `base`, which holds a note."""
    served.create("base", label="orange")
    served.ask("admin.vm.property.Set", "base", "template_for_dispvms", "True")
    served.start("base")
    served.run("base", "sh", "-c", "echo from the base > ~/note")
    served.shutdown("base")
    return served


def created(home: Home, base: str = "base") -> str:
    return home.ask("admin.vm.CreateDisposable", base)


def test_a_disposable_is_gone_with_its_run(based: Home) -> None:
    name = created(based)
    assert based.state(name) == "Halted"
    row = based.row(name)
    assert (row["class"], row["template"], row["label"]) == ("DispVM", "base", "orange")
    directory = based.data_dir(name)
    based.start(name)
    assert based.run(name, "true").code == 0
    with based.events() as events:
        based.kill(name)
        assert dict(events.until("domain-delete")[-1].details)["vm"] == name
    assert name not in based.states()
    assert not directory.exists()


def test_one_that_shuts_down_itself_is_gone_too(based: Home) -> None:
    name = created(based)
    based.start(name)
    with based.events() as events:
        based.shutdown(name)
        events.until("domain-delete")
    assert name not in based.states()


def test_a_named_disposable_stays_and_begins_each_run_anew(based: Home) -> None:
    based.create("sandbox", "base", "DispVM")
    for _ in range(2):
        based.start("sandbox")
        assert based.run("sandbox", "sh", "-c", "test ! -e ~/left && touch ~/left").code == 0
        assert volumes(based, "sandbox") == []
        based.kill("sandbox")
    assert based.state("sandbox") == "Halted"
    assert volumes(based, "sandbox") == []


def test_a_named_disposable_that_cleans_up_after_itself_is_gone_when_it_halts(based: Home) -> None:
    based.create("sandbox", "base", "DispVM", label="purple")
    based.ask("admin.vm.property.Set", "sandbox", "auto_cleanup", "True")
    row = based.row("sandbox")
    assert (row["class"], row["template"], row["label"]) == ("DispVM", "base", "purple")
    based.start("sandbox")
    with based.events() as events:
        based.shutdown("sandbox")
        events.until("domain-delete")
    assert "sandbox" not in based.states()


def volumes(home: Home, name: str) -> list[str]:
    """What a domain has on the disk."""
    return [path.name for path in home.data_dir(name).iterdir()]


def test_it_has_its_bases_properties_and_tags_and_tells_who_asked(based: Home) -> None:
    based.ask("admin.vm.property.Set", "base", "memory", "321")
    based.ask("admin.vm.tag.Set", "base", "web")
    name = created(based)
    assert based.ask("admin.vm.property.Get", name, "memory") == "default=False type=int 321"
    assert based.ask("admin.vm.tag.List", name).split() == ["created-by-dom0", "disp-created-by-dom0", "web"]
    assert based.ask("admin.vm.property.Get", name, "auto_cleanup") == "default=False type=bool True"


@pytest.mark.parametrize("base", ["debian-12", "plain"])
def test_only_an_appvm_that_allows_it_has_disposables(based: Home, base: str) -> None:
    based.create("plain")
    before = based.states()
    assert based.refused("admin.vm.CreateDisposable", base).fault == Fault.BAD_VALUE
    assert based.refused("admin.vm.Create.DispVM", argument=base, payload="name=a label=red").fault == Fault.BAD_VALUE
    assert based.states() == before


def test_without_a_default_the_admin_domain_makes_none(based: Home) -> None:
    based.create("other")
    assert based.refused("admin.vm.CreateDisposable").sentence.endswith("default_dispvm NAME' (there are: base)")
    based.ask("admin.property.Set", argument="default_dispvm", payload="base")
    assert based.row(created(based, "dom0"))["template"] == "base"


def test_a_disposable_can_be_had_by_its_uuid(based: Home) -> None:
    by_uuid = based.ask("admin.vm.CreateDisposable", "base", payload="uuid")
    (row,) = [row for row in based.table() if row["class"] == "DispVM"]
    assert by_uuid == f"uuid:{row['uuid']}"
    assert based.refused("admin.vm.CreateDisposable", "base", payload="name").fault == Fault.BAD_VALUE


def start_anew(home: Home) -> None:
    """Start `base`, which no seed is of: none of its disposables can start meanwhile."""
    home.start("base")
    (home.data_dir("base") / "private.img").write_bytes(b"half written")


def test_none_starts_while_its_base_runs(based: Home) -> None:
    start_anew(based)
    name = created(based)
    failed = based.refused("admin.vm.Start", name)
    assert "bento shutdown --wait base" in failed.sentence
    assert name not in based.states(), "its first run is over"


def test_a_base_in_use_stays_one(based: Home) -> None:
    name = created(based)
    assert based.refused("admin.vm.Remove", "base").fault == Fault.IN_USE
    assert based.refused("admin.vm.property.Reset", "base", "template_for_dispvms").fault == Fault.IN_USE
    assert based.refused("admin.vm.property.Set", "base", "template_for_dispvms", "False").fault == Fault.IN_USE
    assert based.refused("admin.vm.property.Set", "base", "template", "debian-12").fault == Fault.IN_USE
    based.ask("admin.vm.Remove", name)
    based.ask("admin.vm.property.Reset", "base", "template_for_dispvms")


def test_default_dispvm_is_a_domains_own_then_its_bases_then_the_systems(based: Home) -> None:
    based.create("work")
    disposable = created(based)

    def default_of(name: str) -> str:
        return based.ask("admin.vm.property.Get", name, "default_dispvm")

    assert default_of("work") == "default=True type=vm "
    assert default_of(disposable) == "default=True type=vm base"
    based.ask("admin.property.Set", argument="default_dispvm", payload="base")
    assert default_of("work") == "default=True type=vm base"
    based.ask("admin.vm.property.Set", "work", "default_dispvm", "")
    assert default_of("work") == "default=False type=vm "
    assert based.ask("admin.vm.property.GetDefault", "work", "default_dispvm") == "type=vm base"
    based.ask("admin.vm.property.Reset", "work", "default_dispvm")
    assert default_of("work") == "default=True type=vm base"


def test_what_others_have_their_disposables_made_from_is_not_removed(based: Home) -> None:
    for name in ("work", "play"):
        based.create(name)
        based.ask("admin.vm.property.Set", name, "default_dispvm", "base")
    based.ask("admin.vm.property.Set", "base", "default_dispvm", "base")  # its own does not count
    failed = based.refused("admin.vm.Remove", "base")
    assert failed.fault == Fault.IN_USE
    assert failed.sentence.startswith("'base' is the default_dispvm of play, work; 'bento prefs play default_dispvm -")
    based.ask("admin.vm.Remove", "play")
    based.ask("admin.vm.property.Set", "work", "default_dispvm", "")
    based.ask("admin.vm.Remove", "base")


def test_a_domain_that_is_no_disposable_template_is_no_default(based: Home) -> None:
    based.create("work")
    failed = based.refused("admin.vm.property.Set", "work", "default_dispvm", "work")
    assert "template_for_dispvms" in failed.sentence
    assert (
        based.refused("admin.property.Set", argument="default_dispvm", payload="debian-12").fault
        == Fault.BAD_PROPERTY_VALUE
    )


def test_one_that_was_never_started_does_not_outlive_its_manager(based: Home) -> None:
    unstarted, running = created(based), created(based)
    based.start(running)
    based.create("sandbox", "base", "DispVM")
    based.kill_manager()
    based.start_manager()
    states = based.states()
    assert unstarted not in states
    assert states[running] == "Running"
    assert states["sandbox"] == "Halted"


def test_one_that_died_while_no_manager_was_there_is_gone(based: Home) -> None:
    name = created(based)
    based.start(name)
    directory = based.data_dir(name)
    (machine,) = [pid for pid in based.machine_pids() if pid == based.row(name)["pid"]]
    based.kill_manager()
    end_process(machine)
    based.start_manager()
    assert name not in based.states()
    assert not directory.exists()


@pytest.fixture
def random(based: Home) -> Home:
    """The same, with `random` running, whose calls a disposable of `base` may serve."""
    based.create("random")
    based.start("random")
    based.policy("qubes.VMExec * random @dispvm:base allow\nqubes.VMExec * random @dispvm allow\n")
    return based


def disposables(home: Home) -> list[str]:
    return [row["name"] for row in home.table() if row["class"] == "DispVM"]


def test_a_call_to_a_new_disposable_is_served_and_ends_it(random: Home) -> None:
    with random.events() as events:
        outcome = random.run_from("random", "@dispvm:base", "qubes.VMExec+cat", stdin=b"for nobody else")
        assert (outcome.code, outcome.stdout) == (0, b"for nobody else")
        events.until("domain-delete")
    assert disposables(random) == []


def test_a_plain_dispvm_is_the_callers_default(random: Home) -> None:
    assert random.run_from("random", "@dispvm", "qubes.VMExec+true").code == ExitCode.REFUSED
    random.ask("admin.vm.property.Set", "random", "default_dispvm", "base")
    assert random.run_from("random", "@dispvm", "qubes.VMExec+true").code == 0


def test_it_ends_when_its_caller_goes(random: Home) -> None:
    with random.events() as events:
        begun = random.call("random", f"qubes.VMExec+{encode_command(CALL_AND_WAIT)}")
        name = next(d for e in events.until("domain-start")[-1:] if (d := e.subject))
        assert disposables(random) == [name]
        begun.sock.close()
        events.until("domain-delete")
    assert disposables(random) == []


def test_it_ends_with_the_manager_that_knew_of_its_call(random: Home) -> None:
    with random.events() as events:
        begun = random.call("random", f"qubes.VMExec+{encode_command(CALL_AND_WAIT)}")
        events.until("domain-start")
    random.kill_manager()
    begun.sock.close()
    random.start_manager()
    assert disposables(random) == []
    assert random.state("random") == "Running"


BASE, RANDOM, WORK = map(DomainName, ("base", "random", "work"))


@pytest.fixture
def inventory(tmp_path: Path) -> Iterator[Inventory]:
    """`base`, `random` and `work`, without a manager."""
    with contextlib.closing(SqliteStore(tmp_path / "state")) as store:
        inventory = Inventory(store)
        for slot, name in enumerate((BASE, RANDOM, WORK), start=1):
            domain = Domain(uuid5(UUID(int=7), name), name, DomainClass.APP, LabelName("red"), None)
            inventory.put(DomainRecord(domain, slot=slot, properties={"template_for_dispvms": "True"}))
        yield inventory


@pytest.fixture
def made(tmp_path: Path, inventory: Inventory) -> Disposables:
    (tmp_path / "domains").mkdir()
    path = PurePosixPath(tmp_path)
    return Disposables(inventory, Places.of(home.Home(path, path, path, path)), Events(), lambda _: None)


def test_a_domain_has_so_many_at_once_and_no_more(made: Disposables, inventory: Inventory) -> None:
    first, *_ = [made.make(BASE, asked_by=RANDOM) for _ in range(MAX_AT_ONCE)]
    with pytest.raises(Conflict, match="'random' has 8 disposables already"):
        made.make(BASE, asked_by=RANDOM)
    made.make(BASE, asked_by=WORK)
    made.make(BASE, asked_by=ADMIN)
    inventory.drop(first.name)
    made.make(BASE, asked_by=RANDOM)


def test_disposables_of_its_disposables_are_its_own(made: Disposables, inventory: Inventory) -> None:
    """Or one domain had as many as the machine holds: each of eight makes eight."""
    line = [made.make(BASE, asked_by=RANDOM)]
    while len(line) < MAX_AT_ONCE:
        line.append(made.make(BASE, asked_by=line[-1].name))
    for name in (RANDOM, line[0].name, line[-1].name):
        with pytest.raises(Conflict):
            made.make(BASE, asked_by=name)
    inventory.drop(line[0].name)
    made.make(BASE, asked_by=line[-1].name)
    with pytest.raises(Conflict):
        made.make(BASE, asked_by=RANDOM)


def test_a_call_that_finds_no_room_for_its_disposable_fails(random: Home) -> None:
    with random.events() as events, contextlib.ExitStack() as held:
        for _ in range(MAX_AT_ONCE):
            held.enter_context(random.call("random", f"qubes.VMExec+{encode_command(CALL_AND_WAIT)}"))
            events.until("domain-start")
        assert random.run_from("random", "@dispvm:base", "qubes.VMExec+true").code == ExitCode.FAULT
        assert len(disposables(random)) == MAX_AT_ONCE


def test_the_person_has_a_program_run_in_one(based: Home) -> None:
    with based.events() as events:
        outcome = based.run("base", "sh", "-c", "echo here; exit 7", disposable="yes")
        assert (outcome.code, outcome.stdout) == (7, b"here\n")
        events.until("domain-delete")
    assert disposables(based) == []
    assert based.state("base") == "Halted"


def test_the_persons_default_is_the_systems(based: Home) -> None:
    assert "default_dispvm" in based.refused("bento.vm.Call", "dom0", "qubes.VMExec+true", "disposable=yes\n").sentence
    based.ask("admin.property.Set", argument="default_dispvm", payload="base")
    assert based.run("dom0", "true", disposable="yes").code == 0


def test_disposable_is_yes_or_no(based: Home) -> None:
    refused = based.refused("bento.vm.Call", "base", "qubes.VMExec+true", "disposable=perhaps\n")
    assert refused.fault == Fault.BAD_VALUE
    assert disposables(based) == []


def test_the_person_chooses_its_label(based: Home) -> None:
    with based.call("base", "qubes.VMExec+cat", disposable="yes", label="purple", netvm="none") as begun:
        (name,) = disposables(based)
        assert based.row(name)["label"] == "purple"
        begun.give(b"")
        assert begun.outcome().code == 0


@pytest.mark.parametrize(
    ("fields", "fault", "says"),
    [
        ("disposable=yes\nlabel=pink\n", Fault.NO_SUCH_LABEL, "there is no label 'pink'"),
        ("disposable=yes\nnetvm=sys-net\n", Fault.BAD_VALUE, "no domain provides network"),
        ("disposable=yes\nfresh=perhaps\n", Fault.BAD_VALUE, "fresh is yes or no"),
        ("label=red\n", Fault.BAD_VALUE, "label is for a call that makes a disposable"),
        ("fresh=yes\n", Fault.BAD_VALUE, "fresh is for a call that makes a disposable"),
    ],
)
def test_what_a_disposable_cannot_be_is_one_sentence_and_makes_none(
    based: Home, fields: str, fault: Fault, says: str
) -> None:
    refused = based.refused("bento.vm.Call", "base", "qubes.VMExec+true", fields)
    assert (refused.fault, says in refused.sentence) == (fault, True), refused.sentence
    assert disposables(based) == []


NOWHERE = "qubes.NoSuchService"


def test_one_whose_call_its_guest_refuses_is_gone_too(random: Home) -> None:
    """127 for a service that is not there, 126 for a program that may not be run."""
    random.policy(f"{NOWHERE} * random @dispvm:base allow\nqubes.VMExec * random @dispvm:base allow\n")
    with random.events() as events:
        for service, code in (
            (NOWHERE, ExitCode.NOT_FOUND),
            (f"qubes.VMExec+{encode_command([b'/etc/passwd'])}", ExitCode.REFUSED),
        ):
            with random.call("base", service, disposable="yes") as begun:
                assert begun.outcome().code == code
            events.until("domain-delete")
            assert random.run_from("random", "@dispvm:base", service).code == code
            events.until("domain-delete")
    assert disposables(random) == []


def test_it_ends_when_the_person_who_called_is_killed(based: Home) -> None:
    """Nothing is said: the leg is closed, as the kernel does for a command that is gone."""
    with based.events() as events:
        begun = based.call("base", "qubes.VMExec+sleep+100000", disposable="yes")
        uuid = based.row(disposables(based)[0])["uuid"]
        assert based.running(uuid)
        begun.sock.close()
        events.until("domain-delete")
    assert disposables(based) == []
    assert based.running(uuid) == []


def test_it_ends_when_the_person_went_before_it_had_started(based: Home) -> None:
    with based.events() as events:
        based.send("bento.vm.Call", "base", "qubes.VMExec+sleep+100000", "disposable=yes\n").close()
        events.until("domain-delete")
    assert disposables(based) == []


@pytest.mark.parametrize("moment", ["begins", "runs"])
def test_the_persons_ends_with_a_manager_that_is_killed(based: Home, moment: str) -> None:
    with based.events() as events:
        asked = based.send("bento.vm.Call", "base", "qubes.VMExec+sleep+100000", "disposable=yes\n")
        begun = events.until("domain-pre-start" if moment == "begins" else "domain-start")[-1].subject
        uuid, directory = based.row(begun)["uuid"], based.data_dir(begun)
    based.kill_manager()
    asked.close()
    based.start_manager()
    assert disposables(based) == []
    assert based.running(uuid) == []
    assert not directory.exists()


@pytest.mark.parametrize("whose", ["the disposable", "random", "everybody"])
def test_it_ends_with_a_broker_that_dies(random: Home, whose: str) -> None:
    with random.events() as events, random.call("random", f"qubes.VMExec+{encode_command(CALL_AND_WAIT)}") as leg:
        name = events.until("domain-start")[-1].subject
        leg.write(b"?")
        assert leg.sock.recv(MAX_DATA)  # so the call is there: one that is not yet waits for the next broker
        match whose:
            case "the disposable":
                end_process(random.broker_pid(name))
            case "random":
                end_process(random.broker_pid("random"))
            case _:
                end_process(random.nursery_pid())
        events.until("domain-delete")
    assert disposables(random) == []


def test_it_ends_with_the_domain_that_asked_for_it(random: Home) -> None:
    with random.events() as events, random.call("random", f"qubes.VMExec+{encode_command(CALL_AND_WAIT)}"):
        events.until("domain-start")
        random.kill("random")
        events.until("domain-delete")
    assert disposables(random) == []


def test_starts_that_fail_for_a_call_are_told_of_within_the_callers_share_of_the_log(random: Home) -> None:
    """A guest that is refused has the next one made, under another name: what is told by name would never end."""
    start_anew(random)
    assert random.run_from("random", "@dispvm:base", "qubes.VMExec+true").code == ExitCode.FAULT
    told = [line for line in random.log().splitlines() if "is made from 'base', which runs" in line]
    assert ["call of qubes.VMExec from random failed" in line for line in told] == [True]


def test_a_domain_that_does_not_start_fills_no_log(based: Home) -> None:
    based.create("sandbox", "base", "DispVM")
    start_anew(based)
    for _ in range(LINES + 5):
        based.refused("admin.vm.Start", "sandbox")
    assert sum("start of sandbox failed" in line for line in based.log().splitlines()) == LINES
