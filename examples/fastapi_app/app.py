"""A web application whose events live in its own database, and whose statuses Duly keeps: `uvicorn app:app`.

The table is in a file of its own (CAMPUS_DB), beside Duly's (DULY_STORE). A status that is NULL is one that is
just being asked for: whoever answers first, Duly's `save_status` or the answer to an edit, fills it in.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from duly import Entry
from duly.dynamic_event_scheduler import (
    add_event_to_scheduler,
    configure,
    dynamic_scheduler,
    get_scheduler_status,
    remove_event_from_scheduler,
    start_dynamic_scheduler,
    stop_dynamic_scheduler,
    update_event_in_scheduler,
)
from duly.errors import InvalidInput

DATABASE: Final = os.environ.get("CAMPUS_DB", "campus.db")
TABLE: Final = """
    CREATE TABLE IF NOT EXISTS events (
        event_id TEXT PRIMARY KEY, event_name TEXT NOT NULL,
        registration_start_date TEXT, registration_end_date TEXT, start_datetime TEXT, end_datetime TEXT,
        certificate_start_date TEXT, certificate_end_date TEXT,
        status TEXT, sub_status TEXT
    )
"""
WRITE: Final = """
    INSERT OR REPLACE INTO events VALUES (
        :event_id, :event_name, :registration_start_date, :registration_end_date, :start_datetime, :end_datetime,
        :certificate_start_date, :certificate_end_date, :status, :sub_status
    )
"""
Row = dict[str, Any]


class EventDates(BaseModel):
    """An event as an organiser gives it. Times without an offset are those of Berlin."""

    event_name: str
    registration_start_date: str | None = None
    registration_end_date: str | None = None
    start_datetime: str | None = None
    end_datetime: str | None = None
    certificate_start_date: str | None = None
    certificate_end_date: str | None = None


class NewEvent(EventDates):
    """An event that is not there yet."""

    event_id: str


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    """Give a connection; what was written is committed at the end, or (an error) not at all."""
    connection = sqlite3.connect(DATABASE)
    connection.row_factory = sqlite3.Row
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def read(condition: str = "1 = 1", *values: str) -> list[Row]:
    """Return the rows of events that meet a condition."""
    with database() as db:
        return [dict(row) for row in db.execute(f"SELECT * FROM events WHERE {condition}", values)]  # noqa: S608 - ours


def write(row: Row) -> None:
    """Write the row of an event."""
    with database() as db:
        db.execute(WRITE, row)


def delete(event_id: str) -> None:
    """Delete the row of an event."""
    with database() as db:
        db.execute("DELETE FROM events WHERE event_id = ?", (event_id,))


def fill_in(event_id: str, status: str, sub_status: str) -> None:
    """Write the status that an edit was answered with, unless a newer one has come meanwhile."""
    with database() as db:
        db.execute(
            "UPDATE events SET status = ?, sub_status = ? WHERE event_id = ? AND status IS NULL",
            (status, sub_status, event_id),
        )


async def load() -> list[Row]:
    """Return all events. Duly asks for them when it starts, before it looks what was missed."""
    return read()


def save_status(event_id: str, status: str, sub_status: str, transition: Entry) -> None:
    """Take note of a transition. Duly calls again until this succeeds, and one at a time."""
    with database() as db:
        db.execute("UPDATE events SET status = ?, sub_status = ? WHERE event_id = ?", (status, sub_status, event_id))
    print(f"{event_id}: {transition.milestone}, {transition.lateness} late → {status}/{sub_status}", flush=True)


# Without a limit: a status is never too old to be right. Whoever sends mail from here may want one.
configure(load=load, save_status=save_status, time_zone="Europe/Berlin", max_downtime_hours=None)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Start the scheduler with the application, and stop it with it."""
    with database() as db:
        db.execute(TABLE)
    await start_dynamic_scheduler()
    for row in read("status IS NULL"):
        status = await add_event_to_scheduler(row)
        fill_in(row["event_id"], status.main, status.sub_status)
    yield
    await stop_dynamic_scheduler()


app = FastAPI(title="Campus events", lifespan=lifespan)


async def scheduled(row: Row, undo: Callable[[], None]) -> Row:
    """Write an event, have it scheduled, and return its row; if Duly refuses it, `undo` what was written."""
    write({**row, "status": None, "sub_status": None})
    try:
        status = await update_event_in_scheduler(row["event_id"], row)
    except InvalidInput as error:
        undo()
        raise HTTPException(422, str(error)) from None
    fill_in(row["event_id"], status.main, status.sub_status)
    return existing(row["event_id"])


def existing(event_id: str) -> Row:
    """Return the row of an event, or answer that there is none."""
    found = read("event_id = ?", event_id)
    if not found:
        raise HTTPException(404, f"there is no event {event_id!r}")
    return found[0]


@app.post("/events", status_code=201)
async def create_event(event: NewEvent) -> Row:
    """Create an event."""
    if read("event_id = ?", event.event_id):
        raise HTTPException(409, f"there is an event {event.event_id!r} already")
    return await scheduled(event.model_dump(), lambda: delete(event.event_id))


@app.put("/events/{event_id}")
async def move_event(event_id: str, event: EventDates) -> Row:
    """Change an event's dates; what had fired and now lies ahead is taken back, and will fire again."""
    before = existing(event_id)
    return await scheduled({"event_id": event_id, **event.model_dump()}, lambda: write(before))


@app.delete("/events/{event_id}", status_code=204)
async def delete_event(event_id: str) -> None:
    """Delete an event."""
    existing(event_id)
    await remove_event_from_scheduler(event_id)
    delete(event_id)


@app.get("/events")
async def list_events() -> list[Row]:
    """List all events with their statuses."""
    return read()


@app.get("/events/{event_id}")
async def get_event(event_id: str) -> Row:
    """Show an event with its status."""
    return existing(event_id)


@app.get("/scheduler")
async def show_scheduler() -> Row:
    """Show how the scheduler is, and what it will do next."""
    return {**await get_scheduler_status(), "triggers": dynamic_scheduler.get_scheduled_triggers()[:20]}
