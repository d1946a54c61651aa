-- People, their sessions, and the one-time link that makes the first admin.

CREATE TABLE users (
    id                 uuid PRIMARY KEY,                 -- UUIDv7, made by auth
    email              text NOT NULL UNIQUE CHECK (email = lower(email) AND length(email) BETWEEN 3 AND 254),
    display_name       text NOT NULL DEFAULT '' CHECK (length(display_name) <= 100),
    password_hash      text NOT NULL,                    -- bcrypt
    role               text NOT NULL CHECK (role IN ('admin', 'developer', 'viewer')),
    status             text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'blocked')),
    token_version      bigint NOT NULL DEFAULT 1,        -- raised to end all sessions at once
    month_tokens_limit bigint CHECK (month_tokens_limit >= 0), -- NULL: no limit
    created_at         timestamptz NOT NULL DEFAULT now(),
    last_login_at      timestamptz
);

CREATE TABLE setup_tokens (
    token_hash text PRIMARY KEY,                         -- SHA-256, hex; the token itself is never stored
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);

CREATE TABLE sessions (
    id             uuid PRIMARY KEY,
    user_id        uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    token_version  bigint NOT NULL,                      -- of the user when the session began
    created_at     timestamptz NOT NULL DEFAULT now(),
    last_used_at   timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL,                 -- absolute end
    revoked_at     timestamptz,
    revoked_reason text
);
CREATE INDEX sessions_user ON sessions (user_id);

-- Each refresh makes a new token and marks the old one used; a used one that comes again revokes the session.
CREATE TABLE refresh_tokens (
    token_hash text PRIMARY KEY,                         -- SHA-256, hex
    session_id uuid NOT NULL REFERENCES sessions ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at    timestamptz
);
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);
