-- Prices of models and API keys. Prices are whole micro-credits per token, so a cost is exact: there is nothing to round.

CREATE TABLE models (
    id           text PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 128),
    price_in     bigint NOT NULL CHECK (price_in >= 0),
    price_cached bigint NOT NULL CHECK (price_cached >= 0),
    price_out    bigint NOT NULL CHECK (price_out >= 0),
    created_at   timestamptz NOT NULL DEFAULT now()
);

-- The id '00000000-0000-0000-0000-000000000000' stands for "no key: a signed-in session" in the ledger and has no row here.
CREATE TABLE api_keys (
    user_id            uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    id                 uuid NOT NULL,
    name               text NOT NULL,
    hash               text NOT NULL UNIQUE,             -- HMAC-SHA-256 of the secret, hex
    month_tokens_limit bigint CHECK (month_tokens_limit >= 0), -- NULL: no limit of its own
    created_at         timestamptz NOT NULL DEFAULT now(),
    expires_at         timestamptz CHECK (expires_at > created_at),
    revoked_at         timestamptz,
    PRIMARY KEY (user_id, id)
);
