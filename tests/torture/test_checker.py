"""The judge is judged: each kind of bad history, made by hand from a good one, must be found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from duly.model.event import EventRow, Mark, Status
from duly.model.history import GENESIS, Entry, link
from tests.builders import CAMPUS, HOUR, T0, Life, event
from tests.torture.checker import faults, missing

END = T0 + 10 * HOUR
PLANNED = {
    ("w1", "registration_open", 1): T0 + 1 * HOUR,
    ("w1", "registration_close", 1): T0 + 2 * HOUR,
    ("w1", "event_start", 1): T0 + 3 * HOUR,
    ("w1", "event_end", 1): T0 + 4 * HOUR,
}
DATES: dict[str, Any] = {milestone: due for (_, milestone, _), due in PLANNED.items()}


def life() -> Life:
    """Return a good life of four triggers, fired one by one."""
    lived = Life()
    lived.put(T0, event(**DATES))
    for due in PLANNED.values():
        lived.advance(due + 5)
    return lived


def judged(row: EventRow, entries: list[Entry]) -> list[str]:
    return faults([row], {row.id: entries}, lambda _: CAMPUS, quiet_at=END)


def rechained(row: EventRow, entries: list[Entry]) -> tuple[EventRow, list[Entry]]:
    """Make a doctored history look genuine: numbered, chained, statuses following each other, the row at its end."""
    previous, status, genuine = GENESIS, "", []
    for seq, entry in enumerate(entries, start=1):
        told = entry._replace(seq=seq, from_status=status)
        told = told._replace(hash=link(previous, told))
        genuine.append(told)
        previous, status = told.hash, told.to_status
    return replace(row, seq=len(genuine), hash=previous, status=Status(status)), genuine


def twice(entries: list[Entry]) -> list[Entry]:
    return [*entries[:3], entries[2], *entries[3:]]


def early(entries: list[Entry]) -> list[Entry]:
    return [*entries[:2], entries[2]._replace(at_us=(entries[2].due_us or 0) - 1), *entries[3:]]


def out_of_order(entries: list[Entry]) -> list[Entry]:
    return [entries[0], entries[2], entries[1], *entries[3:]]


def out_of_order_around_an_edit_of_something_else(entries: list[Entry]) -> list[Entry]:
    edit = entries[0]._replace(
        kind="edited", detail='{"dates": {"event_end": [1, 2]}}', to_status=entries[2].to_status
    )
    return [entries[0], entries[2], edit, entries[1], *entries[3:]]


def never_told(entries: list[Entry]) -> list[Entry]:
    return entries[:-1]


@pytest.mark.parametrize(
    ("doctor", "found"),
    [
        (twice, "I1: registration_close of generation 1 fired 2 times"),
        (early, "I2: registration_close fired 1 µs early"),
        (out_of_order, "I4: registration_open fired after a later trigger"),
        (out_of_order_around_an_edit_of_something_else, "I4: registration_open fired after a later trigger"),
        (never_told, "I3: "),
    ],
)
def test_a_genuine_looking_bad_history_is_found(doctor: Callable[[list[Entry]], list[Entry]], found: str) -> None:
    lived = life()
    said = judged(*rechained(lived.now_row, doctor(lived.entries)))
    assert any(found in sentence for sentence in said), said


def test_a_good_history_has_no_fault() -> None:
    lived = life()
    assert judged(lived.now_row, lived.entries) == []
    assert missing({"w1": lived.entries}, PLANNED) == []


def test_a_trigger_that_an_edit_brought_before_what_has_fired_is_in_order() -> None:
    lived = life()
    lived.put(END, event(registration_open=T0, event_start=T0 + 3 * HOUR, event_end=END + HOUR))
    lived.put(END + 1, event(registration_open=T0, event_start=T0 + 3 * HOUR, event_end=END - HOUR))
    assert [entry.kind for entry in lived.entries].count("revoked") == 1
    assert judged(lived.now_row, lived.entries) == []


def test_a_gap_is_found() -> None:
    lived = life()
    assert any(
        "I5: entry 3 is missing (found 4)" in said for said in judged(lived.now_row, twice_less(lived.entries))
    )


def twice_less(entries: list[Entry]) -> list[Entry]:
    return [*entries[:2], *entries[3:]]


def test_a_broken_hash_is_found() -> None:
    lived = life()
    forged = [lived.entries[0]._replace(reason="it was him"), *lived.entries[1:]]
    said = judged(lived.now_row, forged)
    assert "event 'w1': I5: entry 1 does not carry the hash of its content" in said
    assert "event 'w1': I5: entry 2 does not carry the hash of its content" not in said


def test_a_history_that_is_no_chain_of_statuses_is_found() -> None:
    lived = life()
    forged = [*lived.entries[:2], lived.entries[2]._replace(from_status="draft/draft"), *lived.entries[3:]]
    assert any("starts from 'draft/draft'" in said for said in judged(lived.now_row, forged))


def test_a_row_that_is_not_where_its_history_ends_is_found() -> None:
    lived = life()
    assert any("its row ends at 4" in said for said in judged(replace(lived.now_row, seq=4), lived.entries))
    assert any("has no history" in said for said in judged(lived.now_row, []))


def test_a_mark_without_its_transition_is_found() -> None:
    lived = life()
    marks = {**lived.now_row.marks, "certificate_start": Mark(1, T0)}
    assert any("I3: " in said for said in judged(replace(lived.now_row, marks=marks), lived.entries))


def test_a_wrong_alarm_a_late_trigger_and_a_wrong_status_are_found() -> None:
    lived = Life()
    lived.put(T0, event(**DATES))
    said = judged(replace(lived.now_row, next_due_us=None), lived.entries)
    assert any("I6: its alarm is None for 4 triggers" in sentence for sentence in said)
    assert any("L1: 4 triggers are due and have not fired" in sentence for sentence in said)
    assert any("I6: its status is 'upcoming/registration_not_started'" in sentence for sentence in said)
    assert faults([lived.now_row], {"w1": lived.entries}, lambda _: CAMPUS) == []  # while it may still be firing


def test_what_is_missing_and_what_nobody_planned_is_found() -> None:
    lived = life()
    planned = {**PLANNED, ("w2", "event_start", 1): T0, ("w1", "event_end", 1): T0}
    del planned["w1", "event_start", 1]
    said = missing({"w1": lived.entries}, planned)
    assert len(said) == 3
    assert sum("fired []" in sentence for sentence in said) == 1
    assert sum("without having been planned" in sentence for sentence in said) == 1


def test_an_event_that_is_set_aside_or_removed_need_not_have_fired() -> None:
    lived = Life()
    lived.put(T0, event(event_start=T0 + HOUR, event_end=T0 + 2 * HOUR))
    assert judged(replace(lived.now_row, error="it raised", next_due_us=END + 1), lived.entries) == []
    lived.remove(T0 + 1)
    assert judged(lived.now_row, lived.entries) == []
