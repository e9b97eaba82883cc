"""The scheduler process that `duly demo` starts, kills and starts again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import duly
from duly.errors import WrongState
from duly.settings import PREFIX

# How long it may take to start or to end on a machine that has better things to do.
_PATIENCE: Final = 20.0
# What the last line but one of a start says: from then on it fires.
_READY: Final = " to come from "


class SchedulerProcess:
    """`duly run` in a process of its own, whose lines are told one by one. It does not outlive its `async with`."""

    def __init__(self, folder: Path, store: str, tell: Callable[[str], None]) -> None:
        self._folder = folder
        self._store = store
        self._tell = tell
        self._ready = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start it."""
        # The settings of whoever watches are not those of the demonstration.
        environment = {name: text for name, text in os.environ.items() if not name.startswith(PREFIX)}
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(Path(duly.__file__).parents[1]), environment.get("PYTHONPATH", "")])
        )
        environment["PYTHONIOENCODING"] = "utf-8"
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "duly", "run", "--store", self._store),
            cwd=self._folder,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._reading = asyncio.create_task(self._read(self._process))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, however it is."""
        if self._process is not None and self._process.returncode is None:
            await self.kill()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._started.pid

    async def ready(self) -> None:
        """Wait until it fires. Raises WrongState if it does not."""
        waiting = asyncio.create_task(self._ready.wait())
        ending = asyncio.create_task(self._started.wait())
        await asyncio.wait({waiting, ending}, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        ending.cancel()
        if not self._ready.is_set():
            raise WrongState(f"the scheduler of the demonstration did not start within {_PATIENCE:g} s")

    async def kill(self) -> None:
        """Kill it, as a crash would: it has no chance to tidy up."""
        self._started.kill()
        await self._ended()

    async def stop(self) -> int:
        """Ask it to end in good order. Returns its exit code."""
        self._started.send_signal(signal.SIGTERM)
        return await self._ended()

    async def _ended(self) -> int:
        code = await asyncio.wait_for(self._started.wait(), _PATIENCE)
        if self._reading is not None:
            await self._reading
        return code

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            return
        async for line in process.stdout:
            text = line.decode(errors="replace").rstrip("\n")
            self._tell(text)
            if _READY in text:
                self._ready.set()

    @property
    def _started(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise WrongState("the scheduler of the demonstration has not been started")
        return self._process
