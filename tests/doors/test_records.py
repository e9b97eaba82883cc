"""Plain records become events: those of the founding system, and others."""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from duly.errors import InvalidDate, InvalidEvent
from duly.lifecycles.reader import built_in
from duly.model.event import Event, Hold
from duly.model.record import CAMPUS_EVENT_FIELDS, event_from_record, plain

FOUNDING = {
    "event_id": "ARRCOSTU2025",
    "event_name": "Autonomous Robotics Race",
    "registration_start_date": datetime(2025, 8, 27, 20, 30),
    "registration_end_date": "2025-08-28 10:00:00",
    "start_datetime": "2025-08-28T11:00:00",
    "end_datetime": "2025-08-28T16:30:00",
    "certificate_end_date": None,
    "event_type": "workshop",
    "organizers": ["a", "b"],
    "status": "upcoming",
    "sub_status": "registration_not_started",
}


def refusal_of(record: Any, **options: Any) -> str:
    with pytest.raises(InvalidEvent) as refusal:
        event_from_record(record, **options)
    return str(refusal.value)


def test_the_founding_record_becomes_an_event() -> None:
    event = Event.from_record(FOUNDING)
    assert event.id == "ARRCOSTU2025"
    assert event.name == "Autonomous Robotics Race"
    assert event.lifecycle == "campus_event"
    assert event.dates == {
        "registration_start_date": datetime(2025, 8, 27, 20, 30),
        "registration_end_date": "2025-08-28 10:00:00",
        "start_datetime": "2025-08-28T11:00:00",
        "end_datetime": "2025-08-28T16:30:00",
    }
    assert event.hold is Hold.ACTIVE
    assert event.data == {"event_type": "workshop", "organizers": ["a", "b"]}


def test_the_date_fields_are_those_of_campus_event() -> None:
    lifecycle = built_in("campus_event")
    assert frozenset({*lifecycle.by_field, *lifecycle.by_name}) == CAMPUS_EVENT_FIELDS


def test_milestones_and_a_nested_mapping_date_an_event_too() -> None:
    event = event_from_record({"id": "w", "event_start": "2026-01-01", "dates": {"event_end": "2026-01-02"}})
    assert event.dates == {"event_start": "2026-01-01", "event_end": "2026-01-02"}


def test_a_date_given_twice_is_refused() -> None:
    record = {"id": "w", "event_start": "2026-01-01", "dates": {"event_start": "2026-01-02"}}
    assert refusal_of(record) == "event 'w': event_start is there twice, once under 'dates'; give it once"


@pytest.mark.parametrize("blank", [None, "", "  "])
def test_a_blank_date_is_no_date(blank: object) -> None:
    event = event_from_record({"id": "w", "event_start": blank, "dates": {"event_end": blank}})
    assert event.dates == {}


def test_the_fields_say_which_keys_are_dates_rounds_included() -> None:
    record = {"id": "c", "paper_deadline": "2026-01-01", "paper_deadline#2": "2026-05-01", "event_start": "soon"}
    event = event_from_record(record, lifecycle="conference", fields={"paper_deadline"})
    assert event.lifecycle == "conference"
    assert set(event.dates) == {"paper_deadline", "paper_deadline#2"}
    assert event.data == {"event_start": "soon"}


def test_of_an_unknown_lifecycle_no_date_is_taken_for_data_in_silence() -> None:
    said = refusal_of({"id": "c", "lifecycle": "conference", "paper_deadline": "2026-01-01"})
    assert "put its dates under 'dates'" in said
    nested = {"id": "c", "lifecycle": "conference", "dates": {"paper_deadline": "2026-01-01"}}
    assert Event.from_record(nested).dates == {"paper_deadline": "2026-01-01"}


def test_a_records_own_lifecycle_wins() -> None:
    assert event_from_record({"id": "c", "lifecycle": "contest"}, lifecycle="sale", fields=()).lifecycle == "contest"


@pytest.mark.parametrize(
    ("given", "expected"), [("w12", "w12"), (42, "42"), ("cafe\u0301", "caf\u00e9"), ("f1/2021/x", "f1/2021/x")]
)
def test_an_id_is_text_or_a_whole_number(given: object, expected: str) -> None:
    assert event_from_record({"event_id": given}).id == expected


@pytest.mark.parametrize("given", [True, 1.5, "", " w", "a\nb", ["w"]])
def test_a_bad_id_is_refused_by_its_key(given: object) -> None:
    assert refusal_of({"id": given}).startswith("id ")


def test_a_record_without_an_id_or_that_is_no_record_is_refused() -> None:
    assert "has no id" in refusal_of({"event_name": "x"})
    assert "must be a mapping" in refusal_of(["id"])
    assert "must be a mapping" in refusal_of(None)


def test_both_ids_of_a_document_store_may_be_there() -> None:
    event = event_from_record({"event_id": "w", "id": 7, "_id": Decimal(5)})
    assert event.id == "w"
    assert event.data == {"id": 7, "_id": "5"}


@pytest.mark.parametrize("key", ["zone", "timezone", "time_zone"])
def test_the_zone_has_three_names(key: str) -> None:
    assert event_from_record({"id": "w", key: "Europe/Berlin"}).zone == "Europe/Berlin"
    assert event_from_record({"id": "w", key: ""}).zone is None


def test_zones_that_contradict_each_other_are_refused() -> None:
    said = refusal_of({"id": "w", "zone": "UTC", "timezone": "Europe/Berlin"})
    assert said == "event 'w': its zones contradict each other (zone 'UTC', timezone 'Europe/Berlin'); give one"
    assert event_from_record({"id": "w", "zone": "UTC", "timezone": "UTC"}).zone == "UTC"


@pytest.mark.parametrize("hold", list(Hold))
def test_every_hold_can_be_said(hold: Hold) -> None:
    assert event_from_record({"id": "w", "hold": hold.value}).hold is hold


@pytest.mark.parametrize(
    ("status", "hold"),
    [
        ("cancelled", Hold.CANCELLED),
        ("postponed", Hold.POSTPONED),
        ("archived", Hold.ARCHIVED),
        ("pending_approval/pending_approval", Hold.PENDING_APPROVAL),
        ("draft", Hold.ACTIVE),
        ("draft/draft", Hold.ACTIVE),
        ("upcoming", Hold.ACTIVE),
        ("completed/event_ended", Hold.ACTIVE),
        (None, Hold.ACTIVE),
    ],
)
def test_a_status_holds_an_event_unless_it_is_derived(status: str | None, hold: Hold) -> None:
    event = event_from_record({"id": "w", "status": status, "sub_status": "x"})
    assert event.hold is hold
    assert event.data == {}, "a derived status would go stale, and make an edit of every record read again"


@pytest.mark.parametrize("status", ["canceled", "Cancelled", "Pending Approval", "postponded"])
def test_a_misspelt_hold_is_not_taken_for_a_derived_status(status: str) -> None:
    assert "did you mean '" in refusal_of({"id": "w", "status": status})


def test_an_unknown_hold_is_refused() -> None:
    assert refusal_of({"id": "w", "hold": "canceled"}) == (
        "event 'w': hold 'canceled' is unknown; did you mean 'cancelled'?"
    )
    assert "it is one of: active, draft" in refusal_of({"id": "w", "hold": "?"})


@pytest.mark.parametrize("revision", ["1", 1.0, True, -1])
def test_bad_input_37_a_revision_is_a_whole_number(revision: object) -> None:
    assert "must be a whole number" in refusal_of({"id": "w", "revision": revision})


def test_a_revision_is_kept() -> None:
    assert event_from_record({"id": "w", "revision": 3}).revision == 3


@pytest.mark.parametrize(
    ("given", "zone", "expected"),
    [
        ("2025-08-01T00:00:00Z", None, datetime(2025, 8, 1, tzinfo=UTC)),
        (datetime(2025, 8, 1, tzinfo=UTC), None, datetime(2025, 8, 1, tzinfo=UTC)),
        ("2025-08-01 10:00", "Europe/Berlin", datetime(2025, 8, 1, 8, tzinfo=UTC)),
        ("2025-08-01", "UTC", datetime(2025, 8, 1, tzinfo=UTC)),
        ("2025-08-01 10:00", None, datetime(2025, 8, 1, 10)),
        (date(2025, 8, 1), None, datetime(2025, 8, 1)),
        (None, None, None),
        ("", None, None),
    ],
)
def test_since_when_an_event_is_known(given: object, zone: str | None, expected: datetime | None) -> None:
    assert event_from_record({"id": "w", "created_at": given, "zone": zone}).created_at == expected


def test_since_when_an_event_is_known_must_be_readable() -> None:
    with pytest.raises(InvalidDate, match="event 'w': created_at"):
        event_from_record({"id": "w", "created_at": "yesterday"})
    assert "is relative" in refusal_of({"id": "w", "created_at": "event_start - 1 day"})


def test_other_keys_are_data_as_json() -> None:
    event = event_from_record(
        {
            "id": "w",
            "data": {"tags": ("a", "b")},
            "when": date(2026, 1, 1),
            "price": Decimal("1.50"),
            "missing": float("nan"),
            "endless": float("inf"),
            "nested": OrderedDict(a={1: None}),
            "flag": True,
        }
    )
    assert event.data == {
        "tags": ["a", "b"],
        "when": "2026-01-01",
        "price": "1.50",
        "missing": None,
        "endless": "inf",
        "nested": {"a": {"1": None}},
        "flag": True,
    }


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("a\0b", "event 'w': data.note has a NUL character"),
        ({"\0": 1}, "has a NUL character"),
        ("\ud800", "event 'w': data.note has half of a surrogate pair"),
        (2**63, "event 'w': data.note is a number beyond 64 bits"),
        ("x" * 1_000_001, "1,000,001 characters"),
    ],
)
def test_data_that_no_database_can_hold_is_refused(value: object, said: str) -> None:
    assert said in refusal_of({"id": "w", "note": value})


def test_data_that_contains_itself_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)
    assert "nested deeper than 32" in refusal_of({"id": "w", "note": endless})


def test_data_and_dates_must_be_mappings_and_say_nothing_twice() -> None:
    assert "data must be a mapping" in refusal_of({"id": "w", "data": [1]})
    assert "dates must be a mapping" in refusal_of({"id": "w", "dates": [1]})
    assert "tag is there twice" in refusal_of({"id": "w", "tag": 1, "data": {"tag": 2}})


def test_plain_values_keep_the_limits_of_64_bits() -> None:
    assert plain([-(2**63), 2**63 - 1], what="data") == [-(2**63), 2**63 - 1]


@pytest.mark.parametrize("text", ["{0.__class__}", "=cmd|' /C calc'!A0", "<script>"])
def test_bad_inputs_57_59_64_text_is_only_text(text: str) -> None:
    event = event_from_record({"id": text, "name": text, "note": text})
    assert (event.id, event.name, event.data["note"]) == (text, text, text)


def test_bad_input_60_a_name_cannot_forge_a_line_of_the_log() -> None:
    assert "a control character (U+000A)" in refusal_of({"id": "w", "name": "x\nERROR all is lost"})
    assert "must be text" in refusal_of({"id": "w", "name": 5})
