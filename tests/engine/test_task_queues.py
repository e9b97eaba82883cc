"""The task-queue channel: what a queue is given, and what becomes of a delivery whose queue fails, hangs or is absent."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import duly
from duly.channels.apart import Threads
from duly.channels.channel import Context, Outcome, Verdict
from duly.channels.payload import payload_of
from duly.channels.task_queues import Message, TaskQueueChannel, task_subscriber
from duly.errors import InvalidInput
from duly.model.delivery import Subscriber
from duly.rules.view import EventView
from tests.builders import CAMPUS, HOUR, SECOND, T0, Life, event

ANNOUNCE = task_subscriber("campus.announce", ("registration_open",))
SOON = timedelta(milliseconds=50)


def fired() -> Life:
    """An event whose registration has just been opened, three seconds late."""
    life = Life()
    life.put(T0 - HOUR, event(registration_open=T0, event_start=T0 + HOUR, event_end=T0 + 2 * HOUR))
    life.advance(T0 + 3 * SECOND)
    return life


def context(subscriber: Subscriber = ANNOUNCE, *, delivery_id: str = "d1", attempt: int = 1) -> Context:
    life = fired()
    return Context(
        delivery_id=delivery_id,
        attempt=attempt,
        topic="registration_open",
        subscriber=subscriber,
        event_id="w1",
        due_us=T0,
        now_us=T0 + 4 * SECOND,
        transition=life.entries[-1],
        look_up=lambda: EventView(life.now_row, CAMPUS, T0 + 4 * SECOND),
    )


class Recorder:
    """A queue that takes everything, and remembers which thread brought it."""

    def __init__(self) -> None:
        self.taken: list[Message] = []
        self.threads: set[int] = set()

    def publish(self, message: Message) -> None:
        self.taken.append(message)
        self.threads.add(threading.get_ident())


class Broken:
    """A queue that raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def publish(self, message: Message) -> None:
        assert message.id
        raise self.error


class Hanging:
    """A queue that does not answer before it is let go."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.go = threading.Event()
        self.has_ended = threading.Event()

    def publish(self, message: Message) -> None:
        self.begun.append(message.id)
        assert self.go.wait(60)
        self.has_ended.set()


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    queue = Hanging()
    yield queue
    queue.go.set()


def delivered(queue: Any, told: Context) -> Outcome:
    """Make one attempt, in a loop of its own."""
    return asyncio.run(TaskQueueChannel({told.subscriber.name: queue}).deliver(told))


# ------------------------------------------------------------------------------------------ what is handed over


def test_a_delivery_becomes_a_task_with_the_deliverys_id() -> None:
    queue = Recorder()
    outcome = delivered(queue, context(delivery_id="d7"))
    assert outcome == Outcome(said="handed over to 'campus.announce'")
    assert [(message.id, message.task, message.queue) for message in queue.taken] == [("d7", "campus.announce", None)]


def test_another_attempt_at_a_delivery_has_the_same_id() -> None:
    # A crash between the confirmation and the settling, as the queue sees it.
    queue = Recorder()
    for attempt in (1, 2):
        assert delivered(queue, context(attempt=attempt)).verdict is Verdict.DELIVERED
    assert [message.id for message in queue.taken] == ["d1", "d1"]
    assert [message.payload for message in queue.taken] == [payload_of(context(attempt=n)) for n in (1, 2)]


def test_the_queue_and_the_options_that_were_declared_come_along() -> None:
    subscriber = task_subscriber("campus.announce", queue="mails", options={"priority": 3})
    queue = Recorder()
    delivered(queue, context(subscriber))
    assert [(message.queue, message.options) for message in queue.taken] == [("mails", {"priority": 3})]


def test_a_task_is_told_what_a_webhook_is_told_as_plain_json() -> None:
    queue = Recorder()
    delivered(queue, context())
    (message,) = queue.taken
    assert message.payload == payload_of(context())
    assert json.loads(json.dumps(message.payload)) == message.payload


# ------------------------------------------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionError("broker redis://127.0.0.1:1/0:\n  refused"), "ConnectionError: broker redis://127.0.0.1:1/0: refused"),
        (KeyError(), "KeyError"),
        (TimeoutError("no reply"), "TimeoutError: no reply"),
        (SystemExit(3), "SystemExit: 3"),
        (StopIteration(), "StopIteration"),
        (ValueError("x" * 1000), "ValueError: " + "x" * 288),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_queue_that_raises_makes_a_failed_attempt_with_the_reason_in_one_line(
    error: BaseException, said: str
) -> None:
    assert delivered(Broken(error), context()) == Outcome(verdict=Verdict.FAILED, said=said)


def test_an_event_that_cannot_be_read_makes_a_failed_attempt() -> None:
    def locked() -> EventView:
        raise OSError("disk gone")

    told = context()
    told.look_up = locked
    queue = Recorder()
    assert delivered(queue, told) == Outcome(verdict=Verdict.FAILED, said="OSError: disk gone")
    assert queue.taken == []


def test_a_queue_that_hangs_makes_a_failed_attempt_within_the_subscribers_timeout(hanging: Hanging) -> None:
    told = context(replace(ANNOUNCE, timeout=SOON))
    outcome = delivered(hanging, told)
    assert (outcome.verdict, hanging.begun) == (Verdict.FAILED, ["d1"])
    assert outcome.said == "the task queue has not confirmed 'campus.announce' within 0.045 s"


def test_the_loop_goes_on_while_a_queue_hangs(hanging: Hanging) -> None:
    queue = Recorder()
    quick = replace(ANNOUNCE, name="quick")
    channel = TaskQueueChannel({ANNOUNCE.name: hanging, "quick": queue})

    async def both() -> tuple[Outcome, Outcome]:
        slow = asyncio.create_task(channel.deliver(context()))
        # The quick one is through while the slow one still waits, in the same loop.
        through = await channel.deliver(context(quick))
        assert not slow.done()
        hanging.go.set()
        return through, await slow

    assert [outcome.verdict for outcome in asyncio.run(both())] == [Verdict.DELIVERED] * 2
    assert threading.get_ident() not in queue.threads


def test_what_waits_behind_a_hanging_queue_until_its_timeout_is_not_published_later(hanging: Hanging) -> None:
    subscriber = replace(ANNOUNCE, concurrency=1, timeout=SOON)
    channel = TaskQueueChannel({subscriber.name: hanging})

    async def two() -> list[Outcome]:
        return await asyncio.gather(*(channel.deliver(context(subscriber, delivery_id=id_)) for id_ in ("d1", "d2")))

    assert [outcome.verdict for outcome in asyncio.run(two())] == [Verdict.FAILED] * 2
    hanging.go.set()
    assert hanging.has_ended.wait(60)
    assert hanging.begun == ["d1"]


def test_a_subscriber_without_a_queue_here_fails_until_one_is_declared() -> None:
    queues: dict[str, Recorder] = {}
    channel = TaskQueueChannel(queues)
    outcome = asyncio.run(channel.deliver(context()))
    assert outcome == Outcome(
        verdict=Verdict.FAILED, said="no task queue is declared for 'task:campus.announce' in this process"
    )
    queues[ANNOUNCE.name] = Recorder()
    assert asyncio.run(channel.deliver(context())).verdict is Verdict.DELIVERED


@pytest.mark.parametrize("settings", [{}, {"task": ""}, {"task": 7}], ids=str)
def test_a_subscriber_that_names_no_task_is_rejected_since_trying_again_would_not_help(
    settings: dict[str, object],
) -> None:
    outcome = delivered(Recorder(), context(replace(ANNOUNCE, settings=settings)))
    assert outcome.verdict is Verdict.REJECTED
    assert "names no task" in (outcome.said or "")


# ------------------------------------------------------------------------------------------------------- declaring


def test_a_task_is_declared_with_what_it_is_told_of() -> None:
    subscriber = task_subscriber(
        "campus.announce", ("registration_*", "cancelled"), name="desk", lifecycles=("campus_event",), timeout=SOON
    )
    assert subscriber == Subscriber(
        name="desk",
        channel="task_queue",
        topics=("registration_*", "cancelled"),
        lifecycles=("campus_event",),
        timeout=SOON,
        concurrency=4,
        settings={"task": "campus.announce"},
    )


def test_a_task_is_told_of_every_milestone_unless_it_is_said_otherwise() -> None:
    assert (ANNOUNCE.name, task_subscriber("campus.announce").topics) == ("task:campus.announce", ("*",))


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda: task_subscriber(" "), "needs the name under which its workers know it"),
        (lambda: task_subscriber("x", "registration_open"), "task 'x': topics must be a sequence of names"),
        (lambda: task_subscriber("x", ()), "task 'x': topics must be a sequence of names"),
    ],
)
def test_a_declaration_that_means_nothing_is_refused(declare: Callable[[], Subscriber], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        declare()


# --------------------------------------------------------------------------------------------------------- threads


def test_there_are_as_many_threads_as_allowed_under_load_and_none_afterwards() -> None:
    threads: Threads[threading.Thread] = Threads(3, "few")
    begun, go = threading.Semaphore(0), threading.Event()

    def call() -> threading.Thread:
        begun.release()
        assert go.wait(60)
        return threading.current_thread()

    def three_have_begun() -> bool:
        return all(begun.acquire(timeout=60) for _ in range(3))

    async def load() -> list[threading.Thread]:
        calls = [asyncio.create_task(threads.run(call)) for _ in range(20)]
        assert await asyncio.to_thread(three_have_begun)
        # Three wait to be let go: a fourth would have to be in a thread of its own.
        assert threads.running == 3
        go.set()
        return await asyncio.gather(*calls)

    used = set(asyncio.run(load()))
    assert len(used) == 3
    for thread in used:
        thread.join(60)
    assert threads.running == 0


def test_what_a_call_raises_is_raised_where_it_is_awaited() -> None:
    def wrong() -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        asyncio.run(Threads[None](1, "one").run(wrong))


def test_a_thread_that_hangs_does_not_keep_the_program_from_ending() -> None:
    script = """
        import asyncio, threading
        from duly.channels.apart import Threads
        async def begin():
            begun = threading.Event()
            def hang():
                begun.set()
                threading.Event().wait()
            asyncio.create_task(Threads(1, "hung").run(hang))
            await asyncio.to_thread(begun.wait)
        asyncio.run(begin())
        print("ended")
    """
    lines = "\n".join(line.removeprefix(" " * 8) for line in script.splitlines())
    run = python(lines)
    assert (run.stdout, run.stderr) == ("ended\n", "")


def test_the_channel_loads_no_task_queue_engine() -> None:
    run = python("import sys, duly.channels.task_queues, duly.channels.celery_queue; print(*sys.modules)")
    assert {"celery", "kombu", "redis"} & {name.partition(".")[0] for name in run.stdout.split()} == set()


def python(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, with the Duly under test."""
    path = str(Path(duly.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {path!r})\n{script}"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
