-- name: insert_history
INSERT INTO history (event_id, seq, kind, milestone, generation, due_at, at, from_status, to_status, cause, actor,
                     reason, detail, node, outage, hash)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: history_of_event
SELECT entry, event_id, seq, kind, milestone, generation, due_at, at, from_status, to_status, cause, actor, reason,
       detail, node, outage, hash
FROM history
WHERE event_id = :event_id
ORDER BY seq;

-- name: history_of_events
SELECT entry, event_id, seq, kind, milestone, generation, due_at, at, from_status, to_status, cause, actor, reason,
       detail, node, outage, hash
FROM history
WHERE event_id IN (SELECT value FROM json_each(:ids))
ORDER BY event_id, seq;

-- name: history_after
SELECT entry, event_id, seq, kind, milestone, generation, due_at, at, from_status, to_status, cause, actor, reason,
       detail, node, outage, hash
FROM history
WHERE entry > :after
ORDER BY entry
LIMIT :most;

-- name: history_latest
SELECT entry, event_id, seq, kind, milestone, generation, due_at, at, from_status, to_status, cause, actor, reason,
       detail, node, outage, hash
FROM history
WHERE entry < :before
ORDER BY entry DESC
LIMIT :most;

-- name: history_of_outage
SELECT entry, event_id, seq, kind, milestone, generation, due_at, at, from_status, to_status, cause, actor, reason,
       detail, node, outage, hash
FROM history
WHERE outage = :outage
ORDER BY entry
LIMIT :most;

-- name: history_end
-- The last entry's number and instant: a sign of life, and a clock to compare one's own with.
SELECT entry, at FROM history ORDER BY entry DESC LIMIT 1;
