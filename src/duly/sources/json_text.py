"""JSON text → plain values, as RFC 8259 has it: no NaN, no key twice."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any, Final, Never

from duly.errors import InvalidSource

_DIGITS_MAX: Final = 400


def read_json(text: str, *, what: str) -> object:
    """Return the value of a JSON text; `what` names the file in the InvalidSource."""
    try:
        return json.loads(
            text,
            object_pairs_hook=_table,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_refuse_word,
        )
    except InvalidSource as error:
        raise InvalidSource(f"{what}: {error}") from None
    except RecursionError:
        raise InvalidSource(f"{what}: nested too deeply to be read") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidSource(f"{what}: {where}: this is not JSON: {error.msg}") from None


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        key = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise InvalidSource(f"the key {key!a} is there twice in one object")
    return table


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS_MAX:
        raise InvalidSource(f"a number of {len(digits):,} digits; write it as text")
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise InvalidSource(f"{digits[:40]} is too large a number; write it as text")
    return value


def _refuse_word(word: str) -> Never:
    raise InvalidSource(f"{word} is not JSON; use null, or text")
