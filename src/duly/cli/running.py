"""`duly run` and `duly catch-up`: the commands that fire."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import click

from duly import __version__
from duly.cli.declaring import declare_handlers
from duly.cli.door import FAILED, INTERRUPTED, OK, Door, command
from duly.cli.output import Output, progress
from duly.cli.putting import Sources, put_lines, source_options
from duly.cli.status import alive
from duly.cli.telling import DeliveryListener, Listener, Recovered, Teller, report_lines
from duly.clock import SECOND
from duly.engine.recovery import Report
from duly.errors import DulyError
from duly.scheduler import Scheduler
from duly.stores.store import NodeRow

logger = logging.getLogger("duly.cli")

# A recovery of fewer events than this is over before a bar could be read.
_BAR_FROM: Final = 1000
_STOPS_WITHIN: Final = 1.0  # seconds; after that it is worth a word
_SETTINGS: Final = ("time_zone", "catch_up_window", "misfire_grace", "chronology", "handlers", "recovery_rate")
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _firing_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--recovery-rate",
            metavar="NUMBER",
            help="Of what was missed, no more deliveries a second than this (DULY_RECOVERY_RATE).",
        ),
        click.option(
            "--handlers",
            metavar="MODULE:FUNCTION",
            help="Called with the scheduler to declare handlers; several with commas (DULY_HANDLERS).",
        ),
        click.option(
            "--chronology",
            metavar="event|strict",
            help="strict: in a backlog no event overtakes another (DULY_CHRONOLOGY). [default: event]",
        ),
        click.option(
            "--misfire-grace",
            metavar="DURATION",
            help="Up to how late a trigger is merely late, not missed (DULY_MISFIRE_GRACE). [default: 60s]",
        ),
        click.option(
            "--catch-up-window",
            metavar="DURATION",
            help="How old a missed trigger may be to be announced: 24h, '2 days', 0, unlimited "
            "(DULY_CATCH_UP_WINDOW). [default: 24h]",
        ),
    ):
        function = option(function)
    return function


@command("run", example="duly run campus.yaml --time-zone Europe/Berlin", settings=_SETTINGS)
@click.argument("files", nargs=-1, type=click.Path(), metavar="[FILE]...")
@source_options
@_firing_options
def run(door: Door, **given: Any) -> int:
    """Load events, catch up with what was missed, then fire on and on.

    FILEs are put first, as 'duly put' would; what they say fell due in the catch-up window is caught up.
    Tells each transition and each delivery on a line. Ends in good order on Ctrl-C, SIGTERM and SIGHUP. Where
    another process fires on the same store already, stands by and takes over when that ends.
    """
    return asyncio.run(_Serving(door, Sources.of(door, **given)).run())


class _Serving:
    """One `duly run`, from the first signal handler to the last line."""

    def __init__(self, door: Door, sources: Sources) -> None:
        self._door = door
        self._out = door.out
        self._sources = sources
        self._signals = 0
        self._stopping: asyncio.TimerHandle | None = None
        self._broken: Exception | None = None
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_on_stray)

        def on_broken(error: Exception) -> None:
            loop.call_soon_threadsafe(self._on_broken, error)

        teller = Teller(on_broken)
        self._task = asyncio.create_task(self._serve(teller))
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            await self._task
        except asyncio.CancelledError:
            teller.say(partial(_tell_end, self._out))
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
            if self._stopping is not None:
                self._stopping.cancel()
            told = teller.close()
        if self._broken is not None:
            raise self._broken
        if not told:
            # The reader is stuck and so is the thread that writes to it; Python would wait for it for ever.
            os._exit(OK)
        return OK

    def _on_signal(self, number: signal.Signals) -> None:
        self._signals += 1
        if self._signals > 1 and number is signal.SIGINT:
            # Asked twice: at once. What was being written is rolled back; starting again recovers.
            os._exit(INTERRUPTED)
        if self._signals == 1 and self._task is not None:
            self._task.cancel()
            self._stopping = asyncio.get_running_loop().call_later(_STOPS_WITHIN, self._tell_stopping)

    def _tell_stopping(self) -> None:
        logger.warning("stopping; what is being written is finished first, and Ctrl-C once more ends it at once")

    def _on_broken(self, error: Exception) -> None:
        self._broken = error
        if self._task is not None and not self._task.done():
            self._task.cancel()

    async def _serve(self, teller: Teller) -> None:
        out = self._out
        lifecycles = []
        loaded = None
        if self._sources.files:
            loaded = await asyncio.to_thread(self._sources.load, self._door)
            lifecycles = list(loaded.lifecycles)
        scheduler = _scheduler(self._door, lifecycles)
        try:
            await scheduler.open()
            teller.say(partial(_tell_start, out, scheduler))
            if loaded is not None:
                window = self._door.settings.catch_up_window
                result = await scheduler.put(loaded.events, known_for=window, keep_good=True)
                teller.say(partial(put_lines, out, loaded, result, brief=True))
            with progress("catching up", least=_BAR_FROM) as bar:
                report = await scheduler.start(progress=bar)
            scheduler.on_commit(Listener(teller, scheduler.agenda, self._door.settings.misfire_grace, out))
            scheduler.on_settled(DeliveryListener(teller, scheduler.agenda, out))
            self._report(teller, scheduler, report)
            await self._watch(teller, scheduler)
        finally:
            await scheduler.stop()

    def _report(self, teller: Teller, scheduler: Scheduler, report: Report) -> None:
        if scheduler.is_owner:
            teller.say(partial(_tell_report, self._out, scheduler, report))
        else:
            teller.say(partial(_tell_standby, self._out, scheduler))

    async def _watch(self, teller: Teller, scheduler: Scheduler) -> None:
        """Wait for ever; meanwhile tell if this process takes over. Raises StoreStopped on a fail-stop."""
        stood_by = None if scheduler.is_owner else scheduler.report
        forever = asyncio.ensure_future(scheduler.run_forever())
        try:
            while not forever.done():
                await scheduler.clock.nap(SECOND // 2, asyncio.Event())
                # The owner of a moment has caught up only once there is a report other than the one of standing by.
                if stood_by is not None and scheduler.is_owner and scheduler.report is not stood_by:
                    stood_by = None
                    teller.say(partial(_tell_takeover, self._out))
                    self._report(teller, scheduler, scheduler.report or Report())
            await forever
        finally:
            forever.cancel()


def _on_stray(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tell in a sentence what nobody waited for: asyncio would print a traceback. A refusal is told elsewhere."""
    error = context.get("exception")
    if not isinstance(error, DulyError):
        logger.error("%s: %s", context.get("message"), error)


def _scheduler(door: Door, lifecycles: list[Any]) -> Scheduler:
    settings = door.settings
    made = Scheduler(
        settings.store,
        lifecycles=lifecycles,
        time_zone=settings.time_zone,
        catch_up=settings.catch_up,
        misfire_grace=settings.misfire_grace,
        chronology=settings.chronology,
        clock_jump=settings.clock_jump,
        recovery_rate=settings.recovery_rate,
        environment=settings.environment,
        clock=door.clock,
    )
    for name in settings.handlers:
        declare_handlers(name, made)
    return made


def _tell_start(out: Output, scheduler: Scheduler) -> None:
    if out.as_json:
        out.json({"line": "started", "duly": __version__, "store": scheduler.store.url, "node": scheduler.node})
        return
    out.line(out.paint(f"Duly {__version__} · {scheduler.store.url} · node {scheduler.node}", "bold"))


def _tell_report(out: Output, scheduler: Scheduler, report: Report) -> None:
    recovered = Recovered.of(report, scheduler.agenda)
    if out.as_json:
        out.json({"line": "recovered", **recovered.to_json()})
        return
    for line in report_lines(recovered, out):
        out.line(line)


def _tell_standby(out: Output, scheduler: Scheduler) -> None:
    owner = _owner(scheduler)
    if out.as_json:
        out.json({"line": "standby", "owner": None if owner is None else owner.id})
        return
    out.line(f"Another process fires on this store{_named(owner)}. Standing by, to take over when it ends.")


def _tell_takeover(out: Output) -> None:
    if out.as_json:
        out.json({"line": "took over"})
    else:
        out.line("The other process has ended; from now on this one fires.")


def _owner(scheduler: Scheduler) -> NodeRow | None:
    return alive(scheduler.agenda, other_than=scheduler.node)


def _named(node: NodeRow | None) -> str:
    return "" if node is None else f" (node {node.id}, pid {node.pid} on {node.host})"


def _tell_end(out: Output) -> None:
    if out.as_json:
        out.json({"line": "stopped"})
    else:
        out.line("Stopped in good order; what falls due meanwhile is caught up at the next start.")


@command("catch-up", example="duly catch-up --json", settings=_SETTINGS)
@click.option("--time-zone", metavar="ZONE", help="In which the report's times are shown (DULY_TIME_ZONE).")
@_firing_options
def catch_up(door: Door) -> int:
    """Fire everything that was missed, once, tell whoever can be told now, and report.

    For a timer or a deployment script; a scheduler that runs on does this by itself at its start. Where another
    process fires on the store already there is nothing to do. Exits 1 if anything failed or is held back.
    """
    door.agenda()  # refuses a store that is not there, before anything is made
    return asyncio.run(_catch_up(door))


async def _catch_up(door: Door) -> int:
    scheduler = _scheduler(door, [])
    out = door.out
    try:
        with progress("catching up", least=_BAR_FROM) as bar:
            report = await scheduler.start(progress=bar)
        if not scheduler.is_owner:
            owner = await asyncio.to_thread(_owner, scheduler)
            if out.as_json:
                out.json({"role": "standby", "owner": None if owner is None else owner.id})
            else:
                out.line(f"Another process fires on this store{_named(owner)}; so nothing is left to catch up with.")
            return OK
        if report.held is None:
            await scheduler.settled()
        recovered = await asyncio.to_thread(Recovered.of, report, scheduler.agenda)
    finally:
        await scheduler.stop()
    if out.as_json:
        out.json({"role": "owner", **recovered.to_json()})
    else:
        for line in report_lines(recovered, out):
            out.line(line)
    return FAILED if report.failed or report.held is not None else OK
