"""Which zones are accepted, refused or warned about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
import tzdata
import whenever

from duly.errors import InvalidZone
from duly.model.dates import forget_tzdata, read_zone, tzdata_version, wall_clock
from duly.model.zone_names import ABBREVIATIONS, zone_names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def tzpath() -> Iterator[None]:
    yield
    whenever.reset_tzpath()
    forget_tzdata()


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        (" Europe/Berlin ", "Europe/Berlin"),
        ("America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        ("UTC", "UTC"),
        ("utc", "UTC"),
        ("Z", "UTC"),
        ("GMT", "UTC"),
        ("Etc/UTC", "UTC"),
        ("UTC+0", "UTC"),
        ("UTC-12", "UTC-12"),
        ("UTC+14", "UTC+14"),
        ("UTC+05:30", "UTC+5:30"),
        ("UTC+0530", "UTC+5:30"),
        ("UTC-3:30", "UTC-3:30"),
        ("AoE", "AoE"),
        ("AOE", "AoE"),
        (ZoneInfo("Asia/Tokyo"), "Asia/Tokyo"),
        (UTC, "UTC"),
        (timezone(timedelta(hours=-12)), "UTC-12"),
    ],
)
def test_a_zone_has_one_canonical_name(name: object, canonical: str) -> None:
    assert read_zone(name) == (canonical, ())
    assert read_zone(canonical) == (canonical, ())


@pytest.mark.parametrize(
    ("old", "current"),
    [
        ("Asia/Calcutta", "Asia/Kolkata"),
        ("Europe/Kiev", "Europe/Kyiv"),
        ("US/Pacific", "America/Los_Angeles"),
        ("GB", "Europe/London"),
        ("Japan", "Asia/Tokyo"),
        ("Zulu", "UTC"),
        ("GMT0", "UTC"),
        ("Etc/GMT+0", "UTC"),
    ],
)
def test_an_old_name_is_accepted_with_a_warning_that_names_the_current_one(old: str, current: str) -> None:
    assert read_zone(old) == (current, (f"zone '{old}' is an old name: write {current}",))


@pytest.mark.parametrize(("old", "current"), [("Iceland", "Atlantic/Reykjavik"), ("Africa/Asmera", "Africa/Asmara")])
def test_an_old_name_is_never_replaced_by_a_place_in_another_country(old: str, current: str) -> None:
    assert read_zone(old)[0] == current


@pytest.mark.parametrize("name", ["Europe/Stockholm", "Africa/Accra", "Europe/Oslo", "Asia/Kuala_Lumpur"])
def test_a_country_whose_zone_was_merged_into_another_keeps_its_name_without_a_warning(name: str) -> None:
    assert read_zone(name) == (name, ())


def test_every_old_name_leads_to_one_in_use_with_the_same_clocks() -> None:
    names = zone_names()
    now = datetime(2026, 7, 1, tzinfo=UTC)
    for old, current in names.old.items():
        assert current == "UTC" or current in names.current
        key = "Etc/UTC" if current == "UTC" else current
        assert now.astimezone(ZoneInfo(old)).utcoffset() == now.astimezone(ZoneInfo(key)).utcoffset(), old


def test_every_name_in_use_can_be_read_and_shows_a_clock() -> None:
    for name in zone_names().current:
        canonical, _ = read_zone(name)
        assert wall_clock(0, canonical).endswith(canonical)


def test_etc_gmt_warns_that_its_sign_is_reversed() -> None:
    assert read_zone("Etc/GMT-14") == (
        "UTC+14",
        ("zone 'Etc/GMT-14' means UTC+14, because its sign is reversed: write UTC+14",),
    )
    with pytest.raises(InvalidZone, match="'Etc/GMT-15' does not exist"):
        read_zone("Etc/GMT-15")


@pytest.mark.parametrize("name", ["PST", "EDT", "PT", "IST", "CET", "EST", "EST5EDT", "BST", "est", "Mst"])
def test_an_abbreviation_is_refused_with_what_may_have_been_meant(name: str) -> None:
    with pytest.raises(InvalidZone) as refusal:
        read_zone(name)
    assert str(refusal.value) == f"zone '{name}' is ambiguous: write {ABBREVIATIONS[name.upper()]}"


def test_every_suggestion_for_an_abbreviation_is_itself_accepted() -> None:
    for suggestion in ABBREVIATIONS.values():
        for part in suggestion.replace(" or ", ", ").split(", "):
            for name in part.replace("(", "").replace(")", "").split():
                assert read_zone(name) == (name, ())


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("GMT+8", r"some read its sign the other way round: write UTC\+8"),
        ("GMT-2", "write UTC-2"),
        ("+02:00", r"is an offset: write UTC\+2"),
        ("-5", "is an offset: write UTC-5"),
        ("UTC+15", r"nobody's time: offsets go from UTC-12 to UTC\+14"),
        ("UTC-12:30", "nobody's time"),
        ("UTC+5.5", "is unknown"),
        ("Berlin", "did you mean Europe/Berlin"),
        ("America/New York", "did you mean America/New_York"),
        ("Amerika/New_York", "did you mean America/New_York"),
        ("us/pacific", "did you mean America/Los_Angeles"),
        ("Nowhere/Atall", "is unknown: write one such as Europe/Berlin"),
        ("Zürich", "is not the name of a zone"),
        ("x" * 1000, "is not the name of a zone"),
        (None, "a zone is a name, not None"),
        (2, "a zone is a name, not 2"),
        (timezone(timedelta(seconds=30)), "a zone is a name, not"),
    ],
)
def test_a_zone_is_refused_with_what_would_be_right(name: object, why: str) -> None:
    with pytest.raises(InvalidZone, match=why) as refusal:
        read_zone(name)
    assert len(str(refusal.value)) < 200


# ------------------------------------------------------------------------------------ the database behind it


def test_the_version_is_that_of_the_database_that_whenever_reads(tzpath: None, tmp_path: Path) -> None:
    whenever.reset_tzpath([tmp_path / "absent"])
    forget_tzdata()
    assert tzdata_version() == tzdata.IANA_VERSION
    (tmp_path / "UTC").write_bytes(b"")
    whenever.reset_tzpath([tmp_path])
    assert tzdata_version() == tzdata.IANA_VERSION, "it is remembered until it is forgotten"
    forget_tzdata()
    assert tzdata_version() == "unknown"
    (tmp_path / "+VERSION").write_text("2025c\n")
    forget_tzdata()
    assert tzdata_version() == "2025c"
    (tmp_path / "tzdata.zi").write_text("# version 2026b\n# This file\n")
    forget_tzdata()
    assert tzdata_version() == "2026b"
    (tmp_path / "tzdata.zi").write_text("R A 1916\n")
    forget_tzdata()
    assert tzdata_version() == "unknown"


def test_a_zone_that_the_system_does_not_know_yet_comes_from_the_package(tzpath: None, tmp_path: Path) -> None:
    whenever.reset_tzpath([tmp_path])
    forget_tzdata()
    assert wall_clock(0, "Europe/Kyiv") == "1970-01-01 03:00 Europe/Kyiv"


def test_this_machine_has_a_database_that_says_its_version() -> None:
    assert tzdata_version()[:2] == "20"
