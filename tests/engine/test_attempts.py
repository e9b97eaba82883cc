"""Attempts under way, their ends in whatever order, and what becomes of a delivery by the outcome of one."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from duly.channels.channel import DELIVERED, Outcome, Verdict
from duly.engine.attempts import Attempts, Running, put_off, result_of, was_stopped
from duly.engine.lines import Held
from duly.model.dates import to_datetime
from duly.model.delivery import WAITING_US, Lease, Retry, State, Subscriber
from tests.builders import DAY, SECOND, T0

THRICE = Retry((timedelta(seconds=5), timedelta(seconds=60)), 0.0)
FAILED = Outcome(verdict=Verdict.FAILED, said="it is down")


def held(attempt: int = 1, number: int = 7) -> Held:
    return Held(Lease(number, 1, "w1", "x", 1, 1, attempt, T0, T0, False), None, 0)


def whom(timeout: timedelta = timedelta(seconds=30), retry: Retry = THRICE) -> Subscriber:
    return Subscriber(name="a:b", channel="handler", topics=("*",), timeout=timeout, retry=retry, number=1)


def running(attempt: int = 1, retry: Retry = THRICE) -> Running:
    return Attempts().begin(held(attempt), whom(retry=retry), "n1", T0, 0)


def collected(attempts: Attempts, boot: int = 0) -> list[tuple[int, Outcome | None]]:
    return [(run.ticket, outcome) for run, outcome in attempts.collect(boot)]


def test_an_attempt_is_under_way_until_it_is_collected() -> None:
    attempts = Attempts()
    one = attempts.begin(held(), whom(), "n1", T0, 0)
    assert attempts
    assert attempts.get(one.ticket) is one
    attempts.ended.append((one.ticket, DELIVERED))
    assert collected(attempts) == [(one.ticket, DELIVERED)]
    assert not attempts
    assert attempts.get(one.ticket) is None


def test_no_two_attempts_have_the_same_ticket() -> None:
    attempts = Attempts()
    tickets = [attempts.begin(held(), whom(), "n1", T0, 0).ticket for _ in range(100)]
    assert len(set(tickets)) == 100


def test_an_attempt_is_given_up_at_its_timeout_and_not_before() -> None:
    attempts = Attempts()
    one = attempts.begin(held(), whom(timedelta(seconds=3)), "n1", T0, 10)
    assert attempts.next_deadline == 10 + 3 * SECOND
    assert collected(attempts, 10 + 3 * SECOND - 1) == []
    assert collected(attempts, 10 + 3 * SECOND) == [(one.ticket, None)]
    assert attempts.next_deadline is None


def test_what_ends_after_it_was_given_up_is_not_heard_of() -> None:
    attempts = Attempts()
    one = attempts.begin(held(), whom(), "n1", T0, 0)
    collected(attempts, 30 * SECOND)
    attempts.ended.append((one.ticket, DELIVERED))
    assert collected(attempts, 30 * SECOND) == []


def test_an_attempt_that_ended_just_in_time_is_heard_before_it_is_given_up() -> None:
    attempts = Attempts()
    one = attempts.begin(held(), whom(), "n1", T0, 0)
    attempts.ended.append((one.ticket, DELIVERED))
    assert collected(attempts, 60 * SECOND) == [(one.ticket, DELIVERED)]


def test_an_end_that_is_told_twice_counts_once() -> None:
    attempts = Attempts()
    one = attempts.begin(held(), whom(), "n1", T0, 0)
    attempts.ended.extend([(one.ticket, DELIVERED), (one.ticket, FAILED)])
    assert collected(attempts) == [(one.ticket, DELIVERED)]


def test_the_next_deadline_is_that_of_what_still_runs() -> None:
    attempts = Attempts()
    brief = attempts.begin(held(), whom(timedelta(seconds=1)), "n1", T0, 0)
    attempts.begin(held(), whom(timedelta(seconds=9)), "n1", T0, 0)
    attempts.ended.append((brief.ticket, DELIVERED))
    collected(attempts)
    assert attempts.next_deadline == 9 * SECOND


def test_ends_may_come_from_any_thread() -> None:
    attempts = Attempts()
    tickets = [attempts.begin(held(), whom(), "n1", T0, 0).ticket for _ in range(200)]

    def end(some: list[int]) -> None:
        for ticket in some:
            attempts.ended.append((ticket, DELIVERED))

    threads = [threading.Thread(target=end, args=(tickets[k::4],)) for k in range(4)]
    for thread in threads:
        thread.start()
    found: list[int] = []
    while len(found) < 200:
        found += [ticket for ticket, _ in collected(attempts)]
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(tickets)


# -- what becomes of a delivery -------------------------------------------------------------------------


def test_a_success_closes_it() -> None:
    result = result_of(running(2), DELIVERED, T0 + 9, alone=True)
    assert (result.state, result.wake_us, result.reason, result.wakes) == (State.DELIVERED, None, None, True)
    assert result.attempt == (7, 2, "n1", T0, T0 + 9, "delivered", None, None)


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 5), (2, 60)])
def test_a_failure_puts_it_off_by_the_schedule(attempt: int, seconds: int) -> None:
    result = result_of(running(attempt), FAILED, T0, alone=True)
    assert (result.state, result.wake_us, result.reason) == (State.PENDING, T0 + seconds * SECOND, "it is down")


def test_the_last_failure_is_the_end_of_it() -> None:
    result = result_of(running(3), FAILED, T0, alone=False)
    assert (result.state, result.wake_us, result.reason, result.wakes) == (State.DEAD, None, "it is down", False)


def test_a_rejection_is_the_end_of_it_at_once() -> None:
    outcome = Outcome(verdict=Verdict.REJECTED, said="no such mailing list", code=404)
    result = result_of(running(1), outcome, T0, alone=True)
    assert (result.state, result.reason) == (State.DEAD, "no such mailing list")
    assert result.attempt is not None
    assert (result.attempt.outcome, result.attempt.code) == ("rejected", 404)


@pytest.mark.parametrize(("asked", "seconds"), [(1, 5), (5, 5), (90, 90), (-90, 5)])
def test_whoever_asks_for_more_time_gets_it_and_nobody_gets_less(asked: int, seconds: int) -> None:
    outcome = Outcome(verdict=Verdict.FAILED, retry_after=timedelta(seconds=asked))
    assert result_of(running(), outcome, T0, alone=True).wake_us == T0 + seconds * SECOND


@pytest.mark.parametrize("retry", [THRICE, Retry((timedelta.max, timedelta.max))])
def test_however_long_somebody_wants_to_wait_the_instant_can_be_stored_and_shown(retry: Retry) -> None:
    outcome = Outcome(verdict=Verdict.FAILED, retry_after=timedelta.max)
    wake_us = result_of(running(retry=retry), outcome, T0, alone=True).wake_us
    assert wake_us is not None
    assert T0 + 365 * DAY <= wake_us < WAITING_US
    assert to_datetime(wake_us).year < 9999


@pytest.mark.parametrize("said", ["\ud800", "a\0b", "x" * 10_000, 5, b"\xff", None])
def test_whatever_a_channel_says_can_be_stored(said: object) -> None:
    outcome = Outcome(verdict=Verdict.FAILED, said=said)  # type: ignore[arg-type]  # somebody's own channel
    attempt = result_of(running(), outcome, T0, alone=True).attempt
    assert attempt is not None
    assert attempt.said is None or len(attempt.said.encode()) <= 2000


@pytest.mark.parametrize("code", [1 << 70, "404", 4.5])
def test_a_code_that_is_none_is_not_kept(code: object) -> None:
    outcome = Outcome(verdict=Verdict.FAILED, code=code)  # type: ignore[arg-type]  # somebody's own channel
    attempt = result_of(running(), outcome, T0, alone=True).attempt
    assert attempt is not None
    assert attempt.code is None


def test_one_that_was_leased_behind_another_counts_from_one() -> None:
    assert running(0).attempt == 1


def test_a_stop_gives_it_back_at_once_and_notes_the_attempt_as_lost() -> None:
    result = was_stopped(running(2), T0 + 9)
    assert (result.state, result.wake_us) == (State.PENDING, T0 + 9)
    assert result.attempt is not None
    assert (result.attempt.number, result.attempt.outcome) == (2, "lost")


def test_what_was_not_attempted_is_given_back_without_an_attempt() -> None:
    assert put_off(held(), T0)[1:] == (State.PENDING, T0, None, None, True)
    assert put_off(held(), None).wake_us == WAITING_US
