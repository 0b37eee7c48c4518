"""Events: what is told, and in which order."""

import asyncio

import pytest

from bento.host.manager.events import MAX_BEHIND, Events
from bento.wire.admin import Event, Fault
from tests.host.manager.home import Home


def told(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.subject, event.name) for event in events]


def test_a_domains_life_is_told_in_its_order(served: Home) -> None:
    with served.events() as events:
        served.create("work")
        served.start("work")
        served.ask("admin.vm.Pause", "work")
        served.ask("admin.vm.Unpause", "work")
        served.shutdown("work")
        served.ask("admin.vm.Remove", "work")
        assert told(events.until("domain-delete")) == [
            ("", "domain-add"),
            ("work", "domain-pre-start"),
            ("work", "domain-start"),
            ("work", "domain-paused"),
            ("work", "domain-unpaused"),
            ("work", "domain-shutdown"),
            ("", "domain-delete"),
        ]


def test_changes_say_what_was_changed(served: Home) -> None:
    with served.events() as events:
        served.ask("admin.vm.property.Set", "debian-12", "memory", "0512")
        served.ask("admin.vm.property.Reset", "debian-12", "memory")
        served.ask("admin.vm.tag.Set", "debian-12", "mail")
        served.ask("admin.vm.tag.Remove", "debian-12", "mail")
        served.ask("admin.vm.feature.Set", "debian-12", "colour", "warm")
        served.ask("admin.vm.feature.Remove", "debian-12", "colour")
        assert events.until("domain-feature-delete:colour") == [
            Event("debian-12", "property-set:memory", (("name", "memory"), ("newvalue", "512"))),
            Event("debian-12", "property-reset:memory", (("name", "memory"),)),
            Event("debian-12", "domain-tag-add:mail", (("tag", "mail"),)),
            Event("debian-12", "domain-tag-delete:mail", (("tag", "mail"),)),
            Event("debian-12", "domain-feature-set:colour", (("feature", "colour"), ("value", "warm"))),
            Event("debian-12", "domain-feature-delete:colour", (("feature", "colour"),)),
        ]


def test_all_listeners_hear_and_a_refused_request_is_no_event(served: Home) -> None:
    with served.events() as first, served.events() as second:
        served.refused("admin.vm.tag.Remove", "debian-12", "mail")
        served.create("work")
        assert told(first.until("domain-add")) == told(second.until("domain-add")) == [("", "domain-add")]


def test_who_asks_about_one_domain_hears_of_no_other(served: Home) -> None:
    served.create("work")
    with served.events("work") as events:
        served.create("web")
        served.ask("admin.vm.tag.Set", "web", "mail")
        served.ask("admin.vm.tag.Set", "work", "mail")
        assert told(events.until("domain-tag-add:mail")) == [("work", "domain-tag-add:mail")]


def test_there_are_no_events_of_a_domain_that_is_not_there(served: Home) -> None:
    assert served.refused("admin.Events", "nowhere").fault == Fault.NOT_FOUND


def test_a_new_template_is_told_once(served: Home) -> None:
    with served.events() as events:
        served.build(name="other")
        served.build(name="other")
        served.create("work", "other")
        built = Event("other", "template-built")
        assert events.until("domain-add") == [Event("", "domain-add", (("vm", "other"),))]
        assert events.until("domain-add") == [built, built, Event("", "domain-add", (("vm", "work"),))]


def test_listeners_that_went_away_free_their_places(served: Home) -> None:
    for _ in range(600):  # more than may be connected at a time
        with served.events():
            pass
    served.create("work")


def test_a_listener_that_falls_too_far_behind_is_dropped_and_the_others_are_not() -> None:
    events = Events()
    with events.listen() as slow, events.listen() as quick:
        for number in range(2 * MAX_BEHIND):
            events.tell("work", f"property-set:{number}")
            quick.get_nowait()
        assert slow.qsize() == MAX_BEHIND + 1
        heard = [slow.get_nowait() for _ in range(MAX_BEHIND + 1)]
    assert heard[-2:] == [Event("work", f"property-set:{MAX_BEHIND - 1}"), None]


def test_who_attends_can_be_ended_at_the_very_moment_that_there_is_news() -> None:
    async def story() -> None:
        events, looked = Events(), asyncio.Event()

        async def look() -> float:
            looked.set()
            return 1000.0

        attending = asyncio.create_task(events.attend(look, "looking"))
        await looked.wait()
        events.tell("work", "domain-start")
        attending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attending

    asyncio.run(story())
