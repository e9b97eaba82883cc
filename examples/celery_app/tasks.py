"""The workers' side of a hand-over: a task that announces each delivery once, however often it is handed over.

pip install 'duly[celery]', then in this folder:
CELERY_BROKER_URL=redis://127.0.0.1:6379/0 celery --app tasks worker
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import Any

from celery import Celery

app = Celery("campus", broker=os.environ.get("CELERY_BROKER_URL", "redis://127.0.0.1:6379/0"))
# A task is taken off the queue when it is through, not when it begins: a worker that dies in between loses nothing.
app.conf.task_acks_late = True
app.conf.broker_connection_retry_on_startup = True


@app.task(name="campus.announce")  # type: ignore[untyped-decorator]  # Celery brings no types
def announce(delivery: dict[str, Any]) -> str:
    """Announce what happened, unless this delivery has been announced already."""
    data = delivery["data"]
    with closing(sqlite3.connect(os.environ.get("CAMPUS_DB", "campus.db"))) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS announcement (delivery TEXT PRIMARY KEY, text TEXT NOT NULL)")
        # The id and what is done for it are written in one transaction: both are there, or neither.
        written = database.execute(
            "INSERT INTO announcement VALUES (?, ?) ON CONFLICT DO NOTHING",
            (data["delivery_id"], f"{data['event_id']}: {data['status']}"),
        )
        return "announced" if written.rowcount else "announced before"
