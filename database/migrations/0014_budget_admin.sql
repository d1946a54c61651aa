-- What admins do with budgets and prices, the dry run, and limits of rate: docs/adr/0069-budget-policies-and-prices.md, 0070-rate-limits.md.
-- Called by cds-api (budget_*, price_*, rate_*) and, for what a new account or key begins with, by cds-auth (budget_begin).

CREATE FUNCTION budget_unit(name text) RETURNS smallint LANGUAGE sql IMMUTABLE AS $$
    SELECT array_position(ARRAY['tokens', 'microcredits', 'requests'], name)::smallint
$$;

-- The monthly tokens of an account or key that is only being made: nothing can count in it yet.
CREATE FUNCTION budget_begin(sc text, u uuid, k uuid, tokens bigint, actor uuid) RETURNS void LANGUAGE sql AS $$
    INSERT INTO budget_policies (scope, user_id, key_id, unit, span, lim, created_by) VALUES (sc, u, k, 1, 'month', tokens, actor)
$$;

-- The window that counts at this moment, made if it is not there. With the gate to ourselves.
CREATE FUNCTION budget_now(pol uuid) RETURNS timestamptz LANGUAGE plpgsql AS $$
DECLARE
    s timestamptz;
BEGIN
    SELECT budget_start(p.span, p.zone, p.old_zone, p.zone_from, clock_timestamp()) INTO s FROM budget_policies p WHERE p.id = pol;
    PERFORM budget_open(ARRAY[pol], ARRAY[s]);
    PERFORM budget_lock(ARRAY[pol], ARRAY[s]);
    RETURN s;
END $$;

-- A new policy counts what its window holds already: what was booked becomes `seeded`; what is open, or given up and perhaps still booked, counts in it
-- from now on. A lifetime begins now.
CREATE FUNCTION budget_adopt(pol uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    p budget_policies;
    s timestamptz;
    e timestamptz;
    us uuid[];
    rs uuid[];
BEGIN
    SELECT * INTO p FROM budget_policies WHERE id = pol;
    s := budget_start(p.span, p.zone, p.old_zone, p.zone_from, clock_timestamp());
    e := budget_end(p.span, p.zone, p.old_zone, p.zone_from, s);
    IF p.span <> 'lifetime' THEN
        -- Locked first, in the one order; a settlement that was quicker is no longer open when its lock is ours.
        SELECT array_agg(x.user_id), array_agg(x.id) INTO us, rs FROM (
            SELECT q.user_id, q.id FROM llm_requests q LEFT JOIN api_keys a ON a.id = q.key_id
            WHERE q.state IN (1, 3) AND q.admitted_at >= s AND q.admitted_at < e AND (p.user_id IS NULL OR q.user_id = p.user_id)
                AND (p.key_id IS NULL OR coalesce(a.budget_key, q.key_id) = p.key_id) AND (p.model IS NULL OR q.model = p.model)
            ORDER BY q.user_id, q.id FOR NO KEY UPDATE OF q) x;
    END IF;
    PERFORM budget_now(pol);
    UPDATE llm_requests q SET (win_policy, win_start, win_unit) = (
            SELECT array_agg(w.p ORDER BY w.p, w.s), array_agg(w.s ORDER BY w.p, w.s), array_agg(w.u ORDER BY w.p, w.s)
            FROM unnest(q.win_policy || pol, q.win_start || s, q.win_unit || p.unit) w(p, s, u))
        FROM unnest(us, rs) t(u, r) WHERE q.user_id = t.u AND q.id = t.r AND q.state IN (1, 3);
    UPDATE budget_windows b SET held = x.held, used = x.used, seeded = x.used, counted_when_set = x.held + x.used FROM (
        SELECT coalesce(sum((ARRAY[q.held, q.held_micro, q.held_requests])[p.unit]) FILTER (WHERE q.state = 1), 0)::bigint AS held,
               coalesce(sum((ARRAY[q.used, q.cost_microcredits, least(q.used, 1)])[p.unit]) FILTER (WHERE q.state = 2), 0)::bigint AS used
        FROM llm_requests q LEFT JOIN api_keys a ON a.id = q.key_id
        WHERE p.span <> 'lifetime' AND q.admitted_at >= s AND q.admitted_at < e AND (p.user_id IS NULL OR q.user_id = p.user_id)
            AND (p.key_id IS NULL OR coalesce(a.budget_key, q.key_id) = p.key_id) AND (p.model IS NULL OR q.model = p.model)) x
        WHERE b.policy = pol AND b.starts_at = s;
END $$;

-- Sets the one policy of this scope, unit and window. verdict: 'created', 'changed', 'unknown' (no such user or key), 'zone' (no such time zone), 'order'
-- (a narrower window of the same subject would allow more than a wider one). Another zone holds from the next window on.
CREATE FUNCTION budget_put(actor uuid, sc text, u uuid, k uuid, m text, un smallint, sp text, tz text, most bigint, percents smallint[],
                           OUT verdict text, OUT policy uuid) LANGUAGE plpgsql AS $$
DECLARE
    old budget_policies;
    spans text[] := ARRAY['hour', 'day', 'week', 'month', 'lifetime'];
    owner uuid := u;
    root uuid;
BEGIN
    PERFORM budget_gate(true);
    IF sc IN ('key', 'key_model') THEN
        SELECT a.user_id, coalesce(a.budget_key, a.id) INTO owner, root FROM api_keys a WHERE a.id = k;
        IF NOT FOUND THEN verdict := 'unknown'; RETURN; END IF;
    ELSIF sc IN ('user', 'user_model') AND NOT EXISTS (SELECT FROM users WHERE id = u AND status <> 'deleted') THEN
        verdict := 'unknown';
        RETURN;
    END IF;
    BEGIN
        PERFORM now() AT TIME ZONE tz;
    EXCEPTION WHEN invalid_parameter_value THEN
        verdict := 'zone';
        RETURN;
    END;
    SELECT p.id INTO policy FROM budget_policies p WHERE p.subject = budget_subject(sc, owner, root, m) AND p.unit = un AND p.removed_at IS NULL
        AND ((array_position(spans, p.span) > array_position(spans, sp) AND p.lim < most)
          OR (array_position(spans, p.span) < array_position(spans, sp) AND p.lim > most)) LIMIT 1;
    IF FOUND THEN verdict := 'order'; RETURN; END IF;
    SELECT * INTO old FROM budget_policies p WHERE p.subject = budget_subject(sc, owner, root, m) AND p.unit = un AND p.span = sp AND p.removed_at IS NULL;
    IF NOT FOUND THEN
        INSERT INTO budget_policies AS p (scope, user_id, key_id, model, unit, span, zone, old_zone, lim, soft, created_by)
            VALUES (sc, owner, root, m, un, sp, tz, tz, most, percents, actor) RETURNING p.id INTO policy;
        PERFORM budget_adopt(policy);
        verdict := 'created';
        RETURN;
    END IF;
    policy := old.id;
    verdict := 'changed';
    UPDATE budget_policies p SET lim = most, soft = percents,
        old_zone = CASE WHEN now() < p.zone_from THEN p.old_zone ELSE p.zone END,
        zone_from = CASE WHEN p.zone = tz THEN p.zone_from WHEN now() < p.zone_from THEN p.zone_from WHEN p.span = 'lifetime' THEN '-infinity'
            ELSE budget_end(p.span, p.zone, p.old_zone, p.zone_from, budget_start(p.span, p.zone, p.old_zone, p.zone_from, now())) END,
        zone = tz WHERE p.id = old.id;
    PERFORM budget_now(old.id);
    PERFORM 1 FROM budget_windows b WHERE b.policy = old.id AND (b.ends_at > now() OR b.held > 0) ORDER BY b.starts_at FOR NO KEY UPDATE;
    UPDATE budget_windows b SET lim = most, soft = percents, counted_when_set = b.used + b.held WHERE b.policy = old.id AND (b.ends_at > now() OR b.held > 0);
END $$;

-- From now on it limits nothing; what counts in its windows goes on counting. 'ok' or 'unknown'.
CREATE FUNCTION budget_remove(pol uuid) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM budget_gate(true);
    UPDATE budget_policies SET removed_at = now() WHERE id = pol AND removed_at IS NULL;
    IF NOT FOUND THEN RETURN 'unknown'; END IF;
    PERFORM 1 FROM budget_windows b WHERE b.policy = pol ORDER BY b.starts_at FOR NO KEY UPDATE;
    UPDATE budget_windows b SET lim = NULL WHERE b.policy = pol AND (b.ends_at > now() OR b.held > 0);
    RETURN 'ok';
END $$;

-- Gives (> 0) or takes (< 0) in the window of now. verdict: 'ok', 'again' (this very grant was made before; nothing changed), 'taken' (the id is another
-- grant's), 'unknown', 'below' (limit and grants together would fall below nothing).
CREATE FUNCTION budget_grant(entry uuid, pol uuid, n bigint, who uuid, why text, OUT verdict text, OUT start timestamptz, OUT lim bigint, OUT used bigint,
                             OUT held bigint) LANGUAGE plpgsql AS $$
DECLARE
    was budget_grants;
BEGIN
    PERFORM budget_gate(true);
    SELECT * INTO was FROM budget_grants g WHERE g.id = entry;
    IF FOUND THEN
        start := was.starts_at;
        verdict := CASE WHEN was.policy = pol AND was.amount = n AND was.actor = who AND was.reason = why THEN 'again' ELSE 'taken' END;
    ELSIF NOT EXISTS (SELECT FROM budget_policies p WHERE p.id = pol AND p.removed_at IS NULL) THEN
        verdict := 'unknown';
        RETURN;
    ELSE
        start := budget_now(pol);
        UPDATE budget_windows b SET granted = b.granted + n, counted_when_set = b.used + b.held
            WHERE b.policy = pol AND b.starts_at = start AND b.lim + b.granted + n >= 0;
        verdict := CASE WHEN FOUND THEN 'ok' ELSE 'below' END;
        IF FOUND THEN
            INSERT INTO budget_grants (id, policy, starts_at, amount, actor, reason) VALUES (entry, pol, start, n, who, why);
        END IF;
    END IF;
    SELECT b.lim + b.granted, b.used, b.held INTO lim, used, held FROM budget_windows b WHERE b.policy = pol AND b.starts_at = start;
END $$;

-- Would a request be let in now, and what could it cost? Holds nothing. first: tokens of the first hold; whole: prompt and the longest answer.
CREATE FUNCTION budget_check(u uuid, k uuid, m text, prompt bigint, answer bigint, slice bigint) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    c model_prices;
    at timestamptz := clock_timestamp();
    first bigint := prompt + least(answer, slice);
    whole bigint := prompt + answer;
    refused_first jsonb;
    refused_whole jsonb;
BEGIN
    SELECT * INTO c FROM model_prices x WHERE x.model = m AND x.valid_from <= at ORDER BY x.valid_from DESC LIMIT 1;
    IF NOT FOUND THEN RETURN NULL; END IF;
    WITH w AS (
        SELECT x.policy, x.start FROM budget_windows_of(ARRAY[u], ARRAY[k], ARRAY[m], ARRAY[at]) x
    ), b AS (
        SELECT p.*, coalesce(b.lim + b.granted, p.lim) AS cap, coalesce(b.used, 0) AS used, coalesce(b.held, 0) AS held,
               budget_end(p.span, p.zone, p.old_zone, p.zone_from, w.start) AS ends,
               (ARRAY[first, ledger_hold_cost(prompt, first, c.price_input, c.price_cached, c.price_output), 1])[p.unit] AS need,
               (ARRAY[whole, ledger_hold_cost(prompt, whole, c.price_input, c.price_cached, c.price_output), 1])[p.unit] AS most
        FROM w JOIN budget_policies p ON p.id = w.policy LEFT JOIN budget_windows b ON b.policy = w.policy AND b.starts_at = w.start
    ), j AS (
        SELECT b.need, b.most, b.cap - b.used - b.held AS room, array_position(ARRAY['key_model', 'key', 'user_model', 'user', 'model', 'global'], b.scope) AS rank,
               jsonb_build_object('policy', b.id, 'scope', b.scope, 'unit', (ARRAY['tokens', 'microcredits', 'requests'])[b.unit], 'window', b.span,
                   'limit', greatest(b.cap, 0), 'remaining', greatest(b.cap - b.used - b.held, 0), 'needs', b.need, 'needs_at_most', b.most,
                   'resets_at', CASE WHEN b.ends < 'infinity' THEN to_char(b.ends AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') END) AS line FROM b
    )
    SELECT coalesce(jsonb_agg(j.line ORDER BY j.rank) FILTER (WHERE j.need > j.room), '[]'), coalesce(jsonb_agg(j.line ORDER BY j.rank) FILTER (WHERE j.most > j.room), '[]')
        INTO refused_first, refused_whole FROM j;
    RETURN jsonb_build_object('admitted', refused_first = '[]', 'complete', refused_whole = '[]', 'held_tokens', first, 'tokens_at_most', whole,
        'cost_at_least', ledger_cost(prompt, prompt, 0, c.price_input, least(c.price_input, c.price_cached), c.price_output),
        'cost_at_most', ledger_hold_cost(prompt, whole, c.price_input, c.price_cached, c.price_output),
        'price', jsonb_build_object('input', c.price_input, 'cached', c.price_cached, 'output', c.price_output),
        'refused_by', refused_first, 'short_of', refused_whole);
END $$;

-- A price from `since` on (NULL: from now). 'ok', or 'past': a price of the past stands, requests were admitted at it.
CREATE FUNCTION price_put(actor uuid, m text, since timestamptz, p_in bigint, p_cached bigint, p_out bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM budget_gate(true);
    IF since < clock_timestamp() - interval '1 minute' THEN RETURN 'past'; END IF;
    INSERT INTO model_prices AS x (model, valid_from, price_input, price_cached, price_output, set_by)
        VALUES (m, coalesce(greatest(since, clock_timestamp()), clock_timestamp()), p_in, p_cached, p_out, actor)
        ON CONFLICT (model, valid_from) DO UPDATE SET price_input = p_in, price_cached = p_cached, price_output = p_out, set_by = actor;
    RETURN 'ok';
END $$;

-- ---- Rates. Of users here, of keys with the key; NULL: none of its own (users then have the studio's defaults). Rows are never removed. ----
CREATE TABLE rate_limits (
    user_id             uuid PRIMARY KEY,
    requests_per_minute int CHECK (requests_per_minute > 0),
    tokens_per_minute   bigint CHECK (tokens_per_minute > 0),
    concurrent_requests int CHECK (concurrent_requests > 0),
    set_by              uuid,
    set_at              timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX rate_limits_set ON rate_limits (set_at);
ALTER TABLE api_keys ADD COLUMN concurrent_requests int CHECK (concurrent_requests > 0);
