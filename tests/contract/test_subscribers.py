"""Subscribers are rows: declared by code, changed by people, kept when they are gone, and what they are owed is parked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duly.errors import InvalidInput, UnknownSubscriber
from duly.model.delivery import Retry, Standing, State, Subscriber
from duly.model.lifecycle import UNSET, CatchUp, Policy
from duly.stores.births import definition_of, subscriber_of
from duly.stores.store import Store
from tests.builders import DAY, HOUR, SECOND, T0
from tests.contract.deeds import fire, lit, put
from tests.contract.telling import (
    LEASE,
    NEVER_AGAIN,
    assert_lines_move,
    claim,
    delivered,
    everything,
    failed,
    listener,
    outcomes,
    settle,
    subscribe,
)

NOW = T0 + 10
Falsify = Callable[..., list[tuple[Any, ...]]]


def standing(store: Store) -> dict[str, Standing]:
    return {subscriber.name: subscriber.standing for subscriber in store.outbox.subscribers()}


# ---------------------------------------------------------------------------------------------------- kept


def test_a_subscriber_is_kept_as_it_was_given(store: Store) -> None:
    given_ = Subscriber(
        name="webhook:crm",
        channel="webhook",
        topics=("registration_*", "cancelled"),
        lifecycles=("contest",),
        tags=("vip", "ü"),
        catch_up=CatchUp(policy=Policy.CURRENT, window=None, born_late=True),
        retry=Retry((timedelta(microseconds=3), timedelta(days=9)), 0.25),
        timeout=timedelta(milliseconds=1),
        concurrency=1,
        settings={"url": "https://example.org/in", "secrets": ["a", "b"], "deep": {"x": None}},
        standing=Standing.DISABLED,
        reason="it said 410",
    )
    kept = store.outbox.put_subscriber(given_, NOW)
    assert (kept.number, kept) == (1, store.outbox.subscriber("webhook:crm"))
    assert definition_of(kept) == definition_of(given_)
    assert (kept.standing, kept.reason, kept.channel) == (Standing.DISABLED, "it said 410", "webhook")
    assert (kept.catch_up, kept.retry, kept.settings) == (given_.catch_up, given_.retry, given_.settings)


@given(
    window=st.one_of(st.just(UNSET), st.none(), st.timedeltas(timedelta(0), timedelta(days=4000))),
    delays=st.lists(st.timedeltas(timedelta(0), timedelta(days=60)), max_size=12),
    jitter=st.one_of(st.integers(0, 1), st.floats(0, 1)),
    timeout=st.timedeltas(timedelta(0), timedelta(days=30)),
    born_late=st.sampled_from((None, True, False)),
)
def test_no_duration_changes_by_being_kept(
    window: Any, delays: list[timedelta], jitter: float, timeout: timedelta, born_late: bool | None
) -> None:
    one = Subscriber(
        name="a:b",
        channel="handler",
        topics=("*",),
        catch_up=CatchUp(window=window, born_late=born_late),
        retry=Retry(tuple(delays), jitter),
        timeout=timeout,
    )
    kept = subscriber_of((0, "a:b", "handler", definition_of(one), "active", None))
    assert kept == one


def test_a_number_is_a_subscribers_for_ever(store: Store) -> None:
    assert subscribe(store, listener("a:b"), listener("a:c")) == [1, 2]
    assert subscribe(store, listener("a:b", "other"), listener("a:d")) == [1, 3]
    assert [subscriber.topics for subscriber in store.outbox.subscribers()] == [("other",), ("*",), ("*",)]
    with pytest.raises(UnknownSubscriber, match="there is no subscriber 'a:e'"):
        store.outbox.subscriber("a:e")


def test_a_change_of_a_subscriber_is_made_of_what_is_there_or_not_at_all(store: Store) -> None:
    def refuse(_: Subscriber | None) -> Subscriber:
        raise InvalidInput("no")

    def note(found_: Subscriber | None) -> Subscriber:
        found.append(found_)
        return listener("a:b", "other")

    found: list[Subscriber | None] = []
    subscribe(store, listener())
    store.outbox.change_subscriber("a:b", note, NOW)
    assert [s.name if s else None for s in found] == ["a:b"]
    assert store.outbox.subscriber("a:b").topics == ("other",)
    with pytest.raises(InvalidInput):
        store.outbox.change_subscriber("a:c", refuse, NOW)
    assert len(store.outbox.subscribers()) == 1


# ------------------------------------------------------------------------------------------------- declared


def test_who_is_declared_again_without_a_change_is_not_written_again(store: Store, falsify: Falsify) -> None:
    both = [listener("a:b", settings={"queue": ("x", 1)}), listener("a:c", catch_up=CatchUp(window=None))]
    first = store.outbox.declare(both, T0)
    assert [subscriber.number for subscriber in first] == [1, 2]
    assert store.outbox.declare(both, NOW) == first
    assert falsify("SELECT changed_at FROM subscriber") == [(T0,), (T0,)]


def test_who_is_declared_otherwise_is_told_by_the_new_declaration(store: Store) -> None:
    store.outbox.declare([listener("a:b", "switch_on")], T0)
    put(store, lit("w1", T0 + 1, T0 + 2))
    fire(store, T0 + 1)
    store.outbox.declare([listener("a:b", "switch_off", retry=NEVER_AGAIN)], NOW)
    fire(store, NOW)
    assert [(d.topic, d.state) for d in everything(store)] == [
        ("switch_on", State.PENDING),
        ("switch_off", State.PENDING),
    ]
    assert store.outbox.subscriber("a:b").retry == NEVER_AGAIN


def test_scenario_26_what_is_owed_to_a_handler_that_was_renamed_is_parked_and_replayable_to_the_new_name(
    store: Store,
) -> None:
    store.outbox.declare([listener("app:announce"), listener("app:other")], T0)
    put(store, *(lit(f"w{n:03}", T0 + 1, T0 + 2) for n in range(134)))
    fire(store, NOW)
    (lease, *_) = store.outbox.claim("node-1", NOW, NOW + LEASE, {1: 1})
    store.outbox.declare([listener("app:publish"), listener("app:other")], NOW)
    parked = [d for d in everything(store) if d.state is State.PARKED]
    assert len(parked) == 268
    assert {d.subscriber for d in parked} == {"app:announce"}
    assert {d.reason for d in parked} == {"subscriber 'app:announce' is gone: no code declares it any more"}
    assert len(everything(store)) == 2 * 268
    assert settle(store, delivered(lease)).stale == {lease.number}
    assert standing(store) == {
        "app:announce": Standing.GONE,
        "app:other": Standing.ACTIVE,
        "app:publish": Standing.ACTIVE,
    }

    replayed = store.outbox.replay([d.number for d in parked], NOW, to="app:publish")
    assert (len(replayed.made), replayed.refused) == (268, {})
    assert_lines_move(store)
    order: dict[str, list[str]] = {}
    while leases := store.outbox.claim("node-1", NOW, NOW + LEASE, {3: 1000}):
        for each in leases:
            order.setdefault(each.event_id, []).append(each.topic)
        settle(store, *map(delivered, leases), now=NOW)
    assert len(order) == 134
    assert set(map(tuple, order.values())) == {("switch_on", "switch_off")}


def test_a_handler_that_comes_back_under_its_name_is_told_of_what_happens_then_and_may_be_replayed_the_rest(
    store: Store,
) -> None:
    store.outbox.declare([listener("a:b")], T0)
    put(store, lit("w1", T0 + 1, T0 + 20))
    fire(store, NOW)
    store.outbox.declare([listener("a:c", "nothing")], NOW)
    assert store.outbox.replay([1], NOW).made == {}
    store.outbox.declare([listener("a:b")], NOW + 1)
    assert standing(store) == {"a:b": Standing.ACTIVE, "a:c": Standing.GONE}
    assert store.outbox.subscriber("a:b").reason is None
    fire(store, T0 + 20)
    assert store.outbox.replay([1], T0 + 20).made == {1: 3}
    assert [(d.topic, d.state) for d in everything(store)] == [
        ("switch_on", State.PARKED), ("switch_off", State.PENDING), ("switch_on", State.PENDING),
    ]  # fmt: skip


def test_who_declares_nothing_says_nothing_about_those_of_others(store: Store) -> None:
    store.outbox.declare([listener("a:b")], T0)
    assert [s.standing for s in store.outbox.declare([], NOW)] == [Standing.ACTIVE]
    assert standing(store) == {"a:b": Standing.ACTIVE}


def test_what_people_have_added_is_not_gone_because_no_code_declares_it(store: Store) -> None:
    subscribe(store, listener("webhook:crm", channel="webhook"), listener("queue", channel="task_queue"))
    store.outbox.declare([listener("a:b")], NOW)
    assert standing(store) == {
        "webhook:crm": Standing.ACTIVE,
        "queue": Standing.GONE,
        "a:b": Standing.ACTIVE,
    }


def test_a_handler_that_somebody_has_disabled_is_not_enabled_by_a_restart(store: Store) -> None:
    store.outbox.declare([listener("a:b")], T0)
    subscribe(store, listener("a:b", standing=Standing.DISABLED, reason="ada said so"))
    (again,) = store.outbox.declare([listener("a:b", "other")], NOW)
    assert (again.standing, again.reason, again.topics) == (Standing.DISABLED, "ada said so", ("other",))
    subscribe(store, listener("a:b"))
    assert standing(store) == {"a:b": Standing.ACTIVE}


# ------------------------------------------------------------------------------------------------- disabled


def test_what_a_disabled_subscriber_was_owed_is_parked_whatever_it_was_doing(store: Store) -> None:
    subscribe(store, listener("a:b"), listener("a:c"))
    put(store, lit("w1", T0 + 1, T0 + 2), lit("w2", T0 + 1), lit("w3", T0 + 1))
    fire(store, NOW)
    leases = {lease.event_id: lease for lease in claim(store, NOW) if lease.subscriber == 1}
    settle(store, failed(leases["w1"], NOW + HOUR), delivered(leases["w2"]), now=NOW)
    subscribe(store, listener("a:b", standing=Standing.DISABLED, reason="it said 410"), now=NOW + SECOND)
    mine = [d for d in everything(store) if d.subscriber == "a:b"]
    assert {(d.event_id, d.topic): d.state for d in mine} == {
        ("w1", "switch_on"): State.PARKED,
        ("w1", "switch_off"): State.PARKED,
        ("w2", "switch_on"): State.DELIVERED,
        ("w3", "switch_on"): State.PARKED,
    }
    assert {d.reason for d in mine} == {None, "subscriber 'a:b' is disabled: it said 410"}
    # An attempt that was under way has lost its lease: what came of it is not written.
    assert settle(store, delivered(leases["w3"]), now=NOW + SECOND).stale == {leases["w3"].number}
    assert {id_: outcomes(store, lease.number) for id_, lease in leases.items()} == {
        "w1": [(1, "failed")],
        "w2": [(1, "delivered")],
        "w3": [(1, "lost")],
    }
    assert all(d.is_open for d in everything(store) if d.subscriber == "a:c")
    assert_lines_move(store)


def test_while_it_is_disabled_nothing_is_born_and_afterwards_it_is_told_again(store: Store) -> None:
    subscribe(store, listener("a:b", standing=Standing.DISABLED))
    put(store, lit("w1", T0 + 1, T0 + 2))
    fire(store, T0 + 1)
    subscribe(store, listener("a:b"))
    fire(store, T0 + 2)
    assert [(d.topic, d.is_open) for d in everything(store)] == [("switch_off", True)]


# ------------------------------------------------------------------------------------------------- policies


def test_what_the_scheduler_says_of_misfires_is_kept_and_read_again(store: Store, falsify: Falsify) -> None:
    said = CatchUp(policy=Policy.LATEST, window=timedelta(days=2), born_late=True)
    subscribe(store, listener())
    store.outbox.put_policy(said, timedelta(seconds=7))
    audience = store.outbox.audience()
    assert (audience.catch_up, audience.grace) == (said, timedelta(seconds=7))
    falsify("UPDATE meta SET value = value || ' ' WHERE key = 'catch_up'")
    store.outbox.put_policy(said, timedelta(seconds=7))
    assert falsify("SELECT value LIKE '% ' FROM meta WHERE key = 'catch_up'") == [(1,)]  # it was not written again
    store.outbox.put_policy(CatchUp(), timedelta(days=1))
    assert store.outbox.audience().grace == timedelta(days=1)


def test_a_change_of_a_subscriber_is_seen_by_the_very_next_transaction(store: Store) -> None:
    subscribe(store, listener("a:b", catch_up=CatchUp(window=timedelta(0))))
    put(store, lit("w1", T0, T0 + DAY), now=T0 - 1)
    fire(store, T0 + HOUR)
    subscribe(store, listener("a:b", catch_up=CatchUp(window=None)))
    fire(store, T0 + 9 * DAY)
    assert [d.state for d in everything(store)] == [State.MISSED, State.PENDING]
