-- A key may be given back and installed again with a reserve code, so a key has several
-- activations, one after another; at most one of them is current.

CREATE TABLE demos_v2 (
    series      TEXT NOT NULL,
    computer_id TEXT NOT NULL,
    key_no      INTEGER NOT NULL REFERENCES codes (key_no),
    PRIMARY KEY (series, computer_id)
) STRICT, WITHOUT ROWID;

INSERT INTO demos_v2 (series, computer_id, key_no) SELECT series, computer_id, key_no FROM demos;

-- Before the activations: the old table refers to them.
DROP TABLE demos;

ALTER TABLE demos_v2 RENAME TO demos;

CREATE TABLE activations_v2 (
    activation_no  INTEGER PRIMARY KEY,
    activation_id  TEXT NOT NULL UNIQUE,
    key_no         INTEGER NOT NULL REFERENCES codes (key_no),
    -- The activation code or a reserve code; each of them activates once.
    code           TEXT NOT NULL UNIQUE,
    activated      INTEGER NOT NULL,
    holder         BLOB NOT NULL CHECK (length(holder) = 32),
    computer_id    TEXT NOT NULL,
    server_version TEXT NOT NULL,
    itn            TEXT,
    iec            TEXT,
    licence        TEXT NOT NULL,
    returned       INTEGER,
    reserve_code   TEXT UNIQUE,
    return_note    TEXT,
    CHECK ((returned IS NULL) = (reserve_code IS NULL))
) STRICT;

INSERT INTO activations_v2 (activation_id, key_no, code, activated, holder, computer_id,
    server_version, itn, iec, licence)
SELECT activation_id, key_no, code, activated, holder, computer_id, server_version, itn, iec,
    licence
FROM activations JOIN codes USING (key_no) ORDER BY activated;

DROP TABLE activations;

ALTER TABLE activations_v2 RENAME TO activations;

CREATE INDEX activations_by_key ON activations (key_no, activation_no);

CREATE INDEX activations_by_holder ON activations (holder);

-- The rule that a key is in one place at a time.
CREATE UNIQUE INDEX activations_current ON activations (key_no) WHERE returned IS NULL;

ALTER TABLE orders ADD COLUMN product_version_name TEXT;
ALTER TABLE orders ADD COLUMN support_date INTEGER;
ALTER TABLE orders ADD COLUMN support_period INTEGER;
ALTER TABLE orders ADD COLUMN industry_support_date INTEGER;
ALTER TABLE orders ADD COLUMN industry_support_period INTEGER;
