-- Documents of series whose secret is not here: what the vendor signs on a machine of their own. The
-- licence of an activation is empty until it is signed for the first time.

CREATE TABLE unsigned (
    unsigned_id   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind          TEXT NOT NULL CHECK (kind IN ('licence', 'receipt', 'short')),
    series        TEXT NOT NULL,
    activation_id TEXT NOT NULL REFERENCES activations (activation_id),
    claims        TEXT NOT NULL,
    -- The X25519 key for which the object key of the series shall be wrapped.
    enc           BYTEA CHECK (octet_length(enc) = 32),
    created       BIGINT NOT NULL,
    document      TEXT,
    signed        BIGINT,
    CHECK ((document IS NULL) = (signed IS NULL))
);

-- One draft of a kind at a time.
CREATE UNIQUE INDEX unsigned_open ON unsigned (activation_id, kind) WHERE document IS NULL;

CREATE INDEX unsigned_by_activation ON unsigned (activation_id, kind, unsigned_id);
