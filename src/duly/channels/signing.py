"""Secrets of webhooks, and the signatures made with them: Standard Webhooks, through its own library."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from duly.errors import InvalidEndpoint
from duly.model.dates import Micros, to_datetime
from duly.model.history import iso

PREFIX: Final = "whsec_"
# Source: the Standard Webhooks specification, "Signature scheme": 24 to 64 random bytes, base64, prefixed.
BYTES_LEAST: Final = 24
BYTES_MOST: Final = 64
BYTES_GENERATED: Final = 32


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that signs, for ever (`until_us` is None) or until it is retired. Its repr does not tell it."""

    text: str = field(repr=False)
    until_us: Micros | None = None

    @property
    def fingerprint(self) -> str:
        """What tells two secrets apart without telling either."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:8]

    def is_live(self, now_us: Micros) -> bool:
        """Say whether it still signs."""
        return self.until_us is None or now_us < self.until_us

    def to_json(self) -> dict[str, object]:
        """Return it for people: without the secret."""
        return {
            "fingerprint": self.fingerprint,
            "until": None if self.until_us is None else iso(to_datetime(self.until_us)),
        }


def new_secret() -> str:
    """Return a secret that nobody knows yet."""
    return PREFIX + base64.b64encode(secrets.token_bytes(BYTES_GENERATED)).decode("ascii")


def checked_secret(text: str) -> str:
    """Return a secret that somebody brings along; InvalidEndpoint, which does not repeat it, if it is none."""
    if not text.startswith(PREFIX):
        raise InvalidEndpoint(f"the webhook's secret must begin with '{PREFIX}'")
    encoded = text.removeprefix(PREFIX)
    try:
        # The library reads it without its padding, too.
        size = len(base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True))
    except (binascii.Error, ValueError):
        raise InvalidEndpoint(f"the webhook's secret is not base64 behind '{PREFIX}'") from None
    if not BYTES_LEAST <= size <= BYTES_MOST:
        raise InvalidEndpoint(
            f"the webhook's secret has {size} bytes; use {BYTES_LEAST} to {BYTES_MOST}, at random, in base64"
        )
    return text


def signatures(signing: Sequence[Secret], delivery_id: str, at_us: Micros, body: str) -> str:
    """Return the `webhook-signature` of a body: one signature for each live secret, newest first."""
    from standardwebhooks import Webhook

    at = to_datetime(at_us)
    return " ".join(Webhook(each.text).sign(delivery_id, at, body) for each in signing if each.is_live(at_us))
