"""Tells webhook endpoints: signed, checked against the wrong addresses, within a deadline, sparing who is down."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from duly.channels.answers import Answer, failed, outcome_of
from duly.channels.apart import Threads
from duly.channels.breaker import Breaker
from duly.channels.channel import Context, Outcome, Verdict
from duly.channels.endpoint import Endpoint
from duly.channels.guard import LookUp, checked_addresses, system_look_up
from duly.channels.payload import body_of
from duly.channels.sending import Post, default_tls, send
from duly.channels.signing import signatures
from duly.clock import SECOND, Clock
from duly.errors import InvalidEndpoint

# For the payload and for names: one endpoint whose name's server hangs keeps its own threads, and nobody else's.
THREADS: Final = 4
# The end of the subscriber's timeout is for saying so: an attempt that is cancelled cannot say what it waited for.
SPARE_MOST: Final = timedelta(seconds=0.5)
SPARE_SHARE: Final = 10


class _Line:
    """What is remembered of one endpoint while the process runs."""

    def __init__(self) -> None:
        self.breaker = Breaker()
        self.bodies: Threads[str] = Threads(THREADS, "duly-webhook-body")
        self.names: Threads[Sequence[str]] = Threads(THREADS, "duly-webhook-name")


class WebhookChannel:
    """Makes attempts at telling webhook endpoints. Lives in one event loop, which it never blocks.

    Every attempt ends within the subscriber's timeout, whatever the receiver does. Connects only to addresses that
    were checked for this attempt. What goes wrong on the way is an outcome; in reading the event, it is raised.
    """

    def __init__(self, clock: Clock, *, look_up: LookUp = system_look_up, tls: ssl.SSLContext | None = None) -> None:
        """Take the clock that timestamps are read from; `tls`: whose certificates to trust (the host's choice)."""
        self._clock = clock
        self._look_up = look_up
        self._tls = tls
        self._lines: dict[str, _Line] = {}

    async def deliver(self, context: Context) -> Outcome:
        """Make one attempt. A failure may carry a pause for the endpoint: asked for by it, or the breaker's."""
        line = self._lines.setdefault(context.subscriber.name, _Line())
        timeout = context.subscriber.timeout
        seconds = (timeout - min(SPARE_MOST, timeout / SPARE_SHARE)).total_seconds()
        answer = Answer()
        admitted: int | None = None
        is_over = False
        try:
            async with asyncio.timeout(seconds):
                admitted = await line.breaker.admit()
                if admitted is None:
                    return failed("not sent: another delivery to this endpoint has just failed")
                await self._attempt(context, line, seconds, answer)
            is_over = True
        except TimeoutError:
            # A status that came in time is the receiver's word, even if the rest of its answer did not come.
            answer.wrong, is_over = f"no answer within {seconds:g} s", True
        finally:
            if admitted is not None and not is_over:
                line.breaker.abandoned(admitted)
        outcome = outcome_of(answer, self._clock.now())
        return outcome if admitted is None else _noted(outcome, line.breaker, admitted)

    async def _attempt(self, context: Context, line: _Line, seconds: float, answer: Answer) -> None:
        """Fill in the answer, or why there is none."""
        try:
            endpoint = Endpoint.of(context.subscriber)
            body = await line.bodies.run(lambda: body_of(context))
            addresses = await self._addresses(endpoint, line)
        except InvalidEndpoint as error:
            answer.wrong = f"nothing was sent: {error}"
            return
        now_us = self._clock.now()
        headers = [
            ("content-type", "application/json"),
            ("user-agent", "Duly"),
            ("accept-encoding", "identity"),
            ("webhook-id", context.delivery_id),
            ("webhook-timestamp", str(now_us // SECOND)),
            ("webhook-signature", signatures(endpoint.secrets, context.delivery_id, now_us, body)),
            *endpoint.headers.items(),
        ]
        post = Post(endpoint.target, addresses, headers, body.encode("ascii"))
        await send(post, answer, tls=await self._trust(), seconds=seconds)

    async def _addresses(self, endpoint: Endpoint, line: _Line) -> tuple[str, ...]:
        """Return what may be connected to; InvalidEndpoint if it is nothing, or must not be."""
        target = endpoint.target
        found: Sequence[str] = [target.host]
        if target.address is None:
            try:
                found = await line.names.run(lambda: self._look_up(target.host, target.port))
            except OSError as error:
                raise InvalidEndpoint(f"{target.host} does not resolve ({error.strerror or error})") from None
        return checked_addresses(found, target.host, endpoint.allow, only_allowed=target.is_plain)

    async def _trust(self) -> ssl.SSLContext:
        if self._tls is None:
            # Reading all the host's certificates takes a while: once, and not in the loop.
            self._tls = await asyncio.to_thread(default_tls)
        return self._tls


def _noted(outcome: Outcome, breaker: Breaker, admitted: int) -> Outcome:
    """Tell the breaker how it went, and return the outcome with the longer of the two pauses, if any."""
    if outcome.verdict is Verdict.DELIVERED:
        breaker.succeeded(admitted)
        return outcome
    pauses = [pause for pause in (outcome.pause, breaker.failed(admitted)) if pause is not None]
    return replace(outcome, pause=max(pauses)) if pauses else outcome
