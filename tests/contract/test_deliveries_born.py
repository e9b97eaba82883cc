"""Deliveries are born in the transaction of what they tell of: one for each thing that happened and each subscriber."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from duly.errors import StoreRejected
from duly.model.delivery import Standing, State
from duly.model.event import Event, Hold
from duly.model.lifecycle import CatchUp, Lifecycle, Milestone, Policy, Track
from duly.stores.store import Store
from duly.stores.verb import Statement, Verb
from tests.builders import CONFERENCE, DAY, HOUR, MINUTE, SECOND, T0, editing, event, planned, seminar
from tests.contract.deeds import fire, fire_all, lit, put, remove
from tests.contract.telling import (
    PLENTY,
    assert_lines_move,
    everything,
    fire_leased,
    listener,
    owed,
    states,
    subscribe,
    topics,
    wakes,
)

EVERYTHING = ("*", "created", "edited", "revoked", "corrected", "withdrawn", "held", "removed", "restored", "resumed")
DATES: dict[str, Any] = {
    "registration_open": T0 + HOUR,
    "registration_close": T0 + 2 * HOUR,
    "event_start": T0 + 3 * HOUR,
    "event_end": T0 + 4 * HOUR,
}


def hold(store: Store, id_: str, to: Hold, now: int) -> None:
    store.set_hold(id_, to, lambda: editing(now))


# ------------------------------------------------------------------------------------------- with each verb


def test_a_firing_brings_one_delivery_for_each_transition_and_each_subscriber(store: Store) -> None:
    subscribe(store, listener("a:b"), listener("a:c"))
    put(store, lit("w1", T0 + 1, T0 + 2), lit("w2", T0 + 1))
    fire(store, T0 + 2)
    assert owed(store) == [
        "a:b w1 switch_on pending",
        "a:c w1 switch_on pending",
        "a:b w2 switch_on pending",
        "a:c w2 switch_on pending",
        "a:b w1 switch_off pending",
        "a:c w1 switch_off pending",
    ]


def test_what_a_delivery_tells_is_the_entry_of_its_number(store: Store) -> None:
    subscribe(store, listener())
    put(store, lit("w1", T0 + 1, T0 + 2))
    fire(store, T0 + 5)
    entries = {entry.seq: entry for entry in store.history("w1")}
    assert [(d.topic, d.due_us, d.created_us) for d in everything(store)] == [
        ("switch_on", T0 + 1, T0 + 5),
        ("switch_off", T0 + 2, T0 + 5),
    ]
    assert [entries[d.seq].milestone for d in everything(store)] == ["switch_on", "switch_off"]


def test_a_put_tells_of_the_creation_and_of_what_it_fires_at_once(store: Store) -> None:
    subscribe(store, listener("a:b", *EVERYTHING))
    put(store, event("w1", **DATES))
    put(store, event("w1", **{**DATES, "registration_open": T0 + 1}), now=T0 + SECOND)
    assert topics(store) == ["created", "edited", "registration_open"]


def test_an_edit_tells_of_what_it_revokes_corrects_and_withdraws(store: Store) -> None:
    subscribe(store, listener("a:b", "revoked", "corrected", "withdrawn"))
    put(store, event("w1", **DATES))
    fire_all(store, T0 + 2 * HOUR)
    edited = {**DATES, "registration_open": T0 + HOUR - 1, "registration_close": T0 + 5 * HOUR}
    del edited["event_start"], edited["event_end"]
    put(store, event("w1", **edited), now=T0 + 2 * HOUR + 1)
    assert topics(store) == ["revoked", "corrected", "withdrawn", "withdrawn"]


def test_a_refused_edit_tells_of_nothing_and_the_others_of_the_batch_are_told(store: Store) -> None:
    subscribe(store, listener("a:b", "edited"))
    put(store, lit("w1", T0 + HOUR), lit("w2", T0 + HOUR))
    stale = Event("w1", lifecycle="lamp", dates={"switch_on": "2026-05-03 10:00"}, revision=7)
    put(store, stale, lit("w2", T0 + 2 * HOUR), all_or_nothing=False)
    assert owed(store) == ["a:b w2 edited pending"]


@pytest.mark.parametrize("to", [Hold.CANCELLED, Hold.POSTPONED, Hold.DRAFT, Hold.PENDING_APPROVAL, Hold.ARCHIVED])
def test_a_hold_is_told_under_its_own_name_and_to_who_listens_to_every_hold(store: Store, to: Hold) -> None:
    subscribe(store, listener("a:b", to.value), listener("a:c", "held"), listener("a:d", "resumed"))
    put(store, lit("w1", T0 + HOUR))
    hold(store, "w1", to, T0 + 1)
    assert owed(store) == [f"a:b w1 {to} pending", f"a:c w1 {to} pending"]
    hold(store, "w1", Hold.ACTIVE, T0 + 2)
    assert owed(store)[2:] == ["a:c w1 resumed pending", "a:d w1 resumed pending"]


def test_a_hold_that_a_put_sets_is_told_like_one_that_a_person_sets(store: Store) -> None:
    subscribe(store, listener("a:b", "cancelled", "resumed"))
    put(store, event("w1", **DATES))
    put(store, event("w1", hold=Hold.CANCELLED, **DATES), now=T0 + 1)
    put(store, event("w1", **DATES), now=T0 + 2)
    assert topics(store) == ["cancelled", "resumed"]


def test_a_removal_and_a_restoration_are_told(store: Store) -> None:
    subscribe(store, listener("a:b", "removed", "restored"))
    put(store, lit("w1", T0 + HOUR))
    remove(store, "w1", T0 + 1)
    put(store, lit("w1", T0 + HOUR), now=T0 + 2)
    assert topics(store) == ["removed", "restored"]


def test_a_restoration_is_told_as_such_also_when_it_sets_or_lifts_a_hold(store: Store) -> None:
    subscribe(store, listener("a:b", "restored"), listener("a:c", "cancelled"), listener("a:d", "resumed"))
    put(store, lit("w1", T0 + HOUR))
    remove(store, "w1", T0 + 1)
    put(store, event("w1", hold=Hold.CANCELLED, **DATES), now=T0 + 2)
    remove(store, "w1", T0 + 3)
    put(store, event("w1", **DATES), now=T0 + 4)
    assert [name.split()[0] for name in owed(store)] == ["a:b", "a:c", "a:b", "a:d"]


def test_what_a_person_fires_is_told(store: Store) -> None:
    subscribe(store, listener())
    put(store, event("w1", lifecycle=seminar(), first_talk=T0 + HOUR, last_talk=T0 + 2 * HOUR))
    store.fire_by_hand("w1", "proceedings", lambda: editing(T0 + 3 * HOUR))
    assert "proceedings" in topics(store)
    assert topics(store)[-1] == "proceedings"


def test_a_changed_definition_tells_of_itself_and_announces_nothing(store: Store) -> None:
    policy = CatchUp(born_late=True, window=None)
    subscribe(store, listener("a:b", "*", "redefined", catch_up=policy))
    before, after = _bell("ring"), _bell("ring", "echo")
    store.declare_lifecycles([before], [], T0)
    store.put_events([planned(event("w1", lifecycle=before, ring=T0 + HOUR), before)], lambda _: editing(T0))
    fire_all(store, T0 + 2 * HOUR)
    assert topics(store) == ["ring"]
    store.declare_lifecycles([after], [], T0 + 2 * HOUR)
    replan = planned(event("w1", lifecycle=after, ring=T0 + HOUR, echo=T0 + HOUR + 1), after)
    store.rederive(lambda _: replan, lambda: editing(T0 + 3 * HOUR))
    assert [entry.cause for entry in store.history("w1") if entry.milestone == "echo"] == ["born_late"]
    assert topics(store) == ["ring", "redefined"]


def _bell(*names: str) -> Lifecycle:
    milestones = tuple(Milestone(name=name, track="bell", state=f"{name}ing") for name in names)
    return Lifecycle(name="bell", tracks=(Track("bell", before="still"),), milestones=milestones)


def test_an_event_that_is_set_aside_is_news(store: Store, falsify: Callable[..., object]) -> None:
    subscribe(store, listener("a:b", "set_aside"))
    put(store, lit("w1", T0 + 1), lit("w2", T0 + 1))
    falsify("UPDATE event SET dates = 'nonsense' WHERE id = 'w1'")
    fired = fire(store, T0 + 2)
    assert list(fired.set_aside) == ["w1"]
    assert owed(store) == ["a:b w1 set_aside pending"]


def test_an_outage_is_news_to_who_asks_for_it_once_it_has_been_dealt_with(store: Store) -> None:
    subscribe(store, listener("a:b"), listener("a:c", "outage", lifecycles=("contest",), tags=("vip",)))
    outage = store.begin_outage(T0, T0 + HOUR, "node-1")
    assert owed(store) == []
    store.finish_outage(outage.id, T0 + HOUR, failed=0, window_us=DAY)
    assert [(d.subscriber, d.event_id, d.topic, d.seq) for d in everything(store)] == [
        ("a:c", "", "outage", -outage.id)
    ]


def test_a_repair_is_news(store: Store, falsify: Callable[..., object]) -> None:
    subscribe(store, listener("a:b", "repaired"))
    put(store, lit("w1", T0 + HOUR))
    falsify("UPDATE event SET status = 'wrong/wrong' WHERE id = 'w1'")
    put(store, lit("w1", T0 + 2 * HOUR), now=T0 + 1)
    assert topics(store) == ["repaired"]


# ------------------------------------------------------------------------------------------ or with nothing


class Cut(Exception):
    """The transaction was cut off."""


def _cut_before(verb: Verb[Any], name: str) -> Verb[Any]:
    """Run a verb, and fail instead of the statement of that name."""
    statement = next(verb)
    while statement.name != name:
        rows = yield statement
        try:
            statement = verb.send(rows)
        except StopIteration as done:
            return done.value
    raise Cut


@pytest.mark.parametrize("name", ["insert_history", "last_delivery", "insert_delivery"])
def test_a_transition_and_its_deliveries_are_written_both_or_neither(
    store: Store, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    subscribe(store, listener("a:b", "*", "created"))
    put(store, lit("w1", T0 + 1))
    before, history = owed(store), store.history("w1")
    write = store.write
    with monkeypatch.context() as patch:
        patch.setattr(store, "write", lambda verb: write(_cut_before(verb, name)))
        with pytest.raises(Cut):
            fire(store, T0 + 1)
        with pytest.raises(Cut):
            put(store, lit("w2", T0 + 1))
    assert (owed(store), store.history("w1"), store.history("w2")) == (before, history, [])
    fire(store, T0 + 1)
    assert topics(store) == ["created", "switch_on"]


def test_a_statement_after_the_deliveries_that_fails_takes_them_back_with_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def and_then_fail(verb: Verb[Any]) -> Verb[Any]:
        result = yield from verb
        yield Statement("insert_history", [store.history("w1")[0]], many=True)
        return result

    subscribe(store, listener())
    put(store, lit("w1", T0 + 1))
    write = store.write
    with monkeypatch.context() as patch:
        patch.setattr(store, "write", lambda verb: write(and_then_fail(verb)))
        with pytest.raises(StoreRejected):
            store.set_hold("w1", Hold.CANCELLED, lambda: editing(T0 + 1))
    assert owed(store) == []
    assert store.get_event("w1").hold == Hold.ACTIVE


# ----------------------------------------------------------------------------------------- exactly one (I7)


def test_a_batch_that_the_database_refuses_is_halved_and_each_delivery_is_born_once(
    store: Store, falsify: Callable[..., object]
) -> None:
    number, *_ = subscribe(store, listener("a:b", "*", "set_aside"))
    put(store, *(lit(f"w{n}", T0 + 1) for n in range(9)))
    # As if somebody had written a delivery of a thing that had not happened yet.
    falsify(
        "INSERT INTO delivery VALUES (77, ?, 'w4', 'switch_on', 2, 0, 'delivered', 0, 0, 0, NULL, NULL, 1, 1, 0, NULL)",
        number,
    )
    fire_all(store, T0 + 2)
    told = [f"w{n} switch_on" for n in range(9) if n != 4]
    fresh = [f"{d.event_id} {d.topic}" for d in everything(store) if d.number != 77]
    assert sorted(fresh) == sorted([*told, "w4 set_aside"])
    assert [row.id for row in store.list_set_aside()] == ["w4"]


def test_the_database_itself_refuses_a_second_delivery_of_one_thing_to_one_subscriber(
    store: Store, falsify: Callable[..., object]
) -> None:
    subscribe(store, listener())
    put(store, lit("w1", T0 + 1))
    fire(store, T0 + 1)
    with pytest.raises(Exception, match="UNIQUE"):
        falsify(
            "INSERT INTO delivery SELECT 99, subscriber, event_id, topic, seq, replay_of, state, due_at, is_late, "
            "created_at, wake_at, node, token, attempts, closed_at, reason FROM delivery"
        )


def test_who_listens_under_several_patterns_is_told_once(store: Store) -> None:
    subscribe(store, listener("a:b", "*", "switch_*", "switch_on", "held", "cancelled"))
    put(store, lit("w1", T0 + 1))
    fire(store, T0 + 1)
    hold(store, "w1", Hold.CANCELLED, T0 + 2)
    assert topics(store) == ["switch_on", "cancelled"]


def test_who_subscribes_later_is_told_of_what_happens_later(store: Store) -> None:
    put(store, lit("w1", T0 + 1, T0 + 2))
    fire(store, T0 + 1)
    subscribe(store, listener())
    fire(store, T0 + 2)
    assert topics(store) == ["switch_off"]


def test_who_is_not_active_is_told_of_nothing(store: Store) -> None:
    subscribe(store, listener("a:b", standing=Standing.DISABLED), listener("a:c", standing=Standing.GONE))
    put(store, lit("w1", T0 + 1))
    fire(store, T0 + 1)
    assert owed(store) == []


# --------------------------------------------------------------------------------------------- who listens


def test_patterns_choose_milestones_and_never_what_is_no_milestone(store: Store) -> None:
    subscribe(
        store,
        listener("all"),
        listener("open", "registration_*"),
        listener("ends", "*_end"),
        listener("one", "event_start"),
        listener("news", "edited", "can*"),
    )
    put(store, event("w1", **DATES))
    fire_all(store, T0 + 4 * HOUR)
    hold(store, "w1", Hold.CANCELLED, T0 + 5 * HOUR)
    assert topics(store, subscriber="all") == list(DATES)
    assert topics(store, subscriber="open") == ["registration_open", "registration_close"]
    assert topics(store, subscriber="ends") == ["event_end"]
    assert topics(store, subscriber="one") == ["event_start"]
    assert topics(store, subscriber="news") == []


def test_a_round_is_heard_under_its_milestones_name_and_under_its_own(store: Store) -> None:
    subscribe(
        store, listener("any", "paper_deadline"), listener("second", "paper_deadline#2"), listener("stars", "p*#*")
    )
    rounds: dict[str, Any] = {"paper_deadline": T0 + 1, "paper_deadline_2": T0 + 2}
    put(store, event("w1", lifecycle=CONFERENCE, **rounds), known_since=T0)
    fire_all(store, T0 + 2)
    assert topics(store, subscriber="any") == ["paper_deadline", "paper_deadline#2"]
    assert topics(store, subscriber="second") == ["paper_deadline#2"]
    assert topics(store, subscriber="stars") == ["paper_deadline#2"]


def test_a_subscriber_to_some_lifecycles_hears_of_their_events_only(store: Store) -> None:
    subscribe(store, listener("a:b", "*", "created", lifecycles=("lamp", "contest")))
    put(store, lit("w1", T0 + 1), event("w2", registration_open=T0 + 1))
    fire(store, T0 + 1)
    assert owed(store) == ["a:b w1 created pending", "a:b w1 switch_on pending"]


def _tagged(id_: str, tags: object) -> Event:
    return Event(id_, lifecycle="lamp", dates={"switch_on": "2026-05-01 09:00"}, data={"tags": tags})


def test_who_listens_to_some_tags_hears_of_the_removal_of_an_event_that_carried_one(store: Store) -> None:
    subscribe(store, listener("a:b", "removed", tags=("vip",)), listener("a:c", "removed", tags=("press",)))
    put(store, _tagged("w1", ["vip"]))
    remove(store, "w1", T0 + 1)
    assert owed(store) == ["a:b w1 removed pending"]


@pytest.mark.parametrize(
    ("tags", "is_told"),
    [
        (["vip"], True),
        (["x", "vip"], True),
        (["VIP"], False),
        ([], False),
        ("vip", False),
        (None, False),
        ([["vip"]], False),
    ],
)
def test_a_subscriber_to_some_tags_hears_of_events_that_carry_one_of_them(
    store: Store, tags: object, is_told: bool
) -> None:
    subscribe(store, listener("a:b", "*", "created", "cancelled", tags=("vip", "press")))
    put(store, _tagged("w1", tags))
    fire(store, T0 + 2 * HOUR)
    hold(store, "w1", Hold.CANCELLED, T0 + 2 * HOUR)
    assert topics(store) == (["created", "switch_on", "cancelled"] if is_told else [])


@pytest.mark.parametrize("nonsense", ["nonsense", "[1]", "7"])
def test_an_event_whose_tags_cannot_be_read_is_set_aside_and_delays_no_other(
    store: Store, falsify: Callable[..., object], nonsense: str
) -> None:
    subscribe(store, listener("a:b", tags=("vip",)), listener("a:c", "set_aside"))
    put(store, *(_tagged(f"w{n}", ["vip"]) for n in range(5)))
    falsify("UPDATE event SET data = ? WHERE id = 'w3'", nonsense)
    fire_all(store, T0 + 2 * HOUR)
    assert topics(store) == ["switch_on"] * 4
    assert "its data cannot be read" in (store.list_set_aside()[0].error or "")
    assert topics(store, subscriber="a:c") == ["set_aside"]


def test_a_subscriber_whose_row_cannot_be_read_keeps_nothing_from_firing_and_nobody_from_being_told(
    store: Store, falsify: Callable[..., object]
) -> None:
    subscribe(store, listener("a:b"), listener("a:c"))
    put(store, lit("w1", T0 + 1))
    falsify("UPDATE subscriber SET definition = '{}' WHERE name = 'a:b'")
    fire(store, T0 + 1)
    assert owed(store) == ["a:c w1 switch_on pending"]
    broken = store.outbox.subscriber("a:b")
    assert broken.standing is Standing.GONE
    assert broken.reason is not None
    assert "its row cannot be read" in broken.reason
    store.outbox.declare([listener("a:b"), listener("a:c")], T0 + 2)
    assert store.outbox.subscriber("a:b").standing is Standing.ACTIVE


# ------------------------------------------------------------------------------------------ policy at birth


def test_scenario_14_what_had_passed_before_its_event_was_known_brings_no_delivery(store: Store) -> None:
    subscribe(store, listener())
    put(store, event("w1", **DATES), now=T0 + 3 * HOUR, known_since=T0 + 3 * HOUR)
    assert [entry.cause for entry in store.history("w1") if entry.is_transition] == ["born_late", "born_late"]
    assert owed(store) == []


def test_what_was_born_late_is_told_where_the_policy_says_so_and_what_that_withholds_is_on_record(
    store: Store,
) -> None:
    subscribe(
        store,
        listener("all", catch_up=CatchUp(born_late=True)),
        listener("current", catch_up=CatchUp(policy=Policy.CURRENT, born_late=True)),
        listener("none", catch_up=CatchUp(born_late=False)),
    )
    put(store, event("w1", **DATES), now=T0 + 3 * HOUR, known_since=T0 + 3 * HOUR)
    assert owed(store) == [
        "all w1 registration_open pending",
        "current w1 registration_open missed",
        "all w1 registration_close pending",
        "current w1 registration_close pending",
    ]


def test_scenario_02_what_is_older_than_the_window_is_born_missed_with_the_reason(store: Store) -> None:
    subscribe(store, listener())
    put(store, event("w1", **DATES))
    fire_all(store, T0 + 10 * DAY)
    assert {d.state for d in everything(store)} == {State.MISSED}
    assert {d.reason for d in everything(store)} == {"older than the catch-up window of 1 day, 0:00:00"}
    assert {d.closed_us for d in everything(store)} == {T0 + 10 * DAY}
    assert store.outbox.next_wakes() == {}


def test_what_the_scheduler_says_of_misfires_holds_for_whoever_commits_the_transition(store: Store) -> None:
    subscribe(store, listener("a:b"), listener("own", catch_up=CatchUp(policy=Policy.ALL)))
    store.outbox.put_policy(CatchUp(policy=Policy.PARK), timedelta(minutes=5))
    put(store, lit("w1", T0, T0 + 10 * MINUTE), now=T0 - 1)
    fire(store, T0 + 5 * MINUTE)
    assert owed(store) == ["a:b w1 switch_on pending", "own w1 switch_on pending"]
    fire(store, T0 + 15 * MINUTE + 1)
    assert owed(store)[2:] == ["a:b w1 switch_off parked", "own w1 switch_off pending"]


def test_what_falls_due_within_the_grace_is_fresh_and_what_is_older_belongs_to_the_backlog(store: Store) -> None:
    number, *_ = subscribe(store, listener())
    put(store, lit("w1", T0), lit("w2", T0 + 1))
    fired = fire_leased(store, T0 + MINUTE + 1, {number: PLENTY})
    assert [(lease.event_id, lease.is_late) for lease, _ in fired.born] == [("w1", True), ("w2", False)]


# ------------------------------------------------------------------------------------ born leased, and lines


def test_deliveries_are_born_leased_as_far_as_their_subscriber_has_room(store: Store) -> None:
    first, second, third = subscribe(store, listener("a:b"), listener("a:c"), listener("a:d"))
    put(store, *(lit(f"w{n}", T0 + n) for n in range(4)), now=T0 - 1)
    fired = fire_leased(store, T0 + 9, {first: 3, second: PLENTY})
    assert [(lease.subscriber, lease.event_id) for lease, _ in fired.born] == [
        (first, "w0"), (second, "w0"), (first, "w1"), (second, "w1"), (first, "w2"), (second, "w2"), (second, "w3"),
    ]  # fmt: skip
    assert {(lease.token, lease.attempt) for lease, _ in fired.born} == {(1, 1)}
    assert all(entry is not None and entry.event_id == lease.event_id for lease, entry in fired.born)
    held = {d.number for d in everything(store) if d.node == "node-1"}
    assert held == {lease.number for lease, _ in fired.born}
    others = [d for d in everything(store) if d.node is None]
    assert [(d.subscriber, d.event_id, d.attempts, d.wake_us) for d in others] == [
        ("a:d", "w0", 0, T0 + 9), ("a:d", "w1", 0, T0 + 9), ("a:d", "w2", 0, T0 + 9),
        ("a:b", "w3", 0, T0 + 9), ("a:d", "w3", 0, T0 + 9),
    ]  # fmt: skip
    assert third not in {lease.subscriber for lease, _ in fired.born}


def test_behind_the_first_of_its_line_one_is_leased_too_but_only_the_first_is_counted_as_attempted(
    store: Store,
) -> None:
    number, *_ = subscribe(store, listener())
    put(store, event("w1", **DATES))
    fired = fire_leased(store, T0 + 5 * HOUR, {number: 3})
    assert [(lease.topic, lease.attempt) for lease, _ in fired.born] == [
        ("registration_open", 1), ("registration_close", 0), ("event_start", 0),
    ]  # fmt: skip
    assert [d.attempts for d in everything(store)] == [1, 0, 0, 0]
    assert wakes(store) == {1: T0 + 5 * HOUR + 30 * SECOND, 2: wakes(store)[1], 3: wakes(store)[1], 4: None}
    assert_lines_move(store)


def test_what_is_born_behind_something_open_waits_for_it_and_is_not_leased(store: Store) -> None:
    number, *_ = subscribe(store, listener())
    put(store, lit("w1", T0 + 1, T0 + 2), lit("w2", T0 + 2))
    fire(store, T0 + 1)
    fired = fire_leased(store, T0 + 2, {number: PLENTY})
    assert [(lease.event_id, lease.topic) for lease, _ in fired.born] == [("w2", "switch_on")]
    assert wakes(store)[2] is None
    assert_lines_move(store)


def test_what_is_closed_at_birth_keeps_nobody_waiting(store: Store) -> None:
    number, *_ = subscribe(store, listener(catch_up=CatchUp(window=timedelta(hours=1))))
    put(store, lit("w1", T0, T0 + 2 * HOUR), now=T0 - 1)
    fired = fire_leased(store, T0 + 2 * HOUR, {number: PLENTY})
    assert list(states(store).values()) == [State.MISSED, State.PENDING]
    assert [(lease.topic, lease.attempt) for lease, _ in fired.born] == [("switch_off", 1)]


def test_without_terms_and_by_an_edit_nothing_is_born_leased(store: Store) -> None:
    subscribe(store, listener())
    put(store, lit("w1", T0 + 1), lit("w2", T0 + HOUR))
    assert fire(store, T0 + 1).born == []
    put(store, lit("w2", T0), now=T0 + 2)
    assert [(d.event_id, d.node) for d in everything(store)] == [("w1", None), ("w2", None)]


def test_nobody_listens_and_nothing_is_written(store: Store, falsify: Callable[..., list[tuple[int]]]) -> None:
    put(store, lit("w1", T0 + 1))
    fire(store, T0 + 1)
    assert falsify("SELECT count(*) FROM delivery") == [(0,)]
