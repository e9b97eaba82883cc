"""What a receiver's answer means for the delivery and for its endpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

from duly.channels.channel import Outcome, Verdict
from duly.model.dates import Micros, to_micros
from duly.model.delivery import MICROSECOND

SAID_MOST: Final = 300
# A receiver may ask for a rest, not for the end of its deliveries' lives.
REST_MOST: Final = timedelta(hours=1)
# Told to slow down without being told for how long.
REST_UNSAID: Final = timedelta(seconds=10)
# Source: the Standard Webhooks specification, "Delivery success and failure".
THROTTLING: Final = frozenset(
    {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)

_DIGITS: Final = re.compile(r"[0-9]+")
_DIGITS_MOST: Final = 9


@dataclass(slots=True)
class Answer:
    """As much of an answer as has come, filled in as it comes. `status` 0: none has. `wrong`: why no more came."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    wrong: str | None = None


def outcome_of(answer: Answer, now_us: Micros) -> Outcome:
    """Return what came of an attempt, by its answer as far as it came."""
    status = answer.status
    if not status:
        return failed(answer.wrong or "no answer")
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Outcome(said=f"HTTP {status}", code=status)
    said = _said(answer)
    if status == HTTPStatus.GONE:
        gone = "the receiver answered 410 Gone: it wants nothing more"
        return Outcome(verdict=Verdict.REJECTED, said=said, code=status, disable=gone)
    rest = rest_asked(answer.headers.get("retry-after"), now_us) if status in THROTTLING else None
    pause = rest or (REST_UNSAID if status == HTTPStatus.TOO_MANY_REQUESTS else None)
    return Outcome(verdict=Verdict.FAILED, said=said, code=status, retry_after=rest, pause=pause)


def rest_asked(retry_after: str | None, now_us: Micros) -> timedelta | None:
    """Return the rest that a Retry-After header asks for, at most an hour; None for none or an unreadable one."""
    text = (retry_after or "").strip()
    if _DIGITS.fullmatch(text):
        # So many digits are an hour in any case, and Python refuses to read very many.
        asked = REST_MOST if len(text) > _DIGITS_MOST else timedelta(seconds=int(text))
    else:
        try:
            at = parsedate_to_datetime(text)
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
            asked = (to_micros(at) - now_us) * MICROSECOND
        except (ValueError, OverflowError):
            return None
    return min(asked, REST_MOST) if asked > timedelta(0) else None


def failed(said: str, *, code: int | None = None) -> Outcome:
    """Return the outcome of an attempt that is to be tried again."""
    return Outcome(verdict=Verdict.FAILED, said=one_line(said), code=code)


def one_line(text: str) -> str:
    """Return a text as one line that is safe to show: no line breaks, nothing that steers a terminal."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    line = " ".join(shown.split())
    return line if len(line) <= SAID_MOST else f"{line[: SAID_MOST - 1]}…"


def _said(answer: Answer) -> str:
    status = answer.status
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return f"HTTP {status}: redirects are not followed; give the endpoint the URL that it has moved to"
    # What is packed, or no text, says nothing to people.
    packed = answer.headers.get("content-encoding", "identity") != "identity"
    body = "" if packed else bytes(answer.body[: SAID_MOST * 4]).decode("utf-8", "replace")
    return one_line(f"HTTP {status}: {body}" if body.strip() else f"HTTP {status}")
