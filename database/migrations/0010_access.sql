-- What takes rights away, or gives them, in an order that every process can follow: docs/adr/0063-rights-end-within-a-second.md.
--
-- Whoever changes rights takes the row of access_clock first and keeps it until the commit, so the changes become visible in the order of their
-- numbers, and a reader that has seen number n misses nothing below it. The notification only says that there is something to read.

ALTER TABLE users DROP CONSTRAINT users_status_check;
ALTER TABLE users ADD CONSTRAINT users_status_check CHECK (status IN ('pending', 'active', 'blocked', 'deleted'));

CREATE TABLE access_clock (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    seq bigint NOT NULL
);
INSERT INTO access_clock (seq) VALUES (0);

-- Kept for a day: longer than any access token lives. No foreign keys: a change outlives what it is about.
CREATE TABLE access_changes (
    seq           bigint PRIMARY KEY,
    kind          text NOT NULL CHECK (kind IN ('user', 'session', 'key')),
    user_id       uuid NOT NULL,
    subject       uuid NOT NULL,                         -- the user, session or key
    role          text NOT NULL,                         -- of the user, as it is after the change
    status        text NOT NULL,
    token_version bigint NOT NULL,                       -- access tokens with a lower one are void
    why           text NOT NULL,
    at            timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX access_changes_at ON access_changes (at);

-- Notes one change; the last statement of whoever makes it. Answers its number.
CREATE FUNCTION access_note(of_kind text, of_user uuid, of_subject uuid, reason text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    n bigint;
BEGIN
    UPDATE access_clock SET seq = seq + 1 RETURNING seq INTO n;
    INSERT INTO access_changes (seq, kind, user_id, subject, role, status, token_version, why)
        SELECT n, of_kind, u.id, of_subject, u.role, u.status, u.token_version, reason FROM users u WHERE u.id = of_user;
    PERFORM pg_notify('cds_access', n::text);
    RETURN n;
END
$$;

-- Ends one session: 'ok', or 'unknown' when there is no such live one (of that owner, where one is named).
CREATE FUNCTION session_end(of_session uuid, owner uuid, reason text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    who uuid;
BEGIN
    PERFORM FROM access_clock FOR UPDATE;
    UPDATE sessions SET revoked_at = now(), revoked_reason = reason
        WHERE id = of_session AND (owner IS NULL OR user_id = owner) AND revoked_at IS NULL RETURNING user_id INTO who;
    IF NOT FOUND THEN
        RETURN 'unknown';
    END IF;
    PERFORM access_note('session', who, of_session, reason);
    RETURN 'ok';
END
$$;

-- Ends all live sessions of a user but one (NULL: none is kept); answers how many.
CREATE FUNCTION sessions_end(of_user uuid, but uuid, reason text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    s uuid;
    n int := 0;
BEGIN
    PERFORM FROM access_clock FOR UPDATE;
    FOR s IN UPDATE sessions SET revoked_at = now(), revoked_reason = reason
        WHERE user_id = of_user AND revoked_at IS NULL AND expires_at > now() AND id IS DISTINCT FROM but RETURNING id
    LOOP
        PERFORM access_note('session', of_user, s, reason);
        n := n + 1;
    END LOOP;
    RETURN n;
END
$$;

-- Changes role, status or both (NULL: as it is): 'ok', 'same', 'unknown', or 'last_admin' when nobody would be left to undo it. Blocking voids all
-- tokens and sessions; another role holds for those that are open, at once. The clock's row makes two such changes wait for each other.
CREATE FUNCTION user_change(target uuid, to_role text, to_status text, reason text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    old users;
    new_role text;
    new_status text;
BEGIN
    PERFORM FROM access_clock FOR UPDATE;
    SELECT * INTO old FROM users WHERE id = target AND status <> 'deleted' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN 'unknown';
    END IF;
    new_role := coalesce(to_role, old.role);
    new_status := coalesce(to_status, old.status);
    IF new_status = 'active' AND old.password_hash = '*' THEN
        new_status := 'pending'; -- unblocked, but the invitation was never taken up
    END IF;
    IF new_role = old.role AND new_status = old.status THEN
        RETURN 'same';
    END IF;
    IF old.role = 'admin' AND old.status = 'active' AND (new_role <> 'admin' OR new_status <> 'active')
        AND NOT EXISTS (SELECT FROM users WHERE role = 'admin' AND status = 'active' AND id <> target) THEN
        RETURN 'last_admin';
    END IF;
    UPDATE users SET role = new_role, status = new_status,
        token_version = token_version + CASE WHEN new_status IN ('blocked', 'deleted') THEN 1 ELSE 0 END WHERE id = target;
    IF new_status IN ('blocked', 'deleted') THEN
        UPDATE sessions SET revoked_at = now(), revoked_reason = reason WHERE user_id = target AND revoked_at IS NULL;
    END IF;
    PERFORM access_note('user', target, target, reason);
    RETURN 'ok';
END
$$;
