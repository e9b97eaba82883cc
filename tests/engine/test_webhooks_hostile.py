"""A receiver may drip, flood, hang, break, lie: an attempt ends in time with the right outcome, and delays no other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from socket import EAI_AGAIN, gaierror
from typing import Any

import pytest

from duly.channels.channel import Outcome, Verdict
from duly.channels.endpoint import new_endpoint
from duly.channels.sending import BODY_MOST
from duly.channels.webhooks import WebhookChannel
from duly.clock import ManualClock
from duly.testing.receiver import NETWORK, Receiver
from duly.testing.replies import (
    MEBIBYTE,
    Reply,
    close,
    drip,
    drip_head,
    flood,
    gzip_bomb,
    hang,
    redirect,
    reset,
    status,
)
from tests.builders import T0
from tests.engine.stage import in_a_loop
from tests.webhook_stage import BRIEF, SECRET, Names, endpoint_at, timed, told

# A busy machine may take a while to notice that half a second is over; what is never over takes longer than this.
SOON = 5.0


def attempted(reply: Reply, *, timeout: timedelta = BRIEF) -> tuple[Outcome, Receiver]:
    """Make one attempt at a receiver that answers like this, and hold that it ends in time."""
    with Receiver() as receiver:
        receiver.answer_always(reply)
        outcome, seconds = timed(told(endpoint_at(receiver, timeout=timeout)))
        assert len(receiver.received) == 1
    assert seconds < SOON
    return outcome, receiver


def test_a_receiver_that_never_answers_costs_no_more_than_the_deadline() -> None:
    outcome, _ = attempted(hang())
    assert outcome == Outcome(verdict=Verdict.FAILED, said="no answer within 0.45 s")


def test_headers_that_drip_for_ever_are_no_answer() -> None:
    outcome, _ = attempted(drip_head())
    assert outcome == Outcome(verdict=Verdict.FAILED, said="no answer within 0.45 s")


def test_a_failure_whose_body_drips_is_told_by_its_status_at_the_deadline() -> None:
    outcome, _ = attempted(drip(410))
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, 410)
    assert outcome.disable is not None
    outcome, _ = attempted(drip(500))
    assert (outcome.verdict, outcome.code) == (Verdict.FAILED, 500)
    assert str(outcome.said).startswith("HTTP 500: ..")


def test_a_success_whose_body_drips_is_a_success_and_is_not_waited_for() -> None:
    with Receiver() as receiver:
        receiver.answer_always(drip(200))
        outcome, seconds = timed(told(endpoint_at(receiver, timeout=timedelta(seconds=60))))
    assert outcome.verdict is Verdict.DELIVERED
    assert seconds < SOON


@pytest.mark.parametrize("code", [200, 500])
def test_a_flood_is_cut_off(code: int) -> None:
    outcome, receiver = attempted(flood(code), timeout=timedelta(seconds=4))
    assert outcome.code == code
    assert len(str(outcome.said)) <= 300
    # What the two kernels' buffers held was sent, too; the rest of the 200 MB was not.
    assert receiver.bytes_sent < 20 * MEBIBYTE
    assert BODY_MOST == 64 * 1024


@pytest.mark.parametrize("code", [200, 500])
def test_a_gzip_bomb_is_not_unpacked(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def unpacked(*_: Any, **__: Any) -> Any:
        raise AssertionError("it was unpacked")

    bomb = gzip_bomb(code)
    monkeypatch.setattr("zlib.decompressobj", unpacked)
    outcome, _ = attempted(bomb, timeout=timedelta(seconds=4))
    assert outcome.said == f"HTTP {code}"


def test_a_redirect_to_a_metadata_address_is_not_followed() -> None:
    outcome, receiver = attempted(redirect())
    assert outcome.verdict is Verdict.FAILED
    assert "redirects are not followed" in str(outcome.said)
    assert receiver.connections == 1


@pytest.mark.parametrize("text", ["99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT", "9" * 4000])
def test_an_absurd_retry_after_is_an_hour(text: str) -> None:
    outcome, _ = attempted(status(429, retry_after=text))
    assert outcome.pause == outcome.retry_after == timedelta(hours=1)


@pytest.mark.parametrize("reply", [close(), reset()])
def test_a_connection_that_breaks_without_an_answer_is_a_failure(reply: Reply) -> None:
    outcome, _ = attempted(reply)
    assert outcome.verdict is Verdict.FAILED
    assert str(outcome.said).startswith("127.0.0.1 broke off: ")


def test_headers_without_end_are_no_answer() -> None:
    def endless(exchange: Any) -> None:
        exchange.connection().sendall(b"HTTP/1.1 200 OK\r\n")
        for k in range(1_000_000):
            exchange.connection().sendall(b"x-%d: y\r\n" % k)

    outcome, _ = attempted(endless, timeout=timedelta(seconds=4))
    assert outcome.verdict is Verdict.FAILED
    assert outcome.code is None


def test_what_is_no_http_is_a_failure() -> None:
    def banner(exchange: Any) -> None:
        exchange.connection().sendall(b"220 mail.example.org ESMTP\r\n")

    outcome, _ = attempted(banner, timeout=timedelta(seconds=4))
    assert outcome.verdict is Verdict.FAILED
    assert str(outcome.said).startswith("127.0.0.1 broke off: ")


def test_a_port_where_nobody_takes_the_connection_costs_no_more_than_the_deadline() -> None:
    # A listener that accepts nothing, with a full queue, lets further connections hang in the kernel.
    import socket

    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        url = f"http://127.0.0.1:{port}/"
        outcome, seconds = timed(told(new_endpoint("crm", url, secret=SECRET, allow=[NETWORK], timeout=BRIEF)))
    assert outcome.verdict is Verdict.FAILED
    assert seconds < SOON


def test_a_name_server_that_never_answers_costs_no_more_than_the_deadline() -> None:
    released = threading.Event()

    def stuck(host: str, port: int) -> Sequence[str]:
        released.wait(60)
        return []

    with Receiver() as receiver:
        context = told(endpoint_at(receiver, host="hooks.example.org", timeout=BRIEF))
        outcome, seconds = timed(context, look_up=stuck)
        released.set()
        assert receiver.connections == 0
    assert outcome.said == "no answer within 0.45 s"
    assert seconds < SOON


def test_a_name_that_does_not_resolve_is_a_failure_that_says_so() -> None:
    def nowhere(host: str, port: int) -> Sequence[str]:
        raise gaierror(EAI_AGAIN, "Temporary failure in name resolution")

    with Receiver() as receiver:
        outcome, _ = timed(told(endpoint_at(receiver, host="hooks.example.org")), look_up=nowhere)
    said = "nothing was sent: hooks.example.org does not resolve (Temporary failure in name resolution)"
    assert (outcome.verdict, outcome.said) == (Verdict.FAILED, said)


@in_a_loop
async def test_one_hostile_endpoint_delays_no_other() -> None:
    with Receiver() as good, Receiver() as bad:
        bad.answer_always(hang())
        channel = WebhookChannel(ManualClock(T0))
        hostile = replace(endpoint_at(bad), name="webhook:bad")
        waiting = [asyncio.create_task(channel.deliver(told(hostile, delivery_id=f"d_{k}"))) for k in range(20)]
        await asyncio.to_thread(bad.wait_for, 20)
        outcomes = await asyncio.gather(*(channel.deliver(told(endpoint_at(good))) for _ in range(20)))
        # All of the good ones are through while all of the others still wait.
        assert not any(task.done() for task in waiting)
        bad.release()
        await asyncio.gather(*waiting)
    assert {outcome.verdict for outcome in outcomes} == {Verdict.DELIVERED}


@in_a_loop
async def test_one_stuck_name_delays_no_other() -> None:
    released, stuck = threading.Event(), threading.Semaphore(0)

    def look_up(host: str, port: int) -> Sequence[str]:
        if host == "stuck.example.org":
            stuck.release()
            released.wait(60)
        return ["127.0.0.1"]

    with Receiver() as receiver:
        channel = WebhookChannel(ManualClock(T0), look_up=look_up)
        hostile = replace(endpoint_at(receiver, host="stuck.example.org"), name="webhook:bad")
        waiting = [asyncio.create_task(channel.deliver(told(hostile, delivery_id=f"d_{k}"))) for k in range(20)]
        await asyncio.to_thread(stuck.acquire)
        good = [told(endpoint_at(receiver, host="hooks.example.org")) for _ in range(20)]
        outcomes = await asyncio.gather(*(channel.deliver(context) for context in good))
        assert not any(task.done() for task in waiting)
        released.set()
        await asyncio.gather(*waiting)
    assert {outcome.verdict for outcome in outcomes} == {Verdict.DELIVERED}


@in_a_loop
async def test_neither_the_event_nor_the_name_is_looked_up_in_the_loop() -> None:
    looked: list[threading.Thread] = []

    def look_up(host: str, port: int) -> Sequence[str]:
        looked.append(threading.current_thread())
        return ["127.0.0.1"]

    with Receiver() as receiver:
        context = told(endpoint_at(receiver, host="hooks.example.org"))
        assert context.look_up is not None
        view = context.look_up()

        def look_up_event() -> Any:
            looked.append(threading.current_thread())
            return view

        context.look_up = look_up_event
        await WebhookChannel(ManualClock(T0), look_up=look_up).deliver(context)
    assert len(looked) == 2
    assert threading.current_thread() not in looked


@in_a_loop
async def test_an_attempt_that_is_called_off_closes_its_connection() -> None:
    gone = threading.Event()

    def watching(exchange: Any) -> None:
        # The other side's closing is read as the end of what it says.
        assert exchange.connection().recv(1) == b""
        gone.set()

    with Receiver() as receiver:
        receiver.answer_always(watching)
        channel = WebhookChannel(ManualClock(T0), look_up=Names([["127.0.0.1"]]))
        task = asyncio.create_task(channel.deliver(told(endpoint_at(receiver))))
        await asyncio.to_thread(receiver.wait_for, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(gone.wait, 10)
