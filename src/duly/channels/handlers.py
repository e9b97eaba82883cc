"""Python handlers: functions of the application, called in its own event loop or in threads."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from duly.channels.channel import DELIVERED, Context, Outcome, Verdict, said_of
from duly.channels.crew import Crew
from duly.errors import InvalidInput, Reject, RetryLater, WrongState
from duly.model.delivery import Retry, Subscriber
from duly.model.lifecycle import CatchUp, Policy

if TYPE_CHECKING:
    from duly.channels.channel import Done

logger = logging.getLogger("duly.handlers")

HANDLER: Final = "handler"
TIMEOUT: Final = timedelta(seconds=30)
CONCURRENCY: Final = 100
F = TypeVar("F", bound=Callable[..., Any])
# In the context of a handler that is being run: what it must not wait for is refused there.
_handling: ContextVar[bool] = ContextVar("duly_handling", default=False)


def refuse_inside_handler(what: str) -> None:
    """Refuse a call that would wait for the very handler that makes it. Raises WrongState."""
    if _handling.get():
        raise WrongState(f"{what} waits for the handlers that are running, so a handler cannot wait for it")


@dataclass(frozen=True, slots=True)
class Handler:
    """A function, and the subscriber that it is to the store."""

    subscriber: Subscriber
    function: Callable[..., Any]
    is_async: bool
    transactional: bool


class Handlers:
    """The handlers that an application declares. Names are unique, and last: the store knows them by name."""

    def __init__(self) -> None:
        """Declare none yet."""
        self._by_name: dict[str, Handler] = {}

    def __iter__(self) -> Iterator[Handler]:
        """Yield them in the order in which they were declared."""
        return iter(list(self._by_name.values()))

    def get(self, name: str) -> Handler | None:
        """Return the handler of a name."""
        return self._by_name.get(name)

    @property
    def subscribers(self) -> list[Subscriber]:
        """What the store is told of them."""
        return [handler.subscriber for handler in self]

    def on(
        self,
        *topics: str,
        lifecycle: str | Sequence[str] = (),
        tags: Sequence[str] = (),
        name: str | None = None,
        timeout: timedelta = TIMEOUT,
        retry: Retry | None = None,
        catch_up: CatchUp | Policy | str | None = None,
        concurrency: int = CONCURRENCY,
        transactional: bool = False,
    ) -> Callable[[F], F]:
        """Return a decorator that declares a function as a handler: see `Scheduler.on`. Raises InvalidInput."""

        def declare(function: F) -> F:
            self.add(
                function,
                Subscriber(
                    name=name or _lasting_name(function),
                    channel=HANDLER,
                    topics=_checked(topics),
                    lifecycles=(lifecycle,) if isinstance(lifecycle, str) else tuple(lifecycle),
                    tags=tuple(tags),
                    catch_up=_catch_up(catch_up),
                    retry=retry or Retry(),
                    timeout=timeout,
                    concurrency=concurrency,
                ),
                transactional=transactional,
            )
            return function

        return declare

    def add(self, function: Callable[..., Any], subscriber: Subscriber, *, transactional: bool = False) -> None:
        """Declare a function. Raises InvalidInput."""
        is_async = _is_async(function)
        if transactional and is_async:
            raise InvalidInput(f"handler '{subscriber.name}': a transactional handler is a plain function, not async")
        _check_limits(subscriber)
        known = self._by_name.get(subscriber.name)
        if known is not None and known.function is not function:
            raise InvalidInput(f"there are two handlers '{subscriber.name}'; give one a name of its own: name=…")
        if known is not None and known.subscriber != subscriber:
            raise InvalidInput(
                f"handler '{subscriber.name}' is declared twice; name all that it listens to in one "
                "on(…), or give each a name of its own: name=…"
            )
        self._by_name[subscriber.name] = Handler(subscriber, function, is_async, transactional)


def _lasting_name(function: object) -> str:
    module = getattr(function, "__module__", None)
    qualified = getattr(function, "__qualname__", None) or type(function).__qualname__
    if not callable(function):
        raise InvalidInput(f"a handler is a function, not {type(function).__name__}")
    if "<lambda>" in qualified:
        raise InvalidInput("a lambda has no name that lasts from run to run; give the handler one: name=…")
    return f"{module or type(function).__module__}:{qualified}"


def _checked(topics: Sequence[str]) -> tuple[str, ...]:
    given: tuple[object, ...] = tuple(topics)  # whatever their annotation promises
    if not given or not all(isinstance(topic, str) and topic.strip() for topic in given):
        raise InvalidInput("a handler listens to something: on('registration_open'), on('*'), on('cancelled')…")
    return tuple(topics)


def _catch_up(said: CatchUp | Policy | str | None) -> CatchUp:
    if said is None or isinstance(said, CatchUp):
        return said or CatchUp()
    try:
        return CatchUp(Policy(said))
    except ValueError:
        raise InvalidInput(f"catch_up={said!r} is none of {', '.join(Policy)}; nor a CatchUp") from None


def _check_limits(subscriber: Subscriber) -> None:
    if subscriber.timeout <= timedelta(0):
        raise InvalidInput(f"handler '{subscriber.name}': timeout {subscriber.timeout} must be more than zero")
    if subscriber.concurrency < 1:
        raise InvalidInput(f"handler '{subscriber.name}': concurrency {subscriber.concurrency} must be at least 1")


def _is_async(function: Callable[..., Any]) -> bool:
    call = getattr(function, "__call__", None)  # noqa: B004 - an object whose call is async
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


class HandlerDesk:
    """Runs handlers: async ones as tasks in the application's event loop, others in threads.

    Whatever a handler does (raise SystemExit, hang, ignore its cancellation) ends in an outcome of its own attempt
    or in its timeout. What it returns is ignored.
    """

    def __init__(
        self,
        handlers: Handlers,
        call: Callable[..., None],
        transact: Callable[[int, Callable[[Any], None]], bool],
    ) -> None:
        """Set it up.

        `call`: calls a function in the application's event loop, from any thread. `transact`: settles the delivery
        of a ticket as delivered, and runs a function with the connection, in one transaction; False: too late.
        """
        self._handlers = handlers
        self._call = call
        self._transact = transact
        self._crew = Crew()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._told: dict[str, str] = {}

    def serves(self, subscriber: Subscriber) -> bool:
        """Return whether the handler is declared here."""
        return self._handlers.get(subscriber.name) is not None

    def begin(self, batch: Sequence[tuple[int, Context]], done: Done) -> None:
        """Begin attempts; `done` is called with the ticket and the outcome of each, from whatever thread."""
        awaited = []
        for ticket, context in batch:
            handler = self._handlers.get(context.subscriber.name)
            if handler is None:
                done(ticket, Outcome(verdict=Verdict.FAILED, said="its handler is not declared here"))
            elif handler.is_async:
                awaited.append((handler, ticket, context))
            elif not self._crew.begin(ticket, partial(self._work, handler, ticket, context, done)):
                said = f"{self._crew.abandoned} handlers hang in their threads; no more are begun"
                done(ticket, Outcome(verdict=Verdict.FAILED, said=said))
        if awaited:
            self._call(self._begin_tasks, awaited, done)

    def cancel(self, ticket: int) -> None:
        """Wait no longer for an attempt. A task is cancelled; a thread cannot be, and is left alone."""
        self._crew.give_up(ticket)
        self._call(self._cancel_task, ticket)

    def end(self) -> None:
        """Let the threads go."""
        self._crew.end()

    # -- in the application's event loop ----------------------------------------------------------------

    def _begin_tasks(self, awaited: Sequence[tuple[Handler, int, Context]], done: Done) -> None:
        for handler, ticket, context in awaited:
            self._tasks[ticket] = asyncio.create_task(self._attempt(handler, ticket, context, done))

    def _cancel_task(self, ticket: int) -> None:
        task = self._tasks.pop(ticket, None)
        if task is not None:
            task.cancel()

    async def _attempt(self, handler: Handler, ticket: int, context: Context, done: Done) -> None:
        _handling.set(True)
        try:
            await handler.function(context)
        except BaseException as error:  # noqa: BLE001 - SystemExit of one handler must not end the application's loop
            done(ticket, self._failure(handler, error))
        else:
            done(ticket, DELIVERED)
        finally:
            self._tasks.pop(ticket, None)

    # -- in a thread of the crew ------------------------------------------------------------------------

    def _work(self, handler: Handler, ticket: int, context: Context, done: Done) -> None:
        _handling.set(True)
        outcome = DELIVERED
        try:
            if handler.transactional:
                made = self._transact(ticket, lambda connection: handler.function(context, connection))
                verdict = Verdict.DELIVERED if made else Verdict.FAILED
                outcome = Outcome(verdict=verdict, settled=True)
            else:
                handler.function(context)
        except BaseException as error:  # noqa: BLE001 - nothing that a handler raises ends its thread
            outcome = self._failure(handler, error)
        done(ticket, outcome)

    def _failure(self, handler: Handler, error: BaseException) -> Outcome:
        if isinstance(error, Reject):
            return Outcome(verdict=Verdict.REJECTED, said=said_of(error))
        if isinstance(error, RetryLater):
            return Outcome(verdict=Verdict.FAILED, said=said_of(error), retry_after=error.after)
        said = said_of(error)
        name = handler.subscriber.name
        if self._told.get(name) != said:
            # Where it comes from is told once; the attempts of each delivery keep the sentence.
            self._told[name] = said
            logger.error("handler '%s' failed: %s", name, said, exc_info=error)
        return Outcome(verdict=Verdict.FAILED, said=said)
