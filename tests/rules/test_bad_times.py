"""Bad inputs 1 to 27 and 98 to 100: each is refused, accepted or warned about, and never guessed at."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import whenever
from typing_extensions import override

from duly.errors import InvalidDate, InvalidInput, InvalidZone
from duly.model.dates import GivenDate, ResolvedDate, Side, read_date, read_zone, resolve_date, to_micros

OPENING, CLOSING = Side.OPENING, Side.CLOSING
WHAT = "event 'w12': registration_close"


def utc(text: str) -> int:
    return to_micros(datetime.fromisoformat(text + "+00:00"))


def resolve(
    value: object, zone: str | None = None, side: Side = OPENING, anchor: str = "2026-01-31T12:00:00"
) -> ResolvedDate:
    found = read_date(value, what=WHAT)
    return resolve_date(found, zone=zone, side=side, anchors={"event_start": utc(anchor)}, what=WHAT)


def refusal_of(value: object, zone: str | None = "Europe/Berlin", side: Side = OPENING) -> str:
    with pytest.raises(InvalidDate) as refusal:
        resolve(value, zone, side)
    message = str(refusal.value)
    assert message.startswith(f"{WHAT}: ")
    assert message.isprintable()
    assert len(message) < 400
    return message.removeprefix(f"{WHAT}: ")


def test_bad_input_01_a_naive_time_without_any_zone_is_refused_naming_what_would_give_one() -> None:
    message = refusal_of("2026-01-01T00:00:00", zone=None)
    assert message.startswith("2026-01-01 00:00 has no zone: give the date a zone")
    assert message.endswith("the zone of the event, the lifecycle, the file or the scheduler")
    assert resolve("2026-01-01T00:00:00", "Europe/Berlin").at == utc("2025-12-31T23:00:00")


def test_bad_input_02_a_bare_date_is_the_start_or_the_end_of_that_day() -> None:
    assert resolve("2026-01-01", "UTC", OPENING).at == utc("2026-01-01T00:00:00")
    assert resolve("2026-01-01", "UTC", CLOSING).at == utc("2026-01-02T00:00:00")
    assert resolve("2026-01-01", "AoE", CLOSING).at == utc("2026-01-02T12:00:00")
    assert "has no zone" in refusal_of("2026-01-01", zone=None)


@pytest.mark.parametrize("number", [1767225600, 1767225600.0, "1767225600", "1767225600.000", 1767225600000])
def test_bad_input_03_04_05_an_epoch_number_is_refused_with_the_text_that_it_may_mean(number: object) -> None:
    assert refusal_of(number).endswith("is a number, not a date: write 2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("number", "meant"),
    [
        (1767225600_000_000, "write 2026-01-01T00:00:00Z"),
        (1767225600_000_000_000, "write 2026-01-01T00:00:00Z"),
        (-1, "write 1969-12-31T23:59:59Z"),
        (20260501, "write 2026-05-01"),
        ("20260501", "write 2026-05-01"),
        (20261341, "write 1970-08-23T12:09:01Z"),
        (10**20, "write 2026-05-01T10:00:00Z, 2026"),
        ("9" * 190, "a huge integer is a number"),
    ],
)
def test_bad_input_04_the_unit_of_an_epoch_number_is_judged_by_its_size(number: object, meant: str) -> None:
    assert meant in refusal_of(number)


def test_bad_input_04_a_number_too_long_to_be_written_is_refused_all_the_same() -> None:
    assert refusal_of(10**5000).startswith("a huge integer is a number, not a date")
    assert refusal_of([10**5000]).startswith("a list is a list, not a date")


def test_bad_input_06_a_leap_second_is_refused_with_the_second_before() -> None:
    assert refusal_of("2016-12-31T23:59:60Z").endswith("write 2016-12-31 23:59:59Z")
    assert refusal_of("2026-05-01 23:59:60.5 AoE").endswith("write 2026-05-01 23:59:59.5 AoE")


def test_bad_input_07_24_00_is_the_next_midnight_and_nothing_after_it() -> None:
    assert read_date("2026-04-30T24:00:00") == read_date("2026-05-01 00:00")
    assert read_date("2026-12-31T24:00Z") == read_date("2027-01-01T00:00:00Z")
    assert resolve("2026-04-30 24:00", "UTC", CLOSING).at == utc("2026-05-01T00:00:00")
    for late in ("2026-04-30T24:00:01", "2026-04-30T24:01", "2026-04-30T24:00:00.000001", "2026-04-30T25:00"):
        assert "a time that no clock shows: write 00:00 to 23:59, or 24:00" in refusal_of(late)
    assert "no clock shows" in refusal_of("2026-04-30T12:60")
    assert "no clock shows" in refusal_of("9998-12-31T24:00")


def test_bad_input_08_a_fraction_finer_than_a_microsecond_is_refused_unless_it_adds_nothing() -> None:
    assert refusal_of("2026-05-01T10:00:00.1234567Z").endswith("write 2026-05-01T10:00:00.123456Z")
    assert refusal_of("2026-05-01 10:00:00.123456789").endswith("write 2026-05-01 10:00:00.123456")
    assert read_date("2026-05-01T10:00:00.123456000Z").text == "2026-05-01T10:00:00.123456Z"
    assert read_date("2026-05-01T10:00:00.000000000Z").text == "2026-05-01T10:00:00Z"
    assert "round it to six digits" in refusal_of(whenever.Instant("2026-05-01T10:00:00.123456789Z"))
    assert "round it to six digits" in refusal_of(whenever.PlainDateTime("2026-05-01T10:00:00.123456789"))


@pytest.mark.parametrize(
    "text",
    [
        "9999-12-31T23:59:59-01:00",
        "0001-01-01T00:00:00+01:00",
        "1899-12-31T23:59:59Z",
        "9999-01-01T00:00:00Z",
        "+10000-01-01T00:00:00Z",
        "-0001-01-01",
        "20260-01-01",
    ],
)
def test_bad_input_09_10_11_a_year_that_cannot_be_held_is_refused(text: str) -> None:
    assert refusal_of(text).endswith("lies outside the years 1900 to 9998")


def test_bad_input_09_10_nor_can_an_offset_or_an_object_leave_the_range() -> None:
    assert "outside the years 1900 to 9998" in refusal_of("9998-12-31T23:59:59-01:00")
    assert "outside the years 1900 to 9998" in refusal_of("1900-01-01T00:00:00+01:00")
    assert "outside the years 1900 to 9998" in refusal_of(date.max)
    assert "outside the years 1900 to 9998" in refusal_of(datetime(9999, 12, 31, 23, 59))
    assert "outside the years 1900 to 9998" in refusal_of(datetime.min.replace(tzinfo=UTC))
    assert "outside the years 1900 to 9998" in refusal_of(whenever.Instant("9999-12-31T23:59:59Z"))
    assert "outside the years 1900 to 9998" in refusal_of(whenever.Instant.MIN)


@pytest.mark.parametrize("nothing", [None, "", "  ", "NaN", "Infinity", "null", "TBA", "now", "true"])
def test_bad_input_12_nothing_is_not_a_date(nothing: object) -> None:
    assert "leave it out, or write 2026-05-01T10:00:00Z" in refusal_of(nothing)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), True, b"2026-05-01", [], object()])
def test_bad_input_12_nor_is_anything_that_is_no_date(value: object) -> None:
    assert "not a date: " in refusal_of(value)


def test_bad_input_13_a_day_that_its_month_does_not_have_is_refused() -> None:
    assert refusal_of("2026-02-29") == "'2026-02-29' has the day 29, but 2026-02 has 28 days"
    assert refusal_of("2026-04-31T10:00Z") == "'2026-04-31T10:00Z' has the day 31, but 2026-04 has 30 days"
    assert refusal_of("2026-13-01") == "'2026-13-01' has the month 13: write 01 to 12"
    assert "has the day 0" in refusal_of("2026-05-00")
    assert "has the month 13" in refusal_of("2026-13-01T10:00:00Z")
    assert resolve("2028-02-29", "UTC").at == utc("2028-02-29T00:00:00")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-W01-1", "2025-12-29"),
        ("2026-W01-1T10:00:00Z", "2025-12-29T10:00:00Z"),
        ("20260501T100000Z", "2026-05-01T10:00:00Z"),
        ("2026-1-1", "2026-01-01"),
        ("2026-1-1 9:05", "2026-01-01 09:05"),
        ("2026/05/01", "2026-05-01"),
        ("2026.05.01 10:00 AoE", "2026-05-01 10:00 AoE"),
        ("２０２６-０１-０１", "2026-01-01"),  # noqa: RUF001 - digits of other scripts are the point
        ("٢٠٢٦-٠١-٠١", "2026-01-01"),  # noqa: RUF001
        ("2026-05-01 9:30 PM", "2026-05-01 21:30"),
        ("2026-05-01 12:00 a.m.", "2026-05-01 00:00"),
        ("2026-05-01T10", "2026-05-01T10:00:00"),
    ],
)
def test_bad_input_14_15_another_form_of_a_date_is_refused_with_the_right_one(text: str, meant: str) -> None:
    assert refusal_of(text) == f"{text!r} is not a date: write {meant}"
    read_date(meant)


@pytest.mark.parametrize("text", ["01/05/2026", "May 1, 2026", "10:00", "2026-05", "2026-02-30-1", "12-W"])
def test_bad_input_15_nothing_is_suggested_where_it_would_be_a_guess(text: str) -> None:
    assert refusal_of(text).endswith("is not a date: write 2026-05-01T10:00:00Z, 2026-05-01 10:00 or 2026-05-01")


def test_bad_input_16_an_offset_that_nobody_has_is_refused() -> None:
    for offset in ("+24:00", "-12:01", "+14:30", "+05:60", "+99"):
        assert "nobody's time: offsets go from -12:00 to +14:00" in refusal_of(f"2026-01-01T00:00{offset}")
    assert "is not a date" in refusal_of("2026-01-01T00:00:00+05:30:15.5")
    assert "is not a date" in refusal_of("2026-01-01T00:00:00+05:30:15")


def test_bad_input_16_an_unknown_offset_is_utc_as_rfc_3339_has_it() -> None:
    assert read_date("2026-01-01T00:00-00:00") == read_date("2026-01-01T00:00:00Z")
    assert read_date("2026-01-01T00:00-00:00[Europe/Berlin]") == read_date("2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    "value",
    [
        "2026-05-01T10:00+01:00[Europe/Berlin]",
        "2026-05-01T10:00+01:00 Europe/Berlin",
        {"at": "2026-05-01T10:00+01:00", "zone": "Europe/Berlin"},
        {"at": datetime(2026, 5, 1, 10, tzinfo=timezone(timedelta(hours=1))), "zone": "Europe/Berlin"},
    ],
)
def test_bad_input_17_an_offset_that_contradicts_the_zone_is_refused(value: object) -> None:
    assert refusal_of(value) == (
        "2026-05-01 10:00 has the offset UTC+1, but Europe/Berlin is at UTC+2 then: write only one of the two"
    )


def test_bad_input_17_so_are_two_zones_for_one_date() -> None:
    message = refusal_of({"at": "2026-05-01 10:00 Europe/Berlin", "zone": "Asia/Tokyo"})
    assert message == "2026-05-01 10:00 Europe/Berlin has the zone Asia/Tokyo beside it: write only one of the two"


def test_bad_input_17_a_repeated_time_may_have_either_offset() -> None:
    assert resolve("2026-10-25T02:30+02:00[Europe/Berlin]").at == utc("2026-10-25T00:30:00")
    assert resolve("2026-10-25T02:30+01:00[Europe/Berlin]").at == utc("2026-10-25T01:30:00")


@pytest.mark.parametrize(
    "value",
    [
        {"zone": "Europe/Berlin"},
        {"at": None},
        {"at": {"at": "2026-05-01"}},
        {"at": "2026-05-01", "zones": "Europe/Berlin"},
        {"at": "2026-05-01", 7: "Europe/Berlin"},
        {},
    ],
)
def test_a_mapping_that_is_no_date_is_refused_with_one_that_is(value: object) -> None:
    assert "write {'at': '2026-05-01 10:00', 'zone': 'Europe/Berlin'}" in refusal_of(value)


@pytest.mark.parametrize("choice", ["first", "", 1, ["later"], {}])
def test_an_unknown_choice_between_two_instants_is_refused(choice: object) -> None:
    assert "write 'earlier' or 'later'" in refusal_of({"at": "2026-10-25 02:30", "disambiguate": choice})


def test_bad_input_18_a_time_in_a_gap_is_shifted_forward_with_a_warning() -> None:
    found = resolve("2026-03-08 02:30", "America/New_York")
    warning = (
        f"{WHAT}: 2026-03-08 02:30 America/New_York does not exist, the clocks skip it: "
        "read as 2026-03-08 03:30 America/New_York"
    )
    assert found == ResolvedDate(utc("2026-03-08T07:30:00"), "America/New_York", (warning,))


def test_bad_input_19_a_repeated_time_is_read_by_its_side_with_a_warning() -> None:
    for side, at, which in (
        (OPENING, "2026-11-01T05:30:00", "first"),
        (CLOSING, "2026-11-01T06:30:00", "second"),
    ):
        found = resolve("2026-11-01 01:30", "America/New_York", side)
        assert found.at == utc(at)
        assert f"comes twice: read as the {which}, {at}Z" in found.warnings[0]


def test_bad_input_20_a_day_that_was_skipped_begins_and_ends_at_the_same_instant_with_a_warning() -> None:
    for side in Side:
        found = resolve("2011-12-30", "Pacific/Apia", side)
        assert found.at == utc("2011-12-30T10:00:00")
        assert len(found.warnings) == 1
    assert "is a day that Pacific/Apia skipped" in resolve("2011-12-30", "Pacific/Apia", CLOSING).warnings[0]
    noon = resolve("2011-12-30 12:00", "Pacific/Apia")
    assert "read as 2011-12-31 12:00 Pacific/Apia" in noon.warnings[0]
    assert resolve("2011-12-29", "Pacific/Apia", CLOSING).at == utc("2011-12-30T10:00:00")


def test_bad_input_20_lord_howe_shifts_by_half_an_hour() -> None:
    found = resolve("2026-10-04 02:15", "Australia/Lord_Howe")
    assert found.at == utc("2026-10-03T15:45:00")
    assert "read as 2026-10-04 02:45 Australia/Lord_Howe" in found.warnings[0]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "no zone is named"),
        ("../etc/passwd", "is unknown"),
        ("/etc/passwd", "is unknown"),
        ("UTC\0", "is not the name of a zone"),
        ("america/new_york", "did you mean America/New_York?"),
        ("Europe", "is a region: write one of its zones, such as Europe/"),
        ("Europe/", "is a region"),
        ("posixrules", "depends on the machine"),
        ("localtime", "depends on the machine"),
        ("Factory", "depends on the machine"),
        ("EST5EDT", "write America/New_York"),
        ("right/UTC", "is unknown"),
        ("posix/Europe/Berlin", "is unknown"),
    ],
)
def test_bad_input_21_a_zone_that_is_no_place_is_refused(name: str, why: str) -> None:
    with pytest.raises(InvalidZone, match=re.escape(why)):
        read_zone(name)
    with pytest.raises(InvalidZone, match=re.escape(why)):
        read_date({"at": "2026-05-01 10:00", "zone": name})


def test_bad_input_21_an_old_zone_name_is_accepted_with_a_warning() -> None:
    found = resolve("2026-05-01 10:00 Asia/Calcutta")
    assert found.zone == "Asia/Kolkata"
    assert found.warnings == (f"{WHAT}: zone 'Asia/Calcutta' is an old name: write Asia/Kolkata",)
    assert GivenDate.from_json(read_date("2026-05-01 10:00 Europe/Kiev").to_json()).zone == "Europe/Kyiv"


def test_bad_input_22_24_26_the_date_of_one_milestone_is_read_whatever_the_others_are() -> None:
    assert read_date("registration_close + 1 day").anchor == "registration_close"
    assert read_date("registration_close").anchor == "registration_close"
    assert resolve("1970-01-01T00:00:00Z").at == 0


def test_bad_input_23_years_far_away_can_be_held() -> None:
    assert resolve("1900-01-01T00:00:00Z").at == utc("1900-01-01T00:00:00")
    assert resolve("2200-07-01 12:00", "Europe/Berlin").at == utc("2200-07-01T10:00:00")
    assert resolve("9998-12-31", "UTC", CLOSING).at == utc("9999-01-01T00:00:00")


@pytest.mark.parametrize(
    "way",
    [
        "event_start - 999999999 days",
        "event_start - 1000000000 days",
        "event_start + 999999999 weeks",
        "event_start + 999999999 years",
        "event_start + 9000 years",
        "event_start + 999999999 hours",
        "event_start + 1000000000000000000 seconds",
        "event_start + PT1000000000000000000S",
        "event_start + 7972 years 364 days 36 hours",
        "event_start - 127 years",
    ],
)
def test_bad_input_25_27_a_way_out_of_the_calendar_is_refused(way: str) -> None:
    assert "leads outside the years 1900 to 9998" in refusal_of(way)


def test_bad_input_27_a_month_after_january_31_is_the_last_of_february_with_a_warning() -> None:
    found = resolve("event_start + P1M", "UTC")
    assert found.at == utc("2026-02-28T12:00:00")
    assert found.warnings == (
        f"{WHAT}: event_start + 1 month: that month is shorter, so its last day is taken: 2026-02-28 12:00 UTC",
    )
    assert not resolve("event_start + P2M", "UTC").warnings


def test_bad_input_27_a_negative_duration_is_refused_and_an_empty_one_is_the_anchor_itself() -> None:
    for way in ("event_start + -2 days", "event_start - P-1D", "event_start + -P1D", "-2 days after event_start"):
        assert "cannot be read as a relative date" in refusal_of(way)
    assert resolve("event_start + PT0S") == ResolvedDate(utc("2026-01-31T12:00:00"), None, ())


# ------------------------------------------------------------------------------------ what other libraries make


class Pandas(datetime):
    """A datetime as pandas makes it: a subclass that keeps nanoseconds."""

    nanosecond = 0


class Nanoseconds(Pandas):
    nanosecond = 1


class NaT(datetime):
    """As pandas.NaT: a datetime that is not itself."""

    __hash__ = datetime.__hash__

    @override
    def __eq__(self, other: object) -> bool:
        return False

    @override
    def __ne__(self, other: object) -> bool:
        return True


class Pytz(tzinfo):
    """As pytz: passed as tzinfo, a zone is in local mean time until `localize` sees to it."""

    zone = "Europe/Berlin"

    def __init__(self, offset: timedelta, name: str) -> None:
        self._offset, self._name = offset, name

    def localize(self, wall: datetime) -> datetime:
        return wall.replace(tzinfo=Pytz(timedelta(hours=2), "CEST"))

    @override
    def utcoffset(self, moment: datetime | None, /) -> timedelta:
        return self._offset

    @override
    def dst(self, moment: datetime | None, /) -> timedelta:
        return timedelta(0)

    @override
    def tzname(self, moment: datetime | None, /) -> str:
        return self._name


def test_bad_input_98_a_subclass_of_datetime_is_read_exactly() -> None:
    aware = read_date(Pandas(2026, 5, 1, 10, tzinfo=ZoneInfo("Europe/Berlin")))
    assert aware == read_date("2026-05-01T08:00:00Z")
    naive = read_date(Pandas(2026, 5, 1, 10))
    assert naive == read_date("2026-05-01 10:00")
    assert type(naive.meaning) is datetime
    for fine in (Nanoseconds(2026, 5, 1), Nanoseconds(2026, 5, 1, tzinfo=UTC)):
        assert "round it to six digits" in refusal_of(fine)
    assert "is NaT: leave it out" in refusal_of(NaT(2026, 5, 1))


def test_bad_input_98_local_mean_time_out_of_pytz_is_refused_and_a_localized_time_is_not() -> None:
    berlin = Pytz(timedelta(minutes=53), "LMT")
    assert "use zoneinfo.ZoneInfo, or the pytz zone's localize()" in refusal_of(
        datetime(2026, 5, 1, 10, tzinfo=berlin)
    )
    assert read_date(berlin.localize(datetime(2026, 5, 1, 10))) == read_date("2026-05-01T08:00:00Z")
    assert read_date({"at": "2026-05-01 10:00", "zone": berlin}) == read_date("2026-05-01 10:00 Europe/Berlin")


def test_bad_input_99_two_readings_of_a_repeated_hour_are_an_hour_apart() -> None:
    first = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    second = first.replace(fold=1)
    assert first == second, "Python's comparison is what must not be relied on"
    assert to_micros(second) - to_micros(first) == 3600 * 1_000_000
    assert read_date(first) == read_date("2026-10-25T00:30:00Z")
    assert read_date(second) == read_date("2026-10-25T01:30:00Z")


def test_bad_input_100_no_float_is_ever_rounded_into_a_date() -> None:
    assert "is a number, not a date" in refusal_of(253402300799.9999)
    assert to_micros(datetime(9998, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)) % 1_000_000 == 999_999


# ------------------------------------------------------------------------------------ the door as a whole


@pytest.mark.parametrize("value", ["\ud800", "\x1b[31m2026", "2026-05-01\x00", "x" * 10_000, "=cmd|' /C calc'!A0"])
def test_hostile_text_is_refused_in_one_short_printable_line(value: str) -> None:
    assert len(refusal_of(value)) < 250


def test_a_refusal_is_also_a_value_error() -> None:
    with pytest.raises(ValueError, match="is not a date"):
        read_date("soon enough")
    assert issubclass(InvalidZone, InvalidDate)
    assert issubclass(InvalidDate, InvalidInput)


def test_the_table_in_the_docs_covers_every_bad_time() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "dates.md"
    numbers = [int(number) for number in re.findall(r"^\| \*\*(\d+)\*\* \|", page.read_text(), re.MULTILINE)]
    assert numbers == [*range(1, 28), 98, 99, 100]
