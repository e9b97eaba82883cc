"""A store in memory that outlives its closing, as a file does."""

from __future__ import annotations

from typing import Final

from typing_extensions import override

from duly.stores.sqlite import SqliteStore

MEMORY: Final = ":memory:"


class MemoryStore(SqliteStore):
    """A store in memory, on which one scheduler after another can be started. `discard` ends it for good."""

    def __init__(self) -> None:
        """Make it; nothing is in it yet."""
        super().__init__(MEMORY)

    @override
    def close(self) -> None:
        """Give the ownership back, and keep what is in it for the next start."""
        self.disown()

    def discard(self) -> None:
        """Forget all that is in it."""
        super().close()
