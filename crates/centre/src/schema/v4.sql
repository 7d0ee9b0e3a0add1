-- Customers, tokens, spare codes, servers and what is suspicious about them, settings of series,
-- an audit trail; licences may be bound to tokens.

CREATE TABLE customers (
    customer_id INTEGER PRIMARY KEY,
    created     INTEGER NOT NULL,
    name        TEXT NOT NULL,
    itn         TEXT,
    iec         TEXT,
    mail        TEXT,
    note        TEXT,
    -- Name, address and number in small letters, for the search.
    folded      TEXT NOT NULL
) STRICT;

ALTER TABLE orders ADD COLUMN customer_id INTEGER REFERENCES customers (customer_id);
-- How strictly the licences of the order are bound to a computer, JSON; nothing for the series'.
ALTER TABLE orders ADD COLUMN binding TEXT;
-- 1 for a demonstration key without a code, which nobody ordered.
ALTER TABLE orders ADD COLUMN offered INTEGER NOT NULL DEFAULT 0;

CREATE TABLE activations_v4 (
    activation_no  INTEGER PRIMARY KEY,
    activation_id  TEXT NOT NULL UNIQUE,
    key_no         INTEGER NOT NULL REFERENCES codes (key_no),
    -- The activation code, a reserve code or a spare code; each of them activates once.
    code           TEXT NOT NULL UNIQUE,
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

INSERT INTO activations_v4 (activation_no, activation_id, key_no, code, activated, holder, server,
    computer_id, server_version, itn, iec, licence, returned, reserve_code, ended_by, return_note)
SELECT activation_no, activation_id, key_no, code, activated, holder, holder, computer_id,
    server_version, itn, iec, licence, returned, reserve_code,
    CASE WHEN returned IS NULL THEN NULL ELSE 'server' END, return_note
FROM activations;

DROP TABLE activations;

ALTER TABLE activations_v4 RENAME TO activations;

CREATE INDEX activations_by_key ON activations (key_no, activation_no);

CREATE INDEX activations_by_holder ON activations (holder);

CREATE INDEX activations_by_server ON activations (server);

CREATE INDEX activations_by_computer ON activations (computer_id);

-- The rule that a key is in one place at a time.
CREATE UNIQUE INDEX activations_current ON activations (key_no) WHERE returned IS NULL;

-- Reserve codes that were drawn in advance. One of a key is worth something at a time: the one that
-- is neither spent nor void, as long as its activation is current.
CREATE TABLE spare_codes (
    code          TEXT PRIMARY KEY,
    key_no        INTEGER NOT NULL REFERENCES codes (key_no),
    activation_id TEXT NOT NULL REFERENCES activations (activation_id),
    drawn         INTEGER NOT NULL,
    spent         INTEGER,
    void          INTEGER
) STRICT;

CREATE INDEX spare_codes_by_key ON spare_codes (key_no);

CREATE UNIQUE INDEX spare_codes_living ON spare_codes (activation_id)
    WHERE spent IS NULL AND void IS NULL;

-- What the vendor has settled for a series; the defaults of the program where there is no row.
CREATE TABLE series_settings (
    series       TEXT PRIMARY KEY,
    demo_seats   INTEGER,
    demo_days    INTEGER,
    binding      TEXT,
    moves_max    INTEGER NOT NULL,
    self_release INTEGER NOT NULL
) STRICT;

-- Servers as they were last seen. `mark` was given last, `mark_before` is the one that the server
-- may still show because the answer with `mark` was lost.
CREATE TABLE holders (
    holder          BLOB PRIMARY KEY CHECK (length(holder) = 32),
    first_seen      INTEGER NOT NULL,
    last_seen       INTEGER NOT NULL,
    mark            TEXT,
    mark_before     TEXT,
    computer_id     TEXT NOT NULL,
    computer_before TEXT,
    server_version  TEXT NOT NULL,
    protection      TEXT,
    address         TEXT,
    blocked         INTEGER
) STRICT;

CREATE TABLE suspicions (
    suspicion_id   INTEGER PRIMARY KEY,
    holder         BLOB NOT NULL REFERENCES holders (holder),
    kind           TEXT NOT NULL,
    first_seen     INTEGER NOT NULL,
    last_seen      INTEGER NOT NULL,
    times          INTEGER NOT NULL,
    computer_id    TEXT NOT NULL,
    other_computer TEXT NOT NULL,
    address        TEXT,
    cleared        INTEGER
) STRICT;

-- One open suspicion of a kind for one server: what is seen again is counted.
CREATE UNIQUE INDEX suspicions_open ON suspicions (holder, kind) WHERE cleared IS NULL;

-- Tokens that licences may be bound to.
CREATE TABLE blanks (
    blank_id   INTEGER PRIMARY KEY,
    token      BLOB NOT NULL UNIQUE CHECK (length(token) = 65),
    name       TEXT,
    note       TEXT,
    attested   INTEGER NOT NULL,
    registered INTEGER NOT NULL,
    blocked    INTEGER
) STRICT;

-- Who has done what; never a whole code, never changed.
CREATE TABLE audit (
    audit_id INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    who      TEXT NOT NULL,
    role     TEXT NOT NULL,
    address  TEXT,
    action   TEXT NOT NULL,
    key_no   INTEGER,
    order_id INTEGER,
    detail   TEXT
) STRICT;

CREATE INDEX audit_by_key ON audit (key_no, audit_id);

CREATE INDEX audit_by_order ON audit (order_id, audit_id);
