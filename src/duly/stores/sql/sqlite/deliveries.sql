-- name: list_subscribers
SELECT number, name, channel, definition, standing, reason FROM subscriber ORDER BY number;

-- name: upsert_subscriber
INSERT INTO subscriber (name, channel, definition, standing, reason, changed_at)
VALUES (:name, :channel, :definition, :standing, :reason, :now)
ON CONFLICT (name) DO UPDATE SET
    channel = excluded.channel, definition = excluded.definition, standing = excluded.standing,
    reason = excluded.reason, changed_at = excluded.changed_at
RETURNING number, name, channel, definition, standing, reason;

-- name: last_delivery
SELECT coalesce(max(number), 0) FROM delivery;

-- name: insert_delivery
INSERT INTO delivery (number, subscriber, event_id, topic, seq, replay_of, state, due_at, is_late, created_at,
                      wake_at, node, token, attempts, closed_at, reason)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: open_lines
-- Which of these events' lines have something open in them.
SELECT DISTINCT subscriber, event_id FROM delivery
WHERE event_id IN (SELECT value FROM json_each(:ids)) AND wake_at IS NOT NULL;

-- name: waiting_of_events
-- What is open of these events and under nobody's lease, with the entries that it tells of.
SELECT d.number, d.subscriber, d.event_id, h.entry, h.event_id, h.seq, h.kind, h.milestone, h.generation, h.due_at,
       h.at, h.from_status, h.to_status, h.cause, h.actor, h.reason, h.detail, h.node, h.outage, h.hash
FROM delivery d JOIN history h ON h.event_id = d.event_id AND h.seq = d.seq
WHERE d.event_id IN (SELECT value FROM json_each(:ids)) AND d.wake_at IS NOT NULL AND d.node IS NULL
      AND d.replay_of = 0
ORDER BY d.number;

-- name: next_wakes
-- When each subscriber's next delivery may be attempted: of the fresh, of the backlog. Two looks into the index each.
SELECT s.number,
       (SELECT min(wake_at) FROM delivery WHERE subscriber = s.number AND is_late = 0 AND wake_at IS NOT NULL),
       (SELECT min(wake_at) FROM delivery WHERE subscriber = s.number AND is_late = 1 AND wake_at IS NOT NULL)
FROM subscriber s;

-- name: claim_deliveries
-- Only the first of its line; one whose lease has run out is as good as pending, unless that is suspicious.
SELECT number, subscriber, event_id, topic, seq, token, attempts, due_at, wake_at, is_late, replay_of, node
FROM delivery d
WHERE subscriber = :subscriber AND is_late = :is_late AND wake_at IS NOT NULL AND wake_at <= :now
      AND (node IS NULL OR attempts < 2)
      AND NOT EXISTS (SELECT 1 FROM delivery e WHERE e.event_id = d.event_id AND e.subscriber = d.subscriber
                      AND e.number < d.number AND e.wake_at IS NOT NULL)
ORDER BY wake_at, number
LIMIT :most;

-- name: claim_suspect
-- One whose node has ended during it twice or more: it may be what ends them.
SELECT number, subscriber, event_id, topic, seq, token, attempts, due_at, wake_at, is_late, replay_of, node
FROM delivery d INDEXED BY delivery_suspect
WHERE subscriber = :subscriber AND wake_at IS NOT NULL AND wake_at <= :now AND node IS NOT NULL AND attempts >= 2
      AND NOT EXISTS (SELECT 1 FROM delivery e WHERE e.event_id = d.event_id AND e.subscriber = d.subscriber
                      AND e.number < d.number AND e.wake_at IS NOT NULL)
ORDER BY wake_at, number
LIMIT 1;

-- name: lease_delivery
UPDATE delivery SET node = ?, token = ?, attempts = ?, wake_at = ? WHERE number = ?;

-- name: renew_leases
UPDATE delivery SET wake_at = :until
WHERE number IN (SELECT value FROM json_each(:numbers)) AND node = :node AND wake_at IS NOT NULL
RETURNING number, token;

-- name: free_behind
-- Whoever held the first of a line (event, subscriber) has lost it, and with it all that it had leased behind it.
UPDATE delivery SET wake_at = ?4, node = NULL, token = token + 1
WHERE event_id = ?1 AND subscriber = ?2 AND number > ?3 AND wake_at < ?4;

-- name: keep_behind
-- Its holder has the first of a line (event, subscriber) anew, and keeps what it had leased behind it.
UPDATE delivery SET wake_at = ?4 WHERE event_id = ?1 AND subscriber = ?2 AND number > ?3 AND node = ?5 AND wake_at < ?6;

-- name: hold_back
-- All but the first of a line (event, subscriber) wait for it, under nobody's lease.
UPDATE delivery SET wake_at = ?3, node = NULL
WHERE event_id = ?1 AND subscriber = ?2 AND wake_at < ?3
      AND number > (SELECT min(number) FROM delivery WHERE event_id = ?1 AND subscriber = ?2 AND wake_at IS NOT NULL);

-- name: expire_leases
-- The process that held them is gone for good: nobody else can own this store. Should it be there all the same, it is
-- fenced off. (What it had leased behind the first of a line is freed by whoever claims that.)
UPDATE delivery SET wake_at = min(wake_at, :now), token = token + 1
WHERE wake_at IS NOT NULL AND wake_at < :waiting AND node IS NOT NULL;

-- name: open_tokens
SELECT number, token, subscriber, event_id, node FROM delivery
WHERE number IN (SELECT value FROM json_each(:numbers)) AND wake_at IS NOT NULL;

-- name: close_delivery
UPDATE delivery SET state = ?, wake_at = NULL, node = NULL, attempts = ?, closed_at = ?, reason = ? WHERE number = ?;

-- name: close_waiting
UPDATE delivery SET state = ?, wake_at = NULL, node = NULL, token = token + 1, closed_at = ?, reason = ?
WHERE number = ?;

-- name: cut_off_owed
-- What is under way just now for these subscribers: nobody will hear what came of it.
INSERT INTO attempt (delivery, number, node, started_at, ended_at, outcome, code, said)
SELECT number, attempts, node, NULL, :now, :outcome, NULL, :said FROM delivery
WHERE subscriber IN (SELECT value FROM json_each(:subscribers)) AND is_late IN (0, 1) AND wake_at IS NOT NULL
      AND node IS NOT NULL AND attempts > 0
ON CONFLICT (delivery, number) DO NOTHING;

-- name: close_owed
-- All that is open for these subscribers, leases and all: who holds one is fenced off.
UPDATE delivery SET state = :state, wake_at = NULL, node = NULL, token = token + 1, closed_at = :now, reason = :reason
WHERE subscriber IN (SELECT value FROM json_each(:subscribers)) AND is_late IN (0, 1) AND wake_at IS NOT NULL
RETURNING number;

-- name: put_off_delivery
UPDATE delivery SET wake_at = ?, node = NULL, attempts = ?, reason = ? WHERE number = ?;

-- name: insert_attempt
INSERT INTO attempt (delivery, number, node, started_at, ended_at, outcome, code, said)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (delivery, number) DO NOTHING;

-- name: wake_next
-- The first that is left of a line may go on, if it was waiting.
UPDATE delivery SET wake_at = ?1
WHERE number = (SELECT min(number) FROM delivery WHERE event_id = ?2 AND subscriber = ?3 AND wake_at IS NOT NULL)
      AND wake_at >= ?4;

-- name: get_deliveries
SELECT d.number, s.name, d.event_id, d.topic, d.seq, d.state, d.reason, d.due_at, d.created_at, d.wake_at,
       d.closed_at, d.attempts, d.node, d.replay_of
FROM delivery d JOIN subscriber s ON s.number = d.subscriber
WHERE d.number IN (SELECT value FROM json_each(:numbers))
ORDER BY d.number;

-- name: list_deliveries
-- Newest first. Every condition may be left out by passing NULL (`unreplayed`: 0).
SELECT d.number, s.name, d.event_id, d.topic, d.seq, d.state, d.reason, d.due_at, d.created_at, d.wake_at,
       d.closed_at, d.attempts, d.node, d.replay_of
FROM delivery d JOIN subscriber s ON s.number = d.subscriber
WHERE d.number < :before
      AND (:state IS NULL OR d.state = :state)
      AND (:subscriber IS NULL OR s.name = :subscriber)
      AND (:event_id IS NULL OR d.event_id = :event_id)
      AND (:topic IS NULL OR d.topic = :topic)
      AND (:since IS NULL OR d.created_at >= :since)
      AND (:unreplayed = 0 OR NOT EXISTS (
          SELECT 1 FROM delivery r WHERE r.event_id = d.event_id AND r.replay_of = d.number))
ORDER BY d.number DESC
LIMIT :most;

-- name: deliveries_of_event
SELECT d.number, s.name, d.event_id, d.topic, d.seq, d.state, d.reason, d.due_at, d.created_at, d.wake_at,
       d.closed_at, d.attempts, d.node, d.replay_of
FROM delivery d JOIN subscriber s ON s.number = d.subscriber
WHERE d.event_id = :event_id
ORDER BY d.number;

-- name: attempts_of
SELECT delivery, number, node, started_at, ended_at, outcome, code, said FROM attempt
WHERE delivery IN (SELECT value FROM json_each(:numbers))
ORDER BY delivery, number;

-- name: delivery_for_replay
SELECT number, subscriber, event_id, topic, seq, state, due_at, is_late FROM delivery
WHERE number IN (SELECT value FROM json_each(:numbers))
ORDER BY number;

-- name: replayed_already
SELECT event_id, subscriber, seq, topic, replay_of FROM delivery
WHERE replay_of IN (SELECT value FROM json_each(:numbers)) AND event_id IN (SELECT value FROM json_each(:ids));

-- name: history_at
-- One entry each for pairs of event and number, given as a JSON array of arrays.
SELECT h.entry, h.event_id, h.seq, h.kind, h.milestone, h.generation, h.due_at, h.at, h.from_status, h.to_status,
       h.cause, h.actor, h.reason, h.detail, h.node, h.outage, h.hash
FROM json_each(:pairs) p
CROSS JOIN history h ON h.event_id = json_extract(p.value, '$[0]') AND h.seq = json_extract(p.value, '$[1]');

-- name: outages_at
SELECT id, began_at, ended_at, node, finished_at, detected, successful, failed, outside_window
FROM outage WHERE id IN (SELECT value FROM json_each(:ids));

-- name: count_open
SELECT s.name, count(*), coalesce(sum(d.node IS NOT NULL), 0), coalesce(sum(d.attempts > 0 AND d.node IS NULL), 0), min(d.wake_at)
FROM delivery d JOIN subscriber s ON s.number = d.subscriber
WHERE d.wake_at IS NOT NULL
GROUP BY s.name ORDER BY s.name;

-- name: count_trouble
-- What has been replayed is in its replay's hands, and no trouble any more.
SELECT d.state, count(*) FROM delivery d
WHERE d.state IN ('dead', 'missed', 'parked', 'withdrawn')
      AND NOT EXISTS (SELECT 1 FROM delivery r WHERE r.event_id = d.event_id AND r.replay_of = d.number)
GROUP BY d.state;

-- name: count_of_outage
-- What became of the deliveries of what was caught up after an outage.
SELECT d.state, count(*) FROM history h JOIN delivery d ON d.event_id = h.event_id AND d.seq = h.seq
WHERE h.outage = :outage GROUP BY d.state;

-- name: orphaned_lines
-- Deliveries that wait for one before them that is not there: none, unless rows were changed by hand.
UPDATE delivery SET wake_at = :now
WHERE wake_at >= :waiting AND NOT EXISTS (
    SELECT 1 FROM delivery e WHERE e.event_id = delivery.event_id AND e.subscriber = delivery.subscriber
    AND e.number < delivery.number AND e.wake_at IS NOT NULL);
