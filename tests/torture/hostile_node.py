"""A process that tells webhooks of which many are hostile; it has no breaker that would spare them, and odd names."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from typing_extensions import override

from duly import Scheduler
from duly.channels import breaker
from duly.channels.channel import Context, Outcome
from duly.channels.webhooks import WebhookChannel
from duly.clock import pause
from duly.engine.telling import Telling
from tests.torture.sabotage import say, stand_in

# Names that are not what they seem, or never anything at all.
REBINDING: Final = "rebinding.example.org"
STUCK: Final = "stuck.example.org"
METADATA: Final = "169.254.169.254"
BLOCKING: Final = "blocking"
# Without it five failures would silence a hostile endpoint for ten seconds; here each is told on and on.
REST: Final = timedelta(seconds=0.1)


class Names:
    """A resolver by which one name is this machine and a metadata address in turn, and another is never resolved."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self._asked = 0

    def __call__(self, host: str, _: int) -> Sequence[str]:
        if host == STUCK:
            self.released.wait(60)
            return []
        self._asked += 1
        return ["127.0.0.1" if self._asked % 2 else METADATA]


class BlockingChannel(WebhookChannel):
    """A channel with a fault: one endpoint holds the event loop up."""

    @override
    async def deliver(self, context: Context) -> Outcome:
        if context.subscriber.name == "webhook:drip":
            pause(150_000)
        return await super().deliver(context)


async def run(store: str, kind: type[WebhookChannel]) -> None:
    """Deliver until SIGTERM; then say how many attempts at each endpoint have ended."""
    names = Names()
    scheduler = Scheduler(store, time_zone="UTC")
    stand_in(scheduler, "_webhooks", lambda: kind(scheduler.clock, look_up=names))
    attempts: Counter[str] = Counter()

    def count(told: Sequence[Telling]) -> None:
        attempts.update(each.subscriber.removeprefix("webhook:") for each in told if each.attempt)

    scheduler.on_settled(count)
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    async with scheduler:
        say("started", node=scheduler.node)
        await ending.wait()
        names.released.set()
    say("stopped", attempts=attempts)


def main() -> None:
    """Take the store, and whether the channel has a fault, from the command line."""
    _, store, *faults = sys.argv
    for name in ("PAUSE_FIRST", "PAUSE_MOST"):
        stand_in(breaker, name, REST)
    asyncio.run(run(store, BlockingChannel if BLOCKING in faults else WebhookChannel))


if __name__ == "__main__":
    main()
