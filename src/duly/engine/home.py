"""The application's event loop, as the engine sees it from its own thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from duly.clock import Micros

logger = logging.getLogger("duly.engine")


class Home:
    """The event loop in which a scheduler was started: it hears there what happens, and does not outlive it."""

    def __init__(self) -> None:
        """Be at home in the running event loop."""
        self.loop = asyncio.get_running_loop()
        self._left = asyncio.Event()
        self._presence: asyncio.Task[None] | None = None

    @property
    def is_closed(self) -> bool:
        """Whether nobody can be told of anything there any more."""
        return self.loop.is_closed()

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Have a function called there soon, in order; do nothing if the loop is closed. From any thread."""
        # Asked for forgiveness, not permission: the loop may be closed between the question and the call.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(_guarded, function, args)

    def stray(self, context: dict[str, Any]) -> None:
        """Tell of an error that nobody waited for in the way that the application has chosen. From any thread."""
        about = {name: context[name] for name in ("message", "exception") if name in context}
        self.call(self.loop.call_exception_handler, about)

    def stay(self, when_lost: Callable[[], Awaitable[None]]) -> None:
        """Be present there until `leave`; `when_lost` is awaited if the loop cancels all its tasks before."""
        self._presence = asyncio.create_task(self._stay(when_lost), name="duly-presence")

    async def _stay(self, when_lost: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._left.wait()
        except asyncio.CancelledError:
            await when_lost()
            raise

    async def leave(self) -> None:
        """Be no more present. May be repeated; in another loop it does nothing once this one is closed."""
        if self._presence is not None and not self.is_closed:
            self._left.set()
            await asyncio.wait([self._presence])


def _guarded(function: Callable[..., object], args: tuple[Any, ...]) -> None:
    try:
        function(*args)
    except Exception:
        # Best effort: what it was told of has happened, and the next call must not wait for it.
        logger.exception("what was to be told of the engine's progress raised")


@dataclass(slots=True, kw_only=True)
class HomeWatch:
    """A step that notices that the application's loop was closed without a word, and has the engine ended."""

    name: str = "home"
    home: Home
    when_closed: Callable[[], object]

    async def run_once(self) -> Micros | None:
        """Look once."""
        if self.home.is_closed:
            self.when_closed()
        return None
