-- A store as the drop-in wrote it before there was an outbox: at commit f0f7fa3, schema version 1. Never to be changed.
-- `save_status` had refused A (twice due), GONE (removed since), PAUSED (cancelled since) and HALF; then MOVED was put off
-- and LATE created by another process; and after a second recovery (LATER, and the end of HALF) nobody was told yet.
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
INSERT INTO meta VALUES ('dynamic_event_scheduler', '{"cursor": 17, "owed": {"A": [8, 14], "GONE": [9], "PAUSED": [10], "HALF": [13]}, "recovery": {"outage": 1, "at_us": 1756329300000000, "detected": 8, "successful": 3, "set_aside": 0, "unsaved": 5, "outside_window": 0, "until": 15, "done": true}}');
INSERT INTO lifecycle VALUES ('cf626fc83fc1db46413aa19d9a4351b8', 'campus_event', '{"name": "campus_event", "title": "Campus event", "description": "A workshop, race or talk that people register for, attend, and receive a certificate of.", "zone": null, "catch_up": {}, "tracks": {"registration": {"before": "not_started", "undated": "not_required"}, "event": {"before": "scheduled", "undated": ""}, "certificate": {"before": "unavailable", "undated": ""}}, "milestones": [{"name": "registration_open", "side": "opening", "field": "registration_start_date", "track": "registration", "state": "open", "title": "Registration opens", "implied": true}, {"name": "registration_close", "side": "closing", "field": "registration_end_date", "track": "registration", "state": "closed", "title": "Registration closes"}, {"name": "event_start", "side": "opening", "field": "start_datetime", "track": "event", "state": "started", "title": "Event starts"}, {"name": "event_end", "side": "closing", "field": "end_datetime", "track": "event", "state": "ended", "title": "Event ends"}, {"name": "certificate_start", "side": "opening", "field": "certificate_start_date", "track": "certificate", "state": "available", "default": "event_end", "default_if": "certificate_end", "title": "Certificates become available"}, {"name": "certificate_end", "side": "closing", "field": "certificate_end_date", "track": "certificate", "state": "expired", "title": "Certificates expire"}], "headline": [{"status": "draft/draft", "when": {}, "undated": ["event_start", "event_end"]}, {"status": "ongoing/certificate_available", "when": {"event": ["ended"], "certificate": ["available"]}, "undated": []}, {"status": "completed/event_ended", "when": {"event": ["ended"]}, "undated": []}, {"status": "ongoing/event_started", "when": {"event": ["started"]}, "undated": []}, {"status": "upcoming/registration_closed", "when": {"registration": ["closed"]}, "undated": []}, {"status": "upcoming/registration_open", "when": {"registration": ["open"]}, "undated": []}, {"status": "upcoming/registration_not_started", "when": {"registration": ["not_started"]}, "undated": []}, {"status": "upcoming/registration_not_required", "when": {"registration": ["not_required"]}, "undated": []}]}', 'built-in', 1, 1756321200000000);
INSERT INTO event VALUES ('A', 'A', 'campus_event', 'cf626fc83fc1db46413aa19d9a4351b8', 'UTC', 'active', 1, '{"event_start":1756324800000000,"event_end":1756326600000000}', '{"event_start":[1,1756324800000000],"event_end":[1,1756326600000000]}', 'completed/event_ended', 3, X'21E1768DDCEEF71AEF8A9CBF1A6708FAA8CD9B2C71782397658344F2BE2BA231', NULL, 0, NULL, 0, 1756321200000000, 1756329300000000, '2025b', '{"event_start":"2025-08-27 20:00","event_end":"2025-08-27 20:30"}', '{}');
INSERT INTO event VALUES ('B', 'B', 'campus_event', 'cf626fc83fc1db46413aa19d9a4351b8', 'UTC', 'active', 1, '{"event_start":1756325400000000,"event_end":1756326000000000}', '{"event_start":[1,1756325400000000],"event_end":[1,1756326000000000]}', 'completed/event_ended', 3, X'810774189F3933076B8312E63B7E199E111198636342CF62C216BFBF47FCEEAA', NULL, 0, NULL, 0, 1756321200000000, 1756329300000000, '2025b', '{"event_start":"2025-08-27 20:10","event_end":"2025-08-27 20:20"}', '{}');
INSERT INTO event VALUES ('GONE', 'GONE', 'campus_event', 'cf626fc83fc1db46413aa19d9a4351b8', 'UTC', 'active', 1, '{}', '{"event_start":[1,1756325100000000]}', 'removed/removed', 3, X'D734BEDAD2C0BB00C1767A10DB2C268620D5ED97AE45F179171E2EFF3B08D217', NULL, 0, NULL, 1, 1756321200000000, 1756329300000000, '2025b', '{}', '{}');
INSERT INTO event VALUES ('PAUSED', 'PAUSED', 'campus_event', 'cf626fc83fc1db46413aa19d9a4351b8', 'UTC', 'cancelled', 2, '{"event_start":1756325160000000,"event_end":1764633600000000}', '{"event_start":[1,1756325160000000]}', 'cancelled/cancelled', 3, X'D668830D741DE0000411692273AD7D55F679FCCB506AEB0CBA14D146F999F240', NULL, 0, NULL, 0, 1756321200000000, 1756329300000000, '2025b', '{"event_start":"2025-08-27 20:06","event_end":"2025-12-01"}', '{}');
INSERT INTO event VALUES ('MOVED', 'MOVED', 'campus_event', 'cf626fc83fc1db46413aa19d9a4351b8', 'UTC', 'active', 2, '{"event_start":1756371600000000,"event_end":1764633600000000}', '{"event_start":[2,null]}', 'upcoming/registration_not_required', 4, X'2A723607C25C296E3367CC31ACDF083FA3249519310F5B00C8F3480F15462798', 1756371600000000, 2, NULL, 0, 1756321200000000, 1756329300000000, '2025b', '{"event_start":"2025-08-28 09:00","event_end":"2025-12-01"}', '{}');
INSERT INTO event VALUES ('LATER', 'LATER', 'campus_event', 'cf626fc83fc1db46413aa19d9a4351b8', 'UTC', 'active', 1, '{"event_start":1756329600000000,"event_end":1764633600000000}', '{"event_start":[1,1756329600000000]}', 'ongoing/event_started', 2, X'A0C8A72E0C86C0012F86B329EC31598B556D4DCAE60994ED631871DD6880395A', 1764633600000000, 1, NULL, 0, 1756321200000000, 1756332000000000, '2025b', '{"event_start":"2025-08-27 21:20","event_end":"2025-12-01"}', '{}');
INSERT INTO event VALUES ('HALF', 'HALF', 'campus_event', 'cf626fc83fc1db46413aa19d9a4351b8', 'UTC', 'active', 1, '{"event_start":1756326300000000,"event_end":1756331700000000}', '{"event_start":[1,1756326300000000],"event_end":[1,1756331700000000]}', 'completed/event_ended', 3, X'DA7B40CC275D5BA68095C42AA011216D4E0B42EDE5209B7D3B11855FFF386025', NULL, 0, NULL, 0, 1756321200000000, 1756332000000000, '2025b', '{"event_start":"2025-08-27 20:25","event_end":"2025-08-27 21:55"}', '{}');
INSERT INTO event VALUES ('LATE', 'LATE', 'campus_event', 'cf626fc83fc1db46413aa19d9a4351b8', 'UTC', 'active', 1, '{"event_start":1756324800000000,"event_end":1764633600000000}', '{"event_start":[1,1756324800000000]}', 'ongoing/event_started', 2, X'6461351712BED9A5624F90BC70A7AE5F2B1140E08F09C5A23BEAC8DB8B0CF30C', 1764633600000000, 1, NULL, 0, 1756329300000000, 1756329300000000, '2025b', '{"event_start":"2025-08-27 20:00","event_end":"2025-12-01"}', '{}');
INSERT INTO history VALUES (1, 'A', 1, 'created', NULL, NULL, NULL, 1756321200000000, '', 'upcoming/registration_not_required', NULL, NULL, NULL, '{"dates": {"event_start": 1756324800000000, "event_end": 1756326600000000}}', 'node-1', NULL, X'D17BFD4DCF3B46D9DA9FFB3ACE57133723D50EB81B9DD72D54E76D9BA3FA9EBB');
INSERT INTO history VALUES (2, 'B', 1, 'created', NULL, NULL, NULL, 1756321200000000, '', 'upcoming/registration_not_required', NULL, NULL, NULL, '{"dates": {"event_start": 1756325400000000, "event_end": 1756326000000000}}', 'node-1', NULL, X'6B9BC081A408CCABC7D5D540C3AD1766454A7800CD49BC98B4983C4C3B2E832A');
INSERT INTO history VALUES (3, 'GONE', 1, 'created', NULL, NULL, NULL, 1756321200000000, '', 'upcoming/registration_not_required', NULL, NULL, NULL, '{"dates": {"event_start": 1756325100000000, "event_end": 1764633600000000}}', 'node-1', NULL, X'6F63EF782813FA5EB528236FAEC06CC0177638A7B63C0765F2966880D8B79364');
INSERT INTO history VALUES (4, 'PAUSED', 1, 'created', NULL, NULL, NULL, 1756321200000000, '', 'upcoming/registration_not_required', NULL, NULL, NULL, '{"dates": {"event_start": 1756325160000000, "event_end": 1764633600000000}}', 'node-1', NULL, X'CEB730BD45EB4AB0D1E29D3DFA63B6916D48B03F1719FBEBA1836C6EB2DA532F');
INSERT INTO history VALUES (5, 'MOVED', 1, 'created', NULL, NULL, NULL, 1756321200000000, '', 'upcoming/registration_not_required', NULL, NULL, NULL, '{"dates": {"event_start": 1756327200000000, "event_end": 1764633600000000}}', 'node-1', NULL, X'54AADC7DE3842EC169BD5C5A3B7AA32F9D1B6670A0EB6BD279227AC5B778C4D1');
INSERT INTO history VALUES (6, 'LATER', 1, 'created', NULL, NULL, NULL, 1756321200000000, '', 'upcoming/registration_not_required', NULL, NULL, NULL, '{"dates": {"event_start": 1756329600000000, "event_end": 1764633600000000}}', 'node-1', NULL, X'6CE8B406BC9E80C6C1CB33A7A2C0612DA28A753179D306B5C5B9777802BA439A');
INSERT INTO history VALUES (7, 'HALF', 1, 'created', NULL, NULL, NULL, 1756321200000000, '', 'upcoming/registration_not_required', NULL, NULL, NULL, '{"dates": {"event_start": 1756326300000000, "event_end": 1756331700000000}}', 'node-1', NULL, X'605202D34310836F27A4CA8B6AEE1D6DFD299B75698CF42A28A18E8CC9249D09');
INSERT INTO history VALUES (8, 'A', 2, 'fired', 'event_start', 1, 1756324800000000, 1756329300000000, 'upcoming/registration_not_required', 'ongoing/event_started', 'caught_up', NULL, NULL, NULL, 'node-2', 1, X'CA762FEC79E6A220E36EB84ED0FFD3F36D282F0213A4CAC6070A7D82134056AE');
INSERT INTO history VALUES (9, 'GONE', 2, 'fired', 'event_start', 1, 1756325100000000, 1756329300000000, 'upcoming/registration_not_required', 'ongoing/event_started', 'caught_up', NULL, NULL, NULL, 'node-2', 1, X'0072EF9991F90DF9F034753C53C34EB4861C1F1252542106CB57CED27589C0D8');
INSERT INTO history VALUES (10, 'PAUSED', 2, 'fired', 'event_start', 1, 1756325160000000, 1756329300000000, 'upcoming/registration_not_required', 'ongoing/event_started', 'caught_up', NULL, NULL, NULL, 'node-2', 1, X'3B9C36ED2C2E42AA623F7A82788C5981484C18B0146344D6BAC023852681FE1B');
INSERT INTO history VALUES (11, 'B', 2, 'fired', 'event_start', 1, 1756325400000000, 1756329300000000, 'upcoming/registration_not_required', 'ongoing/event_started', 'caught_up', NULL, NULL, NULL, 'node-2', 1, X'49AE8D9F7018FF822A362D05B9FAFF4F0A405C845B53AA9C73FFC810A15493D2');
INSERT INTO history VALUES (12, 'B', 3, 'fired', 'event_end', 1, 1756326000000000, 1756329300000000, 'ongoing/event_started', 'completed/event_ended', 'caught_up', NULL, NULL, NULL, 'node-2', 1, X'810774189F3933076B8312E63B7E199E111198636342CF62C216BFBF47FCEEAA');
INSERT INTO history VALUES (13, 'HALF', 2, 'fired', 'event_start', 1, 1756326300000000, 1756329300000000, 'upcoming/registration_not_required', 'ongoing/event_started', 'caught_up', NULL, NULL, NULL, 'node-2', 1, X'8EA0E1F424FD23BF5F33A0961D050154D8B555978290EC8BFFF7EF1D2022FC5E');
INSERT INTO history VALUES (14, 'A', 3, 'fired', 'event_end', 1, 1756326600000000, 1756329300000000, 'ongoing/event_started', 'completed/event_ended', 'caught_up', NULL, NULL, NULL, 'node-2', 1, X'21E1768DDCEEF71AEF8A9CBF1A6708FAA8CD9B2C71782397658344F2BE2BA231');
INSERT INTO history VALUES (15, 'MOVED', 2, 'fired', 'event_start', 1, 1756327200000000, 1756329300000000, 'upcoming/registration_not_required', 'ongoing/event_started', 'caught_up', NULL, NULL, NULL, 'node-2', 1, X'A81C07AD546E884B47DEB4289A82816C888AD150408FAD83BEC00671A167C020');
INSERT INTO history VALUES (16, 'GONE', 3, 'removed', NULL, NULL, NULL, 1756329300000000, 'ongoing/event_started', 'removed/removed', NULL, NULL, NULL, NULL, 'node-2', NULL, X'D734BEDAD2C0BB00C1767A10DB2C268620D5ED97AE45F179171E2EFF3B08D217');
INSERT INTO history VALUES (17, 'PAUSED', 3, 'held', NULL, NULL, NULL, 1756329300000000, 'ongoing/event_started', 'cancelled/cancelled', NULL, NULL, NULL, '{"hold": ["active", "cancelled"]}', 'node-2', NULL, X'D668830D741DE0000411692273AD7D55F679FCCB506AEB0CBA14D146F999F240');
INSERT INTO history VALUES (18, 'MOVED', 3, 'edited', NULL, NULL, NULL, 1756329300000000, 'ongoing/event_started', 'ongoing/event_started', NULL, NULL, NULL, '{"dates": {"event_start": [1756327200000000, 1756371600000000]}}', NULL, NULL, X'87865FE29CE62AB9354E4C60938FBE97EC815B999772B90EC8B002435571FE34');
INSERT INTO history VALUES (19, 'MOVED', 4, 'revoked', 'event_start', 1, 1756327200000000, 1756329300000000, 'ongoing/event_started', 'upcoming/registration_not_required', NULL, NULL, NULL, NULL, NULL, NULL, X'2A723607C25C296E3367CC31ACDF083FA3249519310F5B00C8F3480F15462798');
INSERT INTO history VALUES (20, 'LATE', 1, 'created', NULL, NULL, NULL, 1756329300000000, '', 'upcoming/registration_not_required', NULL, NULL, NULL, '{"dates": {"event_start": 1756324800000000, "event_end": 1764633600000000}}', NULL, NULL, X'F351AC9C7997B90B380477D90A99F1B8333C31C405C9FE8204E911C01D1DD18A');
INSERT INTO history VALUES (21, 'LATE', 2, 'fired', 'event_start', 1, 1756324800000000, 1756329300000000, 'upcoming/registration_not_required', 'ongoing/event_started', 'born_late', NULL, NULL, NULL, NULL, NULL, X'6461351712BED9A5624F90BC70A7AE5F2B1140E08F09C5A23BEAC8DB8B0CF30C');
INSERT INTO history VALUES (22, 'LATER', 2, 'fired', 'event_start', 1, 1756329600000000, 1756332000000000, 'upcoming/registration_not_required', 'ongoing/event_started', 'caught_up', NULL, NULL, NULL, 'node-3', 2, X'A0C8A72E0C86C0012F86B329EC31598B556D4DCAE60994ED631871DD6880395A');
INSERT INTO history VALUES (23, 'HALF', 3, 'fired', 'event_end', 1, 1756331700000000, 1756332000000000, 'ongoing/event_started', 'completed/event_ended', 'caught_up', NULL, NULL, NULL, 'node-3', 2, X'DA7B40CC275D5BA68095C42AA011216D4E0B42EDE5209B7D3B11855FFF386025');
INSERT INTO node VALUES ('node-1', 1, 'host', 1, 1756321200000000, 1756321200000000, 1756321200000000);
INSERT INTO node VALUES ('node-2', 1, 'host', 1, 1756329300000000, 1756329300000000, 1756329300000000);
INSERT INTO node VALUES ('node-3', 1, 'host', 1, 1756332000000000, 1756332000000000, 1756332000000000);
INSERT INTO outage VALUES (1, 1756321200000000, 1756329300000000, 'node-2', 1756329300000000, 8, 8, 0, 0);
INSERT INTO outage VALUES (2, 1756329300000000, 1756332000000000, 'node-3', 1756332000000000, 2, 2, 0, 0);
