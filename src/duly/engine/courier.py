"""Everything that delivers, of one scheduler: the step and its loop, the desks, the renewal of leases."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from duly.channels.channel import Channel, ChannelDesk, Desk
from duly.channels.handlers import HANDLER, HandlerDesk, Handlers
from duly.clock import SECOND
from duly.engine.delivering import LEASE_US, DeliveryStep
from duly.engine.loop import Loop
from duly.engine.renewal import Renewal
from duly.errors import DulyError

if TYPE_CHECKING:
    from duly.clock import Micros
    from duly.engine.engine_thread import EngineThread
    from duly.engine.home import Home
    from duly.rules.audience import Audience

logger = logging.getLogger("duly.engine")

NAP_US: Final[Micros] = SECOND // 5
STOP_WITHIN: Final = 20.0


class Courier:
    """Delivers while its scheduler runs. Begun before the recovery, so that what that fires is told meanwhile.

    `channels`: made anew at each start, in the engine's loop, by the kind of subscriber that they tell.
    """

    def __init__(self, step: DeliveryStep, handlers: Handlers, channels: Callable[[], Mapping[str, Channel]]) -> None:
        """Set it up; `begin` begins."""
        self.step = step
        self.stop_within = STOP_WITHIN  # seconds of real time, for what is under way when it ends
        self._handlers = handlers
        self._channels = channels
        self._engine: EngineThread | None = None
        self._loop: Loop | None = None
        self._task: asyncio.Task[None] | None = None
        self._renewal: Renewal | None = None

    async def begin(self, home: Home, engine: EngineThread) -> None:
        """Begin to deliver. In the engine's event loop."""
        step = self.step
        step.reset()
        desks: dict[str, Desk] = {kind: ChannelDesk(channel) for kind, channel in self._channels().items()}
        desks[HANDLER] = HandlerDesk(self._handlers, home.call, step.transact)
        step.desks = desks
        loop = self._loop = Loop(step, step.clock, nap_us_most=NAP_US)
        self._engine = engine

        def woken() -> None:
            step.ended.set()
            loop.nudge()

        step.wake = lambda: engine.call_soon(woken)
        self._task = asyncio.create_task(loop.run(), name="duly-delivering")
        self._renewal = Renewal(step.store, step.clock, step.node, step.lines.numbers, lease_us=LEASE_US)
        self._renewal.start()

    def prepare(self, audience: Audience) -> None:
        """Know who listens, before anything fires: so that what the recovery fires is born leased."""
        self.step.prepare(audience)

    @property
    def troubles(self) -> list[str]:
        """What is wrong with it, one sentence each."""
        found = [] if self._loop is None or self._loop.trouble is None else [self._loop.trouble]
        if self._task is not None and self._task.done():
            found.append("delivering: has died")
        return found

    def look_soon(self) -> None:
        """Have it look what others have committed. From any thread."""
        if self._engine is not None:
            self._engine.call_soon(self.step.look_soon)

    async def came_round(self) -> bool:
        """Do all that can be done now; return whether nothing was, and nothing is under way. In the engine's loop."""
        step = self.step
        if self._loop is None or not step.delivers():
            return True
        before = step.settling.rounds
        step.look_soon()
        await self._loop.came_round()
        while not step.is_quiet:
            step.ended.clear()
            # Where nothing is under way, nothing ends: there is something to look for, in another round.
            if (step.is_waiting or step.settling.is_busy) and not step.has_news:
                await step.ended.wait()
            await self._loop.came_round()
        return step.settling.rounds == before

    async def end(self) -> None:
        """Begin nothing more; what is under way may finish; what is not settled then is given back."""
        loop, task, renewal = self._loop, self._task, self._renewal
        self._loop = self._task = self._renewal = None
        if loop is None or task is None or renewal is None:
            return
        self.step.stopping = True
        loop.stop()
        try:
            done, _ = await asyncio.wait([task], timeout=self.stop_within)
            task.cancel()
            # Its end is waited for: what it had taken in hand it lays back, where it is found to be given back.
            await asyncio.wait([task])
            if self.step.store.stopped is None:
                await self.step.finish(self.stop_within if done else 0)
        except DulyError as error:
            # Leases that are not given back end by themselves, and whoever comes next takes them over.
            logger.warning("deliveries that were under way could not be settled: %s", error)
        except Exception:
            # Whatever it is: the engine has to end, and the store to be closed.
            logger.exception("deliveries that were under way could not be settled")
        finally:
            for desk in self.step.desks.values():
                desk.end()
            await asyncio.to_thread(renewal.stop)
            await asyncio.gather(task, return_exceptions=True)
