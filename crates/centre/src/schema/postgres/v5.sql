-- People of the vendor and the tokens of their programs. A password is kept as its Argon2id hash,
-- a token as the SHA-256 of its secret in hex.

CREATE TABLE accounts (
    name     TEXT PRIMARY KEY,
    role     TEXT NOT NULL CHECK (role IN ('reader', 'clerk', 'admin')),
    password TEXT NOT NULL,
    created  BIGINT NOT NULL
);

CREATE TABLE account_tokens (
    token_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account  TEXT NOT NULL REFERENCES accounts (name),
    label    TEXT NOT NULL,
    digest   TEXT NOT NULL UNIQUE,
    created  BIGINT NOT NULL,
    expires  BIGINT
);

CREATE INDEX account_tokens_by_account ON account_tokens (account);
