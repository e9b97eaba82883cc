"""What may be an event's id or its name: text that stays the same on every screen, in every URL and log."""

from __future__ import annotations

import re
import unicodedata
from typing import Final, Never

from duly.errors import InvalidEvent

ID_LENGTH_MAX: Final = 255
NAME_LENGTH_MAX: Final = 1_000

# The stream-safe text format of UAX #15 allows 30 combining marks in a row: no language needs more.
_MARKS_MAX: Final = 30
_MARKS: Final = ("Mn", "Me")

# Joiners and direction marks belong to the spelling of Persian, Hindi, Hebrew, Arabic, and to some emoji.
# They may stand in a name, but not in an id, where two that look the same would be two events.
_SPELLING: Final = frozenset("\u200c\u200d\u200e\u200f\u061c\u00ad")

_FORBIDDEN: Final = {
    "Cc": "a control character",
    "Cf": "an invisible character (zero width or text direction)",
    "Cs": "half of a surrogate pair",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}
_PLAIN_ASCII: Final = re.compile(r"[\x20-\x7e]*")
_DOT_SEGMENT: Final = re.compile(r"(?:^|/)\.{1,2}(?:/|$)")


def check_id(value: object, *, what: str = "event id") -> str:
    """Return an event's id if it can be one; raise InvalidEvent if not.

    1 to 255 characters in Unicode's composed form (NFC), without blanks at either end, without invisible or
    control characters, and without a segment `.` or `..`, which a URL would swallow. Upper and lower case
    differ. `/` is allowed. Nothing is changed in silence: an id is what other systems call the event.
    """
    if not isinstance(value, str):
        raise InvalidEvent(f"{what} must be text, not {type(value).__name__} {_shown(value)}")
    if not value or value.isspace():
        raise InvalidEvent(f"{what} is empty; it must have 1 to {ID_LENGTH_MAX} characters")
    if len(value) > ID_LENGTH_MAX:
        said = f"{len(value):,} characters; at most {ID_LENGTH_MAX} are allowed"
        raise InvalidEvent(f"{what} {_shown(value)} has {said}")
    if value != value.strip():
        raise InvalidEvent(f"{what} {_shown(value)} begins or ends with a blank; write it without")
    _check_characters(value, what, allowed=frozenset())
    if not unicodedata.is_normalized("NFC", value):
        raise InvalidEvent(f"{what} {_shown(value)} is not in Unicode's composed form; normalise it to NFC")
    if _DOT_SEGMENT.search(value):
        raise InvalidEvent(f"{what} {_shown(value)} has a segment '.' or '..', which a URL would swallow")
    return value


def check_text(value: object, *, what: str, longest: int = NAME_LENGTH_MAX) -> str:
    """Return one line of text, composed (NFC) and without blanks around it; raise InvalidEvent if it is none.

    Refused: what is no text, more than `longest` characters, line breaks and other control characters (they
    could forge a line of a log or steer a terminal), text-direction overrides, half surrogates, and more
    than 30 combining marks in a row. May be empty. Markup and templates are text like any other.
    """
    if not isinstance(value, str):
        raise InvalidEvent(f"{what} must be text, not {type(value).__name__} {_shown(value)}")
    text = value.strip()
    if len(text) > longest:
        raise InvalidEvent(f"{what} has {len(text):,} characters; at most {longest:,} are allowed")
    _check_characters(text, what, allowed=_SPELLING)
    return unicodedata.normalize("NFC", text)


def _check_characters(text: str, what: str, *, allowed: frozenset[str]) -> None:
    if _PLAIN_ASCII.fullmatch(text):
        return
    marks = 0
    for place, character in enumerate(text):
        category = unicodedata.category(character)
        if category in _FORBIDDEN and character not in allowed:
            _refuse_character(text, place, _FORBIDDEN[category], what)
        marks = marks + 1 if category in _MARKS else 0
        if marks > _MARKS_MAX:
            raise InvalidEvent(f"{what} has more than {_MARKS_MAX} combining marks in a row")


def _refuse_character(text: str, place: int, kind: str, what: str) -> Never:
    code = f"U+{ord(text[place]):04X}"
    raise InvalidEvent(f"{what} {_shown(text)} has {kind} ({code}) at position {place + 1}; leave it out")


def _shown(value: object) -> str:
    """Return a value for a message: short, and with everything invisible escaped."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}…"  # noqa: PLR2004 - what fits beside the sentence
