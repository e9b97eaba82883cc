"""Real calendars in: every good record becomes an event, every bad one is named with its reason."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from duly.lifecycles.reader import lifecycle_from_toml
from duly.model.dates import Micros, to_micros
from duly.model.event import EventRow, Hold
from duly.rules.plan import plan
from duly.rules.status import status_at
from duly.sources.loading import Loaded, load_events

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
MAPS = ROOT / "examples" / "maps"

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the calendars of ../shared/data are not here")


def loaded(folder: str) -> Loaded:
    return load_events([DATA / folder], map=MAPS / f"{folder}.toml")


def reasons(found: Loaded) -> dict[str, str]:
    return {refused.name: refused.reason for refused in found.refused}


@needs_data
def test_of_169_conferences_159_are_good_and_10_are_named() -> None:
    found = loaded("pwc-ai-deadlines")
    assert (found.records, len(found.events), len(found.refused), found.repeated) == (169, 159, 10, 0)
    assert sum(len(event.dates) for event in found.events) == 530
    said = reasons(found)
    assert {name: " ".join(reason.split()) for name, reason in said.items()} == {
        "neurips24": "event 'neurips24': event_end (2023-12-15) is before event_start (2024-12-09)",
        "mm24": "event 'mm24': paper_deadline (2024-04-08 23:59:59 UTC-12) is before abstract_deadline (2024-04-12 "
        "23:59:59 UTC-12)",
        "icdm22": "event 'icdm22': zone 'PDT' is ambiguous: write America/Los_Angeles or UTC-7",
        "ismir22": "event 'ismir22': abstract_deadline: '2022-5-13 23:59:59' is not a date: write 2022-05-13 "
        "23:59:59",
        "www23": "event 'www23': event_start (2022-04-30 00:00 UTC) is before paper_deadline (2022-10-14 11:59:59 "
        "UTC)",
        "cvpr23": "event 'cvpr23': event_start (2022-06-17 00:00 UTC) is before paper_deadline (2022-11-12 07:59:59 "
        "UTC)",
        "eccv22": "event 'eccv22': zone 'CET' is ambiguous: write Europe/Paris or UTC+1",
        "icdm23": "event 'icdm23': zone 'GMT+8' is ambiguous, because some read its sign the other way round: write "
        "UTC+8",
        "aiworldbarcelona23": "event 'aiworldbarcelona23': zone 'GMT+2' is ambiguous, because some read its sign the "
        "other way round: write UTC+2",
        "specom24": "event 'specom24': zone 'GMT+1' is ambiguous, because some read its sign the other way round: "
        "write UTC+1",
    }
    assert [re.sub(r".*: ", "", refused.place) for refused in found.refused] == [
        f"record {number}" for number in (3, 6, 77, 85, 131, 133, 151, 161, 165, 166)
    ]


@needs_data
def test_of_6831_listings_6008_are_conferences_and_3_contradict_another() -> None:
    found = loaded("confs-tech")
    assert (found.records, len(found.events), len(found.refused), found.repeated) == (6831, 6008, 3, 820)
    assert Counter(refused.name for refused in found.refused) == {
        "2025-11-13/innersourcecommons-org-events-isc-2025": 2,
        "2026-10-26/aiccsa-net-aiccsa2026": 1,
    }
    assert [re.findall(r"another ([\w, ]+); the first stands", refused.reason) for refused in found.refused] == [
        ["city, country"],
        ["city, country"],
        ["city, online"],
    ]
    assert found.warnings == ()


@needs_data
def test_what_one_listing_says_and_another_leaves_out_is_put_together() -> None:
    by_id = {event.id: event for event in loaded("confs-tech").events}
    assert by_id["2020-10-06/uxdxconf-com"].dates["paper_deadline"] == "2020-02-28"
    assert by_id["2026-04-09/droidcon-wixsite-com-website-28"].data["bluesky"] == "droidcon.bsky.social"


@needs_data
def test_of_687_race_weekends_685_are_good_and_2_are_named() -> None:
    races = [
        race
        for path in sorted((DATA / "sportstimes" / "_db").glob("*/[0-9]*.json"))
        for race in json.loads(path.read_bytes())["races"]
    ]
    assert len(races) == 687
    assert sum(len(race["sessions"]) for race in races) == 3252
    found = loaded("sportstimes")
    assert (found.records, len(found.events), len(found.refused), found.repeated) == (687, 685, 2, 0)
    # The two that are refused have five sessions each; every weekend has its end besides.
    assert sum(len(event.dates) for event in found.events) == 3252 - 10 + 685
    assert reasons(found) == {
        "extremee/2024/italy-3": "event 'extremee/2024/italy-3': race (2024-09-13 00:00 UTC) is before qualifying "
        "(2024-09-14 00:00 UTC)",
        "indycar/2022/xpel-375-2": "event 'indycar/2022/xpel-375-2': practice#2 (2022-02-19 23:00 UTC) is before "
        "practice (2022-03-19 15:45 UTC)",
    }
    assert [event.id for event in found.events if event.hold is Hold.CANCELLED] == [
        "f2/2023/emilia-romagna-5",
        "f3/2023/emilia-romagna-3",
    ]


@needs_data
def test_the_calendars_are_read_the_same_each_time() -> None:
    assert loaded("sportstimes") == loaded("sportstimes")


@pytest.mark.parametrize("name", ["pwc-ai-deadlines", "confs-tech", "sportstimes"])
def test_every_map_of_the_examples_makes_sense(name: str) -> None:
    from duly.sources.mapping import read_map

    assert read_map(MAPS / f"{name}.toml").dates


# ------------------------------------------------------------------------------------- the race weekend


def weekend(*sessions: tuple[str, str]) -> list[tuple[str, str]]:
    """Return what a weekend's status becomes at each instant that changes it, as (day and hour, status)."""
    from duly.model.event import Event

    lifecycle = lifecycle_from_toml(ROOT / "examples" / "race_weekend.toml")
    dates = {name: f"2026-05-{at}:00Z" for name, at in sessions}
    planned = plan(Event("w", lifecycle="race_weekend", dates=dates), lifecycle)
    row = EventRow(id="w", lifecycle="race_weekend", dates=planned.dates)
    found = [("", str(status_at(row, lifecycle, 0)))]
    for at in sorted(set(planned.dates.values())):
        status = str(status_at(row, lifecycle, at))
        if status != found[-1][1]:
            found.append((hour_of(at), status))
    return found


def hour_of(at: Micros) -> str:
    from duly.model.dates import to_datetime

    assert to_micros(to_datetime(at)) == at
    return f"{to_datetime(at):%dT%H}"


def test_a_weekend_without_a_sprint_goes_from_practice_to_the_race() -> None:
    assert weekend(("practice", "01T10"), ("practice#2", "01T14"), ("qualifying", "02T14"), ("race", "03T13")) == [
        ("", "upcoming/scheduled"),
        ("01T10", "ongoing/practice"),
        ("02T14", "ongoing/qualifying"),
        ("03T13", "ongoing/race"),
        ("03T16", "completed/finished"),
    ]


def test_a_weekend_with_a_sprint_before_qualifying_shows_what_is_next() -> None:
    assert weekend(
        ("practice", "01T10"),
        ("sprint_qualifying", "01T14"),
        ("sprint", "02T10"),
        ("qualifying", "02T14"),
        ("race", "03T13"),
    ) == [
        ("", "upcoming/scheduled"),
        ("01T10", "ongoing/practice"),
        ("01T14", "ongoing/sprint_qualifying"),
        ("02T10", "ongoing/sprint"),
        ("02T14", "ongoing/race_next"),
        ("03T13", "ongoing/race"),
        ("03T16", "completed/finished"),
    ]


def test_a_weekend_with_a_sprint_after_qualifying_shows_what_is_next() -> None:
    assert weekend(
        ("practice", "01T10"),
        ("qualifying", "01T14"),
        ("sprint", "02T10"),
        ("warm_up", "03T09"),
        ("race", "03T13"),
    ) == [
        ("", "upcoming/scheduled"),
        ("01T10", "ongoing/practice"),
        ("01T14", "ongoing/qualifying"),
        ("02T10", "ongoing/race_next"),
        ("03T09", "ongoing/warm_up"),
        ("03T13", "ongoing/race"),
        ("03T16", "completed/finished"),
    ]


def test_a_weekend_of_several_races_is_over_after_the_last() -> None:
    assert weekend(
        ("practice", "01T10"),
        ("qualifying", "01T14"),
        ("race", "02T10"),
        ("race#2", "02T14"),
        ("race#3", "03T13"),
        ("weekend_end", "03T16"),
    ) == [
        ("", "upcoming/scheduled"),
        ("01T10", "ongoing/practice"),
        ("01T14", "ongoing/qualifying"),
        ("02T10", "ongoing/races"),
        ("03T13", "ongoing/race"),
        ("03T16", "completed/finished"),
    ]
