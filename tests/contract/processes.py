"""Other processes, for what one process alone cannot show. They say what they did; nobody waits for a while."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

_PREAMBLE = f"""\
import os, signal, sys
sys.path[:0] = {sys.path!r}
from duly.stores.sqlite import SqliteStore
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # in one piece, whoever else speaks
def wait():
    sys.stdin.readline()
"""


@contextmanager
def running(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a script until the block ends. It has `say` to be heard, and `wait` to go on when `go` is called."""
    command = [sys.executable, "-c", _PREAMBLE + textwrap.dedent(script), *map(str, arguments)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def heard(process: subprocess.Popen[str]) -> str:
    """Return the next line that a process says."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go(process: subprocess.Popen[str]) -> None:
    """Let a process that waits go on."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
