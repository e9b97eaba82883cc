"""A date as given → an instant."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
import whenever
from hypothesis import example, given, settings
from hypothesis import strategies as st

from duly.errors import InvalidDate, InvalidZone
from duly.model.dates import (
    GivenDate,
    Kind,
    ResolvedDate,
    Side,
    read_date,
    resolve_date,
    to_datetime,
    to_micros,
    wall_clock,
)
from duly.model.zone_names import zone_names
from duly.model.zones import read_zone

if TYPE_CHECKING:
    from collections.abc import Mapping

OPENING, CLOSING = Side.OPENING, Side.CLOSING


def utc(text: str) -> int:
    return to_micros(datetime.fromisoformat(text + "+00:00"))


def resolve(
    value: object, zone: str | None = None, side: Side = OPENING, anchors: Mapping[str, str] = MappingProxyType({})
) -> ResolvedDate:
    found = read_date(value)
    milestones = {name: utc(text) for name, text in anchors.items()}
    resolved = resolve_date(found, zone=zone, side=side, anchors=milestones)
    kept = GivenDate.from_json(found.to_json())
    assert kept == found
    assert hash(kept) == hash(found)
    again = resolve_date(kept, zone=zone, side=side, anchors=milestones)
    assert (again.at, again.zone) == (resolved.at, resolved.zone)
    return resolved


# --------------------------------------------------------------------------------------- micros


def test_an_instant_survives_the_way_to_a_datetime_and_back_to_the_microsecond() -> None:
    for at in (0, 1, -1, 1_777_622_400_123_456, utc("1900-01-01T00:00:00"), utc("9998-12-31T23:59:59.999999")):
        assert to_micros(to_datetime(at)) == at
    assert to_datetime(0) == datetime(1970, 1, 1, tzinfo=UTC)


@settings(deadline=None)
@given(st.datetimes(min_value=datetime(1900, 1, 2), max_value=datetime(9998, 1, 1)), st.integers(-719, 839))
def test_micros_are_exact_for_every_offset(wall: datetime, minutes: int) -> None:
    aware = wall.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert to_datetime(to_micros(aware)) == aware


def test_a_naive_datetime_has_no_micros() -> None:
    with pytest.raises(InvalidDate, match="no offset from UTC"):
        to_micros(datetime(2026, 5, 1))


# --------------------------------------------------------------------------------------- the forms


@pytest.mark.parametrize(
    ("written", "kind", "text"),
    [
        ("2026-05-01T10:00:00Z", Kind.INSTANT, "2026-05-01T10:00:00Z"),
        ("2026-05-01t10:00:00z", Kind.INSTANT, "2026-05-01T10:00:00Z"),
        ("2026-05-01 10:00Z", Kind.INSTANT, "2026-05-01T10:00:00Z"),
        ("2026-05-01T10:00+02:00", Kind.INSTANT, "2026-05-01T08:00:00Z"),
        ("2026-05-01 10:00 -0330", Kind.INSTANT, "2026-05-01T13:30:00Z"),
        ("2026-05-01T10:00:00,5+02", Kind.INSTANT, "2026-05-01T08:00:00.500000Z"),
        ("  2026-05-01 10:00\n", Kind.WALL, "2026-05-01 10:00"),
        ("2026-05-01T10:00:01", Kind.WALL, "2026-05-01 10:00:01"),
        ("2026-05-01 10:00:00.25", Kind.WALL, "2026-05-01 10:00:00.250000"),
        ("2026-05-01", Kind.DAY, "2026-05-01"),
        ("event_start", Kind.RELATIVE, "event_start"),
        ("event_start - 2 days at 23:59", Kind.RELATIVE, "event_start - 2 days at 23:59"),
        ("event_start  -  P1D", Kind.RELATIVE, "event_start - 1 day"),
        ("1 day before event_start", Kind.RELATIVE, "event_start - 1 day"),
        ("3 hours after registration_close", Kind.RELATIVE, "registration_close + 3 hours"),
        ("paper_deadline#2 + 1 week and 2 days", Kind.RELATIVE, "paper_deadline#2 + 1 week 2 days"),
        ("event_start-2days", Kind.RELATIVE, "event_start - 2 days"),
        (
            "event_start + P1Y2M3DT4H5M6S",
            Kind.RELATIVE,
            "event_start + 1 year 2 months 3 days 4 hours 5 minutes 6 seconds",
        ),
        ("event_start at 09:00:30", Kind.RELATIVE, "event_start at 09:00:30"),
        ("event_start + 0 days", Kind.RELATIVE, "event_start"),
    ],
)
def test_a_date_is_kept_in_its_canonical_text(written: str, kind: Kind, text: str) -> None:
    found = read_date(written)
    assert (found.kind, found.text, found.zone, found.disambiguate) == (kind, text, None, None)
    assert found.to_json() == text


@pytest.mark.parametrize(
    "written",
    [
        "2026-05-01 10:00 Europe/Berlin",
        "2026-05-01T10:00[Europe/Berlin]",
        "2026-05-01T10:00[!Europe/Berlin]",
        {"at": "2026-05-01T10:00", "zone": "Europe/Berlin"},
        {"at": datetime(2026, 5, 1, 10), "zone": ZoneInfo("Europe/Berlin")},
        {"at": "2026-05-01 10:00 Europe/Berlin", "zone": "Europe/Berlin"},
        {"at": read_date("2026-05-01 10:00"), "zone": "Europe/Berlin", "disambiguate": None},
    ],
)
def test_a_wall_time_may_bring_its_own_zone(written: object) -> None:
    found = read_date(written)
    assert found == read_date("2026-05-01 10:00 Europe/Berlin")
    assert found.to_json() == "2026-05-01 10:00 Europe/Berlin"
    assert resolve(written, zone="America/New_York") == ResolvedDate(utc("2026-05-01T08:00:00"), "Europe/Berlin", ())


@pytest.mark.parametrize(
    "value",
    [
        "2026-05-01T10:00+02:00",
        "2026-05-01T10:00+02:00[Europe/Berlin]",
        "2026-05-01T10:00+02:00 Europe/Berlin",
        "2026-05-01T08:00Z[Europe/Berlin]",
        {"at": "2026-05-01T10:00+02:00", "zone": "Europe/Berlin"},
        {"at": "2026-05-01T08:00:00Z", "zone": "Europe/Berlin", "disambiguate": "later"},
        {"at": datetime(2026, 5, 1, 10, tzinfo=ZoneInfo("Europe/Berlin")), "zone": "Europe/Berlin"},
        {"at": datetime(2026, 5, 1, 8, tzinfo=UTC), "zone": "Europe/Berlin"},
        datetime(2026, 5, 1, 10, tzinfo=ZoneInfo("Europe/Berlin")),
        datetime(2026, 5, 1, 13, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        whenever.Instant("2026-05-01T08:00Z"),
        whenever.OffsetDateTime("2026-05-01T10:00+02:00"),
        whenever.ZonedDateTime("2026-05-01T10:00+02:00[Europe/Berlin]"),
    ],
)
def test_whatever_carries_an_offset_is_an_instant(value: object) -> None:
    assert read_date(value) == read_date("2026-05-01T08:00:00Z")
    assert resolve(value, zone="Asia/Tokyo") == ResolvedDate(utc("2026-05-01T08:00:00"), None, ())


def test_objects_without_an_offset_are_wall_times_and_days() -> None:
    assert read_date(datetime(2026, 5, 1, 10)) == read_date("2026-05-01 10:00")
    assert read_date(datetime(2026, 5, 1)) == read_date("2026-05-01 00:00")
    assert read_date(whenever.PlainDateTime("2026-05-01T10:00")) == read_date("2026-05-01 10:00")
    assert read_date(date(2026, 5, 1)) == read_date("2026-05-01")
    assert read_date(whenever.Date("2026-05-01")) == read_date("2026-05-01")
    assert read_date(read_date("2026-05-01")) == read_date("2026-05-01")


def test_dates_that_were_given_differently_are_not_equal() -> None:
    forms = ("2026-05-01", "2026-05-01 00:00", "2026-05-01T00:00Z", "2026-05-01 00:00 UTC", "2026-05-01 AoE")
    assert len({read_date(form) for form in forms}) == len(forms)


def test_a_naive_datetime_with_fold_names_the_second_of_two_instants() -> None:
    found = read_date(datetime(2026, 10, 25, 2, 30, fold=1))
    assert found.to_json() == {"at": "2026-10-25 02:30", "disambiguate": "later"}
    assert resolve(found, "Europe/Berlin").at == utc("2026-10-25T01:30:00")


def test_only_a_relative_date_has_an_anchor() -> None:
    assert read_date("2 days before paper_deadline#2").anchor == "paper_deadline#2"
    assert read_date("2026-05-01").anchor is None


# --------------------------------------------------------------------------------------- sides


def test_a_bare_date_opens_at_its_midnight_and_closes_at_the_next() -> None:
    assert resolve("2026-05-01", "Europe/Berlin", OPENING).at == utc("2026-04-30T22:00:00")
    assert resolve("2026-05-01", "Europe/Berlin", CLOSING).at == utc("2026-05-01T22:00:00")
    assert resolve("2026-05-01 AoE", "Europe/Berlin", CLOSING) == ResolvedDate(utc("2026-05-02T12:00:00"), "AoE", ())


def test_scenario_08_an_opening_takes_the_first_of_two_instants_and_a_closing_the_second() -> None:
    opening = resolve("2026-10-25 02:30", "Europe/Berlin", OPENING)
    closing = resolve("2026-10-25 02:30", "Europe/Berlin", CLOSING)
    assert opening.at == utc("2026-10-25T00:30:00")
    assert closing.at == utc("2026-10-25T01:30:00")
    assert "comes twice: read as the first, 2026-10-25T00:30:00Z" in opening.warnings[0]
    assert "comes twice: read as the second, 2026-10-25T01:30:00Z" in closing.warnings[0]


@pytest.mark.parametrize("side", Side)
def test_disambiguate_overrides_the_side_of_a_repeated_time(side: Side) -> None:
    for choice, at in (("earlier", "2026-10-25T00:30:00"), ("later", "2026-10-25T01:30:00")):
        chosen = {"at": "2026-10-25 02:30", "disambiguate": choice}
        assert resolve(chosen, "Europe/Berlin", side) == ResolvedDate(utc(at), "Europe/Berlin", ())


@pytest.mark.parametrize("side", Side)
def test_scenario_09_a_skipped_time_is_shifted_forward_with_a_warning_that_names_both(side: Side) -> None:
    found = resolve("2027-03-28 02:30", "Europe/Berlin", side)
    assert found.at == utc("2027-03-28T01:30:00")
    (warning,) = found.warnings
    assert "2027-03-28 02:30 Europe/Berlin" in warning
    assert "2027-03-28 03:30 Europe/Berlin" in warning


def test_scenario_09_a_day_without_midnight_opens_an_hour_later_by_the_clock() -> None:
    found = resolve("2027-04-30", "Africa/Cairo", OPENING)
    assert found.at == utc("2027-04-29T22:00:00")
    assert "2027-04-30 01:00 Africa/Cairo" in found.warnings[0]
    closing = resolve("2027-04-29", "Africa/Cairo", CLOSING)
    assert closing.at == found.at


def test_scenario_09_lord_howe_repeats_half_an_hour() -> None:
    assert resolve("2027-04-04 01:45", "Australia/Lord_Howe", OPENING).at == utc("2027-04-03T14:45:00")
    assert resolve("2027-04-04 01:45", "Australia/Lord_Howe", CLOSING).at == utc("2027-04-03T15:15:00")
    assert not resolve("2027-04-04 01:15", "Australia/Lord_Howe").warnings


def test_disambiguate_chooses_the_side_of_a_gap() -> None:
    earlier = resolve({"at": "2027-03-28 02:30", "disambiguate": "earlier"}, "Europe/Berlin")
    assert earlier.at == utc("2027-03-28T00:30:00")
    assert "2027-03-28 01:30 Europe/Berlin" in earlier.warnings[0]


def test_scenario_10_the_end_of_a_year_anywhere_on_earth() -> None:
    for zone in ("AoE", "aoe", "UTC-12"):
        found = resolve(f"2026-12-31 23:59:59 {zone}")
        assert (found.at, found.warnings) == (utc("2027-01-01T11:59:59"), ())
    odd = resolve("2026-12-31 23:59:59 Etc/GMT+12")
    assert odd.at == utc("2027-01-01T11:59:59")
    assert odd.warnings == ("date: zone 'Etc/GMT+12' means UTC-12, because its sign is reversed: write UTC-12",)
    with pytest.raises(InvalidZone, match="'PT' is ambiguous: write America/Los_Angeles or UTC-8"):
        read_date("2026-12-31 23:59:59 PT")


# --------------------------------------------------------------------------------------- relative dates


def test_scenario_23_a_day_before_keeps_the_wall_time_and_24_hours_do_not() -> None:
    start = {"event_start": "2026-10-25T11:00:00"}  # 12:00 in Berlin, after the night of the change
    assert resolve("event_start - 1 day", "Europe/Berlin", anchors=start).at == utc("2026-10-24T10:00:00")
    assert resolve("event_start - 24 hours", "Europe/Berlin", anchors=start).at == utc("2026-10-24T11:00:00")
    spring = {"event_start": "2027-03-28T10:00:00"}  # 12:00 in Berlin
    assert resolve("event_start - P1D", "Europe/Berlin", anchors=spring).at == utc("2027-03-27T11:00:00")
    assert resolve("event_start - PT24H", "Europe/Berlin", anchors=spring).at == utc("2027-03-27T10:00:00")


def test_an_exact_offset_needs_no_zone_and_keeps_none() -> None:
    start = {"event_start": "2026-05-01T10:00:00"}
    found = resolve("event_start + 3 hours 30 minutes", None, anchors=start)
    assert found == ResolvedDate(utc("2026-05-01T13:30:00"), None, ())
    mapped = read_date({"at": "event_start + 3 hours", "zone": "Asia/Tokyo", "disambiguate": "later"})
    assert mapped == read_date("event_start + 3 hours Asia/Tokyo") == read_date("event_start + 3 hours")


def test_a_calendar_offset_is_counted_in_its_own_zone_or_the_default() -> None:
    start = {"event_start": "2026-05-01T02:00:00"}
    berlin = resolve("event_start - 2 days at 23:59", "Europe/Berlin", anchors=start)
    assert berlin == ResolvedDate(utc("2026-04-29T21:59:00"), "Europe/Berlin", ())
    own = resolve("event_start - 2 days at 23:59 America/New_York", "Europe/Berlin", anchors=start)
    assert own == ResolvedDate(utc("2026-04-29T03:59:00"), "America/New_York", ())
    with pytest.raises(InvalidDate, match="has no zone: give the date a zone"):
        resolve("event_start - 2 days", None, anchors=start)


def test_months_then_days_then_exact_hours() -> None:
    start = {"paper_deadline#2": "2026-01-31T12:00:00"}
    found = resolve("paper_deadline#2 + 1 month 1 day 25 hours", "UTC", anchors=start)
    assert found.at == utc("2026-03-02T13:00:00")
    assert resolve("paper_deadline#2 - 1 year", "UTC", anchors=start).at == utc("2025-01-31T12:00:00")
    assert resolve("paper_deadline#2 at 24:00", "UTC", anchors=start).at == utc("2026-02-01T00:00:00")


def test_a_relative_date_that_lands_in_a_gap_is_shifted_like_any_other() -> None:
    found = resolve("event_start - 1 day at 02:30", "Europe/Berlin", anchors={"event_start": "2027-03-29T10:00:00"})
    assert found.at == utc("2027-03-28T01:30:00")
    assert "does not exist" in found.warnings[0]


def test_a_relative_date_whose_anchor_has_no_date_names_the_anchor() -> None:
    with pytest.raises(InvalidDate, match=r"event 'w12': reminder: .* hangs on 'event_start', which has no date"):
        resolve_date(read_date("event_start - 1 day"), zone="UTC", side=OPENING, what="event 'w12': reminder")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("event_start - 2 fortnights", "unit 'fortnights': use years"),
        ("event_start - P", "not a duration: write for example P1D"),
        ("event_start - P1H", "not a duration"),
        ("event_start - PT0.5H", "cannot be read as a relative date: write for example"),
        ("event_start - 1.5 days", "cannot be read as a relative date"),
        ("event_start +", "cannot be read as a relative date"),
        ("two days before event_start", "cannot be read as a relative date"),
        ("event_start - 3 hours at 23:59", "both hours and a time of day"),
        ("event_start - 2 days at 24:01", "time 24:01: write 00:00 to 23:59"),
        ("event_start - 2 days at 23:60", "time 23:60"),
        ("event_start - 2 days PT", "'PT' is ambiguous"),
        ("event_start Europe/Berlin", "not a date: write 2026"),
    ],
)
def test_a_relative_date_is_refused_with_what_would_be_right(text: str, why: str) -> None:
    with pytest.raises(InvalidDate, match=why):
        read_date(text)


# --------------------------------------------------------------------------------------- screens


def test_a_wall_clock_shows_seconds_only_if_there_are_any() -> None:
    at = utc("2026-05-01T08:00:00")
    assert wall_clock(at, "Europe/Berlin") == "2026-05-01 10:00 Europe/Berlin"
    assert wall_clock(at + 5_000_000, "AoE") == "2026-04-30 20:00:05 AoE"
    assert wall_clock(at + 1, "UTC+5:30") == "2026-05-01 13:30:00.000001 UTC+5:30"
    assert wall_clock(utc("1900-01-01T00:00:00"), "UTC") == "1900-01-01 00:00 UTC"


# --------------------------------------------------------------------------------------- an independent oracle

ZONES = sorted(zone_names().current - {"Etc/GMT", "Etc/UTC"})
# Without fold: a naive datetime with fold=1 says itself which of two instants it means.
CHANGES = st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2040, 1, 1)).map(
    lambda wall: wall.replace(fold=0)
)


def oracle(wall: datetime, zone: ZoneInfo, side: Side) -> tuple[int, bool]:
    """What zoneinfo and PEP 495 say, without `whenever`."""
    first = wall.replace(tzinfo=zone, fold=0)
    second = wall.replace(tzinfo=zone, fold=1)
    odd = first.utcoffset() != second.utcoffset()
    exists = first.astimezone(UTC).astimezone(zone).replace(tzinfo=None, fold=0) == wall
    # In a gap, fold=0 reads with the offset before it, which lands after the gap: shifted forward.
    read = second if odd and exists and side is CLOSING else first
    return to_micros(read.astimezone(UTC)), odd


def offset_changes(zone: ZoneInfo, year: int) -> list[datetime]:
    """The wall times, on both clocks, at which a zone's offset changes in a year; found by bisection."""
    found = []
    days = [datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(367)]
    for early, late in pairwise(days):
        low, high = early, late
        if low.astimezone(zone).utcoffset() == high.astimezone(zone).utcoffset():
            continue
        while high - low > timedelta(seconds=1):
            middle = low + (high - low) // 2
            same = middle.astimezone(zone).utcoffset() == low.astimezone(zone).utcoffset()
            low, high = (middle, high) if same else (low, middle)
        found += [low.astimezone(zone), high.astimezone(zone)]
    return [moment.replace(tzinfo=None, microsecond=0, fold=0) for moment in found]


@settings(deadline=None)
@given(wall=CHANGES, name=st.sampled_from(ZONES), side=st.sampled_from(Side))
@example(wall=datetime(2026, 10, 25, 2, 30), name="Europe/Berlin", side=CLOSING)
def test_any_wall_time_of_any_zone_is_read_as_zoneinfo_reads_it(wall: datetime, name: str, side: Side) -> None:
    zone, _ = read_zone(name)
    at, odd = oracle(wall, ZoneInfo(name), side)
    found = resolve_date(read_date(wall), zone=zone, side=side)
    assert found.at == at
    assert bool(found.warnings) == odd


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from([*ZONES, "Europe/Berlin", "Australia/Lord_Howe", "Africa/Cairo", "Africa/Casablanca"]),
    year=st.integers(2020, 2040),
    minutes=st.integers(-90, 90),
    side=st.sampled_from(Side),
)
@example(name="America/Scoresbysund", year=2024, minutes=0, side=OPENING)
@example(name="America/Havana", year=2026, minutes=30, side=CLOSING)
def test_the_hours_around_every_change_of_the_clocks_are_read_as_zoneinfo_reads_them(
    name: str, year: int, minutes: int, side: Side
) -> None:
    zone = read_zone(name)[0]
    for change in offset_changes(ZoneInfo(name), year):
        wall = change + timedelta(minutes=minutes)
        at, odd = oracle(wall, ZoneInfo(name), side)
        found = resolve_date(read_date(wall), zone=zone, side=side)
        assert found.at == at, (wall, name)
        assert bool(found.warnings) == odd, (wall, name)


@settings(deadline=None)
@given(wall=CHANGES, name=st.sampled_from(ZONES), side=st.sampled_from(Side))
def test_a_resolved_date_shows_the_wall_time_that_was_given_unless_it_was_skipped(
    wall: datetime, name: str, side: Side
) -> None:
    zone = read_zone(name)[0]
    found = resolve_date(read_date(wall), zone=zone, side=side)
    if not any("does not exist" in warning for warning in found.warnings):
        assert read_date(wall_clock(found.at, zone)) == read_date({"at": wall, "zone": zone})


@settings(deadline=None)
@given(st.text(max_size=40) | st.from_regex(r"[0-9]{1,5}-[0-9]{1,2}-[0-9]{1,2}.{0,20}", fullmatch=True))
@example("\ud800")
@example("2026-05-01 [")
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    try:
        found = read_date(text)
    except InvalidDate as error:
        assert str(error).startswith("date: ")  # noqa: PT017 - either outcome is right
    else:
        assert GivenDate.from_json(found.to_json()) == found
