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

-- Who came by a provider and waits for an admin; the gateway sees no hashes.
CREATE FUNCTION user_asks(of_user uuid) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT status = 'pending' AND password_hash = '-' FROM users WHERE id = of_user
$$;

-- What a provider calls somebody is forgotten with them.
CREATE FUNCTION oidc_forget() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM oidc_identities WHERE user_id = NEW.id;
    RETURN NULL;
END
$$;
CREATE TRIGGER oidc_forget AFTER UPDATE OF status ON users FOR EACH ROW WHEN (NEW.status = 'deleted') EXECUTE FUNCTION oidc_forget();

-- Not the provider's name for the person: the audit log forgets nothing.
SELECT audit_watch('oidc_identities', 'user_id', 'issuer');
SELECT roles_grant();
