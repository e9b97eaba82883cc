"""What holds attempts back: pauses and trying out, the two lanes, the pace of a backlog."""

from __future__ import annotations

import pytest

from duly.engine.lines import Held, Waiting
from duly.engine.restraint import KEPT_FREE, Restraint
from duly.model.delivery import Lease, Subscriber
from tests.builders import HOUR, SECOND


def whom(concurrency: int = 100, number: int = 1) -> Subscriber:
    return Subscriber(name="a:b", channel="handler", topics=("*",), concurrency=concurrency, number=number)


def waiting(fresh: int = 0, late: int = 0, running: int = 0) -> Waiting:
    found = Waiting(running=running)
    for number in range(fresh + late):
        lease = Lease(number, 1, f"w{number}", "x", 1, 1, 1, 0, 0, number >= fresh)
        (found.late if lease.is_late else found.fresh).append(Held(lease, None, 0))
    return found


def test_as_many_are_begun_as_may_be_under_way() -> None:
    assert Restraint().places(whom(3), waiting(fresh=5), 0) == (3, 0)
    assert Restraint().places(whom(3), waiting(fresh=5, running=2), 0) == (1, 0)
    assert Restraint().places(whom(3), waiting(fresh=5, running=3), 0) == (0, 0)


def test_more_that_run_than_may_does_no_harm() -> None:
    # Somebody has lowered the concurrency while they ran.
    assert Restraint().places(whom(3), waiting(fresh=5, late=5, running=7), 0) == (0, 0)


def test_the_backlog_gets_what_the_fresh_ones_leave_but_for_a_few_places() -> None:
    assert Restraint().places(whom(100), waiting(fresh=10, late=500), 0) == (10, 90 - KEPT_FREE)


@pytest.mark.parametrize(("concurrency", "late"), [(1, 1), (2, 1), (3, 2), (4, 2), (8, 4), (9, 5), (100, 96)])
def test_no_more_than_half_the_places_is_kept_free_of_the_backlog(concurrency: int, late: int) -> None:
    assert Restraint().places(whom(concurrency), waiting(late=500), 0) == (0, late)


def test_a_backlog_under_way_leaves_places_to_what_is_fresh() -> None:
    # 96 of the backlog run: four that are fresh are begun at once all the same.
    assert Restraint().places(whom(100), waiting(fresh=9, late=500, running=96), 0) == (4, 0)


def test_in_a_pause_nothing_is_begun_and_then_one_at_a_time_until_one_has_succeeded() -> None:
    restraint = Restraint()
    restraint.pause(1, 10 * SECOND)
    assert restraint.holds(1, 10 * SECOND - 1)
    assert restraint.places(whom(), waiting(fresh=5), 10 * SECOND - 1) == (0, 0)
    assert restraint.places(whom(), waiting(fresh=5, late=5), 10 * SECOND) == (1, 0)
    assert restraint.places(whom(), waiting(fresh=5, running=1), 10 * SECOND) == (0, 0)
    assert restraint.places(whom(), waiting(late=5), 10 * SECOND) == (0, 1)
    restraint.succeeded(1)
    assert restraint.places(whom(), waiting(fresh=5), 10 * SECOND) == (5, 0)


def test_a_pause_is_one_subscribers_only() -> None:
    restraint = Restraint()
    restraint.pause(1, HOUR)
    assert restraint.places(whom(number=2), waiting(fresh=5), 0) == (5, 0)


def test_a_shorter_pause_that_is_asked_for_meanwhile_does_not_end_a_longer_one() -> None:
    # Several attempts were under way when the endpoint asked for a pause; each tells what it was told.
    restraint = Restraint()
    restraint.pause(1, HOUR)
    restraint.pause(1, SECOND)
    assert restraint.holds(1, HOUR - 1)
    assert list(restraint.ends(0)) == [HOUR]


def test_who_is_disabled_is_told_nothing() -> None:
    restraint = Restraint()
    restraint.disabled[1] = "410 Gone"
    assert restraint.places(whom(), waiting(fresh=5, late=5), 0) == (0, 0)


def test_a_paced_backlog_is_begun_one_by_one() -> None:
    restraint = Restraint(10)
    assert restraint.places(whom(), waiting(late=5), 0) == (0, 1)
    restraint.began_late(0)
    assert restraint.places(whom(), waiting(late=5), SECOND // 10 - 1) == (0, 0)
    assert list(restraint.ends(0)) == [SECOND // 10]
    assert restraint.places(whom(), waiting(late=5), SECOND // 10) == (0, 1)


def test_the_pace_is_that_of_the_whole_backlog_not_of_each_subscriber() -> None:
    restraint = Restraint(10)
    restraint.began_late(0)
    assert restraint.places(whom(number=2), waiting(late=5), 0) == (0, 0)


def test_what_is_fresh_knows_no_pace() -> None:
    restraint = Restraint(0.001)
    restraint.began_late(0)
    assert restraint.places(whom(), waiting(fresh=5, late=5), 0) == (5, 0)


def test_a_pace_makes_nothing_up_for_time_in_which_nothing_was_to_be_begun() -> None:
    restraint = Restraint(10)
    restraint.began_late(0)
    restraint.began_late(HOUR)
    assert list(restraint.ends(HOUR)) == [HOUR + SECOND // 10]


@pytest.mark.parametrize("rate", [1e-9, 1e9])
def test_any_pace_is_bearable(rate: float) -> None:
    restraint = Restraint(rate)
    restraint.began_late(0)
    assert all(isinstance(end, int) for end in restraint.ends(0))
