-- Accounts that begin with an invitation, and what a person needs to recognise a session: docs/adr/0064-accounts.md.

-- password_hash '*': none yet, or no more; no password fits it.

CREATE TABLE invites (
    token_hash text PRIMARY KEY,                         -- SHA-256, hex; the token itself is never stored
    user_id    uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    kind       text NOT NULL CHECK (kind IN ('invite', 'reset')),
    created_by uuid,                                     -- NULL: the command line
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX invites_user ON invites (user_id);

ALTER TABLE sessions ADD COLUMN device text NOT NULL DEFAULT '' CHECK (length(device) <= 200);  -- as the browser calls itself
ALTER TABLE sessions ADD COLUMN address text NOT NULL DEFAULT '' CHECK (length(address) <= 45); -- where it was opened from

-- Takes a person out of an account: 'ok', 'unknown', 'last_admin'. Its id stays, for the ledger's lines; nothing else that names them does.
CREATE FUNCTION user_forget(target uuid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    verdict text;
BEGIN
    verdict := user_change(target, NULL, 'deleted', 'deleted');
    IF verdict <> 'ok' THEN
        RETURN verdict;
    END IF;
    UPDATE users SET email = 'deleted-' || id || '@invalid', display_name = '', password_hash = '*', last_login_at = NULL WHERE id = target;
    DELETE FROM invites WHERE user_id = target;
    UPDATE sessions SET device = '', address = '' WHERE user_id = target;
    RETURN 'ok';
END
$$;
