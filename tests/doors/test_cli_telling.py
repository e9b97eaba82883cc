"""The teller: whoever reads slowly, or not at all, never holds up what fires."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from duly.agenda import Agenda
from duly.cli import telling
from duly.cli.output import Output, OutputClosed
from duly.cli.telling import Listener, Teller
from duly.errors import StoreBusy
from duly.model.history import Entry

GRACE = timedelta(seconds=60)


def never(_: Exception) -> None:
    raise AssertionError


def waits_for(event: threading.Event) -> Callable[[], None]:
    def wait() -> None:
        event.wait()

    return wait


def entry(kind: str = "fired", *, reason: str | None = None) -> Entry:
    at = 1_756_303_200_000_000  # 14:00 on 27 August 2025, UTC
    return Entry(
        *("w1", 2, kind, "event_start", 1, at, at, "a/a", "b/b", "scheduled", None, reason, None, "n1", None, b"")
    )


def test_what_is_said_is_told_in_its_order_before_the_end() -> None:
    told: list[int] = []
    teller = Teller(never)
    for number in range(100):
        teller.say(lambda number=number: told.append(number))  # type: ignore[misc]  # a default that binds it
    assert teller.close() is True
    assert told == list(range(100))


def test_a_reader_that_is_stuck_stops_nobody_and_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "_LISTEN_WITHIN", 0.01)
    stuck = threading.Event()
    teller = Teller(never)
    teller.say(waits_for(stuck))
    for _ in range(1000):
        teller.say(lambda: None)
    assert teller.close() is False
    stuck.set()
    teller._thread.join(30)
    assert not teller._thread.is_alive()


def test_what_was_left_out_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    stuck = threading.Event()
    teller = Teller(never)
    teller.say(waits_for(stuck))
    for _ in range(telling._WAITING_MOST + 50):
        teller.say(lambda: None)
    stuck.set()
    assert teller.close() is True
    err = capsys.readouterr().err
    assert "of lines left out: nobody read them in time" in err


def test_once_nobody_reads_it_says_so_once_and_goes_on_in_silence() -> None:
    broken: list[Exception] = []
    told: list[str] = []

    def close() -> None:
        raise OutputClosed

    teller = Teller(broken.append)
    teller.say(close)
    teller.say(close)
    teller.say(lambda: told.append("more"))
    assert teller.close() is True
    assert [type(error) for error in broken] == [OutputClosed]
    assert told == []


def test_what_cannot_be_told_does_not_end_the_telling(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []

    def fail() -> None:
        raise StoreBusy("store duly.db: another process held the write lock")

    teller = Teller(never)
    teller.say(fail)
    teller.say(lambda: told.append("more"))
    assert teller.close() is True
    assert told == ["more"]
    assert "something could not be told: store duly.db" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (entry(), "✔ 14:00:00 UTC  event_start         w1            on time  a/a → b/b\n"),
        (
            entry("set_aside", reason="it is broken\x1b[2J"),
            "✘ 14:00:00 UTC  set aside           w1  it is broken\\x1b[2J\n",
        ),
        (entry("repaired"), "· 14:00:00 UTC  repaired            w1\n"),
    ],
)
def test_a_store_that_is_closed_keeps_no_line_from_being_told(
    capsys: pytest.CaptureFixture[str], of: Entry, said: str
) -> None:
    teller = Teller(never)
    Listener(teller, Agenda("sqlite:///never-opened.db"), GRACE, Output())([of])
    assert teller.close() is True
    assert capsys.readouterr().out == said
