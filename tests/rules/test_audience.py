"""What happened, and who listens: which deliveries are born of it, under whose policy, and what is said no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from duly.model.delivery import Standing, State, Subscriber
from duly.model.event import EventRow, Hold
from duly.model.history import Entry, Kind
from duly.model.lifecycle import CatchUp, Lifecycle, Policy
from duly.rules.audience import DEAD, NEWS, OUTAGE, Audience, Birth, closed_as, topic_of, untrue
from duly.rules.catch_up import Effective, Verdict
from tests.builders import CAMPUS, CONFERENCE, DAY, HOUR, MINUTE, SECOND, T0, Life, event, lamp

DATES: dict[str, Any] = {
    "registration_open": T0,
    "registration_close": T0 + 2 * HOUR,
    "event_start": T0 + 3 * HOUR,
    "event_end": T0 + 4 * HOUR,
}


def who(number: int = 1, *topics: str, **how: Any) -> Subscriber:
    """Return a subscriber; with no topic named, to every milestone."""
    return Subscriber(name=f"a:{number}", channel="handler", topics=topics or ("*",), number=number, **how)


def life(now: int = T0 + 5 * HOUR, lifecycle: Lifecycle = CAMPUS, **dates: Any) -> Life:
    """Return an event that was down all along and has been caught up at `now`."""
    found = Life(lifecycle)
    found.put(T0 - DAY, event(lifecycle=lifecycle, **(dates or DATES)))
    found.advance(now, late_before=now)
    return found


def subject(found: Life) -> Callable[[str], tuple[EventRow, Lifecycle | None]]:
    return lambda _: (found.now_row, found.lifecycle)


def births(audience: Audience, found: Life, now: int, entries: Sequence[Entry] | None = None) -> list[Birth]:
    """Return what is born of an event's entries (all of them unless said otherwise) at an instant."""
    return audience.births(found.entries if entries is None else entries, subject(found), now)


def briefly(born: Sequence[Birth]) -> list[str]:
    return [f"{birth.subscriber} {birth.topic} {birth.state}" for birth in born]


# ------------------------------------------------------------------------------------------------ precedence


def told_by(*levels: CatchUp) -> Effective:
    """Return the policy in force where subscriber, scheduler, milestone and lifecycle say these."""
    subscriber, scheduler, milestone, of_lifecycle = levels
    milestones = tuple(replace(m, catch_up=milestone) if m.name == "switch_on" else m for m in lamp().milestones)
    lifecycle = replace(lamp(), milestones=milestones, catch_up=of_lifecycle)
    listening = who(catch_up=subscriber)
    return Audience([listening], catch_up=scheduler).policy(listening, lifecycle, "switch_on")


SILENT = CatchUp()


@pytest.mark.parametrize("first", range(4))
def test_each_question_is_answered_by_subscriber_then_scheduler_then_milestone_then_lifecycle(first: int) -> None:
    policies = (Policy.LATEST, Policy.NONE, Policy.PARK, Policy.CURRENT)
    answers = [CatchUp(policy, timedelta(hours=n), n % 2 == 0) for n, policy in enumerate(policies, 1)]
    levels = [SILENT] * first + answers[first:]
    expected = answers[first]
    assert told_by(*levels) == Effective(policies[first], timedelta(hours=first + 1), bool(expected.born_late))


def test_the_questions_are_answered_each_by_itself() -> None:
    window = CatchUp(window=None)
    assert told_by(window, CatchUp(Policy.PARK), CatchUp(born_late=True), CatchUp(Policy.NONE, timedelta(0))) == (
        Effective(Policy.PARK, None, born_late=True)
    )
    assert told_by(SILENT, SILENT, SILENT, CatchUp(Policy.NONE)).policy is Policy.NONE
    assert told_by(SILENT, SILENT, SILENT, SILENT) == Effective()


def test_a_round_follows_the_policy_of_its_milestone_and_another_milestone_does_not() -> None:
    said = CatchUp(Policy.NONE)
    milestones = tuple(replace(m, catch_up=said) if m.name == "paper_deadline" else m for m in CONFERENCE.milestones)
    lifecycle = replace(CONFERENCE, milestones=milestones)
    audience = Audience([who()])
    named = {name: audience.policy(who(), lifecycle, name).policy for name in ("paper_deadline#2", "notification")}
    assert named == {"paper_deadline#2": Policy.NONE, "notification": Policy.ALL}


def test_what_is_about_no_lifecycle_has_the_subscribers_and_the_schedulers_word() -> None:
    audience = Audience([who()], catch_up=CatchUp(Policy.PARK))
    assert audience.policy(who(), None, None) == Effective(Policy.PARK)


def test_two_subscribers_and_two_definitions_of_one_name_are_told_apart() -> None:
    late = replace(lamp(), catch_up=CatchUp(Policy.NONE))
    one, two = who(1), who(2, catch_up=CatchUp(Policy.LATEST))
    audience = Audience([one, two])
    found = [audience.policy(s, each, "switch_on").policy for s in (one, two) for each in (lamp(), late)]
    assert found == [Policy.ALL, Policy.NONE, Policy.LATEST, Policy.LATEST]


# -------------------------------------------------------------------------------------------------- births


def test_scenario_01_of_a_catch_up_each_misfire_is_born_in_order_and_what_no_longer_holds_is_withheld() -> None:
    found = life(T0 + 4 * HOUR + 30 * MINUTE)
    reminder = who(1, "event_start", catch_up=CatchUp(Policy.CURRENT))
    thanks = who(2, "event_end")
    everything = who(3)
    born = births(Audience([reminder, thanks, everything]), found, T0 + 4 * HOUR + 30 * MINUTE)
    assert briefly(born) == [
        "3 registration_open pending",
        "3 registration_close pending",
        "1 event_start missed",
        "3 event_start pending",
        "2 event_end pending",
        "3 event_end pending",
    ]
    withheld = born[2]
    assert (withheld.reason, withheld.due_us, withheld.is_late) == (
        "missed, and it no longer holds", T0 + 3 * HOUR, True,
    )  # fmt: skip


def test_scenario_02_after_ten_days_all_is_missed_with_the_reason_and_nothing_is_left_out() -> None:
    found = life(T0 + 10 * DAY)
    born = births(Audience([who(1), who(2, catch_up=CatchUp(window=None))]), found, T0 + 10 * DAY)
    assert [birth.state for birth in born if birth.subscriber == 1] == [State.MISSED] * 4
    assert {birth.reason for birth in born if birth.subscriber == 1} == {
        "older than the catch-up window of 1 day, 0:00:00"
    }
    assert [birth.state for birth in born if birth.subscriber == 2] == [State.PENDING] * 4


@pytest.mark.parametrize(
    ("policy", "states"),
    [
        (Policy.ALL, ["pending"] * 4),
        (Policy.CURRENT, ["missed", "pending", "missed", "pending"]),
        (Policy.LATEST, ["missed", "missed", "missed", "pending"]),
        (Policy.NONE, ["missed"] * 4),
        (Policy.PARK, ["parked"] * 4),
    ],
)
def test_what_a_policy_withholds_is_born_closed_and_the_rest_pending(policy: Policy, states: list[str]) -> None:
    born = births(Audience([who(catch_up=CatchUp(policy))]), life(), T0 + 5 * HOUR)
    assert [birth.state.value for birth in born] == states
    assert [birth.reason is None for birth in born] == [state == "pending" for state in states]


@pytest.mark.parametrize("policy", Policy)
def test_on_time_every_policy_tells(policy: Policy) -> None:
    found = life(T0 + MINUTE, registration_open=T0)
    born = births(Audience([who(catch_up=CatchUp(policy, timedelta(0)))]), found, T0 + MINUTE)
    assert [(birth.state, birth.is_late) for birth in born] == [(State.PENDING, False)]
    late = births(Audience([who(catch_up=CatchUp(policy, timedelta(0)))]), found, T0 + MINUTE + 1)
    assert [(birth.state, birth.is_late) for birth in late] == [(State.MISSED, True)]


def test_the_schedulers_grace_draws_the_line_between_late_and_missed() -> None:
    found = life(T0 + 2, registration_open=T0)
    strict = Audience([who(catch_up=CatchUp(Policy.NONE))], grace=timedelta(microseconds=1))
    assert [birth.state for birth in births(strict, found, T0 + 1)] == [State.PENDING]
    assert [birth.state for birth in births(strict, found, T0 + 2)] == [State.MISSED]


def test_scenario_14_what_was_born_late_is_born_only_where_the_policy_says_so() -> None:
    found = Life()
    found.put(T0 + 5 * HOUR, event(**DATES), known_since=T0 + 5 * HOUR)
    silent, told = who(1), who(2, catch_up=CatchUp(born_late=True))
    current, short = (
        who(3, catch_up=CatchUp(Policy.CURRENT, born_late=True)),
        who(4, catch_up=CatchUp(None, timedelta(0), born_late=True)),
    )
    born = births(Audience([silent, told, current, short]), found, T0 + 5 * HOUR)
    assert [birth.topic for birth in born if birth.subscriber == 2] == list(DATES)
    assert [birth.state.value for birth in born if birth.subscriber == 3] == [
        "missed",
        "pending",
        "missed",
        "pending",
    ]
    assert {birth.state for birth in born if birth.subscriber == 4} == {State.MISSED}
    assert not [birth for birth in born if birth.subscriber == 1]


def test_what_was_born_late_a_moment_ago_is_silent_too() -> None:
    found = Life()
    found.put(T0 + SECOND, event(registration_open=T0), known_since=T0 + SECOND)
    assert births(Audience([who()]), found, T0 + SECOND) == []
    born = births(Audience([who(catch_up=CatchUp(Policy.NONE, born_late=True))]), found, T0 + SECOND)
    assert briefly(born) == ["1 registration_open pending"]


def test_scenario_33_a_redefinition_announces_nothing_that_it_dates_in_the_past() -> None:
    found = Life()
    found.put(T0 + 5 * HOUR, event(**DATES), known_since=T0 + 5 * HOUR)
    redefined = found.entries[0]._replace(kind=Kind.REDEFINED.value)
    tells = who(1, "*", "redefined", catch_up=CatchUp(born_late=True))
    born = births(Audience([tells]), found, T0 + 5 * HOUR, [redefined, *found.entries[1:]])
    assert briefly(born) == ["1 redefined pending"]
    other = redefined._replace(event_id="another")
    assert len(births(Audience([tells]), found, T0 + 5 * HOUR, [other, *found.entries[1:]])) == 5


def test_a_revocation_is_news_of_now_however_old_what_it_undoes() -> None:
    found = life(T0 + 2 * HOUR)
    found.put(
        T0 + 9 * DAY,
        event(
            **{**DATES, "registration_close": T0 + 10 * DAY, "event_start": T0 + 11 * DAY, "event_end": T0 + 12 * DAY}
        ),
    )
    strict = who(1, "revoked", catch_up=CatchUp(Policy.NONE, timedelta(0)))
    born = births(Audience([strict]), found, T0 + 9 * DAY)
    assert [(birth.topic, birth.state, birth.is_late, birth.due_us) for birth in born] == [
        ("revoked", State.PENDING, False, T0 + 9 * DAY)
    ]


def test_a_birth_carries_the_entry_that_it_tells_of() -> None:
    found = life()
    born = births(Audience([who()]), found, T0 + 5 * HOUR)
    assert [birth.entry for birth in born] == [entry for entry in found.entries if entry.is_transition]
    assert [(birth.seq, birth.event_id) for birth in born] == [(n, "w1") for n in (2, 3, 4, 5)]


def test_of_an_event_whose_lifecycle_is_unknown_here_it_is_told_what_happened() -> None:
    found = life()
    audience = Audience([who(catch_up=CatchUp(Policy.NONE))])
    born = audience.births(found.entries, lambda _: (found.now_row, None), T0 + 5 * HOUR)
    assert {birth.state for birth in born} == {State.PENDING}


# ------------------------------------------------------------------------------------------------ listening


@pytest.mark.parametrize(
    ("patterns", "topic", "is_heard"),
    [
        (("*",), "event_start", True),
        (("*",), "paper_deadline#2", True),
        (("event_start",), "event_start", True),
        (("event_*",), "event_start", True),
        (("EVENT_START",), "event_start", False),
        (("event",), "event_start", False),
        (("paper_deadline",), "paper_deadline#2", True),
        (("paper_deadline#2",), "paper_deadline#2", True),
        (("paper_deadline#2",), "paper_deadline", False),
        (("paper_deadline#?",), "paper_deadline#2", True),
        (("*#*",), "paper_deadline", False),
        (("x", "event_[se]*"), "event_start", True),
        ((), "event_start", False),
    ],
)
def test_a_milestone_is_heard_by_name_or_pattern(patterns: tuple[str, ...], topic: str, is_heard: bool) -> None:
    audience = Audience([replace(who(), topics=patterns)])
    assert bool(audience.listeners("fired", topic, "conference")) is is_heard


@pytest.mark.parametrize("word", sorted(NEWS))
def test_news_are_heard_under_their_own_name_only_and_never_under_a_star(word: str) -> None:
    audience = Audience([who(1), who(2, word), who(3, f"{word}*"), who(4, "*", word)])
    assert [s.number for s in audience.listeners("", word, "")] == [2, 4]


def test_a_milestone_that_is_called_like_news_is_heard_as_a_milestone() -> None:
    audience = Audience([who(1), who(2, "cancelled")])
    assert [s.number for s in audience.listeners("fired", "cancelled", "lamp")] == [1, 2]


def test_whom_it_does_not_concern_does_not_hear_it() -> None:
    subscribers = [
        who(1, lifecycles=("lamp",)),
        who(2, lifecycles=("contest", "conference")),
        who(3, standing=Standing.DISABLED),
        who(4, standing=Standing.GONE),
        who(5),
    ]
    audience = Audience(subscribers)
    assert [s.number for s in audience.listeners("fired", "switch_on", "lamp")] == [1, 5]
    assert set(audience.by_number) == {1, 2, 3, 4, 5}


def test_an_outage_concerns_no_lifecycle_and_a_dead_delivery_that_of_its_event() -> None:
    audience = Audience([who(1, OUTAGE, DEAD, lifecycles=("lamp",)), who(2, OUTAGE, DEAD, tags=("vip",))])
    assert [b.subscriber for b in audience.news(OUTAGE, -7, "", T0)] == [1, 2]
    about = EventRow(id="w1", lifecycle="lamp")
    assert [b.subscriber for b in audience.news(DEAD, -7, "w1", T0, about=about)] == [1]
    vip = replace(about, lifecycle="contest", data={"tags": ["vip"]})
    assert [b.subscriber for b in audience.news(DEAD, -7, "w1", T0, about=vip)] == [2]


@pytest.mark.parametrize(
    ("data", "is_told"),
    [
        ({"tags": ["vip"]}, True),
        ({"tags": ["x", "press"]}, True),
        ({"tags": ["vi"]}, False),
        ({"tags": "vip"}, False),
        ({"tags": {"vip": 1}}, False),
        ({"tags": None}, False),
        ({"tags": [{}, 7, None]}, False),
        ({}, False),
    ],
)
def test_any_of_an_events_tags_may_be_any_of_a_subscribers(data: dict[str, Any], is_told: bool) -> None:
    found = life()
    found.row = replace(found.now_row, data=data)
    audience = Audience([who(tags=("vip", "press"))])
    assert audience.asks_tags
    assert bool(births(audience, found, T0 + 5 * HOUR)) is is_told


# -------------------------------------------------------------------------------------------------- topics


def test_what_an_entry_is_news_of() -> None:
    found = life(T0 + HOUR)
    found.hold(T0 + HOUR, Hold.POSTPONED)
    found.hold(T0 + HOUR + 1, Hold.ACTIVE)
    found.put(T0 + HOUR + 2, event(hold=Hold.CANCELLED, **DATES))
    found.remove(T0 + HOUR + 3)
    found.put(T0 + HOUR + 4, event(hold=Hold.CANCELLED, **DATES))
    assert [topic_of(entry) for entry in found.entries] == [
        "created", "registration_open", "postponed", "resumed", "cancelled", "removed", "restored",
    ]  # fmt: skip
    assert set(map(topic_of, found.entries)) - {"registration_open"} <= NEWS


def test_a_round_is_news_under_its_full_name() -> None:
    found = life(T0 + 5 * HOUR, CONFERENCE, paper_deadline=T0, paper_deadline_2=T0 + HOUR)
    rounds = [topic_of(entry) for entry in found.entries if "reminder" not in (entry.milestone or "reminder")]
    assert rounds == ["paper_deadline", "paper_deadline#2"]


# ----------------------------------------------------------------------------------------- true no more


def test_what_is_said_no_more_of_an_event_that_is_on_hold_or_removed() -> None:
    found = life(T0 + HOUR)
    opened = found.entries[-1]
    assert untrue(opened, found.now_row) is None
    found.hold(T0 + HOUR, Hold.CANCELLED)
    created, _, cancelled = found.entries
    assert untrue(opened, found.now_row) == "the event is cancelled"
    assert untrue(cancelled, found.now_row) is None
    assert untrue(created, found.now_row) is None
    found.remove(T0 + HOUR + 1)
    assert untrue(opened, found.now_row) == "the event was removed"
    assert untrue(created, found.now_row) == "the event was removed"
    assert [untrue(entry, found.now_row) for entry in found.entries[2:]] == [None, None]


def test_what_was_revoked_or_has_lost_its_date_is_said_no_more_and_its_next_generation_is() -> None:
    found = life(T0 + 2 * HOUR)
    first = found.entries[-1]
    moved = {**DATES, "registration_close": T0 + 2 * HOUR + MINUTE}
    found.put(T0 + 2 * HOUR, event(**moved))
    assert untrue(first, found.now_row) == "registration_close was revoked, or has no date any more"
    found.advance(T0 + 2 * HOUR + MINUTE)
    assert [untrue(entry, found.now_row) for entry in (first, found.entries[-1])] == [
        untrue(first, found.now_row),
        None,
    ]
    found.put(T0 + 2 * HOUR + MINUTE, event(**{k: v for k, v in moved.items() if k != "registration_open"}))
    assert untrue(found.entries[1], found.now_row) is not None


def test_at_each_attempt_it_is_judged_again() -> None:
    found = life(T0 + HOUR)
    opened = found.entries[-1]
    current = who(catch_up=CatchUp(Policy.CURRENT))
    audience = Audience([current])

    def verdict(now: int) -> Verdict:
        return audience.judged(current, opened, found.now_row, CAMPUS, now).verdict

    assert [verdict(now) for now in (T0 + HOUR, T0 + 2 * HOUR - 1, T0 + 2 * HOUR)] == [
        Verdict.DELIVER, Verdict.DELIVER, Verdict.SKIP,
    ]  # fmt: skip
    found.hold(T0 + HOUR + 1, Hold.POSTPONED)
    assert verdict(T0 + HOUR + 1) is Verdict.WITHDRAW
    assert audience.judged(current, found.entries[-1], found.now_row, None, T0 + 9 * DAY).verdict is Verdict.DELIVER


def test_every_verdict_but_one_closes_a_delivery() -> None:
    assert {verdict: closed_as(verdict) for verdict in Verdict} == {
        Verdict.DELIVER: None,
        Verdict.MISSED: State.MISSED,
        Verdict.SKIP: State.MISSED,
        Verdict.HOLD: State.PARKED,
        Verdict.WITHDRAW: State.WITHDRAWN,
    }
