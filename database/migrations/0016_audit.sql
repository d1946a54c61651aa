-- Who did what with the rights of an admin, in a chain that shows each line that was changed or taken out: docs/adr/0073-audit-chain.md.
--
-- Lines are written before an act ("begin": the act waits for the commit of its line) and after it ("end": what came of it), and, by triggers, in
-- the transaction of each change of rights, limits, prices, keys and reach ("change": before and after). No line names an address, a password or a
-- secret: people are ids, and a forgotten person stays one.

CREATE TABLE audit_log (
    seq        bigint PRIMARY KEY,                       -- 1, 2, 3 ... without a gap
    at         timestamptz NOT NULL,
    phase      text NOT NULL CHECK (phase IN ('begin', 'end', 'change', 'seal')),
    source     text NOT NULL CHECK (length(source) BETWEEN 1 AND 64), -- api, auth, llmserver, command line, or the database role of a change
    actor      uuid,                                     -- user; NULL: the command line, or a change (its act names the actor)
    actor_key  uuid,                                     -- API key of the actor, when one was used
    action     text NOT NULL CHECK (length(action) BETWEEN 1 AND 64), -- method, command, or table and kind of change
    request_id uuid,
    detail     jsonb NOT NULL,
    prev       bytea NOT NULL CHECK (length(prev) = 32), -- hash of the line before; zeros for the first
    hash       bytea NOT NULL CHECK (length(hash) = 32)
);
CREATE INDEX audit_log_actor ON audit_log (actor, seq) WHERE actor IS NOT NULL;
CREATE INDEX audit_log_seals ON audit_log (seq) WHERE phase = 'seal';

-- The end of the chain, so that lines cannot be cut off behind it.
CREATE TABLE audit_head (
    one  boolean PRIMARY KEY DEFAULT true CHECK (one),
    seq  bigint NOT NULL,
    hash bytea NOT NULL
);
INSERT INTO audit_head (seq, hash) VALUES (0, decode(repeat('00', 32), 'hex'));

-- The text that is hashed behind the hash of the line before: a JSON array, so that no two lines have the same one. Times are whole microseconds.
CREATE FUNCTION audit_text(l audit_log) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_array(l.seq, (extract(epoch FROM l.at) * 1000000)::bigint, l.phase, l.source, l.actor, l.actor_key, l.action, l.request_id, l.detail)::text
$$;

CREATE FUNCTION audit_hash(l audit_log) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256(l.prev || convert_to(audit_text(l), 'UTF8'))
$$;

-- Adds a line; answers its number. Whoever adds one waits for the commit of the line before.
CREATE FUNCTION audit_add(of_phase text, of_source text, who uuid, by_key uuid, what text, request uuid, details jsonb) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    l audit_log;
BEGIN
    UPDATE audit_head SET seq = audit_head.seq + 1 RETURNING audit_head.seq, audit_head.hash INTO l.seq, l.prev;
    l.at := clock_timestamp();
    l.phase := of_phase;
    l.source := of_source;
    l.actor := who;
    l.actor_key := by_key;
    l.action := what;
    l.request_id := request;
    l.detail := details;
    l.hash := audit_hash(l);
    INSERT INTO audit_log SELECT (l).*;
    UPDATE audit_head SET hash = l.hash;
    RETURN l.seq;
END
$$;

-- Nobody changes a line, the owner of the table neither.
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The audit log is append only.' USING ERRCODE = '42501';
END
$$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

-- One line for a changed row: argument 1 is the column that names it, the others are those whose values stand in the line.
CREATE FUNCTION audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    older jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    newer jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    was jsonb;
    now_is jsonb;
BEGIN
    SELECT jsonb_object_agg(c, older -> c) FILTER (WHERE older IS NOT NULL), jsonb_object_agg(c, newer -> c) FILTER (WHERE newer IS NOT NULL)
        INTO was, now_is FROM unnest(TG_ARGV[1:]) c WHERE TG_OP <> 'UPDATE' OR older -> c IS DISTINCT FROM newer -> c;
    PERFORM audit_add('change', session_user::text, NULL, NULL, TG_TABLE_NAME || ' ' || lower(TG_OP), NULL,
        jsonb_build_object('object', coalesce(newer, older) -> TG_ARGV[0], 'before', was, 'after', now_is));
    RETURN NULL;
END
$$;

-- From now on each change of these columns has its line: whoever makes it, by whatever way. Written at the commit, so that the chain is the last lock
-- that a transaction takes. A migration that makes a table of rights, limits or prices calls this for it.
CREATE FUNCTION audit_watch(tab regclass, named_by text, VARIADIC kept text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    arguments text := (SELECT string_agg(quote_literal(c), ', ') FROM unnest(named_by || kept) c);
BEGIN
    EXECUTE format('CREATE CONSTRAINT TRIGGER audit_made AFTER INSERT OR DELETE ON %s DEFERRABLE INITIALLY DEFERRED FOR EACH ROW'
        ' EXECUTE FUNCTION audit_change(%s)', tab, arguments);
    EXECUTE format('CREATE CONSTRAINT TRIGGER audit_changed AFTER UPDATE ON %s DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (%s)'
        ' EXECUTE FUNCTION audit_change(%s)', tab,
        (SELECT string_agg(format('OLD.%I IS DISTINCT FROM NEW.%I', c, c), ' OR ') FROM unnest(kept) c), arguments);
END
$$;

-- No address, no name, no hash.
SELECT audit_watch('users', 'id', 'role', 'status');
SELECT audit_watch('invites', 'user_id', 'kind', 'created_by', 'expires_at', 'used_at');
SELECT audit_watch('api_keys', 'id', 'user_id', 'role', 'scopes', 'models', 'requests_per_minute', 'tokens_per_minute', 'concurrent_requests', 'expires_at',
    'revoked_at', 'revoked_reason', 'rotated_from');
SELECT audit_watch('rate_limits', 'user_id', 'requests_per_minute', 'tokens_per_minute', 'concurrent_requests', 'set_by');
SELECT audit_watch('model_prices', 'model', 'valid_from', 'price_input', 'price_cached', 'price_output', 'set_by');
SELECT audit_watch('budget_policies', 'id', 'scope', 'user_id', 'key_id', 'model', 'unit', 'span', 'zone', 'lim', 'soft', 'created_by', 'removed_at');
SELECT audit_watch('budget_grants', 'id', 'policy', 'starts_at', 'amount', 'actor', 'reason');
SELECT audit_watch('project_network', 'project_id', 'mode', 'rules');

-- The ledger is too busy for a chain of its own: each day that is over is sealed as a whole by one line of this chain.
CREATE FUNCTION ledger_digest(of_day date, OUT entries bigint, OUT tokens bigint, OUT cost_micro bigint, OUT digest text) LANGUAGE sql STABLE AS $$
    SELECT count(*), coalesce(sum(n_in + n_out), 0)::bigint, coalesce(sum(cost_micro), 0)::bigint,
        encode(sha256(coalesce(string_agg(sha256(convert_to(jsonb_build_array(user_id, request_id, kind, key_id, period, model, n_in, n_cached, n_out,
            cost_micro, (extract(epoch FROM created_at) * 1000000)::bigint)::text, 'UTF8')), ''::bytea ORDER BY user_id, request_id, kind), ''::bytea)), 'hex')
    FROM token_ledger WHERE created_at >= of_day::timestamp AT TIME ZONE 'UTC' AND created_at < (of_day + 1)::timestamp AT TIME ZONE 'UTC'
$$;

-- Seals the oldest day that is not sealed and ended over an hour ago (every settlement of it is committed by then). Answers 1, or 0: there is none.
-- The chain is locked only after the work is done, so that acts do not wait for it.
CREATE FUNCTION ledger_seal() RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    d date;
    s record;
BEGIN
    SELECT max((detail ->> 'day')::date) + 1 INTO d FROM audit_log WHERE phase = 'seal';
    IF d IS NULL THEN
        SELECT (min(created_at) AT TIME ZONE 'UTC')::date INTO d FROM token_ledger;
    END IF;
    IF d IS NULL OR d >= ((now() - interval '1 hour') AT TIME ZONE 'UTC')::date THEN
        RETURN 0;
    END IF;
    SELECT * INTO s FROM ledger_digest(d);
    PERFORM FROM audit_head FOR UPDATE;
    IF EXISTS (SELECT FROM audit_log WHERE phase = 'seal' AND (detail ->> 'day')::date >= d) THEN
        RETURN 0; -- another process was faster
    END IF;
    PERFORM audit_add('seal', 'ledger', NULL, NULL, 'ledger.seal', NULL,
        jsonb_build_object('day', d, 'entries', s.entries, 'tokens', s.tokens, 'cost_micro', s.cost_micro, 'sha256', s.digest));
    RETURN 1;
END
$$;
