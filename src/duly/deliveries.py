"""Everything that can be asked of and done to deliveries and subscribers, with or without a scheduler running."""

from __future__ import annotations

import heapq
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from duly.channels.endpoint import PREFIX
from duly.errors import InvalidInput, UnknownDelivery, UnknownEvent, UnknownSubscriber
from duly.model.dates import to_micros
from duly.model.delivery import Attempt, Delivery, State, Subscriber
from duly.model.names import check_text
from duly.stores.outbox import LAST
from duly.stores.outbox_verbs import Replayed, unreplayable
from duly.webhooks import Webhooks

if TYPE_CHECKING:
    from datetime import datetime

    from duly.agenda import Agenda
    from duly.model.history import Entry
    from duly.stores.outbox import DeliveryCounts, Outbox

PAGE: Final = 500
BATCH: Final = 1000
CLOSED: Final = tuple(state for state in State if state is not State.PENDING)
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,17}")
_ID: Final = re.compile(r"(?P<identity>[0-9a-f]{8})-(?P<number>[1-9][0-9]{0,17})")
_SHOWN_MOST: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which deliveries are meant; what is not said restricts nothing.

    `states`: any of them. `subscriber`, `event_id`, `topic`: exactly that one. `since`: born then or later.
    `unreplayed`: only those that nobody has had made again.
    """

    states: tuple[State, ...] = ()
    subscriber: str | None = None
    event_id: str | None = None
    topic: str | None = None
    since: datetime | None = None
    unreplayed: bool = False


ANY: Final = Wanted()


@dataclass(frozen=True, slots=True)
class Account:
    """One delivery with all that came of it: every attempt, and what it was made again as."""

    delivery: Delivery
    attempts: tuple[Attempt, ...]
    replays: tuple[Delivery, ...]

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        return {
            **self.delivery.to_json(),
            "attempt_log": [attempt.to_json() for attempt in self.attempts],
            "replayed_as": [replay.id for replay in self.replays],
        }


@dataclass(frozen=True, slots=True)
class Remade:
    """What a replay or a release did: id → id of the new delivery, and those refused with the reason."""

    made: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        return {
            "made": [{"delivery": old, "as": new} for old, new in self.made.items()],
            "refused": [{"delivery": id_, "reason": reason} for id_, reason in self.refused.items()],
        }


@dataclass(frozen=True, slots=True)
class Parked:
    """What parking did: the ids that are parked now, and those refused with the reason."""

    parked: tuple[str, ...]
    refused: Mapping[str, str]

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        refused = [{"delivery": id_, "reason": reason} for id_, reason in self.refused.items()]
        return {"parked": list(self.parked), "refused": refused}


class Deliveries:
    """What is owed to subscribers, and what became of it. Synchronous; any thread may call.

    A delivery is named by its number or by its id. A delivery that is closed stays as it is: to replay or to
    release it makes a new one, which no catch-up policy withholds. A running scheduler notices at once.
    """

    def __init__(self, agenda: Agenda) -> None:
        """Work on an agenda's store."""
        self._agenda = agenda
        self.webhooks = Webhooks(agenda)

    @property
    def _outbox(self) -> Outbox:
        return self._agenda.store.outbox

    # -- asking -------------------------------------------------------------------------------------------

    def find(self, wanted: Wanted = ANY, *, most: int | None = None) -> Iterator[Delivery]:
        """Yield deliveries, newest first, page by page. Raises UnknownSubscriber, UnknownEvent."""
        subscriber = None if wanted.subscriber is None else self.subscriber(wanted.subscriber).name
        if wanted.event_id:
            self._check_event(wanted.event_id)
        states: tuple[State | None, ...] = tuple(dict.fromkeys(wanted.states)) or (None,)
        found = [self._pages(wanted, subscriber, state) for state in states]
        newest_first = heapq.merge(*found, key=lambda delivery: delivery.number, reverse=True)
        return itertools.islice(newest_first, most)

    def _pages(self, wanted: Wanted, subscriber: str | None, state: State | None) -> Iterator[Delivery]:
        before = LAST
        while True:
            page = self._outbox.deliveries(
                state=state,
                subscriber=subscriber,
                event_id=wanted.event_id,
                topic=wanted.topic,
                since_us=None if wanted.since is None else to_micros(wanted.since),
                unreplayed=wanted.unreplayed,
                before=before,
                most=PAGE,
            )
            yield from page
            if len(page) < PAGE:
                return
            before = page[-1].number

    def get(self, delivery: int | str) -> Account:
        """Return one delivery with its attempts. Raises UnknownDelivery, InvalidInput."""
        found = self._existing(delivery)
        same = self._outbox.of_event(found.event_id)
        replays = tuple(each for each in same if each.replay_of == found.number)
        return Account(found, tuple(self._outbox.attempts([found.number])[found.number]), replays)

    def of_event(self, event_id: str) -> list[Account]:
        """Return all deliveries about an event with their attempts, oldest first. Raises UnknownEvent."""
        self._check_event(event_id)
        found = self._outbox.of_event(event_id)
        attempts = self._outbox.attempts([delivery.number for delivery in found])
        replays: dict[int, list[Delivery]] = {}
        for delivery in found:
            replays.setdefault(delivery.replay_of, []).append(delivery)
        return [Account(each, tuple(attempts[each.number]), tuple(replays.get(each.number, ()))) for each in found]

    def counts(self) -> DeliveryCounts:
        """Return how many there are: open ones by subscriber, and dead, missed, parked ones that nobody replayed."""
        return self._outbox.counts()

    def of_outage(self, outage: int) -> dict[str, int]:
        """Return what became of the deliveries of what an outage delayed: state → how many."""
        return self._outbox.count_of_outage(outage)

    def subscribers(self) -> list[Subscriber]:
        """Return all subscribers, also those that are disabled or gone, in the order of their names."""
        return sorted(self._outbox.subscribers(), key=lambda subscriber: subscriber.name)

    def subscriber(self, name: str) -> Subscriber:
        """Return a subscriber; a webhook's may be given by its short name. Raises UnknownSubscriber."""
        known = {subscriber.name: subscriber for subscriber in self.subscribers()}
        found = known.get(name) or known.get(PREFIX + name)
        if found is None:
            there = f"there are: {', '.join(known)}" if known else "nobody has subscribed yet"
            raise UnknownSubscriber(f"there is no subscriber '{name}'; {there}")
        return found

    def number_of(self, delivery: int | str) -> int:
        """Return the number of a delivery that is named by number or id. Raises InvalidInput, UnknownDelivery."""
        text = str(delivery)
        if _NUMBER.fullmatch(text):
            return int(text)
        named = _ID.fullmatch(text)
        if named is None:
            shown = ascii(text) if len(text) <= _SHOWN_MOST else f"{text[:_SHOWN_MOST]!a}…"
            mine = self._outbox.delivery_id(17)
            raise InvalidInput(f"{shown} names no delivery; give its number or its id, as 17 or {mine}")
        mine = self._outbox.identity
        if named["identity"] != mine:
            raise UnknownDelivery(f"delivery {text} is of another store; the ids of this one begin with {mine}-")
        return int(named["number"])

    def _existing(self, delivery: int | str) -> Delivery:
        return self._outbox.delivery(self.number_of(delivery))

    def _check_event(self, event_id: str) -> None:
        if event_id not in self._agenda.store.get_events([event_id]):
            raise UnknownEvent(f"there is no event '{event_id}'")

    # -- making again -------------------------------------------------------------------------------------

    def replay(self, deliveries: Iterable[int | str], *, to: str | None = None) -> Remade:
        """Make closed deliveries again, for the same subscriber or for another one (`to`), in their order.

        Refuses one by one what is still pending, was replayed already, or whose subscriber is not told anything.
        Raises, with nothing done, UnknownDelivery, UnknownSubscriber, InvalidInput.
        """
        target = None if to is None else self.subscriber(to).name
        return self._remade([self._existing(each).number for each in deliveries], target)

    def replay_all(self, wanted: Wanted, *, to: str | None = None) -> Remade:
        """Make all closed deliveries that are wanted and were not replayed yet again; see `replay`."""
        target = None if to is None else self.subscriber(to).name
        return self._remade([delivery.number for delivery in self.replayable(wanted)], target)

    def replayable(self, wanted: Wanted) -> list[Delivery]:
        """Return what `replay_all` would take up, in the order in which it would be made again: oldest first.

        Without any states, all closed ones are meant.
        """
        states = tuple(state for state in wanted.states or CLOSED if state is not State.PENDING)
        if not states:
            return []
        found = self.find(
            Wanted(
                states=states,
                subscriber=wanted.subscriber,
                event_id=wanted.event_id,
                topic=wanted.topic,
                since=wanted.since,
                unreplayed=True,
            )
        )
        return list(found)[::-1]

    def refusals(self, deliveries: Iterable[Delivery], *, to: str | None = None) -> dict[str, str]:
        """Return those of some deliveries that a replay would refuse just now: id → why. Raises UnknownSubscriber."""
        known = {subscriber.name: subscriber for subscriber in self.subscribers()}
        target = None if to is None else self.subscriber(to)
        whys = ((each.id, unreplayable(each.state, target or known[each.subscriber])) for each in deliveries)
        return {id_: why for id_, why in whys if why is not None}

    def release(self, deliveries: Iterable[int | str]) -> Remade:
        """Make parked deliveries after all, as new ones. Refuses what is not parked; else like `replay`."""
        found = [self._existing(each) for each in deliveries]
        others = {
            each.id: f"it is {each.state}, not parked"
            + ("" if each.state is State.PENDING else "; a replay makes it again")
            for each in found
            if each.state is not State.PARKED
        }
        remade = self._remade([each.number for each in found if each.id not in others], None)
        return Remade(remade.made, {**others, **remade.refused})

    def release_all(self, wanted: Wanted = ANY) -> Remade:
        """Make all parked deliveries that are wanted after all, in their order; `states` does not matter."""
        found = Wanted(
            states=(State.PARKED,),
            subscriber=wanted.subscriber,
            event_id=wanted.event_id,
            topic=wanted.topic,
            since=wanted.since,
        )
        return self.replay_all(found)

    def announce(self, event_id: str, milestone: str, *, to: str) -> Delivery:
        """Have the last firing of a milestone told to a subscriber who has no delivery of it.

        For what nobody was told of: it had passed before the event was known, or before the subscriber was there.
        Raises UnknownEvent, InvalidLifecycle, UnknownSubscriber, InvalidInput.
        """
        target = self.subscriber(to)
        entry = self._fired(event_id, milestone)
        why = unreplayable(State.DELIVERED, target)
        if why is not None:
            raise InvalidInput(why.replace("its subscriber", "subscriber", 1))
        number = self._outbox.announce(event_id, entry.seq, target.name, self._agenda.clock.now())
        return self._outbox.delivery(number)

    def _fired(self, event_id: str, milestone: str) -> Entry:
        """Return the entry of a milestone's firing that stands."""
        row = self._agenda.store.get_events([event_id]).get(event_id)
        if row is None:
            raise UnknownEvent(f"there is no event '{event_id}'")
        self._agenda.store.lifecycle_of(row).milestone(milestone)
        mark = row.marks.get(milestone)
        if mark is not None and mark.is_fired:
            for entry in reversed(self._agenda.history(event_id)):
                if entry.is_transition and entry.milestone == milestone:
                    return entry
        raise InvalidInput(f"{milestone} of event '{event_id}' has not fired; there is nothing to be told of yet")

    def _remade(self, numbers: Iterable[int], to: str | None) -> Remade:
        made: dict[str, str] = {}
        refused: dict[str, str] = {}
        # In the order of their birth, so that the new ones of a line follow each other as the old ones did; by the
        # batch, so that firing never waits for long.
        waiting = iter(sorted(set(numbers)))
        while batch := list(itertools.islice(waiting, BATCH)):
            replayed: Replayed = self._outbox.replay(batch, self._agenda.clock.now(), to=to)
            id_of: Callable[[int], str] = self._outbox.delivery_id
            made |= {id_of(old): id_of(new) for old, new in sorted(replayed.made.items())}
            refused |= {id_of(number): why for number, why in sorted(replayed.refused.items())}
        return Remade(made, refused)

    # -- parking ------------------------------------------------------------------------------------------

    def park(self, deliveries: Iterable[int | str], reason: str) -> Parked:
        """Close pending deliveries until a person releases them. Refuses one by one what cannot be parked.

        Raises, with nothing done, UnknownDelivery, InvalidInput (a reason is needed).
        """
        said = check_text(reason, what="reason")
        if not said:
            raise InvalidInput("parking needs a reason; say for whoever finds it why it waits")
        numbers = sorted({self._existing(each).number for each in deliveries})
        result = self._outbox.park(numbers, said, self._agenda.clock.now())
        ids = {number: self._outbox.delivery_id(number) for number in numbers}
        parked = tuple(ids[number] for number, why in result.items() if why is None)
        return Parked(parked, {ids[number]: why for number, why in result.items() if why is not None})
