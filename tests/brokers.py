"""A Redis server of the tests' own, as a broker: on loopback, with a port that was free, and nothing kept on disk."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest


def need_celery() -> None:
    """Skip where Celery is not installed; fail in CI."""
    if importlib.util.find_spec("celery") is None or importlib.util.find_spec("redis") is None:
        _lacking("no Celery here; pip install 'celery[redis]'")


def redis_program() -> str:
    """Return the path of redis-server. Skip where there is none; fail in CI."""
    return shutil.which("redis-server") or _lacking("no redis-server here; apt-get install redis-server")


def _lacking(what: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"{what} (in CI, this is never skipped)")
    pytest.skip(what, allow_module_level=True)


class RedisServer:
    """One server, which can be stopped, killed and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._program = redis_program()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process = self._started()

    def kill(self) -> None:
        """End it, as a crash would. May be repeated."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def start(self) -> None:
        """Start it again, empty."""
        self._process = self._started()

    def stop(self) -> None:
        """Let it take connections and answer nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let a stopped one answer."""
        self._process.send_signal(signal.SIGCONT)

    def _started(self) -> subprocess.Popen[str]:
        settings = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        process = subprocess.Popen(
            [self._program, *settings, "--dir", str(self._folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "Ready to accept connections" in line:
                return process
        pytest.fail(f"redis-server did not start: {''.join(said)}")
