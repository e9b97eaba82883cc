"""When a delivery that failed is tried again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from duly.errors import InvalidInput
from duly.model.delivery import SPEC_DELAYS, Retry

SECOND = timedelta(seconds=1)
PATIENT = Retry.until_it_succeeds(most=60 * SECOND, jitter=0)


def seconds(retry: Retry, attempts: int) -> list[float | None]:
    delays = [retry.delay_us(attempt, delivery=7) for attempt in range(1, attempts + 1)]
    return [None if delay is None else delay / 1_000_000 for delay in delays]


def test_the_default_is_the_schedule_of_the_specification() -> None:
    assert Retry().attempts == 10
    assert Retry().delays == SPEC_DELAYS
    assert seconds(Retry(jitter=0), 10)[-2:] == [86_400, None]


def test_delays_grow_up_to_a_limit_and_end() -> None:
    assert seconds(Retry.exponential(5, most=3 * SECOND, jitter=0), 5) == [1, 2, 3, 3, None]


def test_without_an_end_the_last_delay_repeats_for_ever() -> None:
    assert seconds(PATIENT, 9) == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert seconds(PATIENT, 100_000)[-1] == 60
    assert PATIENT.attempts > 1 << 60


def test_a_first_delay_beyond_the_limit_is_the_only_one() -> None:
    assert seconds(Retry.until_it_succeeds(first=9 * SECOND, most=5 * SECOND, jitter=0), 2) == [9, 9]


@pytest.mark.parametrize("delays", [(), (SECOND, timedelta(0))], ids=["none", "nothing last"])
def test_without_an_end_there_is_something_to_wait_for(delays: tuple[timedelta, ...]) -> None:
    with pytest.raises(InvalidInput, match="a last delay of more than zero"):
        Retry(delays, is_endless=True)


@pytest.mark.parametrize("retry", [Retry(), Retry((), 0.0), PATIENT], ids=["default", "none", "endless"])
def test_what_is_kept_of_it_is_read_again(retry: Retry) -> None:
    assert Retry.from_json(retry.to_json()) == retry


def test_what_was_kept_by_an_earlier_version_has_an_end() -> None:
    assert Retry.from_json({"delays_seconds": [5], "jitter": 0.5}) == Retry((5 * SECOND,), 0.5)
    assert "endless" not in Retry().to_json()


def test_the_jitter_lengthens_by_its_share_at_most_and_repeats() -> None:
    retry = Retry((100 * SECOND,), 0.5)
    found = [retry.delay_us(1, delivery) for delivery in range(50)]
    assert found == [retry.delay_us(1, delivery) for delivery in range(50)]
    assert all(delay is not None and 100_000_000 <= delay <= 150_000_000 for delay in found)
    assert len(set(found)) > 40
