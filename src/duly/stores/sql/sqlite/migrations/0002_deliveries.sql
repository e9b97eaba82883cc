-- The outbox: who is told, what they are owed, and every try.
--
-- A `delivery` row is written by the transaction that makes its transition happen. It is open while `wake_at` is not
-- null: that is when it may next be attempted, or, under a node's lease, when that lease ends. Deliveries of one line
-- (subscriber, event) go one after the other, by number: all but the first wait, their `wake_at` at the end of time,
-- and whoever closes one wakes the next. `token` is the fencing number of the lease. `seq` is the history entry's
-- number within its event; a negative one means that it is about no entry: minus an outage's id, or minus the number
-- of the delivery that died.

CREATE TABLE subscriber (
    number     INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    channel    TEXT NOT NULL,
    definition TEXT NOT NULL,
    standing   TEXT NOT NULL,
    reason     TEXT,
    changed_at INTEGER NOT NULL
);

CREATE TABLE delivery (
    number     INTEGER PRIMARY KEY,
    subscriber INTEGER NOT NULL,
    event_id   TEXT NOT NULL,
    topic      TEXT NOT NULL,
    seq        INTEGER NOT NULL,
    replay_of  INTEGER NOT NULL,
    state      TEXT NOT NULL,
    due_at     INTEGER NOT NULL,
    is_late    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    wake_at    INTEGER,
    node       TEXT,
    token      INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    closed_at  INTEGER,
    reason     TEXT
);

-- Exactly one delivery for each thing that happened and each subscriber (I7); a replay names the one that it repeats.
CREATE UNIQUE INDEX delivery_once ON delivery (event_id, subscriber, seq, topic, replay_of);
-- Who is to be attempted next: fresh ones apart from the backlog.
CREATE INDEX delivery_wake ON delivery (subscriber, is_late, wake_at, number) WHERE wake_at IS NOT NULL;
-- What was under way more than once when its node ended, or is being tried again just now.
CREATE INDEX delivery_suspect ON delivery (subscriber, wake_at, number)
WHERE wake_at IS NOT NULL AND node IS NOT NULL AND attempts >= 2;
-- What people look for.
CREATE INDEX delivery_trouble ON delivery (state, number) WHERE state IN ('dead', 'missed', 'parked', 'withdrawn');

CREATE TABLE attempt (
    delivery   INTEGER NOT NULL,
    number     INTEGER NOT NULL,
    node       TEXT,
    started_at INTEGER,
    ended_at   INTEGER NOT NULL,
    outcome    TEXT NOT NULL,
    code       INTEGER,
    said       TEXT,
    PRIMARY KEY (delivery, number)
) WITHOUT ROWID;
