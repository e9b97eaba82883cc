"""Real processes on one store, each a `duly run`: started, heard, stopped, killed; and what they left in the store."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from duly.agenda import Agenda
from duly.clock import Micros, SystemClock
from duly.model.history import Entry
from tests.builders import SECOND
from tests.torture.checker import faults

ROOT: Final = Path(__file__).parents[2]
CLOCK: Final = SystemClock()
# What is waited for may also stand in the store, of which nobody is told: so it is looked for now and then.
LOOK_EVERY: Final[Micros] = SECOND // 50
Line = Mapping[str, Any]


@dataclass(eq=False)
class Node:
    """One process. `lines`: what it has said so far, read as JSON."""

    process: subprocess.Popen[bytes]
    lines: list[Line] = field(default_factory=list)
    _rest: bytes = b""

    @property
    def name(self) -> str:
        """The node's id in the store."""
        return next(str(line["node"]) for line in self.lines if line["line"] == "started")

    def said(self, kind: str) -> bool:
        """Whether it has said a line of that kind."""
        return any(line["line"] == kind for line in self.lines)

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended; if it has, all that it has said was heard."""
        if self.process.poll() is None:
            return True
        while self.read():
            pass
        return False

    def kill(self) -> None:
        """End it as the kernel would: at once, wherever it is."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end in good order; return its exit code."""
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def freeze(self) -> None:
        """Stop it where it is, as a suspended host would."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def read(self) -> bool:
        """Take in what it has said; wait only if that is nothing. False at the end."""
        assert self.process.stdout is not None
        heard = os.read(self.process.stdout.fileno(), 1 << 20)
        *whole, self._rest = (self._rest + heard).split(b"\n")
        self.lines += [json.loads(line) for line in whole]
        return bool(heard)


@dataclass
class Nodes:
    """Several processes on one store."""

    store: Path
    nodes: list[Node] = field(default_factory=list)

    def start(self) -> Node:
        """Start one more `duly run`; it is not waited for."""
        return self.launch("duly", "run", "--store", f"sqlite:///{self.store}", "--json")

    def launch(self, module: str, *arguments: str) -> Node:
        """Start a Python module as a process, whose lines are those of a node; it is not waited for."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DULY_")}
        environment["PYTHONPATH"] = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
        with self.store.with_suffix(".errors").open("ab") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
            )
        self.nodes.append(Node(process))
        return self.nodes[-1]

    def hear(self, until: Callable[[], bool], *, within: Micros) -> bool:
        """Listen to all that live until something holds. False if it does not within so long."""
        end = CLOCK.since_boot() + within
        with selectors.DefaultSelector() as selector:
            for node in self.nodes:
                if node.process.poll() is None and node.process.stdout is not None:
                    selector.register(node.process.stdout, selectors.EVENT_READ, node)
            while not until():
                left = end - CLOCK.since_boot()
                if left <= 0:
                    return False
                for key, _ in selector.select(min(left, LOOK_EVERY) / SECOND):
                    key.data.read()
        return True

    def pause(self, micros: Micros) -> None:
        """Listen for so long, whatever they say."""
        self.hear(lambda: False, within=micros)

    def end(self) -> None:
        """Leave no process behind."""
        for node in self.nodes:
            node.process.kill()
            node.process.communicate()


@contextmanager
def nodes_on(store: Path) -> Iterator[Nodes]:
    """Have nodes on a store until the block ends."""
    nodes = Nodes(store)
    try:
        yield nodes
    finally:
        nodes.end()


@contextmanager
def agenda_on(store: Path) -> Iterator[Agenda]:
    """Open a store, to put events into it or to look at what is there."""
    with Agenda(f"sqlite:///{store}") as agenda:
        yield agenda


def entries_in(store: Path) -> list[Entry]:
    """Return all entries in the order in which they were committed."""
    with agenda_on(store) as agenda:
        return [entry for _, entry in agenda.store.history_after(0, most=10_000_000)]


def judged(store: Path, *, quiet: bool) -> list[str]:
    """Return every fault of a store, as sentences: by the judge of histories, and by Duly's own audit."""
    with agenda_on(store) as agenda:
        rows = agenda.store.list_events(most=10_000_000)
        histories: dict[str, list[Entry]] = {row.id: [] for row in rows}
        for _, entry in agenda.store.history_after(0, most=10_000_000):
            histories[entry.event_id].append(entry)
        now = agenda.clock.now() if quiet else None
        found = faults(rows, histories, agenda.store.lifecycle_of, quiet_at=now)
        found += [str(finding) for page in agenda.check() for finding in page.findings]
    return found
