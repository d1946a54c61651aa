-- API keys: docs/adr/0065-api-keys.md. hash is the HMAC-SHA-256 of the key's text under the server's pepper; the key itself is never stored.

ALTER TABLE api_keys ADD COLUMN role text NOT NULL DEFAULT 'viewer' CHECK (role IN ('admin', 'developer', 'viewer')); -- at most; the user's role of now counts too
ALTER TABLE api_keys ADD COLUMN scopes text[] NOT NULL DEFAULT '{}';        -- groups of methods: llm, fs, run ...; empty: all
ALTER TABLE api_keys ADD COLUMN models text[] NOT NULL DEFAULT '{}';        -- empty: all
ALTER TABLE api_keys ADD COLUMN requests_per_minute int CHECK (requests_per_minute > 0);
ALTER TABLE api_keys ADD COLUMN tokens_per_minute bigint CHECK (tokens_per_minute > 0);
ALTER TABLE api_keys ADD COLUMN last_used_at timestamptz;                   -- to the minute
ALTER TABLE api_keys ADD COLUMN revoked_reason text;
ALTER TABLE api_keys ADD COLUMN rotated_from uuid;
UPDATE api_keys SET name = CASE WHEN name = '' THEN '-' ELSE left(name, 100) END WHERE length(name) NOT BETWEEN 1 AND 100;
ALTER TABLE api_keys ADD CONSTRAINT api_keys_name CHECK (length(name) BETWEEN 1 AND 100);
CREATE UNIQUE INDEX api_keys_id ON api_keys (id);

-- Ends one key: 'ok', or 'unknown' when there is no such live one (of that owner, where one is named).
CREATE FUNCTION key_end(of_key uuid, owner uuid, reason text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    who uuid;
BEGIN
    PERFORM FROM access_clock FOR UPDATE;
    UPDATE api_keys SET revoked_at = now(), revoked_reason = reason
        WHERE id = of_key AND (owner IS NULL OR user_id = owner) AND revoked_at IS NULL RETURNING user_id INTO who;
    IF NOT FOUND THEN
        RETURN 'unknown';
    END IF;
    PERFORM access_note('key', who, of_key, reason);
    RETURN 'ok';
END
$$;

CREATE OR REPLACE FUNCTION user_forget(target uuid) RETURNS text LANGUAGE plpgsql AS $$
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
    UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()), revoked_reason = coalesce(revoked_reason, 'deleted'), name = '-' WHERE user_id = target;
    RETURN 'ok';
END
$$;
