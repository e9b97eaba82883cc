"""Named points in the life of a delivery at which a node can be killed, stalled, or made to raise. From outside.

Every point is reached by wrapping the product's own functions in the node's process (`install`), so the product carries
nothing of it. A point inside a transaction is hit when all its statements have been made, just before the COMMIT.
"""

from __future__ import annotations

import inspect
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Final

from duly.channels.webhooks import WebhookChannel
from duly.engine import delivering
from duly.engine.delivering import DeliveryStep
from duly.engine.firing import FiringStep
from duly.errors import StoreBusy
from duly.stores import outbox_verbs, verbs
from duly.stores.loan import Loan
from duly.stores.outbox import Outbox
from duly.stores.outbox_verbs import Result, Settled
from duly.stores.store import Store

KILL: Final = "kill"
RAISE: Final = "raise"
STALL: Final = "stall"

# Reached by every node, as soon as it starts on a store with something overdue.
AT_THE_START: Final = (
    "take_over.before_expiry",
    "take_over.after_expiry",
    "recovery.fired",
    "recovery.before_finish",
)
# Reached with SQLite's write lock held: whoever is stopped there stops every other writer too.
IN_A_TRANSACTION: Final = (
    "fire.before_commit",
    "settle.before_commit",
    "claim.before_commit",
    "transact.settled",
    "transact.worked",
)
ELSEWHERE: Final = (
    "fire.after_commit",
    "accept.after",
    "begin.reading",
    "send.before",
    "send.after",
    "handler.after",
    "settle.after_commit",
    "claim.after_commit",
    "renew.before",
    "transact.before_begin",
    "transact.after_commit",
)
# Reached by a claim of what a node that has ended had begun.
TAKING_OVER: Final = ("claim.of_lost_attempts",)
POINTS: Final = (*AT_THE_START, *IN_A_TRANSACTION, *ELSEWHERE, *TAKING_OVER)

_speaking: Final = threading.Lock()


def say(line: str, **what: object) -> None:
    """Say a line to the test, at once: whoever is killed next has still said it."""
    with _speaking:
        os.write(1, json.dumps({"line": line, **what}).encode() + b"\n")


def stand_in(owner: object, name: str, function: object) -> None:
    """Put a function in the place of the product's own."""
    setattr(owner, name, function)


def _around(original: Any, enter: Callable[[], None], leave: Callable[[Any], Any]) -> Any:
    """Return a function (coroutine function, verb) that does something before and after another of its kind."""

    @wraps(original)
    def called(*args: Any, **kwargs: Any) -> Any:
        enter()
        return leave(original(*args, **kwargs))

    @wraps(original)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        enter()
        return leave(await original(*args, **kwargs))

    @wraps(original)
    def driven(*args: Any, **kwargs: Any) -> Any:
        enter()
        return leave((yield from original(*args, **kwargs)))

    if inspect.isgeneratorfunction(original):
        return driven
    return awaited if inspect.iscoroutinefunction(original) else called


class InjectedError(StoreBusy):
    """What a point raises. A StoreBusy: what any call of a store may raise, and every loop outlives."""


@dataclass
class Saboteur:
    """Does at some points, when they are hit for the n-th time, what it was told. Any thread may call.

    `faults`: by point, what is done and at which hit. Hits count while it `is_armed`.
    """

    faults: Mapping[str, tuple[str, int]]
    is_armed: bool = True
    _hits: Counter[str] = field(default_factory=Counter)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def hit(self, point: str) -> None:
        """Note that a point was reached; do what is to be done there."""
        with self._guard:
            self._hits[point] += self.is_armed
            how, at = self.faults.get(point, ("", 0))
            is_due = self.is_armed and self._hits[point] == at
        if is_due:
            self._strike(point, how)

    def _strike(self, point: str, how: str) -> None:
        say("hit", point=point, how=how)
        if how == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        elif how == STALL:
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            raise InjectedError(f"injected at {point}")

    # -- wrapping ---------------------------------------------------------------------------------------

    def before(self, owner: object, name: str, point: str) -> None:
        """Hit a point before each call of a function."""
        self._wrap(owner, name, point, lambda _: False, first=True)

    def after(self, owner: object, name: str, point: str, worth: Callable[[Any], bool] = lambda _: True) -> None:
        """Hit a point after each call of a function (coroutine function, verb) whose result is worth it."""
        self._wrap(owner, name, point, worth, first=False)

    def _wrap(self, owner: object, name: str, point: str, worth: Callable[[Any], bool], *, first: bool) -> None:
        original = getattr(owner, name)

        def enter() -> None:
            if first:
                self.hit(point)

        def leave(result: Any) -> Any:
            if not first and worth(result):
                self.hit(point)
            return result

        stand_in(owner, name, _around(original, enter, leave))

    def install(self) -> None:
        """Set all points but that of the handler's own code, which hits it itself."""
        self._watch_firing()
        self._watch_delivering()
        self._watch_transacting()
        self.before(Outbox, "expire_leases", "take_over.before_expiry")
        self.after(Outbox, "expire_leases", "take_over.after_expiry")
        self.before(Store, "finish_outage", "recovery.before_finish")

    def _watch_firing(self) -> None:
        self.after(verbs, "fire_due", "fire.before_commit", lambda fired: bool(fired.claimed))
        self.after(Store, "fire_due", "fire.after_commit", lambda fired: bool(fired.claimed))
        original, hit = FiringStep.fire_batch, self.hit

        async def fire_batch(step: FiringStep) -> Any:
            fired = await original(step)
            if fired.claimed and step.outage is not None:
                hit("recovery.fired")
            return fired

        stand_in(FiringStep, "fire_batch", fire_batch)

    def _watch_delivering(self) -> None:
        accept, hit = DeliveryStep.accept, self.hit

        def accepting(step: DeliveryStep, born: Any, *, more: bool) -> None:
            taken = list(born)
            accept(step, taken, more=more)
            if taken:
                hit("accept.after")

        stand_in(DeliveryStep, "accept", accepting)
        self.before(delivering, "read_subjects", "begin.reading")
        self.before(WebhookChannel, "deliver", "send.before")
        self.after(WebhookChannel, "deliver", "send.after")
        self.after(outbox_verbs, "settle", "settle.before_commit")
        self.after(Outbox, "settle", "settle.after_commit")
        self.after(outbox_verbs, "_lost_attempt", "claim.of_lost_attempts", lambda lost: lost is not None)
        self.after(outbox_verbs, "claim", "claim.before_commit", bool)
        self.after(Outbox, "claim", "claim.after_commit", bool)
        self.before(Outbox, "renew", "renew.before")

    def _watch_transacting(self) -> None:
        original, hit = Outbox.settle_with, self.hit

        def settle_with(
            outbox: Outbox, result: Result, now_us: int, work: Callable[[Any], None], loan: Loan | None = None
        ) -> Settled:
            def watched(connection: Any) -> None:
                hit("transact.settled")
                work(connection)
                hit("transact.worked")

            hit("transact.before_begin")
            settled = original(outbox, result, now_us, watched, loan)
            hit("transact.after_commit")
            return settled

        stand_in(Outbox, "settle_with", settle_with)
