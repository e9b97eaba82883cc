"""The self-audit: whatever was falsified is found, and what can be known is set right and told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from duly.model.event import Hold
from duly.model.history import broken_link
from duly.stores.store import Store
from tests.builders import DAY, HOUR, T0
from tests.contract.deeds import assert_all_sound, audit, briefly, fire, fire_all, lit, put, remove, whats
from tests.contract.places import Rows

Falsify = Callable[..., Rows]


@pytest.fixture
def seen(store: Store) -> Store:
    """A store with a past: fired, revoked, corrected, withdrawn, held, removed, put again."""
    put(store, lit("w1", T0, T0 + DAY), lit("w2", T0), lit("w3", T0, T0 + DAY), lit("w4", T0), lit("w5", T0))
    fire(store, T0)
    put(store, lit("w3", T0 + 2 * HOUR, T0 + DAY), lit("w2", T0 - 1), now=T0 + 1)
    put(store, replace(lit("w4", T0), hold=Hold.CANCELLED), now=T0 + 1)
    remove(store, "w5", T0 + 1)
    return store


def test_of_a_store_that_is_well_nothing_is_found_and_nothing_changed(seen: Store) -> None:
    before = (seen.list_events(), seen.history_latest())
    page = audit(seen, repair=True)
    assert (page.checked, page.last, page.findings) == (5, "w5", ())
    assert (seen.list_events(), seen.history_latest()) == before


def test_of_an_empty_store_there_is_nothing_to_check(store: Store) -> None:
    page = audit(store)
    assert (page.checked, page.last, page.findings) == (0, None, ())


def test_it_goes_page_by_page(seen: Store) -> None:
    from duly.rules.advance import Firing

    pages, after = [], ""
    while (page := seen.audit(after, Firing(T0, T0), most=2, history=True, repair=False)).last is not None:
        pages.append(page.checked)
        after = page.last
    assert pages == [2, 2, 1]


REPAIRABLE = {
    "status": ("status = 'out/out'", "its status is 'out/out', must be 'lit/lit'"),
    "alarm": ("next_due_at = 5", f"its alarm is 5 for 1, must be {T0 + DAY} for 1 triggers"),
    "no alarm": ("next_due_at = NULL", f"its alarm is None for 1, must be {T0 + DAY} for 1 triggers"),
    "pending": ("pending = 7", f"its alarm is {T0 + DAY} for 7, must be {T0 + DAY} for 1 triggers"),
    "a mark too few": ("marks = '{}'", "its marks say"),
    "a mark too many": (f"""marks = '{{"switch_on":[1,{T0}],"switch_off":[1,{T0}]}}'""", "its marks say"),
    "a mark of another generation": (f"""marks = '{{"switch_on":[2,{T0}]}}'""", "its marks say"),
    "hash": ("hash = x'00'", "its row ends at entry 2, its history at 2"),
    "seq": ("seq = 1", "its row ends at entry 1, its history at 2"),
}


@pytest.mark.parametrize(("how", "what"), REPAIRABLE.values(), ids=REPAIRABLE.keys())
def test_what_was_falsified_is_found_and_left_alone_until_somebody_asks_for_its_repair(
    seen: Store, falsify: Falsify, how: str, what: str
) -> None:
    falsify(f"UPDATE event SET {how} WHERE id = 'w1'")
    row = seen.get_event("w1")
    page = audit(seen)
    assert list(whats(page)) == ["w1"]
    assert any(said.startswith(what) for said in whats(page)["w1"])
    assert all(finding.repairable for finding in page.findings)
    assert seen.get_event("w1") == row


@pytest.mark.parametrize("how", [how for how, _ in REPAIRABLE.values()], ids=REPAIRABLE.keys())
def test_what_was_falsified_is_repaired_told_in_one_entry_and_its_chain_is_whole(
    seen: Store, falsify: Falsify, how: str
) -> None:
    good = seen.get_event("w1")
    falsify(f"UPDATE event SET {how} WHERE id = 'w1'")
    assert audit(seen, repair=True).findings
    mended = seen.get_event("w1")
    assert replace(mended, seq=good.seq, hash=good.hash) == good
    assert briefly(seen.history("w1")) == ["w1 created", "w1 fired switch_on", "w1 repaired"]
    assert seen.history("w1")[-1].details["what"]
    assert audit(seen).findings == ()
    assert_all_sound(seen)
    fire_all(seen, T0 + 2 * DAY)
    assert_all_sound(seen)


def test_a_generation_that_was_falsified_before_it_fired_is_found_and_repaired(seen: Store, falsify: Falsify) -> None:
    good = seen.get_event("w3").marks
    assert good["switch_on"] == (2, None)
    falsify("UPDATE event SET marks = '{}' WHERE id = 'w3'")
    assert list(whats(audit(seen, repair=True))) == ["w3"]
    assert seen.get_event("w3").marks == good
    assert_all_sound(seen)


def test_everything_at_once_is_repaired_at_once(seen: Store, falsify: Falsify) -> None:
    good = {row.id: row for row in seen.list_events()}
    falsify("UPDATE event SET status = 'x/y', marks = '{}', next_due_at = 1, pending = 9, seq = 1, hash = x'00'")
    audit(seen, repair=True)
    assert audit(seen).findings == ()
    assert_all_sound(seen)
    for row in seen.list_events():
        assert (row.marks, row.next_due_us, row.pending) == (
            good[row.id].marks,
            good[row.id].next_due_us,
            good[row.id].pending,
        )


def test_repairing_twice_writes_once(seen: Store, falsify: Falsify) -> None:
    falsify("UPDATE event SET status = 'out/out' WHERE id = 'w1'")
    audit(seen, repair=True)
    before = seen.history_latest()
    assert audit(seen, repair=True).findings == ()
    assert seen.history_latest() == before


def test_without_the_history_status_and_alarm_are_found_and_a_repair_still_keeps_the_chain(
    seen: Store, falsify: Falsify
) -> None:
    falsify(f"""UPDATE event SET marks = '{{"switch_on":[1,{T0}],"switch_off":[1,{T0}]}}' WHERE id = 'w1'""")
    assert list(whats(audit(seen, history=False))) == ["w1"]
    audit(seen, history=False, repair=True)
    assert broken_link(seen.history("w1")) is None
    assert_all_sound(seen)


def test_a_status_that_follows_from_falsified_dates_leads_on_from_where_the_history_ended(
    seen: Store, falsify: Falsify
) -> None:
    falsify(f"""UPDATE event SET dates = '{{"switch_off":{T0 + DAY}}}' WHERE id = 'w1'""")
    audit(seen, repair=True)
    last = seen.history("w1")[-1]
    assert (last.kind, last.from_status, last.to_status) == ("repaired", "lit/lit", "dark/dark")
    assert_all_sound(seen)


def test_a_tombstone_whose_end_was_falsified_is_repaired_and_stays_a_tombstone(seen: Store, falsify: Falsify) -> None:
    falsify("UPDATE event SET hash = x'00', marks = '{}' WHERE id = 'w5'")
    audit(seen, repair=True)
    row = seen.get_events(["w5"])["w5"]
    assert (row.removed, row.status, row.next_due_us) == (True, "removed/removed", None)
    assert audit(seen).findings == ()
    assert_all_sound(seen)


def test_a_tombstone_with_an_alarm_is_found_and_silenced(seen: Store, falsify: Falsify) -> None:
    falsify("UPDATE event SET next_due_at = ? WHERE id = 'w5'", T0)
    assert list(whats(audit(seen, repair=True))) == ["w5"]
    assert seen.get_events(["w5"])["w5"].next_due_us is None
    assert_all_sound(seen)


def test_an_event_that_was_set_aside_for_a_lost_mark_is_cured_by_a_repair(seen: Store, falsify: Falsify) -> None:
    falsify("UPDATE event SET marks = '{}', next_due_at = ? WHERE id = 'w1'", T0)
    assert list(fire(seen, T0 + HOUR).set_aside) == ["w1"]
    audit(seen, repair=True)
    fired = fire(seen, T0 + DAY)
    assert "w1 fired switch_off" in briefly(fired.transitions)
    assert seen.list_set_aside() == []
    assert_all_sound(seen)


UNREPAIRABLE = {
    "an entry in the middle": ("DELETE FROM history WHERE event_id = 'w3' AND seq = 2", "entry 2 is missing"),
    "the last entry": ("DELETE FROM history WHERE event_id = 'w3' AND seq = 4", "its row ends at entry 4"),
    "the first entry": ("DELETE FROM history WHERE event_id = 'w3' AND seq = 1", "entry 1 is missing"),
    "all entries": ("DELETE FROM history WHERE event_id = 'w3'", "it has no history"),
    "a reason made up": (
        "UPDATE history SET reason = 'x' WHERE event_id = 'w3' AND seq = 2",
        "does not carry the hash",
    ),
    "an instant moved": (
        "UPDATE history SET at = at + 1 WHERE event_id = 'w3' AND seq = 2",
        "does not carry the hash",
    ),
    "a status made up": ("UPDATE history SET to_status = 'a/b' WHERE event_id = 'w3' AND seq = 1", "carry the hash"),
    "a hash made up": (
        "UPDATE history SET hash = x'00' WHERE event_id = 'w3' AND seq = 3",
        "does not carry the hash",
    ),
    "a start made up": (
        "UPDATE history SET from_status = 'a/b' WHERE event_id = 'w3' AND seq = 2",
        "starts from 'a/b'",
    ),
}


@pytest.mark.parametrize(("how", "what"), UNREPAIRABLE.values(), ids=UNREPAIRABLE.keys())
def test_a_history_that_was_falsified_is_found_and_never_made_up(
    seen: Store, falsify: Falsify, how: str, what: str
) -> None:
    falsify(how)
    page = audit(seen, repair=True)
    (finding,) = page.findings
    assert (finding.event_id, finding.repairable) == ("w3", False)
    assert what in finding.what
    assert audit(seen).findings == page.findings


def test_what_can_be_repaired_is_repaired_even_where_the_history_cannot(seen: Store, falsify: Falsify) -> None:
    falsify("DELETE FROM history WHERE event_id = 'w1' AND seq = 1")
    falsify("UPDATE event SET status = 'out/out', next_due_at = NULL, seq = 1 WHERE id = 'w1'")
    audit(seen, repair=True)
    row = seen.get_event("w1")
    assert (row.status, row.next_due_us) == ("lit/lit", T0 + DAY)
    assert whats(audit(seen)) == {"w1": ["event 'w1': entry 1 is missing (found 2)"]}


def test_a_row_that_cannot_be_read_or_derived_is_a_finding_and_not_the_end(seen: Store, falsify: Falsify) -> None:
    falsify("UPDATE event SET dates = '{' WHERE id = 'w1'")
    falsify("UPDATE event SET lifecycle_hash = 'f00' WHERE id = 'w2'")
    falsify("UPDATE event SET status = 'x/y' WHERE id = 'w4'")
    found = whats(audit(seen, repair=True))
    assert found["w1"][0].startswith("its row cannot be read: JSONDecodeError")
    assert found["w2"][0].startswith("cannot be derived: event 'w2': lifecycle 'lamp' is unknown here")
    assert seen.get_event("w4").status == "cancelled/cancelled"


def test_an_event_that_is_set_aside_is_not_expected_to_have_its_alarm(seen: Store, falsify: Falsify) -> None:
    falsify("UPDATE event SET error = 'boom', next_due_at = 5 WHERE id = 'w1'")
    assert audit(seen, repair=True).findings == ()
    assert seen.list_set_aside()[0].next_due_us == 5
