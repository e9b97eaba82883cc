-- name: claim_fresh
-- Fresh triggers first: what fell due within the grace never waits behind a backlog.
SELECT id, lifecycle, lifecycle_hash, hold, dates, marks, status, seq, hash, next_due_at, error
FROM event
WHERE next_due_at IS NOT NULL AND next_due_at <= :now AND next_due_at >= :fresh_from
ORDER BY next_due_at, id
LIMIT :most;

-- name: claim_backlog
SELECT id, lifecycle, lifecycle_hash, hold, dates, marks, status, seq, hash, next_due_at, error
FROM event
WHERE next_due_at IS NOT NULL AND next_due_at < :fresh_from
ORDER BY next_due_at, id
LIMIT :most;

-- name: update_fired
UPDATE event SET marks = ?, status = ?, seq = ?, hash = ?, next_due_at = ?, pending = ?, error = NULL, updated_at = ?
WHERE id = ?;

-- name: update_set_aside
UPDATE event SET error = ?, next_due_at = ?, seq = ?, hash = ?, updated_at = ?
WHERE id = ?;

-- name: next_due_at
SELECT min(next_due_at) FROM event WHERE next_due_at IS NOT NULL;

-- name: get_events
-- The ids come as one JSON array: one statement for a batch of any size.
SELECT id, name, lifecycle, lifecycle_hash, zone, hold, revision, dates, marks, status, seq, hash, next_due_at,
       pending, error, removed, known_since, updated_at, tzdata, given, data
FROM event
WHERE id IN (SELECT value FROM json_each(:ids));

-- name: data_of_events
SELECT id, data FROM event WHERE id IN (SELECT value FROM json_each(:ids));

-- name: list_events
SELECT id, name, lifecycle, lifecycle_hash, zone, hold, revision, dates, marks, status, seq, hash, next_due_at,
       pending, error, removed, known_since, updated_at, tzdata, given, data
FROM event
WHERE id > :after
ORDER BY id
LIMIT :most;

-- name: list_by_alarm
SELECT id, name, lifecycle, lifecycle_hash, zone, hold, revision, dates, marks, status, seq, hash, next_due_at,
       pending, error, removed, known_since, updated_at, tzdata, given, data
FROM event
WHERE next_due_at IS NOT NULL AND next_due_at <= :until AND error IS NULL
ORDER BY next_due_at, id
LIMIT :most;

-- name: list_set_aside
SELECT id, name, lifecycle, lifecycle_hash, zone, hold, revision, dates, marks, status, seq, hash, next_due_at,
       pending, error, removed, known_since, updated_at, tzdata, given, data
FROM event
WHERE error IS NOT NULL
ORDER BY id
LIMIT :most;

-- name: list_redefined
-- Events that still follow an earlier definition of their lifecycle; soonest alarm first, sleepers last.
-- Asked at every start: the order of the join and the two ranges keep it to the index, however many events there are.
SELECT e.id, e.name, e.lifecycle, e.lifecycle_hash, e.zone, e.hold, e.revision, e.dates, e.marks, e.status, e.seq,
       e.hash, e.next_due_at, e.pending, e.error, e.removed, e.known_since, e.updated_at, e.tzdata, e.given, e.data
FROM lifecycle l
CROSS JOIN event e INDEXED BY event_lifecycle ON e.lifecycle = l.name AND (e.lifecycle_hash < l.hash OR e.lifecycle_hash > l.hash)
WHERE l.current = 1 AND e.removed = 0 AND (coalesce(e.next_due_at, :never), e.id) > (:after_alarm, :after_id)
ORDER BY coalesce(e.next_due_at, :never), e.id
LIMIT :most;

-- name: wake_set_aside
-- A new owner may know what the last one did not: those that were set aside get another chance now.
UPDATE event SET next_due_at = :now
WHERE error IS NOT NULL AND removed = 0 AND hold = 'active';

-- name: upsert_event
INSERT INTO event (id, name, lifecycle, lifecycle_hash, zone, hold, revision, dates, marks, status, seq, hash,
                   next_due_at, pending, error, removed, known_since, updated_at, tzdata, given, data)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    name = excluded.name, lifecycle = excluded.lifecycle, lifecycle_hash = excluded.lifecycle_hash,
    zone = excluded.zone, hold = excluded.hold, revision = excluded.revision, dates = excluded.dates,
    marks = excluded.marks, status = excluded.status, seq = excluded.seq, hash = excluded.hash,
    next_due_at = excluded.next_due_at, pending = excluded.pending, error = excluded.error,
    removed = excluded.removed, known_since = excluded.known_since, updated_at = excluded.updated_at,
    tzdata = excluded.tzdata, given = excluded.given, data = excluded.data;

-- name: count_events
SELECT count(*) FROM event WHERE removed = 0;

-- name: count_by_status
SELECT status, count(*) FROM event WHERE removed = 0 GROUP BY status ORDER BY status;

-- name: count_alarms
-- How many events have an alarm, and how many triggers they have to come. Answered by the index alone.
SELECT count(*), coalesce(sum(pending), 0) FROM event WHERE next_due_at IS NOT NULL;

-- name: count_overdue
SELECT count(*), min(next_due_at) FROM event WHERE next_due_at IS NOT NULL AND next_due_at <= :now;

-- name: count_set_aside
SELECT count(*) FROM event WHERE error IS NOT NULL;
