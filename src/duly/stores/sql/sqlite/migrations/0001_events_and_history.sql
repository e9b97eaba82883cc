-- Duly's store, first version.
--
-- An `event` row carries everything that firing needs: its dates, its marks (which milestone fired, with which
-- date and generation), its status, the end of its history's chain, and the alarm `next_due_at`. Triggers to
-- come are computed from it and are not rows. `history` is append-only. All instants are microseconds UTC; no
-- statement reads a clock.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- Definitions by content hash, so that every process can derive the status of every event.
CREATE TABLE lifecycle (
    hash        TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    definition  TEXT NOT NULL,
    origin      TEXT NOT NULL,
    current     INTEGER NOT NULL,
    declared_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE UNIQUE INDEX lifecycle_current ON lifecycle (name) WHERE current = 1;

CREATE TABLE event (
    id             TEXT PRIMARY KEY,
    name           TEXT NOT NULL,
    lifecycle      TEXT NOT NULL,
    lifecycle_hash TEXT NOT NULL,
    zone           TEXT,
    hold           TEXT NOT NULL,
    revision       INTEGER NOT NULL,
    dates          TEXT NOT NULL,
    marks          TEXT NOT NULL,
    status         TEXT NOT NULL,
    seq            INTEGER NOT NULL,
    hash           BLOB NOT NULL,
    next_due_at    INTEGER,
    pending        INTEGER NOT NULL,
    error          TEXT,
    removed        INTEGER NOT NULL,
    known_since    INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    tzdata         TEXT NOT NULL,
    given          TEXT NOT NULL,
    data           TEXT NOT NULL
);

-- The alarm clock: who must be looked at, soonest first. `pending` rides along so that a start-up can sum it
-- without touching the rows.
CREATE INDEX event_alarm ON event (next_due_at, id, pending) WHERE next_due_at IS NOT NULL;
CREATE INDEX event_set_aside ON event (id) WHERE error IS NOT NULL;
CREATE INDEX event_lifecycle ON event (lifecycle, lifecycle_hash);

CREATE TABLE history (
    entry       INTEGER PRIMARY KEY,
    event_id    TEXT NOT NULL,
    seq         INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    milestone   TEXT,
    generation  INTEGER,
    due_at      INTEGER,
    at          INTEGER NOT NULL,
    from_status TEXT NOT NULL,
    to_status   TEXT NOT NULL,
    cause       TEXT,
    actor       TEXT,
    reason      TEXT,
    detail      TEXT,
    node        TEXT,
    outage      INTEGER,
    hash        BLOB NOT NULL
);

CREATE UNIQUE INDEX history_chain ON history (event_id, seq);
-- Says a second time, in the database, that a generation of a milestone fires at most once.
CREATE UNIQUE INDEX history_fired_once ON history (event_id, milestone, generation) WHERE kind = 'fired';
CREATE INDEX history_outage ON history (outage) WHERE outage IS NOT NULL;

CREATE TABLE node (
    id         TEXT PRIMARY KEY,
    owner      INTEGER NOT NULL,
    host       TEXT NOT NULL,
    pid        INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,
    stopped_at INTEGER
) WITHOUT ROWID;

CREATE TABLE outage (
    id             INTEGER PRIMARY KEY,
    began_at       INTEGER,
    ended_at       INTEGER NOT NULL,
    node           TEXT NOT NULL,
    finished_at    INTEGER,
    detected       INTEGER NOT NULL DEFAULT 0,
    successful     INTEGER NOT NULL DEFAULT 0,
    failed         INTEGER NOT NULL DEFAULT 0,
    outside_window INTEGER NOT NULL DEFAULT 0
);
