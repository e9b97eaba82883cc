"""A misfire, a policy and an instant → whether its deliveries are still made. Pure.

Precedence: the subscriber's word, then the scheduler's, the milestone's, the lifecycle's (DESIGN.md §3.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from duly.model.event import Hold
from duly.model.history import Cause, Kind
from duly.model.lifecycle import CatchUp, Policy, Unset
from duly.rules.status import track_states_at

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duly.model.dates import Micros
    from duly.model.event import EventRow
    from duly.model.history import Entry
    from duly.model.lifecycle import Lifecycle

DEFAULT_WINDOW: Final = timedelta(hours=24)
DEFAULT_GRACE: Final = timedelta(seconds=60)
# How the reason begins by which whatever is too old can be told from what a policy withholds.
OUTSIDE_WINDOW: Final = "older than the catch-up window"
_ALWAYS_TOLD: Final = frozenset({Kind.HELD, Kind.REMOVED, Kind.SET_ASIDE})


class Verdict(StrEnum):
    """What becomes of a delivery."""

    DELIVER = "deliver"
    MISSED = "missed"
    HOLD = "hold"
    SKIP = "skip"
    WITHDRAW = "withdraw"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its reason, in words that can be shown."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Effective:
    """A catch-up policy with every question answered."""

    policy: Policy = Policy.ALL
    window: timedelta | None = DEFAULT_WINDOW
    born_late: bool = False


def effective(levels: Iterable[CatchUp]) -> Effective:
    """Return the answers of the first level that gives each; levels come from the most specific on."""
    policy: Policy | None = None
    window: timedelta | Unset | None = Unset.UNSET
    born_late: bool | None = None
    for level in levels:
        policy = level.policy if policy is None else policy
        window = level.window if isinstance(window, Unset) else window
        born_late = level.born_late if born_late is None else born_late
    return Effective(
        policy=policy or Policy.ALL,
        window=DEFAULT_WINDOW if isinstance(window, Unset) else window,
        born_late=bool(born_late),
    )


def judge(
    transition: Entry,
    event: EventRow,
    lifecycle: Lifecycle,
    *,
    policy: Effective,
    now_us: Micros,
    grace: timedelta = DEFAULT_GRACE,
    ready_us: Micros | None = None,
) -> Judgement:
    """Say whether a transition is still to be told at `now_us`, with the event as it is now.

    `ready_us`: the instant for which a *second* or later attempt was scheduled. The window bounds how late a first
    attempt may be after the due instant, and any later one after its own instant: what was begun in time is gone on
    with by the retry schedule, which may well be longer than the window.
    """
    if transition.cause == Cause.BORN_LATE and not policy.born_late:
        return Judgement(Verdict.SKIP, "it had passed before the event was known")
    due_us = transition.at_us if transition.due_us is None else transition.due_us
    if timedelta(microseconds=now_us - due_us) <= grace:
        return Judgement(Verdict.DELIVER, "on time")
    age = timedelta(microseconds=now_us - (due_us if ready_us is None else ready_us))
    if policy.window is not None and age > policy.window:
        return Judgement(Verdict.MISSED, f"{OUTSIDE_WINDOW} of {policy.window}")
    if ready_us is not None and policy.policy in {Policy.NONE, Policy.PARK}:
        # Its first attempt was in time, or it would not have been made: that this one is late makes it no misfire.
        return Judgement(Verdict.DELIVER, "begun in time")
    return _misfire(transition, event, lifecycle, policy.policy, now_us)


def withdrawn(entry: Entry, event: EventRow) -> str | None:
    """Return why what an entry tells is no longer to be told, with the event as it is now; None if it is.

    Of an event that is removed or on hold only that very news is told. A transition that was revoked, or whose
    milestone has lost its date, is not announced any more.
    """
    if entry.kind in _ALWAYS_TOLD:
        return None
    if event.removed:
        return "the event was removed"
    if event.hold != Hold.ACTIVE:
        return f"the event is {event.hold}"
    if entry.kind == Kind.FIRED and not _stands(entry, event):
        return f"{entry.milestone} was revoked, or has no date any more"
    return None


def _misfire(transition: Entry, event: EventRow, lifecycle: Lifecycle, policy: Policy, now_us: Micros) -> Judgement:
    match policy:
        case Policy.ALL:
            return Judgement(Verdict.DELIVER, "missed, and every misfire is told")
        case Policy.NONE:
            return Judgement(Verdict.SKIP, "missed, and misfires are not told")
        case Policy.PARK:
            return Judgement(Verdict.HOLD, "missed, and misfires wait for a person")
        case Policy.CURRENT:
            if is_current(transition, event, lifecycle, now_us):
                return Judgement(Verdict.DELIVER, "missed, but it still holds")
            return Judgement(Verdict.SKIP, "missed, and it no longer holds")
        case Policy.LATEST:
            if _is_latest(transition, event, lifecycle, now_us):
                return Judgement(Verdict.DELIVER, "missed, and the last that was")
            return Judgement(Verdict.SKIP, "missed, and a later one of the event tells more")


def is_current(transition: Entry, event: EventRow, lifecycle: Lifecycle, now_us: Micros) -> bool:
    """Return whether what a transition announced still holds at an instant.

    A milestone of a track: the track is still in the state that it entered. A notice: the milestone that it
    leads up to has not come yet. Nothing holds of an event that is removed or on hold.
    """
    if not _stands(transition, event) or event.removed or event.hold != Hold.ACTIVE:
        return False
    name = transition.milestone or ""
    milestone = lifecycle.milestone(name)
    if milestone.track is not None:
        entered = lifecycle.shape(tuple(event.dates)).steps[name].state
        return track_states_at(event, lifecycle, now_us)[milestone.track] == entered
    until = lifecycle.notice_until(name)
    return until is None or until not in event.dates or now_us < event.dates[until]


def _stands(transition: Entry, event: EventRow) -> bool:
    """Return whether its milestone still has a date, and has not been revoked since (then the next one tells)."""
    name = transition.milestone or ""
    mark = event.marks.get(name)
    return name in event.dates and (mark is None or mark.generation == transition.generation)


def _is_latest(transition: Entry, event: EventRow, lifecycle: Lifecycle, now_us: Micros) -> bool:
    if not _stands(transition, event):
        return False
    name = transition.milestone or ""
    mine = (event.dates[name], lifecycle.order(name))
    return not any(mine < (due, lifecycle.order(other)) and due <= now_us for other, due in event.dates.items())
