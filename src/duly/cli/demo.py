"""`duly demo`: the point of it all in a quarter of a minute, on real time, with a real kill -9."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from duly.agenda import Agenda
from duly.cli.demo_process import SchedulerProcess
from duly.cli.door import FAILED, OK, Door, command
from duly.cli.output import Colour, Output, flush
from duly.cli.wording import clock, count
from duly.clock import SECOND, Clock, SystemClock
from duly.model.dates import to_datetime
from duly.model.event import Event
from duly.model.history import Cause, Entry
from duly.model.instants import Micros

# What falls due when, in seconds after the events are put. The scheduler is killed just after its second sign
# of life, so that the outage which it finds afterwards begins where the viewer saw it begin.
_EVENTS: Final = {
    "WORKSHOP": {"registration_open": 1, "registration_close": 6, "event_start": 8, "event_end": 13},
    "HACKATHON": {"registration_open": 2, "registration_close": 7, "event_start": 9, "event_end": 14},
    "RACE": {"registration_close": 3, "event_start": 7, "event_end": 10},
}
_PLAN: Final = sorted(
    (after * SECOND, event, name) for event, dates in _EVENTS.items() for name, after in dates.items()
)
_KILL_AFTER: Final = 5_400_000
_RESTART_AFTER: Final = 10_600_000
_END_AFTER: Final = 14_500_000
_STORE: Final = "sqlite:///demo.db"


@command("demo", example="duly demo")
def demo(door: Door) -> int:
    """Show in 15 seconds what Duly is for: a scheduler is killed, and nothing is lost, doubled or out of order.

    Everything happens in a temporary directory, with a scheduler of its own; nothing of yours is touched.
    """
    with tempfile.TemporaryDirectory(prefix="duly-demo-") as folder:
        return asyncio.run(_shown(_Demo(Path(folder), door.out, SystemClock())))


async def _shown(showing: _Demo) -> int:
    """Show it; a SIGTERM ends it as Ctrl-C does, so that its scheduler does not outlive it."""
    task = asyncio.ensure_future(showing.run())
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class _Demo:
    """One showing, in a folder of its own."""

    folder: Path
    out: Output
    clock: Clock

    async def run(self) -> int:
        self._say("$ duly run")
        async with self._scheduler() as first:
            await first.ready()
            # From the next whole second on, so that what is planned and what is shown are the same.
            began = (self.clock.now() // SECOND + 1) * SECOND
            self._say(
                f"{len(_EVENTS)} events are put, with {len(_PLAN)} dates in the next {_PLAN[-1][0] // SECOND} s:"
            )
            self._put(began)
            await self._until(began + _KILL_AFTER)
            self._say()
            self._say(f"$ kill -9 {first.pid}", "red")
            await first.kill()
        await self._tell_what_nobody_fires(began)
        self._say()
        self._say("$ duly run", "green")
        async with self._scheduler() as second:
            await second.ready()
            await self._until(began + _END_AFTER)
            code = await second.stop()
        return self._judge(began, code)

    def _scheduler(self) -> SchedulerProcess:
        return SchedulerProcess(self.folder, _STORE, self._tell_line)

    def _agenda(self) -> Agenda:
        return Agenda(f"sqlite:///{self.folder / 'demo.db'}", clock=self.clock)

    def _put(self, began: Micros) -> None:
        with self._agenda() as agenda:
            agenda.put(
                [
                    Event(
                        event,
                        dates={name: to_datetime(began + after * SECOND) for name, after in dates.items()},
                        zone="UTC",
                    )
                    for event, dates in _EVENTS.items()
                ],
                actor="demo",
            )

    async def _tell_what_nobody_fires(self, began: Micros) -> None:
        self._say("The scheduler is gone, as after a crash. Nobody fires what now falls due:")
        for after, event, name in _PLAN:
            if _KILL_AFTER < after < _RESTART_AFTER:
                await self._until(began + after)
                at = clock(began + after, "UTC", beside=began + after)
                self._say(f"  {self.out.paint('○', 'red')} {at} UTC  {name}  {event}")
        await self._until(began + _RESTART_AFTER)

    async def _until(self, at: Micros) -> None:
        while (left := at - self.clock.now()) > 0:
            await self.clock.nap(left, asyncio.Event())

    # -- the verdict ---------------------------------------------------------------------------------------

    def _judge(self, began: Micros, code: int) -> int:
        """Say what the history says: every number is counted there, none is known beforehand."""
        with self._agenda() as agenda:
            histories = [agenda.history(event) for event in _EVENTS]
            findings = [finding for page in agenda.check() for finding in page.findings]
        fired = [entry for entries in histories for entry in entries if entry.is_transition]
        times = Counter((entry.event_id, entry.milestone) for entry in fired)
        wanted = {(event, name): began + after for after, event, name in _PLAN}
        caught_up = sum(entry.cause == Cause.CAUGHT_UP for entry in fired)
        twice = sum(number > 1 for number in times.values())
        early = sum(entry.at_us < wanted.get((entry.event_id, entry.milestone or ""), 0) for entry in fired)
        disordered = sum(not _in_order(entries) for entries in histories)
        verdicts = [
            (times.keys() == wanted.keys(), f"{len(times)} of {count(len(wanted), 'trigger')} have fired"),
            (caught_up > 0, f"{caught_up} of them were missed, and caught up"),
            (not twice, f"{twice or 'none'} fired twice"),
            (not early, f"{early or 'none'} fired before its time"),
            (not disordered, f"{disordered or 'no'} event fired out of order"),
            (
                not findings,
                f"{len(findings) or 'no'} finding in statuses, alarms and every chain of history",
            ),
            (code == OK, f"asked to stop, the scheduler ended with exit code {code}"),
        ]
        self._tell_verdicts(verdicts)
        return OK if all(holds for holds, _ in verdicts) else FAILED

    def _tell_verdicts(self, verdicts: list[tuple[bool, str]]) -> None:
        passed = all(holds for holds, _ in verdicts)
        if self.out.as_json:
            self.out.json(
                {"passed": passed, "verdicts": [{"holds": holds, "what": said} for holds, said in verdicts]}
            )
            return
        self._say()
        self._say("$ duly history, duly check")
        for holds, said in verdicts:
            self._say(f"  {self.out.paint('✔', 'green') if holds else self.out.paint('✘', 'red')} {said}")
        self._say()
        self._say(
            "Now with events of your own: duly put FILE, then duly run. See duly --help."
            if passed
            else "That is not as it should be: please report it, with all of the above."
        )

    # -- what is shown -------------------------------------------------------------------------------------

    def _tell_line(self, line: str) -> None:
        mark = line.lstrip()[:1]
        if mark == "✔":
            line = line.replace("✔", self.out.paint("✔", "green"), 1)
        self._say(f"  {self.out.paint('│', 'dim')} {line}")

    def _say(self, text: str = "", colour: Colour | None = None) -> None:
        if not self.out.as_json:
            prompt = text.startswith("$")
            self.out.line(self.out.paint(text, colour or "bold") if prompt else text)
            flush()


def _in_order(entries: list[Entry]) -> bool:
    dues = [entry.due_us for entry in entries if entry.is_transition and entry.due_us is not None]
    return dues == sorted(dues)
