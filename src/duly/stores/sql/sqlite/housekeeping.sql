-- name: get_meta
SELECT value FROM meta WHERE key = :key;

-- name: put_meta
INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: list_lifecycles
SELECT hash, name, definition, origin, current FROM lifecycle ORDER BY name, declared_at;

-- name: retire_lifecycle
UPDATE lifecycle SET current = 0 WHERE name = :name AND current = 1;

-- name: insert_lifecycle
INSERT INTO lifecycle (hash, name, definition, origin, current, declared_at)
VALUES (:hash, :name, :definition, :origin, 1, :now)
ON CONFLICT (hash) DO UPDATE SET current = 1, origin = excluded.origin, declared_at = excluded.declared_at;

-- name: upsert_node
INSERT INTO node (id, owner, host, pid, started_at, seen_at, stopped_at)
VALUES (:id, :owner, :host, :pid, :now, :now, NULL)
ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, seen_at = excluded.seen_at, stopped_at = NULL;

-- name: stop_node
UPDATE node SET seen_at = :now, stopped_at = :now WHERE id = :id;

-- name: list_nodes
SELECT id, host, pid, started_at, seen_at, stopped_at, owner FROM node ORDER BY seen_at DESC LIMIT :most;

-- name: prune_nodes
DELETE FROM node WHERE seen_at < :before;

-- name: last_seen
-- Of owners only: while nobody but standbys is alive, nothing fires.
SELECT max(seen_at) FROM node WHERE owner = 1;

-- name: unfinished_outage
SELECT id, began_at, ended_at, node, finished_at, detected, successful, failed, outside_window
FROM outage WHERE finished_at IS NULL ORDER BY id DESC LIMIT 1;

-- name: list_outages
SELECT id, began_at, ended_at, node, finished_at, detected, successful, failed, outside_window
FROM outage WHERE id < :before ORDER BY id DESC LIMIT :most;

-- name: insert_outage
INSERT INTO outage (began_at, ended_at, node) VALUES (:began_at, :ended_at, :node)
RETURNING id, began_at, ended_at, node, finished_at, detected, successful, failed, outside_window;

-- name: extend_outage
UPDATE outage SET ended_at = :ended_at, node = :node WHERE id = :id
RETURNING id, began_at, ended_at, node, finished_at, detected, successful, failed, outside_window;

-- name: finish_outage
-- The ledger itself says what was caught up; only what failed is told by the one who tried.
UPDATE outage
SET finished_at = :now,
    failed = :failed,
    successful = (SELECT count(*) FROM history WHERE outage = :id),
    detected = :failed + (SELECT count(*) FROM history WHERE outage = :id),
    outside_window = (SELECT count(*) FROM history WHERE outage = :id AND at - due_at > :window)
WHERE id = :id
RETURNING id, began_at, ended_at, node, finished_at, detected, successful, failed, outside_window;

-- name: sums
-- By which a backup is compared with its store: how much there is, and where the history ends.
SELECT (SELECT count(*) FROM event), (SELECT count(*) FROM history), (SELECT count(*) FROM delivery),
       (SELECT count(*) FROM attempt), (SELECT max(entry) FROM history),
       (SELECT hash FROM history ORDER BY entry DESC LIMIT 1);
