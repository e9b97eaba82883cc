"""The verb that follows a lifecycle whose definition has changed: its events are re-derived, page by page."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from duly.rules.edit import Edited, redefinition
from duly.stores.rows import readable_row
from duly.stores.verb import Statement, Verb
from duly.stores.verbs import STORE_TROUBLE, Circumstances, error_text, set_aside, stored_row, write_events

if TYPE_CHECKING:
    from duly.model.dates import Micros
    from duly.model.event import EventRow
    from duly.model.lifecycle import Lifecycle
    from duly.rules.plan import Plan

NEVER: Final = (1 << 63) - 1
Replan = Callable[["EventRow"], "Plan"]


class Place(NamedTuple):
    """Where a walk through the events by alarm has got to: the alarm and the id of the last one."""

    alarm: Micros
    id: str


FROM_THE_FIRST: Final = Place(-NEVER, "")


def rederive(replan: Replan, editing: Circumstances, most: int, after: Place) -> Verb[tuple[int, Place | None]]:
    """Re-derive up to `most` events whose lifecycle's definition has changed, soonest alarm first.

    Returns how many, and where to go on; None is the end. An event that the new definition cannot carry is set aside
    with the reason, and the others go on; it is taken up again by the next walk, or the next definition.
    """
    where = {"never": NEVER, "after_alarm": after.alarm, "after_id": after.id}
    stored = yield Statement("list_redefined", {**where, "most": most})
    edits: list[Edited] = []
    lifecycles: dict[str, Lifecycle] = {}
    troubled: list[tuple[EventRow, str]] = []
    for columns in stored:
        row = None
        try:
            row = stored_row(columns)
            plan = replan(row)
            # Who still plans by the definition that the event follows already leaves it to who knows the new one.
            if plan.lifecycle.hash != row.lifecycle_hash:
                edits.append(redefinition(row, plan, editing()))
                lifecycles[row.id] = plan.lifecycle
        except STORE_TROUBLE:
            raise
        except Exception as error:  # noqa: BLE001 - whatever an event raises, it alone is set aside (P7)
            said = f"its lifecycle '{columns[2]}' has changed, and now: {error_text(error)}"
            # What was told already keeps its alarm: this walk goes by alarms, and would meet it again without end.
            if columns[14] != said:
                troubled.append((row or readable_row(columns), said))
    rows = [edited.row for edited in edits]
    yield from write_events(rows, [e for edited in edits for e in edited.entries], lifecycles.get)
    yield from set_aside(troubled, editing().firing)
    last = stored[-1] if stored else None
    return len(edits) + len(troubled), None if last is None else Place(
        NEVER if last[12] is None else last[12], last[0]
    )
