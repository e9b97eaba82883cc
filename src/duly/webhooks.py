"""The webhook endpoints of a store: added, tried, given new secrets, disabled and removed, whatever is running."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, Unpack

from duly.channels.channel import Outcome, Verdict
from duly.channels.endpoint import (
    KEEP,
    PREFIX,
    Endpoint,
    Policy,
    check_resolves,
    new_endpoint,
    newest_secret,
    rotated,
)
from duly.channels.guard import LookUp, system_look_up
from duly.channels.payload import TEST, trial
from duly.errors import InvalidEndpoint, UnknownSubscriber
from duly.model.delivery import Standing, Subscriber
from duly.model.names import check_text
from duly.rules.audience import NEWS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from duly.agenda import Agenda

REMOVED: Final = "removed by a person"
DISABLED: Final = "disabled by a person"


@dataclass(frozen=True, slots=True)
class Given:
    """An endpoint that was added or rotated, with the secret that its receiver must be given: shown this once."""

    subscriber: Subscriber
    secret: str = field(repr=False)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of trying an endpoint: the id that was sent, the outcome, and how long it took."""

    delivery_id: str
    outcome: Outcome
    took: timedelta

    @property
    def succeeded(self) -> bool:
        """Whether the receiver took it."""
        return self.outcome.verdict is Verdict.DELIVERED

    def to_json(self) -> dict[str, object]:
        """Return plain values."""
        return {
            "delivery": self.delivery_id,
            "topic": TEST,
            "outcome": self.outcome.verdict.value,
            "code": self.outcome.code,
            "said": self.outcome.said,
            "took_seconds": self.took.total_seconds(),
        }


class Webhooks:
    """The webhook endpoints of a store. Synchronous, like the agenda that it works on; any thread may call.

    Every name may be given as `crm` or as `webhook:crm`. A running scheduler notices each change at once.
    `own`: URLs below which this application itself answers: an endpoint there is refused, as each delivery would
    bring about the next.
    """

    def __init__(self, agenda: Agenda, *, own: Sequence[str] = (), look_up: LookUp = system_look_up) -> None:
        """Work on an agenda's store; `look_up`: how names of hosts are looked up (the host's resolver)."""
        self._agenda = agenda
        self._own = tuple(own)
        self._look_up = look_up

    # -- asking -------------------------------------------------------------------------------------------

    def all(self) -> list[Subscriber]:
        """Return all endpoints, also disabled ones, in the order of their names; not those that were removed."""
        found = self._agenda.store.outbox.subscribers()
        return sorted(filter(_is_there, found), key=lambda subscriber: subscriber.name)

    def get(self, name: str) -> Subscriber:
        """Return an endpoint. Raises UnknownSubscriber."""
        wanted = _full(name)
        known = self.all()
        for subscriber in known:
            if subscriber.name == wanted:
                return subscriber
        raise self._unknown(name, known)

    def _unknown(self, name: str, known: Sequence[Subscriber]) -> UnknownSubscriber:
        names = ", ".join(subscriber.name.removeprefix(PREFIX) for subscriber in known)
        there = f"there are: {names}" if names else "there are none yet"
        return UnknownSubscriber(f"there is no webhook '{name.removeprefix(PREFIX)}'; {there}")

    # -- doing --------------------------------------------------------------------------------------------

    def add(
        self,
        name: str,
        url: str,
        topics: Sequence[str] = ("*",),
        *,
        secret: str | None = None,
        allow: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        **policy: Unpack[Policy],
    ) -> Given:
        """Add an endpoint, after looking its host up. Takes what `new_endpoint` takes.

        Raises InvalidEndpoint, also where there is one of that name. Warns of what it is told of and nobody knows
        yet, and of a host that does not resolve yet.
        """
        wanted = new_endpoint(
            name.removeprefix(PREFIX),
            url,
            topics,
            secret=secret,
            allow=allow,
            headers=headers,
            own=self._own,
            **policy,
        )
        warnings = (*check_resolves(wanted, self._look_up), *self._doubts(wanted))

        def added(known: Subscriber | None) -> Subscriber:
            if known is not None and _is_there(known):
                short = known.name.removeprefix(PREFIX)
                raise InvalidEndpoint(f"there is a webhook '{short}' already; remove it first, or take another name")
            return wanted

        stored = self._agenda.store.outbox.change_subscriber(wanted.name, added, self._agenda.clock.now())
        return Given(stored, newest_secret(stored), warnings)

    def rotate(self, name: str, *, keep: timedelta = KEEP, secret: str | None = None) -> Given:
        """Give an endpoint a new secret; the one that it had signs along for as long as `keep`.

        Raises UnknownSubscriber, InvalidEndpoint.
        """
        now = self._agenda.clock.now()
        changed = self._change(name, lambda known: rotated(known, now, keep, secret=secret))
        return Given(changed, newest_secret(changed))

    def disable(self, name: str, *, reason: str | None = None) -> Subscriber:
        """Tell an endpoint nothing until it is enabled again; what it is owed is parked. Raises UnknownSubscriber.

        What happens meanwhile makes no deliveries for it.
        """
        said = _said(reason, DISABLED)
        return self._change(name, lambda known: replace(known, standing=Standing.DISABLED, reason=said))

    def enable(self, name: str) -> Subscriber:
        """Tell an endpoint again, from now on; what was parked waits to be released. Raises UnknownSubscriber."""
        return self._change(name, lambda known: replace(known, standing=Standing.ACTIVE, reason=None))

    def remove(self, name: str, *, reason: str | None = None) -> Subscriber:
        """Forget an endpoint with its secrets; what it is owed is parked. Raises UnknownSubscriber.

        Its deliveries stay as a record, under its name, which may be given to a new endpoint.
        """
        said = _said(reason, REMOVED)
        return self._change(name, lambda known: replace(known, standing=Standing.GONE, reason=said, settings={}))

    def _change(self, name: str, change: Callable[[Subscriber], Subscriber]) -> Subscriber:
        def changed(known: Subscriber | None) -> Subscriber:
            if known is None or not _is_there(known):
                raise self._unknown(name, self.all())
            return change(known)

        return self._agenda.store.outbox.change_subscriber(_full(name), changed, self._agenda.clock.now())

    # -- trying -------------------------------------------------------------------------------------------

    def test(self, name: str) -> Trial:
        """Send an endpoint one signed payload of the topic `test`, right now, whether it is enabled or not.

        Once, and nothing of it is kept. Raises UnknownSubscriber, InvalidEndpoint. Not from within an event loop.
        """
        from duly.channels.webhooks import WebhookChannel

        subscriber = self.get(name)
        Endpoint.of(subscriber)
        clock = self._agenda.clock
        delivery_id = f"{self._agenda.store.outbox.identity}-{TEST}-{secrets.token_hex(4)}"
        channel = WebhookChannel(clock, look_up=self._look_up)
        began = clock.since_boot()
        outcome = asyncio.run(channel.deliver(trial(subscriber, delivery_id, clock.now())))
        return Trial(delivery_id, outcome, timedelta(microseconds=clock.since_boot() - began))

    # -- what is perhaps not meant ------------------------------------------------------------------------

    def _doubts(self, subscriber: Subscriber) -> Iterator[str]:
        """Yield what an endpoint listens to and nobody has heard of: perhaps it is yet to be declared."""
        lifecycles = self._agenda.lifecycles
        milestones = {name for lifecycle in lifecycles.values() for name in lifecycle.by_name}
        for topic in subscriber.topics:
            if topic not in NEWS and not any(fnmatchcase(name, topic.partition("#")[0]) for name in milestones):
                yield f"no lifecycle that is known here has a milestone '{topic}', and there is no such news"
        for name in subscriber.lifecycles:
            if name not in lifecycles:
                yield f"lifecycle '{name}' is not known here; known are: {', '.join(sorted(lifecycles))}"


def _full(name: str) -> str:
    return name if name.startswith(PREFIX) else PREFIX + name


def _is_there(subscriber: Subscriber) -> bool:
    return subscriber.name.startswith(PREFIX) and subscriber.standing is not Standing.GONE


def _said(reason: str | None, otherwise: str) -> str:
    return otherwise if reason is None else check_text(reason, what="reason") or otherwise
