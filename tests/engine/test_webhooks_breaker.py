"""An endpoint that keeps failing is left alone for longer and longer, and tried with one delivery first."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from duly.channels.breaker import Breaker
from duly.channels.channel import Outcome, Verdict
from duly.channels.webhooks import WebhookChannel
from duly.clock import ManualClock
from duly.testing.receiver import Receiver
from duly.testing.replies import hang, status
from tests.builders import T0
from tests.engine.stage import in_a_loop
from tests.webhook_stage import endpoint_at, told

TEN_SECONDS = timedelta(seconds=10)


async def outcomes_of(channel: WebhookChannel, receiver: Receiver, count: int) -> list[Outcome]:
    """Make so many attempts, one after another."""
    return [await channel.deliver(told(endpoint_at(receiver))) for _ in range(count)]


async def opened(channel: WebhookChannel, receiver: Receiver) -> None:
    """Let the endpoint fail five times."""
    receiver.answer(*[status(500)] * 5)
    outcomes = await outcomes_of(channel, receiver, 5)
    assert [outcome.pause for outcome in outcomes] == [None, None, None, None, TEN_SECONDS]


async def settled() -> None:
    """Let everything that can go on go on."""
    for _ in range(20):
        await asyncio.to_thread(lambda: None)


@in_a_loop
async def test_the_fifth_failure_in_a_row_pauses_and_each_failed_probe_pauses_for_longer() -> None:
    with Receiver() as receiver:
        receiver.answer_always(status(500))
        outcomes = await outcomes_of(WebhookChannel(ManualClock(T0)), receiver, 11)
    pauses = [None if outcome.pause is None else outcome.pause.total_seconds() for outcome in outcomes]
    # Five closed, then each that begins is a probe: 10 s doubled, at most five minutes.
    assert pauses[:5] == [None, None, None, None, 10]
    assert pauses[5:] == [20, 40, 80, 160, 300, 300]


@in_a_loop
async def test_a_success_in_between_begins_the_count_anew() -> None:
    with Receiver() as receiver:
        receiver.answer(*[status(500)] * 4, status(200), *[status(500)] * 4)
        outcomes = await outcomes_of(WebhookChannel(ManualClock(T0)), receiver, 9)
    assert [outcome.pause for outcome in outcomes] == [None] * 9


@in_a_loop
async def test_a_probe_that_succeeds_closes_the_breaker_and_the_next_pause_is_short_again() -> None:
    with Receiver() as receiver:
        channel = WebhookChannel(ManualClock(T0))
        await opened(channel, receiver)
        receiver.answer(status(500), status(200))
        probes = await outcomes_of(channel, receiver, 2)
        assert [probe.pause for probe in probes] == [timedelta(seconds=20), None]
        await opened(channel, receiver)


@in_a_loop
async def test_only_one_delivery_probes_and_the_others_follow_its_success() -> None:
    with Receiver() as receiver:
        channel = WebhookChannel(ManualClock(T0))
        await opened(channel, receiver)
        receiver.answer(hang())
        tasks = [asyncio.create_task(channel.deliver(told(endpoint_at(receiver)))) for _ in range(5)]
        await asyncio.to_thread(receiver.wait_for, 6)
        await settled()
        assert len(receiver.received) == 6
        tasks[0].cancel()
        # The one that probed is called off: another one probes, and the rest follow.
        outcomes = await asyncio.gather(*tasks[1:])
    assert [outcome.verdict for outcome in outcomes] == [Verdict.DELIVERED] * 4


@in_a_loop
async def test_the_others_are_not_sent_where_the_probe_fails() -> None:
    with Receiver() as receiver:
        channel = WebhookChannel(ManualClock(T0))
        await opened(channel, receiver)
        receiver.answer_always(hang())
        tasks = [asyncio.create_task(channel.deliver(told(endpoint_at(receiver)))) for _ in range(5)]
        await asyncio.to_thread(receiver.wait_for, 6)
        await settled()
        receiver.release()
        outcomes = await asyncio.gather(*tasks)
        assert len(receiver.received) == 6
    assert [outcome.pause for outcome in outcomes] == [timedelta(seconds=20), None, None, None, None]
    assert {outcome.said for outcome in outcomes[1:]} == {
        "not sent: another delivery to this endpoint has just failed"
    }


@in_a_loop
async def test_failures_that_were_under_way_together_pause_once() -> None:
    with Receiver() as receiver:
        receiver.answer_always(hang())
        channel = WebhookChannel(ManualClock(T0))
        tasks = [asyncio.create_task(channel.deliver(told(endpoint_at(receiver)))) for _ in range(20)]
        await asyncio.to_thread(receiver.wait_for, 20)
        receiver.release()
        outcomes = await asyncio.gather(*tasks)
    assert [outcome.pause for outcome in outcomes if outcome.pause is not None] == [TEN_SECONDS]


@in_a_loop
async def test_the_longer_of_two_pauses_counts() -> None:
    with Receiver() as receiver:
        receiver.answer_always(status(503, retry_after="15"))
        outcomes = await outcomes_of(WebhookChannel(ManualClock(T0)), receiver, 6)
    seconds = [outcome.pause.total_seconds() for outcome in outcomes if outcome.pause is not None]
    assert seconds == [15, 15, 15, 15, 15, 20]


@in_a_loop
async def test_what_fails_while_nothing_is_sent_counts_as_the_endpoints_failure_too() -> None:
    # A name that turned private is not asked again and again: it is spared like any other.
    with Receiver() as receiver:
        channel = WebhookChannel(ManualClock(T0), look_up=lambda _host, _port: ["10.0.0.5"])
        context = told(endpoint_at(receiver, host="hooks.example.org"))
        outcomes = [await channel.deliver(context) for _ in range(5)]
    assert outcomes[-1].pause == TEN_SECONDS


@in_a_loop
async def test_who_waits_is_told_of_the_failure_even_if_the_breaker_has_moved_on() -> None:
    breaker = Breaker()
    passes = [await breaker.admit() for _ in range(5)]
    assert [breaker.failed(number) for number in passes if number is not None] == [None] * 4 + [TEN_SECONDS]
    probe = await breaker.admit()
    waiting = asyncio.create_task(breaker.admit())
    await settled()
    assert probe is not None
    breaker.failed(probe)
    assert await waiting is None
    # A late result of the first stretch changes nothing any more.
    breaker.succeeded(passes[0] or 0)
    again = await breaker.admit()
    assert again is not None
    assert breaker.failed(again) == timedelta(seconds=40)
