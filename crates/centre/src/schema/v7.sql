-- Licences of a cluster: up to so many servers hold one key, each with a licence of its own. A code
-- then activates more than once, so the rules that a key and a code are in one place are kept by the
-- decisions; what stays here is that one server has a key once, and a key outside a cluster one server.

ALTER TABLE series_settings ADD COLUMN cluster_nodes INTEGER NOT NULL DEFAULT 0;

-- How many servers of a cluster may have a key of the order; nothing for the series' number.
ALTER TABLE orders ADD COLUMN cluster_nodes INTEGER;

-- A constraint cannot be taken away, so the tables are made anew; those that name activations with
-- them, because a table that others name cannot be dropped.
CREATE TABLE activations_v7 (
    activation_no  INTEGER PRIMARY KEY,
    activation_id  TEXT NOT NULL UNIQUE,
    key_no         INTEGER NOT NULL REFERENCES codes (key_no),
    -- The activation code, a reserve code or a spare code. Outside a cluster each activates once.
    code           TEXT NOT NULL,
    -- The cluster that the server is a node of, 32 hex digits; nothing for a licence of one server.
    cluster        TEXT,
    activated      INTEGER NOT NULL,
    -- What the licence is bound to: the key of a server (Ed25519), or of a token (a point on P-256).
    holder         BLOB NOT NULL CHECK (length(holder) IN (32, 65)),
    -- The server that asked; the holder itself unless that is a token.
    server         BLOB NOT NULL CHECK (length(server) = 32),
    computer_id    TEXT NOT NULL,
    server_version TEXT NOT NULL,
    itn            TEXT,
    iec            TEXT,
    licence        TEXT NOT NULL,
    -- When it ended, by whom and why. Only who gives a key back or has it released gets a code.
    returned       INTEGER,
    reserve_code   TEXT UNIQUE,
    ended_by       TEXT,
    return_reason  TEXT,
    return_note    TEXT,
    CHECK ((returned IS NULL) = (ended_by IS NULL)),
    CHECK (returned IS NOT NULL OR reserve_code IS NULL)
) STRICT;

INSERT INTO activations_v7 (activation_no, activation_id, key_no, code, activated, holder, server,
    computer_id, server_version, itn, iec, licence, returned, reserve_code, ended_by, return_reason,
    return_note)
SELECT activation_no, activation_id, key_no, code, activated, holder, server, computer_id,
    server_version, itn, iec, licence, returned, reserve_code, ended_by, return_reason, return_note
FROM activations;

CREATE TABLE spare_codes_v7 (
    code          TEXT PRIMARY KEY,
    key_no        INTEGER NOT NULL REFERENCES codes (key_no),
    activation_id TEXT NOT NULL REFERENCES activations_v7 (activation_id),
    drawn         INTEGER NOT NULL,
    spent         INTEGER,
    void          INTEGER
) STRICT;

INSERT INTO spare_codes_v7 (code, key_no, activation_id, drawn, spent, void)
SELECT code, key_no, activation_id, drawn, spent, void FROM spare_codes;

DROP TABLE spare_codes;

CREATE TABLE unsigned_v7 (
    unsigned_id   INTEGER PRIMARY KEY AUTOINCREMENT,
    kind          TEXT NOT NULL CHECK (kind IN ('licence', 'receipt', 'short')),
    series        TEXT NOT NULL,
    activation_id TEXT NOT NULL REFERENCES activations_v7 (activation_id),
    claims        TEXT NOT NULL,
    -- The X25519 key for which the object key of the series shall be wrapped.
    enc           BLOB CHECK (length(enc) = 32),
    created       INTEGER NOT NULL,
    document      TEXT,
    signed        INTEGER,
    CHECK ((document IS NULL) = (signed IS NULL))
) STRICT;

INSERT INTO unsigned_v7 (unsigned_id, kind, series, activation_id, claims, enc, created, document,
    signed)
SELECT unsigned_id, kind, series, activation_id, claims, enc, created, document, signed
FROM unsigned;

-- A number that was dropped must not be given again: who signs it would sign another draft.
DELETE FROM sqlite_sequence WHERE name = 'unsigned_v7';

INSERT INTO sqlite_sequence (name, seq)
SELECT 'unsigned_v7', seq FROM sqlite_sequence WHERE name = 'unsigned';

DROP TABLE unsigned;

DROP TABLE activations;

ALTER TABLE activations_v7 RENAME TO activations;

ALTER TABLE spare_codes_v7 RENAME TO spare_codes;

ALTER TABLE unsigned_v7 RENAME TO unsigned;

CREATE INDEX activations_by_key ON activations (key_no, activation_no);

CREATE INDEX activations_by_code ON activations (code);

CREATE INDEX activations_by_holder ON activations (holder);

CREATE INDEX activations_by_server ON activations (server);

CREATE INDEX activations_by_computer ON activations (computer_id);

-- The rule that a server, or a token, has a key once.
CREATE UNIQUE INDEX activations_current ON activations (key_no, holder) WHERE returned IS NULL;

-- The rule that a key outside a cluster is in one place at a time.
CREATE UNIQUE INDEX activations_alone ON activations (key_no)
    WHERE returned IS NULL AND cluster IS NULL;

CREATE INDEX spare_codes_by_key ON spare_codes (key_no);

CREATE UNIQUE INDEX spare_codes_living ON spare_codes (activation_id)
    WHERE spent IS NULL AND void IS NULL;

-- One draft of a kind at a time.
CREATE UNIQUE INDEX unsigned_open ON unsigned (activation_id, kind) WHERE document IS NULL;

CREATE INDEX unsigned_by_activation ON unsigned (activation_id, kind, unsigned_id);
