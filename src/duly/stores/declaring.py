"""The verbs that make lifecycle definitions known to a store: the user's outrank the built-in ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from duly.stores.verb import Statement, Verb

if TYPE_CHECKING:
    from duly.model.dates import Micros
    from duly.model.lifecycle import Lifecycle


def changed_lifecycles(wanted: Sequence[tuple[Lifecycle, str]]) -> Verb[list[tuple[Lifecycle, str]]]:
    """Return which of these definitions, each with its origin, are not the current ones of their names yet."""
    current = {row[1]: (row[0], row[3]) for row in (yield Statement("list_lifecycles")) if row[4]}
    changed = []
    for lifecycle, origin in wanted:
        hash_, known_origin = current.get(lifecycle.name, ("", origin))
        outranked = origin == "built-in" and known_origin == "declared"
        if not outranked and (hash_, known_origin) != (lifecycle.hash, origin):
            changed.append((lifecycle, origin))
            # A built-in one later in the same list finds that one of the user's stands there now.
            current[lifecycle.name] = (lifecycle.hash, origin)
    return changed


def declare_all(wanted: Sequence[tuple[Lifecycle, str]], now_us: Micros) -> Verb[None]:
    """Make definitions the current ones of their names, where they are not."""
    for lifecycle, origin in (yield from changed_lifecycles(wanted)):
        definition = json.dumps(lifecycle.to_json())
        yield Statement("retire_lifecycle", {"name": lifecycle.name})
        params = {"hash": lifecycle.hash, "name": lifecycle.name, "definition": definition}
        yield Statement("insert_lifecycle", {**params, "origin": origin, "now": now_us})
