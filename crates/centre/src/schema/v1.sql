-- Moments are milliseconds since 1970-01-01T00:00:00Z. Nothing is ever deleted: the books must
-- answer for every licence that was sold.

CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    next INTEGER NOT NULL
) STRICT;

-- Serial numbers of keys, unique within the centre, the series notwithstanding. The program that
-- makes the books puts the start of the centre's own block here.
INSERT INTO counters (name, next) VALUES ('key_no', 7000001);

CREATE TABLE orders (
    order_id        INTEGER PRIMARY KEY,
    created         INTEGER NOT NULL,
    revoked         INTEGER,
    series          TEXT NOT NULL,
    kind            INTEGER NOT NULL CHECK (kind IN (3, 4, 5)),
    seats           INTEGER NOT NULL CHECK (seats > 0),
    count           INTEGER NOT NULL CHECK (count > 0),
    period          INTEGER NOT NULL,
    start_date      INTEGER,
    expire_date     INTEGER,
    flags           INTEGER NOT NULL,
    product_version INTEGER NOT NULL,
    service_type    INTEGER NOT NULL,
    reg_no          INTEGER,
    article         TEXT,
    article_name    TEXT,
    itn             TEXT,
    iec             TEXT,
    note            TEXT
) STRICT;

CREATE TABLE codes (
    code     TEXT PRIMARY KEY,
    key_no   INTEGER NOT NULL UNIQUE,
    order_id INTEGER NOT NULL REFERENCES orders (order_id)
) STRICT;

CREATE INDEX codes_by_order ON codes (order_id, key_no);

CREATE TABLE activations (
    key_no         INTEGER PRIMARY KEY REFERENCES codes (key_no),
    activation_id  TEXT NOT NULL UNIQUE,
    activated      INTEGER NOT NULL,
    holder         BLOB NOT NULL CHECK (length(holder) = 32),
    computer_id    TEXT NOT NULL,
    server_version TEXT NOT NULL,
    itn            TEXT,
    iec            TEXT,
    licence        TEXT NOT NULL
) STRICT;

-- One demo of a series for one computer: the primary key is the rule.
CREATE TABLE demos (
    series      TEXT NOT NULL,
    computer_id TEXT NOT NULL,
    key_no      INTEGER NOT NULL REFERENCES activations (key_no),
    PRIMARY KEY (series, computer_id)
) STRICT, WITHOUT ROWID;
