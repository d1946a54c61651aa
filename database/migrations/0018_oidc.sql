-- People who sign in with an OpenID provider: docs/adr/0076-openid-connect.md.

-- users.password_hash '-': no password, and none is awaited: the account came from the provider. No password fits it.

CREATE TABLE oidc_identities (
    issuer       text NOT NULL CHECK (length(issuer) BETWEEN 1 AND 1024),
    subject      text NOT NULL CHECK (length(subject) BETWEEN 1 AND 255),
    user_id      uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    PRIMARY KEY (issuer, subject),
    UNIQUE (user_id, issuer)                             -- one person of a provider per account: a second one is somebody else
);
