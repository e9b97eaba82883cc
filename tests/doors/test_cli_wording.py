"""How the command line says durations, instants, outages and policies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from duly.cli import wording
from duly.model.dates import to_micros
from duly.model.history import Entry, Outage
from duly.model.lifecycle import Policy
from duly.rules.catch_up import Effective

BERLIN = "Europe/Berlin"
GRACE = timedelta(seconds=60)


def at(text: str) -> int:
    return to_micros(datetime.fromisoformat(text).replace(tzinfo=UTC))


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (timedelta(0), "0 ms"),
        (timedelta(milliseconds=214), "214 ms"),
        (timedelta(seconds=1), "1 s"),
        (timedelta(seconds=59, milliseconds=999), "59 s"),
        (timedelta(seconds=60), "1 min"),
        (timedelta(seconds=90), "1 min 30 s"),
        (timedelta(minutes=9, seconds=59), "9 min 59 s"),
        (timedelta(minutes=17, seconds=40), "17 min"),
        (timedelta(hours=1), "1 h"),
        (timedelta(hours=1, minutes=47, seconds=59), "1 h 47 min"),
        (timedelta(hours=23, minutes=59), "23 h 59 min"),
        (timedelta(days=1), "1 day"),
        (timedelta(days=1, hours=5), "1 day 5 h"),
        (timedelta(days=3, hours=4, minutes=30), "3 days 4 h"),
        (timedelta(days=45, hours=4), "45 days"),
        (timedelta(minutes=-17), "17 min"),
    ],
)
def test_a_duration_is_said_in_its_two_largest_units_that_matter(length: timedelta, said: str) -> None:
    assert wording.duration(length) == said


def test_an_instant_is_said_relative_to_now_and_on_the_clocks_of_its_zone() -> None:
    now = at("2025-08-27 12:17")
    assert wording.moment(at("2025-08-27 13:00"), BERLIN, now) == "in 43 min (15:00 Europe/Berlin)"
    assert wording.moment(at("2025-08-27 12:05"), BERLIN, now) == "12 min ago (14:05 Europe/Berlin)"
    assert wording.moment(now, None, now) == "now (12:17 UTC)"


def test_another_day_is_said_and_another_year_too() -> None:
    now = at("2025-08-27 12:17")
    assert wording.clock(at("2025-08-27 22:30"), BERLIN, beside=now) == "28 Aug 00:30"
    assert wording.clock(at("2026-08-27 12:00:05"), "UTC", beside=now) == "27 Aug 2026 12:00:05"


def test_a_planned_date_is_said_in_its_zone_and_in_utc() -> None:
    assert wording.planned(at("2025-08-27 10:30"), BERLIN) == "12:30 Europe/Berlin, 27 Aug 2025 (10:30Z)"
    assert wording.planned(at("2025-08-26 22:30"), BERLIN) == "00:30 Europe/Berlin, 27 Aug 2025 (26 Aug 22:30Z)"
    assert wording.planned(at("2025-08-27 10:30"), None) == "10:30 UTC, 27 Aug 2025"
    assert wording.planned(at("2025-08-28 11:59:59"), "AoE") == "23:59:59 AoE, 27 Aug 2025 (28 Aug 11:59:59Z)"


def test_a_stretch_of_time_has_its_days_only_if_there_are_several_and_seconds_only_if_it_is_short() -> None:
    began, ended = at("2025-08-27 10:03:20"), at("2025-08-27 12:17:40")
    assert wording.span(began, ended, BERLIN) == "12:03 – 14:17 Europe/Berlin"
    assert wording.span(began, began + 7_000_000, "UTC") == "10:03:20 – 10:03:27 UTC"
    assert wording.span(began, at("2025-08-28 12:17"), "UTC") == "27 Aug 10:03 – 28 Aug 12:17 UTC"


@pytest.mark.parametrize(
    ("late", "said"),
    [
        (None, ""),
        (timedelta(milliseconds=3), "on time"),
        (timedelta(seconds=60), "1 min late"),
        (timedelta(seconds=61), "late 1 min 1 s"),
    ],
)
def test_what_came_within_the_grace_is_not_said_like_what_was_missed(late: timedelta | None, said: str) -> None:
    assert wording.lateness(late, GRACE) == said


@pytest.mark.parametrize(
    ("effective", "said"),
    [
        (Effective(), "missed by up to 24 h: announce, in order; older: keep as missed"),
        (
            Effective(policy=Policy.CURRENT, window=timedelta(hours=36)),
            "missed by up to 36 h: announce only what still holds once caught up; older: keep as missed",
        ),
        (
            Effective(policy=Policy.LATEST, window=None),
            "missed, however long ago: announce only the last of the event's",
        ),
        (Effective(policy=Policy.NONE), "missed: announce nothing"),
        (
            Effective(policy=Policy.PARK, window=timedelta(days=7)),
            "missed by up to 7 days: keep for a person to decide; older: keep as missed",
        ),
        (Effective(window=timedelta(0)), "missed: keep as missed"),
        (
            Effective(born_late=True),
            "missed by up to 24 h: announce, in order; older: keep as missed; passed before it was known: announce",
        ),
    ],
)
def test_a_policy_is_said_as_a_sentence(effective: Effective, said: str) -> None:
    assert wording.policy(effective) == said


def transition(cause: str, *, due: int, fired: int, outage: int | None = None, reason: str | None = None) -> Entry:
    return Entry(
        *("w1", 2, "fired", "event_start", 1, due, fired, "a/a", "b/b", cause, None, reason, None, "n1", outage, b"")
    )


@pytest.mark.parametrize(
    ("cause", "reason", "said"),
    [
        ("scheduled", None, ""),
        ("edited", "moved up", "its date was moved into the past: moved up"),
        ("manual", None, "fired by hand"),
        ("born_late", None, "it had passed before the event was known, so it was not announced"),
        ("caught_up", None, "it was caught up"),
    ],
)
def test_every_cause_of_a_transition_has_its_words(cause: str, reason: str | None, said: str) -> None:
    entry = transition(cause, due=at("2025-08-27 10:00"), fired=at("2025-08-27 10:00"), reason=reason)
    assert wording.cause(entry, None, "UTC", GRACE) == said


def test_what_was_caught_up_names_the_outage_that_covers_it() -> None:
    outage = Outage(id=7, began_us=at("2025-08-27 10:03"), ended_us=at("2025-08-27 12:17"), node="a1")
    entry = transition("caught_up", due=at("2025-08-27 10:30"), fired=at("2025-08-27 12:17"), outage=7)
    assert wording.cause(entry, outage, BERLIN, GRACE) == "no node was alive from 12:03 to 14:17 (outage 7)"
    before = transition("caught_up", due=at("2025-08-27 10:00"), fired=at("2025-08-27 12:17"), outage=7)
    assert wording.cause(before, outage, BERLIN, GRACE) == "caught up after outage 7; it had been due before that"


def test_a_few_seconds_are_explained_by_the_grace() -> None:
    entry = transition("scheduled", due=at("2025-08-27 10:00"), fired=at("2025-08-27 10:00:09"))
    assert wording.cause(entry, None, "UTC", GRACE) == "within the misfire grace of 1 min"


def test_bad_input_60_no_text_steers_the_terminal_or_forges_a_line() -> None:
    assert wording.printable("a\x1b[2Jb\nc\u202ed") == "a\\x1b[2Jb\\nc\\u202ed"
    assert wording.printable("Größe → ✔") == "Größe → ✔"
    assert wording.printable("\udcff") == "\\udcff"


def test_numbers_agree_with_their_nouns() -> None:
    assert wording.count(1, "event") == "1 event"
    assert wording.count(6008, "event") == "6,008 events"
    assert wording.count(2, "batch", "batches") == "2 batches"
