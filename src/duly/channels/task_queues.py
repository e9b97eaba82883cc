"""Hands deliveries to a task queue: Celery, or any other engine behind a socket of one method."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Protocol, TypedDict, Unpack

from duly.channels.apart import Threads
from duly.channels.channel import Context, Outcome, Verdict
from duly.channels.payload import payload_of
from duly.errors import InvalidInput
from duly.model.delivery import Retry, Subscriber
from duly.model.lifecycle import CatchUp

CHANNEL: Final = "task_queue"
# Publishing to a broker that is near is mostly work of this process, which more threads do not speed up (measured).
CONCURRENCY: Final = 4
# A thread and a connection for each, whatever concurrency was declared.
THREADS_MOST: Final = 16
# The end of the subscriber's timeout is for saying so: an attempt that is cancelled cannot say what it waited for.
SPARE_MOST: Final = timedelta(seconds=0.5)
SPARE_SHARE: Final = 10
SAID_MOST: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a task queue is given: the task to run, and the one argument that it gets.

    `id` is the delivery's: the same over all attempts, so it must become the task's id, or its key against doubles.
    `payload`: JSON values, the same as a webhook's (`duly.channels.payload`). `queue`: None for the engine's choice.
    `options`: whatever else the engine is to be told of this task (a priority, an expiry), in its own words.
    """

    id: str
    task: str
    payload: Mapping[str, object]
    queue: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)


class TaskQueue(Protocol):
    """The socket that an engine fits into. One method; it may block."""

    def publish(self, message: Message) -> None:
        """Return once the engine has confirmed that it holds the message; raise whatever went wrong.

        It runs in a thread of Duly's, several at a time. It should not try again by itself: that is the retry
        schedule's part. What does not return counts as failed at the subscriber's timeout, and keeps its thread.
        """


class TaskQueueChannel:
    """Hands each delivery to its subscriber's task queue, and calls it delivered once the queue has confirmed that.

    What becomes of the task is then the queue's affair. A crash between the confirmation and the settling, or a
    confirmation that is lost, hands the same delivery over twice, with the same id.

    `queues` says which subscriber is served by which queue, by the subscriber's name. It is looked into at each
    delivery, so that what is declared later counts. One subscriber never waits for another's queue.
    """

    def __init__(self, queues: Mapping[str, TaskQueue]) -> None:
        self._queues = queues
        self._threads: dict[str, Threads[str | None]] = {}

    def serves(self, subscriber: Subscriber) -> bool:
        """Return whether a queue is declared for the subscriber in this process; else it is another's."""
        return subscriber.name in self._queues

    async def deliver(self, context: Context) -> Outcome:
        """Make one attempt: `delivered` when it was confirmed, `failed` with the reason in one line if not."""
        subscriber = context.subscriber
        queue = self._queues.get(subscriber.name)
        if queue is None:
            return _failed(f"no task queue is declared for '{subscriber.name}' in this process")
        task = subscriber.settings.get("task")
        if not isinstance(task, str) or not task:
            said = f"subscriber '{subscriber.name}' names no task: its settings need one, as 'myapp.tasks.announce'"
            return Outcome(verdict=Verdict.REJECTED, said=said)

        def hand_over() -> str | None:
            # In the thread, too: making the payload reads the event, and the engine's loop waits for no disk.
            try:
                queue.publish(message_of(context, task))
            except BaseException as error:  # noqa: BLE001 - becomes the attempt's outcome; SystemExit in a thread, too
                return _line(error)
            return None

        timeout = subscriber.timeout
        seconds = (timeout - min(SPARE_MOST, timeout / SPARE_SHARE)).total_seconds()
        try:
            async with asyncio.timeout(seconds):
                wrong = await self._threads_of(subscriber).run(hand_over)
        except TimeoutError:
            return _failed(f"the task queue has not confirmed '{task}' within {seconds:g} s")
        return Outcome(said=f"handed over to '{task}'") if wrong is None else _failed(wrong)

    def _threads_of(self, subscriber: Subscriber) -> Threads[str | None]:
        if subscriber.name not in self._threads:
            self._threads[subscriber.name] = Threads(min(subscriber.concurrency, THREADS_MOST), "duly-task-queue")
        return self._threads[subscriber.name]


def message_of(context: Context, task: str) -> Message:
    """Return what the queue is given for an attempt."""
    settings = context.subscriber.settings
    queue, options = settings.get("queue"), settings.get("options")
    return Message(
        id=context.delivery_id,
        task=task,
        payload=payload_of(context),
        queue=None if queue is None else str(queue),
        options=options if isinstance(options, Mapping) else {},
    )


class Policy(TypedDict, total=False):
    """How a subscriber is told, beside what and where. As in `Subscriber`."""

    lifecycles: tuple[str, ...]
    tags: tuple[str, ...]
    catch_up: CatchUp
    retry: Retry
    timeout: timedelta
    concurrency: int


def task_subscriber(
    task: str,
    topics: Sequence[str] = ("*",),
    *,
    name: str | None = None,
    queue: str | None = None,
    options: Mapping[str, object] | None = None,
    **policy: Unpack[Policy],
) -> Subscriber:
    """Declare that a task is run for each of these topics. Raises InvalidInput.

    `task` is the name under which the workers know it. `name` is the subscriber's, unique in the store:
    `task:TASK` unless given (needed where one task has two subscriptions). `queue`, `options`: see `Message`.
    """
    if not task.strip():
        raise InvalidInput("a task needs the name under which its workers know it, as 'myapp.tasks.announce'")
    if isinstance(topics, str) or not topics:
        raise InvalidInput(f"task '{task}': topics must be a sequence of names, as ('registration_open',)")
    settings: dict[str, object] = {"task": task}
    if queue is not None:
        settings["queue"] = queue
    if options:
        settings["options"] = dict(options)
    policy.setdefault("concurrency", CONCURRENCY)
    return Subscriber(name=name or f"task:{task}", channel=CHANNEL, topics=tuple(topics), settings=settings, **policy)


def _failed(said: str) -> Outcome:
    return Outcome(verdict=Verdict.FAILED, said=said)


def _line(error: BaseException) -> str:
    """Return what went wrong in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:SAID_MOST] if text else type(error).__name__
