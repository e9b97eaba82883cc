"""What happened, and who listens → the deliveries that are born with it. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, NamedTuple

from duly.model.delivery import Standing, State, Subscriber
from duly.model.event import Hold
from duly.model.history import Entry, Kind
from duly.model.lifecycle import CatchUp, Policy
from duly.rules.catch_up import DEFAULT_GRACE, Effective, Judgement, Verdict, effective, judge, withdrawn

if TYPE_CHECKING:
    from duly.model.dates import Micros
    from duly.model.event import EventRow
    from duly.model.lifecycle import Lifecycle

OUTAGE: Final = "outage"
DEAD: Final = "dead"
RESUMED: Final = "resumed"
# Everything that can be subscribed to besides milestones.
NEWS: Final = frozenset(
    {OUTAGE, DEAD, RESUMED, "held"}
    | {kind.value for kind in Kind if kind is not Kind.FIRED}
    | {hold.value for hold in Hold if hold is not Hold.ACTIVE}
)
_ARRIVALS: Final = frozenset({Kind.CREATED, Kind.RESTORED})
_MICROSECOND: Final = timedelta(microseconds=1)
FOR_EVER_US: Final = 1 << 62
_TOLD: Final = Judgement(Verdict.DELIVER, "every misfire within the window is told")
_CLOSED_BY: Final = {
    Verdict.MISSED: State.MISSED,
    Verdict.SKIP: State.MISSED,
    Verdict.HOLD: State.PARKED,
    Verdict.WITHDRAW: State.WITHDRAWN,
}

# An event's row as it is once the entry is written, with its definition (None: unknown here).
Subject = Callable[[str], "tuple[EventRow, Lifecycle | None]"]


class Birth(NamedTuple):
    """A delivery that is to be written: `pending`, or closed at birth with the reason."""

    subscriber: int
    event_id: str
    topic: str
    seq: int
    state: State
    due_us: Micros
    is_late: bool
    reason: str | None
    entry: Entry | None


def closed_as(verdict: Verdict) -> State | None:
    """Return the state in which a verdict closes a delivery; None: it is made."""
    return _CLOSED_BY.get(verdict)


def topic_of(entry: Entry) -> str:
    """Return what an entry is news of: a milestone, or a word of `NEWS`."""
    if entry.kind == Kind.FIRED:
        return entry.milestone or ""
    hold = _new_hold(entry)
    if hold is None:
        return str(entry.kind)
    return RESUMED if hold == Hold.ACTIVE else hold


def untrue(entry: Entry, row: EventRow) -> str | None:
    """Return why what an entry tells is no longer to be told, None if it is: see `withdrawn`.

    That an event came into being, or came back, stays news on whatever hold it was put: somebody may have to approve
    it.
    """
    if entry.kind in _ARRIVALS and not row.removed:
        return None
    return withdrawn(entry, row)


def _new_hold(entry: Entry) -> str | None:
    """Return the hold that an entry has set, None if it has set none."""
    if entry.kind not in {Kind.HELD, Kind.EDITED, Kind.RESTORED} or entry.detail is None:
        return None
    changed = json.loads(entry.detail).get("hold")
    return None if changed is None else str(changed[1])


class Audience:
    """Everybody who is told, under which policy. A value: made anew when a subscriber changes."""

    def __init__(
        self, subscribers: Iterable[Subscriber], *, catch_up: CatchUp | None = None, grace: timedelta = DEFAULT_GRACE
    ) -> None:
        """Take note of all subscribers, active or not; `catch_up`, `grace`: the scheduler's own."""
        self.by_number = {subscriber.number: subscriber for subscriber in subscribers}
        self.catch_up = catch_up or CatchUp()
        self.grace = grace
        self.active = tuple(s for s in self.by_number.values() if s.standing is Standing.ACTIVE)
        self.asks_tags = any(subscriber.tags for subscriber in self.active)
        self._found: dict[tuple[str, str, str], tuple[Subscriber, ...]] = {}
        self._policies: dict[tuple[int, str, str], Effective] = {}
        self._plain: dict[tuple[int, str, str], Micros] = {}

    def listeners(self, kind: str, topic: str, lifecycle: str) -> tuple[Subscriber, ...]:
        """Return who listens to a topic of a lifecycle's events ("" for what is about none), tags aside."""
        key = (kind, topic, lifecycle)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = tuple(s for s in self.active if _listens(s, kind, topic, lifecycle))
        return found

    def policy(self, subscriber: Subscriber, lifecycle: Lifecycle | None, milestone: str | None) -> Effective:
        """Return the policy in force: the subscriber's word, then the scheduler's, milestone's, lifecycle's."""
        key = (subscriber.number, "" if lifecycle is None else lifecycle.hash, milestone or "")
        found = self._policies.get(key)
        if found is None:
            levels = [subscriber.catch_up, self.catch_up]
            if lifecycle is not None:
                named = lifecycle.by_name.get((milestone or "").partition("#")[0])
                levels += [] if named is None else [named.catch_up]
                levels.append(lifecycle.catch_up)
            found = self._policies[key] = effective(levels)
        return found

    def births(self, entries: Sequence[Entry], subject: Subject, now_us: Micros) -> list[Birth]:
        """Return the deliveries that these entries bring about, in their order.

        What had passed before its event was known brings about none, unless a policy says so: its entry is the
        record of that.
        """
        born: list[Birth] = []
        late_after_us = self.grace // _MICROSECOND
        redefined = {entry[0] for entry in entries if entry[2] == "redefined"}
        for entry in entries:
            row, lifecycle = subject(entry[0])
            topic = topic_of(entry)
            # What was undone, held or removed is news of now, however old its date.
            due_us = entry[6] if entry[5] is None or entry[2] != "fired" else entry[5]
            late = now_us - due_us > late_after_us
            born_late, caught_up = entry[9] == "born_late", entry[9] == "caught_up"
            for subscriber in self.listeners(entry[2], topic, row.lifecycle):
                if subscriber.tags and not _tagged(row, subscriber.tags):
                    continue
                # A changed definition announces nothing of what it has dated in the past.
                if born_late and (entry[0] in redefined or self._hides_born_late(subscriber, entry, lifecycle)):
                    continue
                state, reason = State.PENDING, None
                if late or born_late:
                    judged = self.judged(subscriber, entry, row, lifecycle, now_us)
                    state = _CLOSED_BY.get(judged.verdict, State.PENDING)
                    reason = None if state is State.PENDING else judged.reason
                # What fell due just before the end of an outage would overtake what had been missed before.
                is_late = late or (caught_up and subscriber.is_chronological)
                born.append(
                    Birth(subscriber.number, entry[0], topic, entry[1], state, due_us, is_late, reason, entry)
                )
        return born

    def _plain_us(self, subscriber: Subscriber, lifecycle: Lifecycle, milestone: str | None) -> Micros:
        """Return up to which age everything is told without a question; negative where a policy asks one."""
        key = (subscriber.number, lifecycle.hash, milestone or "")
        found = self._plain.get(key)
        if found is None:
            policy = self.policy(subscriber, lifecycle, milestone)
            window_us = FOR_EVER_US if policy.window is None else policy.window // _MICROSECOND
            found = self._plain[key] = window_us if policy.policy is Policy.ALL else -1
        return found

    def _hides_born_late(self, subscriber: Subscriber, entry: Entry, lifecycle: Lifecycle | None) -> bool:
        return not self.policy(subscriber, lifecycle, entry.milestone).born_late

    def judged(
        self,
        subscriber: Subscriber,
        entry: Entry,
        row: EventRow,
        lifecycle: Lifecycle | None,
        now_us: Micros,
        *,
        ready_us: Micros | None = None,
    ) -> Judgement:
        """Say whether an entry is (still) told to a subscriber: see `judge` and `untrue`."""
        why = untrue(entry, row)
        if why is not None:
            return Judgement(Verdict.WITHDRAW, why)
        if entry.kind != Kind.FIRED or lifecycle is None:
            return Judgement(Verdict.DELIVER, "it happened")
        due_us = entry.at_us if entry.due_us is None else entry.due_us
        age_us = now_us - (due_us if ready_us is None else ready_us)
        if age_us <= self._plain_us(subscriber, lifecycle, entry.milestone) and entry.cause != "born_late":
            return _TOLD  # the usual case, without asking further
        policy = self.policy(subscriber, lifecycle, entry.milestone)
        return judge(entry, row, lifecycle, policy=policy, now_us=now_us, grace=self.grace, ready_us=ready_us)

    def news(
        self, topic: str, seq: int, event_id: str, now_us: Micros, *, about: EventRow | None = None
    ) -> list[Birth]:
        """Return the deliveries of what is no entry of a history: an outage, a dead delivery.

        `about`: the row of the event that it has to do with, for subscribers to some lifecycles or tags only.
        """
        return [
            Birth(s.number, event_id, topic, seq, State.PENDING, now_us, is_late=False, reason=None, entry=None)
            for s in self.listeners("", topic, "" if about is None else about.lifecycle)
            if about is None or not s.tags or _tagged(about, s.tags)
        ]


def _listens(subscriber: Subscriber, kind: str, topic: str, lifecycle: str) -> bool:
    if lifecycle and subscriber.lifecycles and lifecycle not in subscriber.lifecycles:
        return False
    if kind == Kind.FIRED:
        base = topic.partition("#")[0]
        return any(fnmatchcase(topic, pattern) or fnmatchcase(base, pattern) for pattern in subscriber.topics)
    # `*` means every milestone; who wants to hear of an outage says so. `held` is every hold, `restored` every
    # restoration, whatever hold it sets or lifts.
    return topic in subscriber.topics or kind in subscriber.topics


def _tagged(row: EventRow, tags: tuple[str, ...]) -> bool:
    given = row.data.get("tags")
    return isinstance(given, list) and any(tag in tags for tag in given)
