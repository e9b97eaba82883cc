-- What one subscriber was told of what was caught up. Refused: an attempt has failed (one that was lost says nothing
-- about the subscriber), or one before it in its line, open meanwhile, was refused.

-- name: count_refused
SELECT count(*) FROM history h JOIN delivery d ON d.event_id = h.event_id AND d.seq = h.seq
WHERE h.outage > :after AND h.outage <= :until AND d.subscriber = :subscriber AND d.replay_of = 0
      AND (d.attempts > 0 OR d.wake_at IS NOT NULL)
      AND EXISTS (SELECT 1 FROM delivery e JOIN attempt a ON a.delivery = e.number
                  WHERE e.event_id = d.event_id AND e.subscriber = d.subscriber AND e.number <= d.number
                  AND a.outcome IN ('failed', 'rejected')
                  AND (e.number = d.number OR e.wake_at IS NOT NULL OR e.closed_at > d.created_at));

-- name: count_untried
-- What is open, and neither refused nor waiting behind what was.
SELECT count(*) FROM history h JOIN delivery d ON d.event_id = h.event_id AND d.seq = h.seq
WHERE h.outage > :after AND h.outage <= :until AND d.subscriber = :subscriber AND d.wake_at IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM delivery e JOIN attempt a ON a.delivery = e.number
                      WHERE e.event_id = d.event_id AND e.subscriber = d.subscriber AND e.number <= d.number
                      AND e.wake_at IS NOT NULL AND a.outcome IN ('failed', 'rejected'));

-- name: count_withheld
-- What is not told, for a reason that is like this one.
SELECT count(*) FROM history h JOIN delivery d ON d.event_id = h.event_id AND d.seq = h.seq
WHERE h.outage > :after AND h.outage <= :until AND d.subscriber = :subscriber AND d.replay_of = 0
      AND d.state = 'missed' AND d.reason LIKE :reason;

-- name: has_untried
-- Whether there is any such, of what was caught up after these outages; what was not counts as after outage 0.
SELECT EXISTS (
    SELECT 1 FROM delivery d JOIN history h ON h.event_id = d.event_id AND h.seq = d.seq
    WHERE d.subscriber = :subscriber AND d.wake_at IS NOT NULL AND coalesce(h.outage, 0) > :after
          AND coalesce(h.outage, 0) <= :until
          AND NOT EXISTS (SELECT 1 FROM delivery e JOIN attempt a ON a.delivery = e.number
                          WHERE e.event_id = d.event_id AND e.subscriber = d.subscriber AND e.number <= d.number
                          AND e.wake_at IS NOT NULL AND a.outcome IN ('failed', 'rejected')));
