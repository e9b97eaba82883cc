"""A process of receivers that misbehave, each in its own way: their work is not done in the process that is measured."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final

from duly.testing.receiver import Receiver
from duly.testing.replies import Reply, drip, drip_head, flood, gzip_bomb, hang, redirect, status
from tests.torture.sabotage import say

REPLIES: Final[Mapping[str, Reply]] = {
    "drip": drip(500),
    "drip-head": drip_head(),
    "flood": flood(500),
    "gzip-bomb": gzip_bomb(500),
    "redirect": redirect(),
    "hang": hang(),
    "absurd-429": status(429, retry_after="99999999999999999999"),
}
REFUSING: Final = "refusing"


def main() -> None:
    """Serve until the standard input ends."""
    with ExitStack() as stack, socket.socket() as unheard:
        receivers = {name: stack.enter_context(Receiver()) for name in REPLIES}
        for name, reply in REPLIES.items():
            receivers[name].answer_always(reply)
        # Bound, and not listening: whoever connects is refused.
        unheard.bind(("127.0.0.1", 0))
        ports = {name: receiver.port for name, receiver in receivers.items()}
        say("ready", ports={**ports, REFUSING: unheard.getsockname()[1]})
        sys.stdin.read()


if __name__ == "__main__":
    main()
