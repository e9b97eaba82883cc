"""What the tests of deliveries do to a store in place of an engine: subscribe, fire, attempt, settle."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from duly.agenda import Agenda
from duly.clock import SECOND, ManualClock
from duly.model.delivery import Attempt, Delivery, Lease, State, Subscriber
from duly.rules.advance import Firing
from duly.stores.outbox_verbs import Result
from duly.stores.verbs import FireRequest

NODE = "node-1"
GRACE_US = 60 * SECOND


class OutboxStage:
    """A store with a manual clock on which everything happens by hand."""

    def __init__(self, agenda: Agenda, clock: ManualClock) -> None:
        self.agenda = agenda
        self.clock = clock
        self.outbox = agenda.store.outbox

    def subscribe(self, name: str, *topics: str, channel: str = "handler", **how: Any) -> Subscriber:
        wanted = Subscriber(name=name, channel=channel, topics=topics or ("*",), **how)
        return self.outbox.put_subscriber(wanted, self.clock.now())

    def fire(self, *, outage: int | None = None) -> None:
        """Fire all that is due."""
        now = self.clock.now()
        firing = Firing(now, now - GRACE_US, NODE, outage)
        request = FireRequest(firing=firing, most=500, fresh_from_us=now - GRACE_US)
        while self.agenda.store.fire_due(request).claimed:
            pass

    def after_outage(self, *, hours: float) -> int:
        """Let nobody be there for so long, then catch up. Returns the outage's id."""
        began = self.clock.now()
        self.clock.advance(round(hours * 3600 * SECOND))
        outage = self.agenda.store.begin_outage(began, self.clock.now(), NODE)
        self.fire(outage=outage.id)
        self.agenda.store.finish_outage(outage.id, self.clock.now(), failed=0, window_us=24 * 3600 * SECOND)
        return outage.id

    def lease(self, *, most: int = 100) -> list[Lease]:
        now = self.clock.now()
        rooms = {subscriber.number: most for subscriber in self.outbox.subscribers()}
        return self.outbox.claim(NODE, now, now + 30 * SECOND, rooms)

    def settle(
        self,
        lease: Lease,
        state: State = State.DELIVERED,
        *,
        said: str | None = None,
        code: int | None = None,
        again_in: timedelta | None = None,
    ) -> Result:
        """End an attempt that was begun a fifth of a second ago."""
        now = self.clock.now()
        outcome = "delivered" if state is State.DELIVERED else "failed"
        attempt = Attempt(lease.number, lease.attempt, NODE, now - SECOND // 5, now, outcome, code, said)
        wake = None if again_in is None else now + again_in // timedelta(microseconds=1)
        reason = None if state is State.DELIVERED else said
        result = Result(lease, state, wake, reason, attempt)
        self.outbox.settle([result], now)
        return result

    def settle_all(self, state: State = State.DELIVERED, **how: Any) -> None:
        """End all that can be attempted now, line by line, until nothing is left."""
        while leases := self.lease():
            for lease in leases:
                self.settle(lease, state, **how)

    def all(self) -> list[Delivery]:
        """Return all deliveries, oldest first."""
        return self.outbox.deliveries(most=1000)[::-1]

    def states(self) -> list[str]:
        """Return all deliveries as short as `crm registration_open pending`."""
        return [f"{each.subscriber} {each.topic} {each.state}" for each in self.all()]
