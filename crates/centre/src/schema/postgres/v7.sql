-- Licences of a cluster: up to so many servers hold one key, each with a licence of its own. A code
-- then activates more than once, so the rules that a key and a code are in one place are kept by the
-- decisions; what stays here is that one server has a key once, and a key outside a cluster one server.

ALTER TABLE series_settings ADD COLUMN cluster_nodes BIGINT NOT NULL DEFAULT 0;

-- How many servers of a cluster may have a key of the order; nothing for the series' number.
ALTER TABLE orders ADD COLUMN cluster_nodes BIGINT;

-- The cluster that the server is a node of, 32 hex digits; nothing for a licence of one server.
ALTER TABLE activations ADD COLUMN cluster TEXT;

-- The activation code, a reserve code or a spare code. Outside a cluster each activates once.
ALTER TABLE activations DROP CONSTRAINT activations_code_key;

CREATE INDEX activations_by_code ON activations (code);

DROP INDEX activations_current;

-- The rule that a server, or a token, has a key once.
CREATE UNIQUE INDEX activations_current ON activations (key_no, holder) WHERE returned IS NULL;

-- The rule that a key outside a cluster is in one place at a time.
CREATE UNIQUE INDEX activations_alone ON activations (key_no)
    WHERE returned IS NULL AND cluster IS NULL;
