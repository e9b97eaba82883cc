"""Python handlers: functions of the application, called in its own event loop or in threads."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from duly.channels.channel import DELIVERED, Context, Outcome, Verdict, said_of
from duly.channels.crew import Crew
from duly.channels.handler_checks import (
    check_function,
    check_subscriber,
    checked_names,
    checked_policy,
    checked_topics,
    is_async,
    lasting_name,
    unheard,
)
from duly.errors import InvalidInput, Reject, RetryLater, WrongState
from duly.model.delivery import Retry, Subscriber
from duly.model.lifecycle import CatchUp, Policy

if TYPE_CHECKING:
    from duly.channels.channel import Done
    from duly.model.lifecycle import Lifecycle

logger = logging.getLogger("duly.handlers")

HANDLER: Final = "handler"
TIMEOUT: Final = timedelta(seconds=30)
# How many calls run at once, unless the handler says otherwise: async ones; in threads; of those that are
# transactions, which wait for each other anyway.
CONCURRENCY: Final = 100
THREADS: Final = 8
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class _Call:
    """One call of a handler. What it leaves running behind it knows by this that it is over."""

    is_over: bool = False


# In the context of a handler that is being called: what it must not wait for is refused there.
_handling: ContextVar[_Call | None] = ContextVar("duly_handling", default=None)


def refuse_inside_handler(what: str) -> None:
    """Refuse a call that would wait for the very handler that makes it. Raises WrongState."""
    call = _handling.get()
    if call is not None and not call.is_over:
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
        tags: str | Sequence[str] = (),
        name: str | None = None,
        timeout: timedelta = TIMEOUT,
        retry: Retry | None = None,
        catch_up: CatchUp | Policy | str | None = None,
        concurrency: int | None = None,
        transactional: bool = False,
    ) -> Callable[[F], F]:
        """Return a decorator that declares a function as a handler: see `Scheduler.on`. Raises InvalidInput."""
        said = Subscriber(
            name=name or "",
            channel=HANDLER,
            topics=checked_topics(topics),
            lifecycles=checked_names("lifecycle", lifecycle),
            tags=checked_names("tags", tags),
            catch_up=checked_policy(catch_up),
            retry=Retry() if retry is None else retry,
            timeout=timeout,
        )

        def declare(function: F) -> F:
            check_function(function)
            usual = 1 if transactional else CONCURRENCY if is_async(function) else THREADS
            subscriber = replace(
                said,
                name=lasting_name(function) if name is None else name,
                concurrency=usual if concurrency is None else concurrency,
            )
            self.add(function, subscriber, transactional=transactional)
            return function

        return declare

    def add(self, function: Callable[..., Any], subscriber: Subscriber, *, transactional: bool = False) -> None:
        """Declare a function. Raises InvalidInput."""
        check_function(function)
        check_subscriber(subscriber)
        awaited = is_async(function)
        if transactional and awaited:
            raise InvalidInput(f"handler '{subscriber.name}': a transactional handler is a plain function, not async")
        known = self._by_name.get(subscriber.name)
        # Equal, not the same: a method is a new object each time that it is looked up.
        if known is not None and known.function != function:
            raise InvalidInput(f"there are two handlers '{subscriber.name}'; give one a name of its own: name=…")
        if known is not None and known.subscriber != subscriber:
            raise InvalidInput(
                f"handler '{subscriber.name}' is declared twice; name all that it listens to in one "
                "on(…), or give each a name of its own: name=…"
            )
        self._by_name[subscriber.name] = Handler(subscriber, function, awaited, transactional)

    def warn_of_unheard(self, lifecycles: Mapping[str, Lifecycle]) -> None:
        """Log what handlers listen to and nothing of these lifecycles, by name, can bring about: slips, mostly."""
        for sentence in unheard(self.subscribers, lifecycles):
            logger.warning("handler %s", sentence)


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
        self._crews: dict[str, Crew] = {}
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
            else:
                self._begin_in_thread(handler, ticket, context, done)
        if awaited:
            self._call(self._begin_tasks, awaited, done)

    def _begin_in_thread(self, handler: Handler, ticket: int, context: Context, done: Done) -> None:
        subscriber = handler.subscriber
        crew = self._crews.get(subscriber.name)
        if crew is None:
            # Each handler has its own: one that hangs in all its threads keeps no other from its calls.
            crew = self._crews[subscriber.name] = Crew(subscriber.concurrency)
        refused = crew.begin(ticket, partial(copy_context().run, self._work, handler, ticket, context, done))
        if refused is not None:
            done(ticket, Outcome(verdict=Verdict.FAILED, said=refused))

    def cancel(self, ticket: int) -> None:
        """Wait no longer for an attempt. A task is cancelled; a thread cannot be, and is left alone."""
        for crew in self._crews.values():
            crew.give_up(ticket)
        self._call(self._cancel_task, ticket)

    def end(self) -> None:
        """Let the threads go, and cancel the tasks."""
        for crew in self._crews.values():
            crew.end()
        self._call(self._cancel_tasks)

    # -- in the application's event loop ----------------------------------------------------------------

    def _begin_tasks(self, awaited: Sequence[tuple[Handler, int, Context]], done: Done) -> None:
        for handler, ticket, context in awaited:
            self._tasks[ticket] = asyncio.create_task(self._attempt(handler, ticket, context, done))

    def _cancel_task(self, ticket: int) -> None:
        task = self._tasks.pop(ticket, None)
        if task is not None:
            task.cancel()

    def _cancel_tasks(self) -> None:
        for ticket in list(self._tasks):
            self._cancel_task(ticket)

    async def _attempt(self, handler: Handler, ticket: int, context: Context, done: Done) -> None:
        call = _Call()
        _handling.set(call)
        try:
            await handler.function(context)
        except BaseException as error:  # noqa: BLE001 - SystemExit of one handler must not end the application's loop
            done(ticket, self._failure(handler, error))
        else:
            done(ticket, DELIVERED)
        finally:
            call.is_over = True
            self._tasks.pop(ticket, None)

    # -- in a thread of the crew ------------------------------------------------------------------------

    def _work(self, handler: Handler, ticket: int, context: Context, done: Done) -> None:
        call = _Call()
        _handling.set(call)
        outcome = DELIVERED
        try:
            if handler.transactional:
                made = self._transact(ticket, lambda connection: _ran(handler.function(context, connection)))
                verdict = Verdict.DELIVERED if made else Verdict.FAILED
                outcome = Outcome(verdict=verdict, settled=True)
            else:
                _ran(handler.function(context))
        except BaseException as error:  # noqa: BLE001 - nothing that a handler raises ends its thread
            outcome = self._failure(handler, error)
        call.is_over = True
        done(ticket, outcome)

    def _failure(self, handler: Handler, error: BaseException) -> Outcome:
        if isinstance(error, Reject):
            return Outcome(verdict=Verdict.REJECTED, said=said_of(error))
        if isinstance(error, RetryLater) and isinstance(error.after, timedelta):
            return Outcome(verdict=Verdict.FAILED, said=said_of(error), retry_after=error.after)
        said = said_of(error)
        name = handler.subscriber.name
        if self._told.get(name) != said:
            # Where it comes from is told once; the attempts of each delivery keep the sentence.
            self._told[name] = said
            logger.error("handler '%s' failed: %s", name, said, exc_info=error)
        return Outcome(verdict=Verdict.FAILED, said=said)


def _ran(returned: object) -> None:
    """Refuse what a plain function returns if that shows that nothing of it has run. Raises InvalidInput."""
    if returned is None:
        return
    if inspect.isawaitable(returned) or inspect.isgenerator(returned) or inspect.isasyncgen(returned):
        if inspect.iscoroutine(returned):
            returned.close()
        kind = type(returned).__name__
        raise InvalidInput(
            f"the handler returned a {kind} that nobody runs: make it, or what wraps it, an async function"
        )
