-- A store as Duly wrote it before there were deliveries: at commit f0f7fa3, schema version 1. Never to be changed.
-- In it: an event that was caught up after an outage and whose announcement the drop-in still owes, one that is
-- cancelled, one removed, one moved after it had started, one pending approval, one set aside.
PRAGMA application_id = 1146440793;
PRAGMA user_version = 1;
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
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
INSERT INTO meta VALUES ('dynamic_event_scheduler', '{"cursor": 14, "owed": {"ARRCOSTU2025": [15]}, "recovery": {"outage": 1, "at_us": 1777636800000000, "detected": 2, "successful": 0, "set_aside": 1, "unsaved": 1, "outside_window": 0, "until": 15, "done": true}}');
INSERT INTO lifecycle VALUES ('456637c8a45ca455e5e76c957307ebb1', 'conference', '{"name": "conference", "title": "Conference", "description": "A call for papers with deadlines, possibly in rounds, the decisions on the papers, and the event.", "zone": "AoE", "catch_up": {}, "tracks": {"submission": {"before": "not_started", "undated": "not_announced"}, "decision": {"before": "pending", "undated": "not_announced"}, "event": {"before": "scheduled", "undated": "not_announced"}}, "milestones": [{"name": "cfp_open", "side": "opening", "track": "submission", "state": "open", "title": "Call for papers opens", "implied": true, "catch_up": {"policy": "current"}}, {"name": "abstract_deadline", "side": "closing", "track": "submission", "state": "abstracts_closed", "title": "Abstracts are due", "repeats": true, "catch_up": {"policy": "all"}}, {"name": "paper_deadline_reminder", "side": "opening", "default": "paper_deadline - 7 days", "until": "paper_deadline", "title": "A week until papers are due", "repeats": true, "catch_up": {"policy": "current", "window_hours": "unlimited"}}, {"name": "paper_deadline", "side": "closing", "track": "submission", "state": "closed", "between": "open", "title": "Papers are due", "repeats": true, "catch_up": {"policy": "all"}}, {"name": "notification", "side": "opening", "track": "decision", "state": "announced", "between": "partly_announced", "title": "Authors are notified", "repeats": true, "catch_up": {"policy": "all", "window_hours": 168.0}}, {"name": "camera_ready", "side": "closing", "track": "decision", "state": "final", "title": "Camera-ready papers are due", "catch_up": {"policy": "all"}}, {"name": "event_start", "side": "opening", "track": "event", "state": "started", "title": "Conference starts", "catch_up": {"policy": "current"}}, {"name": "event_end", "side": "closing", "track": "event", "state": "ended", "title": "Conference ends", "catch_up": {"policy": "all"}}], "headline": [{"status": "draft/draft", "when": {"submission": ["not_announced"], "decision": ["not_announced"], "event": ["not_announced"]}, "undated": []}, {"status": "completed/event_ended", "when": {"event": ["ended"]}, "undated": []}, {"status": "ongoing/event_started", "when": {"event": ["started"]}, "undated": []}, {"status": "upcoming/submission_open", "when": {"submission": ["open"]}, "undated": []}, {"status": "upcoming/abstracts_closed", "when": {"submission": ["abstracts_closed"]}, "undated": []}, {"status": "upcoming/papers_final", "when": {"decision": ["final"]}, "undated": []}, {"status": "upcoming/decisions_announced", "when": {"decision": ["announced"]}, "undated": []}, {"status": "upcoming/under_review", "when": {"submission": ["closed"]}, "undated": []}, {"status": "upcoming/submission_not_started", "when": {"submission": ["not_started"]}, "undated": []}, {"status": "upcoming/announced", "when": {}, "undated": []}]}', 'built-in', 1, 1777622400000000);
INSERT INTO lifecycle VALUES ('cf626fc83fc1db46413aa19d9a4351b8', 'campus_event', '{"name": "campus_event", "title": "Campus event", "description": "A workshop, race or talk that people register for, attend, and receive a certificate of.", "zone": null, "catch_up": {}, "tracks": {"registration": {"before": "not_started", "undated": "not_required"}, "event": {"before": "scheduled", "undated": ""}, "certificate": {"before": "unavailable", "undated": ""}}, "milestones": [{"name": "registration_open", "side": "opening", "field": "registration_start_date", "track": "registration", "state": "open", "title": "Registration opens", "implied": true}, {"name": "registration_close", "side": "closing", "field": "registration_end_date", "track": "registration", "state": "closed", "title": "Registration closes"}, {"name": "event_start", "side": "opening", "field": "start_datetime", "track": "event", "state": "started", "title": "Event starts"}, {"name": "event_end", "side": "closing", "field": "end_datetime", "track": "event", "state": "ended", "title": "Event ends"}, {"name": "certificate_start", "side": "opening", "field": "certificate_start_date", "track": "certificate", "state": "available", "default": "event_end", "default_if": "certificate_end", "title": "Certificates become available"}, {"name": "certificate_end", "side": "closing", "field": "certificate_end_date", "track": "certificate", "state": "expired", "title": "Certificates expire"}], "headline": [{"status": "draft/draft", "when": {}, "undated": ["event_start", "event_end"]}, {"status": "ongoing/certificate_available", "when": {"event": ["ended"], "certificate": ["available"]}, "undated": []}, {"status": "completed/event_ended", "when": {"event": ["ended"]}, "undated": []}, {"status": "ongoing/event_started", "when": {"event": ["started"]}, "undated": []}, {"status": "upcoming/registration_closed", "when": {"registration": ["closed"]}, "undated": []}, {"status": "upcoming/registration_open", "when": {"registration": ["open"]}, "undated": []}, {"status": "upcoming/registration_not_started", "when": {"registration": ["not_started"]}, "undated": []}, {"status": "upcoming/registration_not_required", "when": {"registration": ["not_required"]}, "undated": []}]}', 'built-in', 1, 1777622400000000);
INSERT INTO lifecycle VALUES ('e723db2a3522d8b42995ed56c9546d49', 'contest', '{"name": "contest", "title": "Contest", "description": "A contest with registration, a scoreboard that may freeze before the end, results, and upsolving.", "zone": null, "catch_up": {}, "tracks": {"registration": {"before": "not_started", "undated": "not_required"}, "contest": {"before": "scheduled", "undated": ""}, "scoreboard": {"before": "live", "undated": ""}, "upsolving": {"before": "not_started", "undated": "not_offered"}}, "milestones": [{"name": "registration_open", "side": "opening", "track": "registration", "state": "open", "title": "Registration opens", "implied": true, "catch_up": {"policy": "current"}}, {"name": "registration_close", "side": "closing", "track": "registration", "state": "closed", "title": "Registration closes", "catch_up": {"policy": "all"}}, {"name": "start_reminder", "side": "opening", "default": "contest_start - 1 hour", "until": "contest_start", "title": "Contest starts within the hour", "catch_up": {"policy": "current", "window_hours": "unlimited"}}, {"name": "contest_start", "side": "opening", "track": "contest", "state": "running", "title": "Contest starts", "catch_up": {"policy": "current"}}, {"name": "scoreboard_freeze", "side": "opening", "track": "scoreboard", "state": "frozen", "default": "contest_end - 1 hour", "default_if": "scoreboard_thaw", "title": "Scoreboard freezes", "catch_up": {"policy": "current"}}, {"name": "contest_end", "side": "closing", "track": "contest", "state": "ended", "title": "Contest ends", "catch_up": {"policy": "all"}}, {"name": "scoreboard_thaw", "side": "opening", "track": "scoreboard", "state": "revealed", "title": "Scoreboard thaws", "catch_up": {"policy": "all", "window_hours": 168.0}}, {"name": "upsolving_open", "side": "opening", "track": "upsolving", "state": "open", "default": "contest_end", "default_if": "upsolving_close", "title": "Upsolving opens", "catch_up": {"policy": "current"}}, {"name": "results_final", "side": "opening", "track": "scoreboard", "state": "final", "title": "Results are final", "manual": true, "catch_up": {"policy": "all", "window_hours": 168.0}}, {"name": "upsolving_close", "side": "closing", "track": "upsolving", "state": "closed", "title": "Upsolving closes", "catch_up": {"policy": "all"}}], "headline": [{"status": "draft/draft", "when": {}, "undated": ["contest_start", "contest_end"]}, {"status": "completed/results_final", "when": {"contest": ["ended"], "scoreboard": ["final"]}, "undated": []}, {"status": "completed/results_revealed", "when": {"contest": ["ended"], "scoreboard": ["revealed"]}, "undated": []}, {"status": "completed/results_pending", "when": {"contest": ["ended"], "scoreboard": ["frozen"]}, "undated": []}, {"status": "completed/contest_ended", "when": {"contest": ["ended"]}, "undated": []}, {"status": "ongoing/scoreboard_frozen", "when": {"contest": ["running"], "scoreboard": ["frozen"]}, "undated": []}, {"status": "ongoing/contest_started", "when": {"contest": ["running"]}, "undated": []}, {"status": "upcoming/registration_closed", "when": {"registration": ["closed"]}, "undated": []}, {"status": "upcoming/registration_open", "when": {"registration": ["open"]}, "undated": []}, {"status": "upcoming/registration_not_started", "when": {"registration": ["not_started"]}, "undated": []}, {"status": "upcoming/registration_not_required", "when": {"registration": ["not_required"]}, "undated": []}]}', 'built-in', 1, 1777622400000000);
INSERT INTO event VALUES ('ARRCOSTU2025', 'Autonomous Robotics Race', 'campus_event', 'cf626fc83fc1db46413aa19d9a4351b8', 'Europe/Berlin', 'active', 1, '{"registration_open":1777626000000000,"registration_close":1777633200000000,"event_start":1777708800000000,"event_end":1777737600000000}', '{"registration_open":[1,1777626000000000],"registration_close":[1,1777633200000000]}', 'upcoming/registration_closed', 3, X'999ef9828bd7673829bcc48c50912719f749687923d01bedf4cf91a891f9f1e0', 1777708800000000, 2, NULL, 0, -2208988800000000, 1777636800000000, '2025b', '{"registration_open":"2026-05-01 11:00","registration_close":"2026-05-01 13:00","event_start":"2026-05-02 10:00","event_end":"2026-05-02 18:00"}', '{"tags":["race"],"room":"Halle 7 – Nürnberg"}');
INSERT INTO event VALUES ('cancelled', '', 'campus_event', 'cf626fc83fc1db46413aa19d9a4351b8', NULL, 'cancelled', 2, '{"event_start":1777629600000000,"event_end":1777633200000000}', '{}', 'cancelled/cancelled', 2, X'33c39f6e69f07c876bb25d28c1075b954429c6e357cbe6f40bf321951d54d8cd', NULL, 0, NULL, 0, -2208988800000000, 1777622400000000, '2025b', '{"event_start":"2026-05-01T10:00:00Z","event_end":"2026-05-01T11:00:00Z"}', '{}');
INSERT INTO event VALUES ('removed', '', 'campus_event', 'cf626fc83fc1db46413aa19d9a4351b8', NULL, 'active', 1, '{}', '{}', 'removed/removed', 2, X'8ab1934caa0ceedae07e4bcd219eef85c170f1fca54818165078a527475fe1d5', NULL, 0, NULL, 1, -2208988800000000, 1777622400000000, '2025b', '{}', '{}');
INSERT INTO event VALUES ('moved', '', 'campus_event', 'cf626fc83fc1db46413aa19d9a4351b8', NULL, 'active', 2, '{"event_start":1777640400000000,"event_end":1777730400000000}', '{"event_start":[2,null]}', 'upcoming/registration_not_required', 4, X'c5da22cacf31de501a072df6b1b44d65ecc5a79e2690033e12a0ff8e80bfb621', 1777640400000000, 2, NULL, 0, -2208988800000000, 1777626000000000, '2025b', '{"event_start":"2026-05-01T13:00:00Z","event_end":"2026-05-02T14:00:00Z"}', '{}');
INSERT INTO event VALUES ('pending', '', 'campus_event', 'cf626fc83fc1db46413aa19d9a4351b8', NULL, 'pending_approval', 1, '{"event_start":1777626000000000,"event_end":1777730400000000}', '{}', 'pending_approval/pending_approval', 1, X'fff3ce1b2ba5e84eb3088b719b207b3c978aa466536af8ade89e1407609c76a7', NULL, 0, NULL, 0, -2208988800000000, 1777622400000000, '2025b', '{"event_start":"2026-05-01T09:00:00Z","event_end":"2026-05-02T14:00:00Z"}', '{}');
INSERT INTO event VALUES ('broken', '', 'campus_event', 'cf626fc83fc1db46413aa19d9a4351b8', NULL, 'active', 1, 'nonsense', '{"event_start":[1,1777626000000000]}', 'ongoing/event_started', 3, X'24cf0deddac56f2e7d540399c33fcd17b8bd0127223429ea90b6c4035e1a8d45', 1777640400000000, 1, 'JSONDecodeError: Expecting value: line 1 column 1 (char 0)', 0, -2208988800000000, 1777636800000000, '2025b', '{"event_start":"2026-05-01T09:00:00Z","event_end":"2026-05-02T14:00:00Z"}', '{}');
INSERT INTO history VALUES (1, 'ARRCOSTU2025', 1, 'created', NULL, NULL, NULL, 1777622400000000, '', 'upcoming/registration_not_started', NULL, NULL, NULL, '{"dates": {"registration_open": 1777626000000000, "registration_close": 1777633200000000, "event_start": 1777708800000000, "event_end": 1777737600000000}}', NULL, NULL, X'e18464de46ca061567cbe53bf5f1cfae15cfd8fe43d2335726177111dd629ed7');
INSERT INTO history VALUES (2, 'cancelled', 1, 'created', NULL, NULL, NULL, 1777622400000000, '', 'upcoming/registration_not_required', NULL, NULL, NULL, '{"dates": {"event_start": 1777629600000000, "event_end": 1777633200000000}}', NULL, NULL, X'e1dbd8cc8f3aaad08a01fe394868d75b4273def73b505f466109af808a8dabf3');
INSERT INTO history VALUES (3, 'removed', 1, 'created', NULL, NULL, NULL, 1777622400000000, '', 'upcoming/registration_not_required', NULL, NULL, NULL, '{"dates": {"event_start": 1777629600000000, "event_end": 1777633200000000}}', NULL, NULL, X'd63d49722d3f0010b9b383b83323d91f13ee6a942c04e1cf78705126d6eff80b');
INSERT INTO history VALUES (4, 'moved', 1, 'created', NULL, NULL, NULL, 1777622400000000, '', 'upcoming/registration_not_required', NULL, NULL, NULL, '{"dates": {"event_start": 1777626000000000, "event_end": 1777730400000000}}', NULL, NULL, X'2b5ac8fa006f8a672958eaea6ff3b0ede2deee8b6f9b9d27863102cec68c1402');
INSERT INTO history VALUES (5, 'pending', 1, 'created', NULL, NULL, NULL, 1777622400000000, '', 'pending_approval/pending_approval', NULL, NULL, NULL, '{"dates": {"event_start": 1777626000000000, "event_end": 1777730400000000}}', NULL, NULL, X'fff3ce1b2ba5e84eb3088b719b207b3c978aa466536af8ade89e1407609c76a7');
INSERT INTO history VALUES (6, 'broken', 1, 'created', NULL, NULL, NULL, 1777622400000000, '', 'upcoming/registration_not_required', NULL, NULL, NULL, '{"dates": {"event_start": 1777626000000000, "event_end": 1777730400000000}}', NULL, NULL, X'ba09471ae580776a81c5c3f26ad0f222ef8807700aab755a5742e3e061a2b3a3');
INSERT INTO history VALUES (7, 'cancelled', 2, 'held', NULL, NULL, NULL, 1777622400000000, 'upcoming/registration_not_required', 'cancelled/cancelled', NULL, NULL, NULL, '{"hold": ["active", "cancelled"]}', NULL, NULL, X'33c39f6e69f07c876bb25d28c1075b954429c6e357cbe6f40bf321951d54d8cd');
INSERT INTO history VALUES (8, 'removed', 2, 'removed', NULL, NULL, NULL, 1777622400000000, 'upcoming/registration_not_required', 'removed/removed', NULL, NULL, NULL, NULL, NULL, NULL, X'8ab1934caa0ceedae07e4bcd219eef85c170f1fca54818165078a527475fe1d5');
INSERT INTO history VALUES (9, 'ARRCOSTU2025', 2, 'fired', 'registration_open', 1, 1777626000000000, 1777626000000000, 'upcoming/registration_not_started', 'upcoming/registration_open', 'scheduled', NULL, NULL, NULL, 'node-a', NULL, X'7300866481b9cde526338774781fdde5ec576feaba1b015dc0ea0146f29cce56');
INSERT INTO history VALUES (10, 'broken', 2, 'fired', 'event_start', 1, 1777626000000000, 1777626000000000, 'upcoming/registration_not_required', 'ongoing/event_started', 'scheduled', NULL, NULL, NULL, 'node-a', NULL, X'e1a593d25c59a3b21a4719223aed9bcf318512838b6fe9b47dc23623629146bb');
INSERT INTO history VALUES (11, 'moved', 2, 'fired', 'event_start', 1, 1777626000000000, 1777626000000000, 'upcoming/registration_not_required', 'ongoing/event_started', 'scheduled', NULL, NULL, NULL, 'node-a', NULL, X'7d21471c1f4db26174e48d770bfc133b20993f4c517d1ead87da3c4f92efd823');
INSERT INTO history VALUES (12, 'moved', 3, 'edited', NULL, NULL, NULL, 1777626000000000, 'ongoing/event_started', 'ongoing/event_started', NULL, NULL, NULL, '{"dates": {"event_start": [1777626000000000, 1777640400000000]}}', NULL, NULL, X'0d9553aa86f3153b2a65ce456dbde5dc4c2d2c185a7abda60cb5a80093578f6a');
INSERT INTO history VALUES (13, 'moved', 4, 'revoked', 'event_start', 1, 1777626000000000, 1777626000000000, 'ongoing/event_started', 'upcoming/registration_not_required', NULL, NULL, NULL, NULL, NULL, NULL, X'c5da22cacf31de501a072df6b1b44d65ecc5a79e2690033e12a0ff8e80bfb621');
INSERT INTO history VALUES (14, 'broken', 3, 'set_aside', NULL, NULL, NULL, 1777636800000000, 'ongoing/event_started', 'ongoing/event_started', NULL, NULL, 'JSONDecodeError: Expecting value: line 1 column 1 (char 0)', NULL, 'node-a', NULL, X'24cf0deddac56f2e7d540399c33fcd17b8bd0127223429ea90b6c4035e1a8d45');
INSERT INTO history VALUES (15, 'ARRCOSTU2025', 3, 'fired', 'registration_close', 1, 1777633200000000, 1777636800000000, 'upcoming/registration_open', 'upcoming/registration_closed', 'caught_up', NULL, NULL, NULL, 'node-a', 1, X'999ef9828bd7673829bcc48c50912719f749687923d01bedf4cf91a891f9f1e0');
INSERT INTO node VALUES ('node-a', 1, 'host', 1, 1777622400000000, 1777626000000000, 1777626000000000);
INSERT INTO node VALUES ('node-b', 1, 'host', 2, 1777636800000000, 1777636800000000, NULL);
INSERT INTO outage VALUES (1, 1777626000000000, 1777636800000000, 'node-b', 1777636800000000, 2, 1, 1, 0);
