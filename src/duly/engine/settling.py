"""Settling: the outcomes of attempts become results, which are written in batches while further attempts are made."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from duly.channels.channel import Outcome, Verdict
from duly.engine.attempts import Attempts, Running, bounded, put_off, result_of, was_stopped
from duly.engine.lines import Lines
from duly.engine.restraint import Restraint
from duly.engine.telling import DeliveryTotals, Telling, TellingListener
from duly.model.delivery import Standing, State

if TYPE_CHECKING:
    from duly.clock import Clock, Micros
    from duly.engine.threads import StoreThreads
    from duly.model.delivery import Subscriber
    from duly.stores.outbox_verbs import Result
    from duly.stores.store import Store

logger = logging.getLogger("duly.engine")


@dataclass(slots=True, kw_only=True)
class Settling:
    """What has ended and is not written yet. Nothing of it is lost by an error: the next round writes it again.

    `cancel`: has an attempt given up that has taken too long. `ended`: is set whenever something has come of it.
    `look`: is called when something may have been woken in the store.
    """

    store: Store
    clock: Clock
    threads: StoreThreads
    lines: Lines
    restraint: Restraint
    attempts: Attempts
    ended: asyncio.Event
    cancel: Callable[[Running], None]
    look: Callable[[], None]
    listeners: list[TellingListener]
    totals: DeliveryTotals = field(default_factory=DeliveryTotals)
    rounds: int = 0  # how often something was written
    unsettled: list[Result] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None
    _names: dict[int, Subscriber] = field(default_factory=dict)

    @property
    def is_busy(self) -> bool:
        """Whether something is being written, or is to be."""
        return self._task is not None or self._is_owing

    @property
    def _is_owing(self) -> bool:
        return bool(self.unsettled or self.restraint.disabled)

    def collect(self) -> None:
        """Turn what has ended, or taken too long, into results."""
        now, boot = self.clock.now(), self.clock.since_boot()
        for running, ended in self.attempts.collect(boot):
            outcome = self._given_up(running) if ended is None else ended
            self.lines.ended(running.held)
            self._heed(running, outcome)
            result = result_of(running, outcome, now, alone=self.lines.is_alone(running.held))
            if outcome.settled:
                # Its own transaction has settled it, and woken the one behind it.
                self._let_go([result], frozenset() if outcome.verdict is Verdict.DELIVERED else {result.lease.number})
                self._tell([result] if outcome.verdict is Verdict.DELIVERED else [])
                continue
            self.unsettled.append(result)
            if result.wake_us is not None:
                # The first goes back, and all behind it with it: the line waits until its time has come.
                self.unsettled += [put_off(held, None) for held in self.lines.drop_behind(running.held)]

    def _given_up(self, running: Running) -> Outcome:
        self.cancel(running)
        seconds = running.subscriber.timeout.total_seconds()
        return Outcome(verdict=Verdict.FAILED, said=f"no answer within {seconds:g} s")

    def _heed(self, running: Running, outcome: Outcome) -> None:
        """Do what an outcome says of the subscriber as a whole."""
        subscriber = running.subscriber
        self._names[subscriber.number] = subscriber
        if outcome.verdict is Verdict.DELIVERED:
            self.restraint.succeeded(subscriber.number)
        if outcome.disable is not None:
            self.restraint.disabled[subscriber.number] = outcome.disable
        elif outcome.pause is not None:
            pause_us = bounded(outcome.pause)
            self.restraint.pause(subscriber.number, self.clock.since_boot() + pause_us)
            self.give_back([subscriber.number], self.clock.now() + pause_us)

    def close(self, result: Result, subscriber: Subscriber) -> None:
        """Have a delivery closed that is not to be attempted any more."""
        self._names[subscriber.number] = subscriber
        self.unsettled.append(result)

    def give_back(self, subscribers: Iterable[int], wake_us: Micros) -> None:
        """Give up the leases of what has not been begun."""
        firsts = set()
        for held in self.lines.drop_ready(subscribers):
            is_first = held.line not in firsts
            firsts.add(held.line)
            self.unsettled.append(put_off(held, wake_us if is_first else None))

    def lose(self, numbers: Iterable[int]) -> None:
        """Let go of what is somebody else's by now, or has been closed: what is attempted of it is given up."""
        settling = {result.lease.number for result in self.unsettled}
        for number in numbers:
            held = self.lines.get(number)
            running = None if held is None else self.attempts.of(held)
            if held is None or number in settling or (running is not None and running.loan is not None):
                continue  # it has been settled meanwhile, or may just have been
            logger.warning("delivery %d is not ours any more; it is given up here", number)
            self.totals.stale += 1
            if running is not None:
                self.attempts.drop(running)
                self.lines.ended(held)
                self.cancel(running)
            self.unsettled += [put_off(each, None) for each in self.lines.lose(held)]

    # -- writing ----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Have what has ended so far written, while further attempts are begun and end. Raises what that raised."""
        if self._task is not None and self._task.done():
            task, self._task = self._task, None
            task.result()
        if self._task is None and self._is_owing:
            self._task = asyncio.create_task(self._write(), name="duly-settling")
            self._task.add_done_callback(lambda _: self.ended.set())

    async def news(self) -> None:
        """Wait until something has been written, or has ended, or is handed over."""
        self.ended.clear()
        if self._task is not None and not self._task.done() and not self.attempts.ended:
            await self.ended.wait()

    async def finish(self) -> None:
        """Write all that has ended."""
        task, self._task = self._task, None
        if task is not None:
            await asyncio.wait([task])
            if not task.cancelled() and task.exception() is not None:
                logger.debug("what could not be written is written now")  # else the error is raised here once more
        self.collect()
        while self._is_owing:
            await self._write()

    async def stop_attempts(self, node_stops: Callable[[Running], None]) -> None:
        """Wait no longer for what is under way; whoever comes next attempts it again."""
        now = self.clock.now()
        for running in self.attempts:
            node_stops(running)
            self.unsettled.append(was_stopped(running, now))
        self.attempts.clear()
        await self.finish()
        # What stood behind something that was settled only now has had its turn meanwhile, and is not begun any more.
        self.give_back(self.lines.all_subscribers(), now)
        await self.finish()

    async def _write(self) -> None:
        results = list(self.unsettled)
        if results:
            settled = await self.threads.aside(self.store.outbox.settle, results, self.clock.now())
            self.rounds += 1
            del self.unsettled[: len(results)]
            self._let_go(results, settled.stale)
            self._tell([result for result in results if result.lease.number not in settled.stale])
        await self._disable()

    def _let_go(self, results: Sequence[Result], stale: frozenset[int] | set[int]) -> None:
        for result in results:
            number = result.lease.number
            held = self.lines.get(number)
            if number in stale:
                if result.attempt is not None:
                    self.totals.stale += 1
                    logger.warning("delivery %d is not ours any more; what came of it here is not written", number)
                # Those behind it must not overtake it: they are given back with it.
                self.unsettled += [put_off(each, None) for each in self.lines.drop_behind(held)] if held else []
            else:
                self.totals.count(result)
            if held is not None:
                self.lines.done(held)
        # Something may have been woken, or put off to an instant that is sooner than the next look.
        self.look()

    def _tell(self, results: Sequence[Result]) -> None:
        if not self.listeners:
            return
        told = [
            Telling.of(result, self.store.outbox.delivery_id(result.lease.number), subscriber.name)
            for result in results
            # What was merely given back is no news: it has neither been attempted nor closed.
            if (result.attempt is not None or result.state is not State.PENDING)
            and (subscriber := self._names.get(result.lease.subscriber)) is not None
        ]
        for listener in tuple(self.listeners) if told else ():
            try:
                listener(told)
            except Exception:
                # What it was told of is settled, and the others shall hear of it too.
                logger.exception("a listener raised; what it was told of has happened all the same")

    async def _disable(self) -> None:
        """Write down who wants nothing more; what they are owed is parked."""
        for number, reason in list(self.restraint.disabled.items()):
            name = self._names[number].name
            await self.threads.aside(
                self.store.outbox.change_subscriber, name, partial(_disabled, reason), self.clock.now()
            )
            logger.error("subscriber '%s' is disabled: %s", name, reason)
            self.lines.drop_ready([number])
            del self.restraint.disabled[number]
            self.look()


def _disabled(reason: str, current: Subscriber | None) -> Subscriber:
    """Return a subscriber as it is now, but disabled; what somebody has changed meanwhile stays as it is."""
    assert current is not None  # noqa: S101 - subscribers are never deleted
    if current.standing is not Standing.ACTIVE:
        return current
    return replace(current, standing=Standing.DISABLED, reason=reason)
