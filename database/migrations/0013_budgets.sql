-- Budget policies, prices with validity, grants: docs/adr/0069-budget-policies-and-prices.md. Takes the place of the budgets of 0004 and 0008.
--
-- Functions over arrays have fixed plans: the planner would make a new one for each array, which costs as much as the work, and while a table is small it
-- would be one that reads all of it.
--
-- Lock order everywhere: the gate (below), requests by (user_id, id), windows by (policy, starts_at). A request that is only being made is locked
-- last: nobody else can know it. No triggers, no session state: the same code runs behind a pooler.

-- ---- Prices: whole micro-credits per million tokens. The one that holds at t is the latest with valid_from <= t, so two never overlap. ----

ALTER TABLE models RENAME TO model_prices;
ALTER TABLE model_prices RENAME COLUMN id TO model;
ALTER TABLE model_prices RENAME COLUMN price_in TO price_input;
ALTER TABLE model_prices RENAME COLUMN price_out TO price_output;
UPDATE model_prices SET price_input = price_input * 1000000, price_cached = price_cached * 1000000, price_output = price_output * 1000000;
ALTER TABLE model_prices ADD COLUMN valid_from timestamptz NOT NULL DEFAULT '-infinity', ADD COLUMN set_by uuid, -- NULL: the server's default
    ADD CONSTRAINT model_prices_most CHECK (greatest(price_input, price_cached, price_output) <= 1000000000000000);
ALTER TABLE model_prices DROP CONSTRAINT models_pkey;
ALTER TABLE model_prices ADD PRIMARY KEY (model, valid_from);

-- Exact but for one rounding up at the end. No step leaves bigint: prices are at most 10^15, counts below 2^32.
CREATE FUNCTION ledger_cost(n_in bigint, n_cached bigint, n_out bigint, p_in bigint, p_cached bigint, p_out bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE AS $$
    SELECT (n_in - n_cached) * (p_in / 1000000) + n_cached * (p_cached / 1000000) + n_out * (p_out / 1000000)
        + ((n_in - n_cached) * (p_in % 1000000) + n_cached * (p_cached % 1000000) + n_out * (p_out % 1000000) + 999999) / 1000000
$$;
-- The most that a hold of `total` tokens can cost, `prompt` of them read (NULL: not known).
CREATE FUNCTION ledger_hold_cost(prompt bigint, total bigint, p_in bigint, p_cached bigint, p_out bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN prompt IS NULL THEN ledger_cost(total, 0, 0, greatest(p_in, p_cached, p_out), 0, 0)
                ELSE ledger_cost(prompt, 0, greatest(total - prompt, 0), greatest(p_in, p_cached), 0, p_out) END
$$;

-- ---- Policies and their windows ----

CREATE FUNCTION budget_subject(scope text, u uuid, k uuid, m text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE scope WHEN 'global' THEN 'global' WHEN 'user' THEN 'user ' || u::text WHEN 'key' THEN 'key ' || k::text
        WHEN 'model' THEN 'model ' || m WHEN 'user_model' THEN 'user ' || u::text || ' model ' || m
        WHEN 'key_model' THEN 'key ' || k::text || ' model ' || m END
$$;

CREATE TABLE budget_policies (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    scope      text NOT NULL CHECK (scope IN ('global', 'user', 'key', 'model', 'user_model', 'key_model')),
    user_id    uuid,
    key_id     uuid,                                     -- of a rotated key: its first one, so that rotation gives nothing back
    model      text,
    subject    text NOT NULL GENERATED ALWAYS AS (budget_subject(scope, user_id, key_id, model)) STORED, -- NOT NULL: what the scope names is there
    unit       smallint NOT NULL CHECK (unit IN (1, 2, 3)), -- 1 tokens, 2 micro-credits, 3 requests
    span       text NOT NULL CHECK (span IN ('hour', 'day', 'week', 'month', 'lifetime')),
    zone       text NOT NULL DEFAULT 'UTC',
    zone_from  timestamptz NOT NULL DEFAULT '-infinity', -- another zone holds from the next window; before it:
    old_zone   text NOT NULL DEFAULT 'UTC',
    lim        bigint NOT NULL CHECK (lim >= 0),         -- no limit: no policy
    soft       smallint[] NOT NULL DEFAULT '{50,80,95}', -- percent of the limit at which its owner is told
    created_by uuid,                                     -- NULL: the studio itself
    created_at timestamptz NOT NULL DEFAULT now(),
    removed_at timestamptz
);
CREATE UNIQUE INDEX budget_policies_one ON budget_policies (subject, unit, span) WHERE removed_at IS NULL;
CREATE INDEX budget_policies_user ON budget_policies (user_id) WHERE removed_at IS NULL;

-- Made on first use, never reset: which one counts follows from the time of admission.
CREATE TABLE budget_windows (
    policy    uuid NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at   timestamptz NOT NULL,
    lim       bigint,                                    -- of the policy; NULL: it was removed
    granted   bigint NOT NULL DEFAULT 0,                 -- sum of budget_grants; may be negative
    used      bigint NOT NULL DEFAULT 0,
    held      bigint NOT NULL DEFAULT 0,
    soft      smallint[] NOT NULL DEFAULT '{}',          -- of the policy, like lim; here, so that a settlement looks at nothing else
    seeded    bigint NOT NULL DEFAULT 0,                 -- part of used that was booked before the policy was there
    counted_when_set bigint NOT NULL DEFAULT 0,          -- used + held when limit or grants were last changed
    CONSTRAINT budget_windows_counts CHECK (least(used, held) >= 0), -- one: each is read from its text at every statement
    PRIMARY KEY (policy, starts_at)
) WITH (fillfactor = 40);

-- Ledger lines, append only: what an admin gave (> 0) or took (< 0) in one window, and why. The id makes a double click one grant.
CREATE TABLE budget_grants (
    id         uuid PRIMARY KEY,
    policy     uuid NOT NULL,
    starts_at  timestamptz NOT NULL,
    amount     bigint NOT NULL CHECK (amount <> 0 AND abs(amount) <= 1000000000000000),
    actor      uuid NOT NULL,
    reason     text NOT NULL CHECK (length(reason) BETWEEN 3 AND 500),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX budget_grants_window ON budget_grants (policy, starts_at);

-- When a window passed one of its soft percentages, once each.
CREATE TABLE budget_warnings (
    policy    uuid NOT NULL,
    starts_at timestamptz NOT NULL,
    percent   smallint NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (policy, starts_at, percent)
);

CREATE FUNCTION budget_start(span text, zone text, old_zone text, zone_from timestamptz, at timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN span = 'lifetime' THEN '-infinity'
                WHEN at < zone_from THEN date_trunc(span, at, old_zone)
                ELSE greatest(date_trunc(span, at, zone), zone_from) END
$$;
-- The end of the window that begins at s: by the calendar of the zone, so a day may have 23 or 25 hours. One expression: it becomes part of each plan.
CREATE FUNCTION budget_end(span text, zone text, old_zone text, zone_from timestamptz, s timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN span = 'lifetime' THEN 'infinity'
                WHEN span = 'hour' THEN date_trunc('hour', s, CASE WHEN s < zone_from THEN old_zone ELSE zone END) + interval '1 hour'
                WHEN s < zone_from THEN (date_trunc(span, s AT TIME ZONE old_zone) + ('1 ' || span)::interval) AT TIME ZONE old_zone
                ELSE (date_trunc(span, s AT TIME ZONE zone) + ('1 ' || span)::interval) AT TIME ZONE zone END
$$;

ALTER TABLE api_keys ADD COLUMN budget_key uuid; -- the first key of a rotated one; NULL: itself

-- What policies of one request may be about; k: the first of a rotated key.
CREATE FUNCTION budget_subjects(u uuid, k uuid, m text) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT ARRAY['global', 'model ' || m, 'user ' || u::text, 'user ' || u::text || ' model ' || m, 'key ' || k::text, 'key ' || k::text || ' model ' || m]
$$;

-- The windows that requests count in: n is the place in the arrays; opened: the window is there.
CREATE FUNCTION budget_windows_of(us uuid[], ks uuid[], ms text[], ats timestamptz[])
    RETURNS TABLE (n bigint, policy uuid, unit smallint, start timestamptz, opened boolean) LANGUAGE sql STABLE AS $$
    SELECT p.n, p.id, p.unit, p.start, b.policy IS NOT NULL
        FROM (SELECT t.n, y.id, y.unit, budget_start(y.span, y.zone, y.old_zone, y.zone_from, t.at) AS start
              FROM unnest(us, ks, ms, ats) WITH ORDINALITY t(u, k, m, at, n) LEFT JOIN api_keys a ON a.id = t.k
              JOIN budget_policies y ON y.subject = ANY (budget_subjects(t.u, coalesce(a.budget_key, t.k), t.m)) AND y.removed_at IS NULL) p
        LEFT JOIN budget_windows b ON b.policy = p.id AND b.starts_at = p.start
$$;

-- Makes the windows that are not there, in the order of locks, since whoever makes the same one waits for us; true: there were some. A statement for each:
-- with arrays as its input it would be planned anew at every call, which costs more than the work.
CREATE FUNCTION budget_open(ps uuid[], ss timestamptz[]) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    w record;
    made boolean := false;
BEGIN
    FOR w IN SELECT DISTINCT x.p, x.s FROM unnest(ps, ss) x(p, s) ORDER BY 1, 2 LOOP
        INSERT INTO budget_windows (policy, starts_at, ends_at, lim, soft)
            SELECT p.id, w.s, budget_end(p.span, p.zone, p.old_zone, p.zone_from, w.s), CASE WHEN p.removed_at IS NULL THEN p.lim END, p.soft
                FROM budget_policies p WHERE p.id = w.p AND NOT EXISTS (SELECT FROM budget_windows b WHERE b.policy = w.p AND b.starts_at = w.s)
            ON CONFLICT DO NOTHING;
        made := made OR FOUND;
    END LOOP;
    RETURN made;
END $$;

-- A statement that changes many rows locks them in whatever order its plan meets them; only a sort directly below the locking decides about it.
CREATE FUNCTION budget_lock(ps uuid[], ss timestamptz[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM budget_windows b JOIN (SELECT DISTINCT t.p, t.s FROM unnest(ps, ss) t(p, s)) s ON b.policy = s.p AND b.starts_at = s.s
        ORDER BY b.policy, b.starts_at FOR NO KEY UPDATE OF b;
END $$;

-- Reservations pass the gate together, a change of policies passes it alone: so a new policy or limit finds every hold, and every hold finds it.
CREATE FUNCTION budget_gate(alone boolean) RETURNS boolean LANGUAGE sql AS $$
    SELECT CASE WHEN alone THEN pg_advisory_xact_lock(1313) ELSE pg_advisory_xact_lock_shared(1313) END IS NULL
$$;

-- ---- Requests ----

ALTER TABLE llm_requests RENAME COLUMN price_in TO price_input;
ALTER TABLE llm_requests RENAME COLUMN price_out TO price_output;
ALTER TABLE llm_requests RENAME COLUMN cost_micro TO cost_microcredits;
ALTER TABLE llm_requests ADD COLUMN held_prompt bigint,                -- part of held that is read; NULL: not known, all is priced at the highest price
    ADD COLUMN held_micro bigint NOT NULL DEFAULT 0,
    ADD COLUMN held_requests smallint NOT NULL DEFAULT 0,              -- 1 while it counts as held in windows of requests
    ADD COLUMN win_policy uuid[] NOT NULL DEFAULT '{}',                -- the windows it counts in, from its admission to its end, in the order of locks
    ADD COLUMN win_start timestamptz[] NOT NULL DEFAULT '{}',
    ADD COLUMN win_unit smallint[] NOT NULL DEFAULT '{}';
UPDATE llm_requests SET price_input = price_input * 1000000, price_cached = price_cached * 1000000, price_output = price_output * 1000000;
UPDATE llm_requests SET held_requests = 1, held_micro = ledger_hold_cost(NULL, held, price_input, price_cached, price_output) WHERE state = 1;
-- One check for each table, of what the others follow from: PostgreSQL reads every one from its text at every statement that writes.
ALTER TABLE llm_requests DROP CONSTRAINT llm_requests_state_check, DROP CONSTRAINT llm_requests_held_check, DROP CONSTRAINT llm_requests_used_check,
    DROP CONSTRAINT llm_requests_cost_micro_check,
    ADD CONSTRAINT llm_requests_counts CHECK (least(held, used) >= 0);
ALTER TABLE token_ledger DROP CONSTRAINT token_ledger_kind_check, DROP CONSTRAINT token_ledger_n_in_check, DROP CONSTRAINT token_ledger_check,
    DROP CONSTRAINT token_ledger_n_out_check, DROP CONSTRAINT token_ledger_cost_micro_check,
    ADD CONSTRAINT token_ledger_counts CHECK (least(n_cached, n_in - n_cached, n_out) >= 0);
CREATE INDEX llm_requests_admitted ON llm_requests USING brin (admitted_at);
DROP INDEX llm_requests_node; -- read once when a node starts, where that of all open requests does as well; written with every request

-- ---- The budgets of before become policies ----

WITH RECURSIVE chain AS (
    SELECT id, id AS root FROM api_keys WHERE rotated_from IS NULL UNION SELECT a.id, c.root FROM api_keys a JOIN chain c ON a.rotated_from = c.id
) UPDATE api_keys a SET budget_key = c.root FROM chain c WHERE c.id = a.id AND c.root <> a.id;

INSERT INTO budget_policies (scope, user_id, unit, span, lim) SELECT 'user', id, 1, 'month', month_tokens_limit FROM users WHERE month_tokens_limit IS NOT NULL;
INSERT INTO budget_policies (scope, user_id, key_id, unit, span, lim)
    SELECT 'key', user_id, id, 1, 'month', month_tokens_limit FROM api_keys WHERE month_tokens_limit IS NOT NULL AND budget_key IS NULL;
INSERT INTO budget_windows (policy, starts_at, ends_at, lim, soft, used, held, seeded, counted_when_set)
    SELECT p.id, b.period::timestamp AT TIME ZONE 'UTC', (b.period + interval '1 month') AT TIME ZONE 'UTC', b.lim, p.soft, b.used, b.held, b.used, b.counted_when_set
        FROM budget_user b JOIN budget_policies p ON p.scope = 'user' AND p.user_id = b.user_id
    UNION ALL
    SELECT p.id, b.period::timestamp AT TIME ZONE 'UTC', (b.period + interval '1 month') AT TIME ZONE 'UTC', b.lim, p.soft, b.used, b.held, b.used, 0
        FROM budget_key b JOIN budget_policies p ON p.scope = 'key' AND p.key_id = b.key_id;
UPDATE llm_requests q SET win_policy = w.ps, win_start = w.ss, win_unit = w.us
    FROM (SELECT o.user_id, o.id, array_agg(p.id ORDER BY p.id) ps,
              array_agg(o.period::timestamp AT TIME ZONE 'UTC' ORDER BY p.id) ss, array_agg(p.unit ORDER BY p.id) us
          FROM llm_requests o JOIN budget_policies p ON (p.scope = 'user' AND p.user_id = o.user_id) OR (p.scope = 'key' AND p.key_id = o.key_id)
          JOIN budget_windows b ON b.policy = p.id AND b.starts_at = o.period::timestamp AT TIME ZONE 'UTC' WHERE o.state = 1 GROUP BY 1, 2) w
    WHERE q.user_id = w.user_id AND q.id = w.id;

DROP VIEW tokens_used;
DROP FUNCTION reserve(uuid, uuid, uuid, text, date, bigint, uuid, interval), reserve_many(uuid[], uuid[], uuid[], text[], date, bigint[], uuid, interval),
    extend(uuid, uuid, bigint, bigint, bigint, interval), settle_many(uuid[], uuid[], uuid[], text[], date[], bigint[], bigint[], bigint[], text[], uuid),
    ledger_open_month(uuid[], uuid[], date[]), ledger_lock_requests(uuid[], uuid[]), ledger_lock(uuid[], uuid[], date[]);
DROP TABLE budget_user, budget_key;
ALTER TABLE users DROP COLUMN month_tokens_limit;
ALTER TABLE api_keys DROP COLUMN month_tokens_limit;

CREATE VIEW tokens_used AS
    SELECT x.user_id, x.period, coalesce(x.tokens, 0) AS tokens, coalesce(x.held, 0) AS held, (SELECT p.lim FROM budget_policies p
        WHERE p.subject = 'user ' || x.user_id AND p.unit = 1 AND p.span = 'month' AND p.removed_at IS NULL) AS lim
    FROM ((SELECT user_id, period, sum(n_in + n_out)::bigint AS tokens FROM token_ledger GROUP BY 1, 2) u
        FULL JOIN (SELECT user_id, period, sum(held)::bigint AS held FROM llm_requests WHERE state = 1 GROUP BY 1, 2) h USING (user_id, period)) x;

CREATE VIEW budget_usage AS
    SELECT p.id AS policy, p.scope, p.user_id, p.key_id, p.model, (ARRAY['tokens', 'microcredits', 'requests'])[p.unit] AS unit, p.span, p.zone,
           w.starts_at, w.ends_at, w.lim + w.granted AS lim, w.granted, w.used, w.held
    FROM budget_policies p JOIN budget_windows w ON w.policy = p.id;

-- ---- Hold, hold more, book once (called by llmserver) ----

-- What one more hold would pass: a line for each window that refuses, the narrowest scope first. Amounts per unit: tokens, micro-credits, requests.
CREATE FUNCTION budget_refused(ps uuid[], ss timestamptz[], tokens bigint, micro bigint, requests bigint) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT jsonb_agg(jsonb_build_object('policy', p.id, 'scope', p.scope, 'model', p.model, 'window', p.span,
            'unit', (ARRAY['tokens', 'microcredits', 'requests'])[p.unit], 'limit', greatest(b.lim + b.granted, 0), 'used', b.used, 'held', b.held,
            'needs', x.n, 'resets_at', CASE WHEN b.ends_at < 'infinity' THEN to_char(b.ends_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') END)
        ORDER BY array_position(ARRAY['key_model', 'key', 'user_model', 'user', 'model', 'global'], p.scope), b.ends_at, p.unit)
    FROM unnest(ps, ss) t(p, s) JOIN budget_windows b ON b.policy = t.p AND b.starts_at = t.s JOIN budget_policies p ON p.id = t.p
        CROSS JOIN LATERAL (SELECT (ARRAY[tokens, micro, requests])[p.unit] AS n) x
    WHERE x.n > 0 AND b.used + b.held + x.n > b.lim + b.granted);
END $$;

-- Adds to what is held in the windows of one request, or, when one of them has no room, to none. A statement for each window: there are few, the order of
-- the locks is that of the arrays, and the row it sees is the one it has locked.
CREATE FUNCTION budget_hold(ps uuid[], ss timestamptz[], un smallint[], tokens bigint, micro bigint, requests bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    needs bigint[] := ARRAY[tokens, micro, requests];
    n bigint;
BEGIN
    FOR i IN 1 .. coalesce(array_length(ps, 1), 0) LOOP
        n := needs[un[i]];
        UPDATE budget_windows b SET held = b.held + n
            WHERE b.policy = ps[i] AND b.starts_at = ss[i] AND (n <= 0 OR b.lim IS NULL OR b.used + b.held + n <= b.lim + b.granted);
        IF NOT FOUND THEN
            FOR j IN 1 .. i - 1 LOOP
                UPDATE budget_windows b SET held = b.held - needs[un[j]] WHERE b.policy = ps[j] AND b.starts_at = ss[j];
            END LOOP;
            RETURN false;
        END IF;
    END LOOP;
    RETURN true;
END $$;

CREATE FUNCTION ledger_lock_requests(us uuid[], rs uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    ps uuid[];
    ss timestamptz[];
BEGIN
    SELECT array_agg(w.p), array_agg(w.s) INTO ps, ss
        FROM (SELECT q.win_policy, q.win_start FROM unnest(us, rs) t(u, r) JOIN llm_requests q ON q.user_id = t.u AND q.id = t.r
              ORDER BY q.user_id, q.id FOR NO KEY UPDATE OF q) x
        CROSS JOIN LATERAL unnest(x.win_policy, x.win_start) w(p, s);
    PERFORM budget_lock(ps, ss);
END $$;

-- Holds am tokens, pr of them read, for one request admitted at `at`. code: 1 held, 2 replay (the request id is there already), 3 a limit of the key,
-- 4 another limit, 5 a model without a price, 6 this very reservation is held already (open, same node, key, time, model, tokens): whose earlier call
-- got no answer may take it for a yes. For 3 and 4: all windows that refuse, and the numbers of the first.
CREATE FUNCTION reserve(u uuid, k uuid, r uuid, m text, at timestamptz, am bigint, nd uuid, ttl interval, pr bigint DEFAULT NULL,
                        OUT code smallint, OUT lim bigint, OUT used bigint, OUT held bigint, OUT refused jsonb) LANGUAGE plpgsql AS $$
DECLARE
    root uuid := nullif(k, '00000000-0000-0000-0000-000000000000'); -- no key: a signed-in session
    p_in bigint;
    p_cached bigint;
    p_out bigint;
    micro bigint;
    ps uuid[];
    ss timestamptz[];
    un smallint[];
    passed boolean := budget_gate(false);
    same boolean;
BEGIN
    -- Two looks and not one with joins: to set such a plan up costs more than to run both.
    SELECT x.price_input, x.price_cached, x.price_output, ledger_hold_cost(pr, am, x.price_input, x.price_cached, x.price_output)
        INTO p_in, p_cached, p_out, micro FROM model_prices x WHERE x.model = m AND x.valid_from <= at ORDER BY x.valid_from DESC LIMIT 1;
    IF NOT FOUND THEN code := 5; RETURN; END IF;
    IF root IS NOT NULL THEN root := coalesce((SELECT a.budget_key FROM api_keys a WHERE a.id = k), k); END IF;
    SELECT coalesce(array_agg(y.id), '{}'), coalesce(array_agg(budget_start(y.span, y.zone, y.old_zone, y.zone_from, at)), '{}'),
           coalesce(array_agg(y.unit), '{}') INTO ps, ss, un FROM budget_policies y WHERE y.removed_at IS NULL AND y.subject = ANY (budget_subjects(u, root, m));
    IF array_length(ps, 1) > 1 THEN -- the order of locks
        SELECT array_agg(w.p ORDER BY w.p), array_agg(w.s ORDER BY w.p), array_agg(w.u ORDER BY w.p) INTO ps, ss, un FROM unnest(ps, ss, un) w(p, s, u);
    END IF;
    LOOP
        IF budget_hold(ps, ss, un, am, micro, 1) THEN
            INSERT INTO llm_requests (user_id, id, key_id, period, model, node, state, held, held_prompt, held_micro, held_requests, price_input,
                                      price_cached, price_output, admitted_at, expires_at, win_policy, win_start, win_unit)
                SELECT o.id, r, k, date_trunc('month', at AT TIME ZONE 'UTC')::date, m, nd, 1, am, pr, micro, 1, p_in, p_cached, p_out, at, now() + ttl,
                       ps, ss, un FROM users o WHERE o.id = u ON CONFLICT DO NOTHING;
            IF FOUND THEN code := 1; RETURN; END IF;
            PERFORM budget_hold(ps, ss, un, -am, -micro, -1);
        END IF;
        -- Why not? Before the limits: what an earlier call holds for this request counts in them already.
        SELECT q.state = 1 AND q.node = nd AND q.key_id = k AND q.admitted_at = at AND q.model = m AND q.held = am INTO same
            FROM llm_requests q WHERE q.user_id = u AND q.id = r;
        IF FOUND THEN code := CASE WHEN same THEN 6 ELSE 2 END; RETURN; END IF;
        CONTINUE WHEN budget_open(ps, ss);
        -- Nothing changes from here on: either a window refuses, or there is room now and it fits.
        PERFORM budget_lock(ps, ss);
        refused := budget_refused(ps, ss, am, micro, 1);
        IF refused IS NULL AND NOT EXISTS (SELECT FROM users WHERE id = u) THEN
            refused := jsonb_build_array(jsonb_build_object('scope', 'user', 'unit', 'tokens', 'window', 'month', 'limit', 0, 'used', 0, 'held', 0, 'needs', am));
        END IF;
        EXIT WHEN refused IS NOT NULL;
    END LOOP;
    code := CASE WHEN refused -> 0 ->> 'scope' LIKE 'key%' THEN 3 ELSE 4 END;
    lim := refused -> 0 -> 'limit';
    used := refused -> 0 -> 'used';
    held := refused -> 0 -> 'held';
END $$;

-- The same for a batch in one commit. Either all are held (all 1), or nothing is and every answer is 0: "alone", send each by reserve().
CREATE FUNCTION reserve_many(us uuid[], ks uuid[], rs uuid[], ms text[], ats timestamptz[], am bigint[], nd uuid, ttl interval, prs bigint[] DEFAULT NULL)
    RETURNS smallint[] LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    n int := coalesce(array_length(us, 1), 0);
    passed boolean := budget_gate(false);
    w record;
    got record;
BEGIN
    SELECT array_agg(x.n) AS n, array_agg(x.policy) AS p, array_agg(x.start) AS s, array_agg(x.unit) AS u,
           array_agg(x.policy) FILTER (WHERE NOT x.opened) AS new_p, array_agg(x.start) FILTER (WHERE NOT x.opened) AS new_s
        INTO w FROM (SELECT * FROM budget_windows_of(us, ks, ms, ats) o ORDER BY o.n, o.policy, o.start) x;
    IF w.new_p IS NOT NULL THEN PERFORM budget_open(w.new_p, w.new_s); END IF;
    PERFORM budget_lock(w.p, w.s);
    BEGIN
        WITH made AS (
            INSERT INTO llm_requests (user_id, id, key_id, period, model, node, state, held, held_prompt, held_micro, held_requests, price_input,
                                      price_cached, price_output, admitted_at, expires_at, win_policy, win_start, win_unit)
                SELECT t.u, t.r, t.k, date_trunc('month', t.at AT TIME ZONE 'UTC')::date, t.m, nd, 1, t.a, t.pr,
                       ledger_hold_cost(t.pr, t.a, c.price_input, c.price_cached, c.price_output), 1, c.price_input, c.price_cached, c.price_output,
                       t.at, now() + ttl, coalesce(v.ps, '{}'), coalesce(v.ss, '{}'), coalesce(v.un, '{}')
                FROM unnest(us, ks, rs, ms, ats, am, prs) WITH ORDINALITY t(u, k, r, m, at, a, pr, n) JOIN users o ON o.id = t.u
                CROSS JOIN LATERAL (SELECT * FROM model_prices x WHERE x.model = t.m AND x.valid_from <= t.at ORDER BY x.valid_from DESC LIMIT 1) c
                LEFT JOIN (SELECT x.n, array_agg(x.p) ps, array_agg(x.s) ss, array_agg(x.u) un FROM unnest(w.n, w.p, w.s, w.u) x(n, p, s, u) GROUP BY 1) v
                    ON v.n = t.n
                ON CONFLICT DO NOTHING RETURNING held, held_micro, win_policy, win_start, win_unit
        ), sums AS (
            SELECT x.p, x.s, sum(CASE x.u WHEN 1 THEN q.held WHEN 2 THEN q.held_micro ELSE 1 END)::bigint a
                FROM made q CROSS JOIN LATERAL unnest(q.win_policy, q.win_start, q.win_unit) x(p, s, u) GROUP BY 1, 2
        ), fits AS (
            UPDATE budget_windows b SET held = b.held + s.a FROM sums s
                WHERE b.policy = s.p AND b.starts_at = s.s AND (b.lim IS NULL OR b.used + b.held + s.a <= b.lim + b.granted) RETURNING 1
        )
        SELECT (SELECT count(*) FROM made) AS made, (SELECT count(*) FROM sums) AS wanted, (SELECT count(*) FROM fits) AS fitting INTO got;
        IF got.made <> n OR got.fitting <> got.wanted THEN RAISE EXCEPTION 'alone' USING ERRCODE = 'CDS01'; END IF;
    EXCEPTION WHEN SQLSTATE 'CDS01' THEN
        RETURN array_fill(0::smallint, ARRAY[n]);
    END;
    RETURN array_fill(1::smallint, ARRAY[n]);
END $$;

-- Raises the hold of a running request to am tokens in all, and notes how far it is (done_in, done_out). A total, so that a call may come twice.
-- Codes as in reserve; 2: the request is not open.
CREATE FUNCTION extend(u uuid, r uuid, am bigint, n_in bigint, n_out bigint, ttl interval,
                       OUT code smallint, OUT lim bigint, OUT used bigint, OUT held bigint, OUT refused jsonb) LANGUAGE plpgsql AS $$
DECLARE
    q llm_requests;
    more bigint;
    micro bigint;
BEGIN
    SELECT * INTO q FROM llm_requests WHERE user_id = u AND id = r AND state = 1 FOR NO KEY UPDATE;
    IF NOT FOUND THEN code := 2; RETURN; END IF;
    more := greatest(am - q.held, 0);
    micro := greatest(ledger_hold_cost(q.held_prompt, q.held + more, q.price_input, q.price_cached, q.price_output) - q.held_micro, 0);
    IF more > 0 AND NOT budget_hold(q.win_policy, q.win_start, q.win_unit, more, micro, 0) THEN
        PERFORM budget_lock(q.win_policy, q.win_start); -- with them locked, what refused a moment ago may have room now
        refused := budget_refused(q.win_policy, q.win_start, more, micro, 0);
        IF refused IS NOT NULL THEN
            code := CASE WHEN refused -> 0 ->> 'scope' LIKE 'key%' THEN 3 ELSE 4 END;
            lim := refused -> 0 -> 'limit';
            used := refused -> 0 -> 'used';
            held := refused -> 0 -> 'held';
            RETURN;
        END IF;
        PERFORM budget_hold(q.win_policy, q.win_start, q.win_unit, more, micro, 0);
    END IF;
    UPDATE llm_requests l SET held = l.held + more, held_micro = l.held_micro + micro, done_in = greatest(l.done_in, n_in),
        done_out = greatest(l.done_out, n_out), expires_at = now() + ttl WHERE l.user_id = u AND l.id = r;
    code := 1;
END $$;

-- A batch of them: all 1, or all 0 ("alone").
CREATE OR REPLACE FUNCTION extend_many(us uuid[], rs uuid[], am bigint[], n_in bigint[], n_out bigint[], ttl interval)
    RETURNS smallint[] LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
DECLARE
    n int := coalesce(array_length(us, 1), 0);
    got int;
    want int;
    more bigint[];
    micro bigint[];
BEGIN
    PERFORM ledger_lock_requests(us, rs);
    SELECT array_agg(x.more ORDER BY x.n),
           array_agg(greatest(ledger_hold_cost(x.held_prompt, x.held + x.more, x.price_input, x.price_cached, x.price_output) - x.held_micro, 0) ORDER BY x.n)
        INTO more, micro FROM (SELECT t.n, greatest(t.a - q.held, 0) AS more, q.* FROM unnest(us, rs, am) WITH ORDINALITY t(u, r, a, n)
            JOIN llm_requests q ON q.user_id = t.u AND q.id = t.r AND q.state = 1) x;
    IF coalesce(array_length(more, 1), 0) <> n THEN RETURN array_fill(0::smallint, ARRAY[n]); END IF;
    BEGIN
        UPDATE llm_requests q SET held = q.held + t.a, held_micro = q.held_micro + t.c, done_in = greatest(q.done_in, t.i),
            done_out = greatest(q.done_out, t.o), expires_at = now() + ttl
            FROM unnest(us, rs, more, micro, n_in, n_out) t(u, r, a, c, i, o) WHERE q.user_id = t.u AND q.id = t.r AND q.state = 1;
        GET DIAGNOSTICS got = ROW_COUNT;
        IF got <> n THEN RAISE EXCEPTION 'alone' USING ERRCODE = 'CDS01'; END IF;
        SELECT count(*) INTO want FROM (SELECT DISTINCT w.p, w.s FROM unnest(us, rs) t(u, r) JOIN llm_requests q ON q.user_id = t.u AND q.id = t.r
            CROSS JOIN LATERAL unnest(q.win_policy, q.win_start) w(p, s)) y;
        WITH s AS (SELECT w.p, w.s, sum(CASE w.u WHEN 1 THEN t.a WHEN 2 THEN t.c ELSE 0 END)::bigint a
                FROM unnest(us, rs, more, micro) t(u, r, a, c) JOIN llm_requests q ON q.user_id = t.u AND q.id = t.r
                CROSS JOIN LATERAL unnest(q.win_policy, q.win_start, q.win_unit) w(p, s, u) GROUP BY 1, 2 ORDER BY 1, 2)
            UPDATE budget_windows b SET held = b.held + s.a FROM s
            WHERE b.policy = s.p AND b.starts_at = s.s AND (s.a = 0 OR b.lim IS NULL OR b.used + b.held + s.a <= b.lim + b.granted);
        GET DIAGNOSTICS got = ROW_COUNT;
        IF got <> want THEN RAISE EXCEPTION 'alone' USING ERRCODE = 'CDS01'; END IF;
    EXCEPTION WHEN SQLSTATE 'CDS01' THEN
        RETURN array_fill(0::smallint, ARRAY[n]);
    END;
    RETURN array_fill(1::smallint, ARRAY[n]);
END $$;

-- Requests that a crash took the reservation of, made again without a hold so that they can be booked.
CREATE FUNCTION ledger_remake(us uuid[], ks uuid[], rs uuid[], ms text[], ats timestamptz[], nd uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    wn bigint[];
    ps uuid[];
    ss timestamptz[];
    un smallint[];
BEGIN
    IF NOT EXISTS (SELECT FROM unnest(us, rs) t(u, r) WHERE NOT EXISTS (SELECT FROM llm_requests q WHERE q.user_id = t.u AND q.id = t.r)) THEN
        RETURN;
    END IF;
    PERFORM budget_gate(false);
    SELECT array_agg(w.n), array_agg(w.policy), array_agg(w.start), array_agg(w.unit) INTO wn, ps, ss, un
        FROM (SELECT * FROM budget_windows_of(us, ks, ms, ats) o ORDER BY o.n, o.policy, o.start) w;
    PERFORM budget_open(ps, ss);
    INSERT INTO llm_requests (user_id, id, key_id, period, model, node, state, held, price_input, price_cached, price_output, admitted_at, expires_at,
                              win_policy, win_start, win_unit)
        SELECT t.u, t.r, t.k, date_trunc('month', t.at AT TIME ZONE 'UTC')::date, t.m, nd, 1, 0, coalesce(c.price_input, 0), coalesce(c.price_cached, 0),
               coalesce(c.price_output, 0), t.at, now(), coalesce(w.ps, '{}'), coalesce(w.ss, '{}'), coalesce(w.un, '{}')
        FROM unnest(us, ks, rs, ms, ats) WITH ORDINALITY t(u, k, r, m, at, n)
        LEFT JOIN LATERAL (SELECT * FROM model_prices x WHERE x.model = t.m AND x.valid_from <= t.at ORDER BY x.valid_from DESC LIMIT 1) c ON true
        LEFT JOIN (SELECT x.n, array_agg(x.p) ps, array_agg(x.s) ss, array_agg(x.u) un FROM unnest(wn, ps, ss, un) x(n, p, s, u) GROUP BY 1) w ON w.n = t.n
        WHERE NOT EXISTS (SELECT 1 FROM llm_requests q WHERE q.user_id = t.u AND q.id = t.r)
        ORDER BY 1, 2 ON CONFLICT DO NOTHING;
END $$;

-- The highest soft percentage that `used` has passed; NULL: none.
CREATE FUNCTION budget_passed(soft smallint[], used bigint, lim bigint) RETURNS smallint LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    x smallint;
    most smallint;
BEGIN
    IF lim > 0 THEN
        FOREACH x IN ARRAY soft LOOP
            IF used::numeric * 100 >= lim::numeric * x THEN most := greatest(most, x); END IF;
        END LOOP;
    END IF;
    RETURN most;
END $$;
CREATE FUNCTION budget_label(pol uuid) RETURNS text LANGUAGE plpgsql STABLE STRICT AS $$
BEGIN
    RETURN (SELECT concat_ws(' ', p.scope, (ARRAY['tokens', 'microcredits', 'requests'])[p.unit], p.span) FROM budget_policies p WHERE p.id = pol);
END $$;

-- Books one request exactly once. code: 1 booked now, 2 booked before (cost as booked then), 3 the id belongs to a request of another node and nothing was
-- booked. Also books what lost its reservation in a crash (made again here) and what the reaper had given up: charged without a hold. soft: the highest
-- soft percentage that its windows have passed with it, fresh: it is the first to pass it.
CREATE FUNCTION settle(u uuid, k uuid, r uuid, m text, at timestamptz, n_in bigint, n_cached bigint, n_out bigint, e text, nd uuid,
                       OUT code smallint, OUT cost_micro bigint, OUT soft smallint, OUT soft_policy text, OUT fresh boolean) LANGUAGE plpgsql AS $$
DECLARE
    of_key uuid;
    of_period date;
    of_model text;
    released bigint[];
    booked bigint[];
    ps uuid[];
    ss timestamptz[];
    un smallint[];
    passed smallint;
    share float8;
    best int := 0;
    best_share float8;
BEGIN
    FOR attempt IN 1 .. 2 LOOP
        UPDATE llm_requests l SET state = 2, used = n_in + n_out, done_in = n_in, done_out = n_out, outcome = e, ended_at = now(),
            cost_microcredits = ledger_cost(n_in, n_cached, n_out, l.price_input, l.price_cached, l.price_output)
            WHERE l.user_id = u AND l.id = r AND l.state IN (1, 3) AND l.node = nd
            RETURNING 1, l.key_id, l.period, l.model, l.cost_microcredits, ARRAY[l.held, l.held_micro, l.held_requests], l.win_policy, l.win_start, l.win_unit
                INTO code, of_key, of_period, of_model, cost_micro, released, ps, ss, un;
        EXIT WHEN code = 1;
        SELECT CASE WHEN l.node = nd THEN 2 ELSE 3 END, CASE WHEN l.node = nd THEN l.cost_microcredits ELSE 0 END INTO code, cost_micro
            FROM llm_requests l WHERE l.user_id = u AND l.id = r;
        EXIT WHEN code IS NOT NULL;
        PERFORM ledger_remake(ARRAY[u], ARRAY[k], ARRAY[r], ARRAY[m], ARRAY[at], nd);
    END LOOP;
    fresh := false;
    IF code <> 1 THEN RETURN; END IF;
    INSERT INTO token_ledger (user_id, request_id, kind, key_id, period, model, n_in, n_cached, n_out, cost_micro)
        VALUES (u, r, 1, of_key, of_period, of_model, n_in, n_cached, n_out, settle.cost_micro);
    booked := ARRAY[n_in + n_out, cost_micro, least(n_in + n_out, 1)];
    FOR i IN 1 .. coalesce(array_length(ps, 1), 0) LOOP
        UPDATE budget_windows b SET held = b.held - released[un[i]], used = b.used + booked[un[i]] WHERE b.policy = ps[i] AND b.starts_at = ss[i]
            RETURNING budget_passed(b.soft, b.used, b.lim + b.granted), b.used::float8 / nullif(b.lim + b.granted, 0) INTO passed, share;
        IF passed > coalesce(soft, 0) OR (passed = soft AND share > best_share) THEN
            soft := passed;
            best := i;
            best_share := share;
        END IF;
    END LOOP;
    IF best > 0 THEN
        soft_policy := budget_label(ps[best]);
        IF NOT EXISTS (SELECT FROM budget_warnings o WHERE o.policy = ps[best] AND o.starts_at = ss[best] AND o.percent = soft) THEN
            INSERT INTO budget_warnings (policy, starts_at, percent) VALUES (ps[best], ss[best], soft) ON CONFLICT DO NOTHING;
            fresh := FOUND;
        END IF;
    END IF;
END $$;

-- A batch of them in one commit; rows come back in the order of the arrays.
CREATE FUNCTION settle_many(us uuid[], ks uuid[], rs uuid[], ms text[], ats timestamptz[], n_in bigint[], n_cached bigint[], n_out bigint[],
                            outcomes text[], nd uuid)
    RETURNS TABLE (code smallint, cost_micro bigint, soft smallint, soft_policy text, fresh boolean) LANGUAGE plpgsql
    SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    -- Before anything is locked: it makes windows, which others may be making.
    PERFORM ledger_remake(us, ks, rs, ms, ats, nd);
    -- In a statement of its own, so that the next one sees what an extension it had to wait for has added to the budgets: PostgreSQL checks
    -- constraints on the values of the statement's snapshot, and held would seem to fall below zero.
    PERFORM ledger_lock_requests(us, rs);
    RETURN QUERY WITH booked AS (
        UPDATE llm_requests q SET state = 2, used = t.i + t.o, done_in = t.i, done_out = t.o, outcome = t.e, ended_at = now(),
            cost_microcredits = ledger_cost(t.i, t.c, t.o, q.price_input, q.price_cached, q.price_output)
        FROM unnest(us, rs, n_in, n_cached, n_out, outcomes) WITH ORDINALITY t(u, r, i, c, o, e, n)
        WHERE q.user_id = t.u AND q.id = t.r AND q.state IN (1, 3) AND q.node = nd
        RETURNING t.n, q.user_id, q.id, q.key_id, q.period, q.model, q.held, q.held_micro, q.held_requests, q.win_policy, q.win_start, q.win_unit,
                  q.cost_microcredits AS cost, t.i, t.c, t.o
    ), entries AS (
        INSERT INTO token_ledger (user_id, request_id, kind, key_id, period, model, n_in, n_cached, n_out, cost_micro)
        SELECT b.user_id, b.id, 1, b.key_id, b.period, b.model, b.i, b.c, b.o, b.cost FROM booked b
    ), windows AS (
        UPDATE budget_windows b SET held = b.held - s.h, used = b.used + s.t
        FROM (SELECT w.p, w.s, sum(CASE w.u WHEN 1 THEN k.held WHEN 2 THEN k.held_micro ELSE k.held_requests END)::bigint h,
                     sum(CASE w.u WHEN 1 THEN k.i + k.o WHEN 2 THEN k.cost ELSE least(k.i + k.o, 1) END)::bigint t
              FROM booked k CROSS JOIN LATERAL unnest(k.win_policy, k.win_start, k.win_unit) w(p, s, u) GROUP BY 1, 2) s
        WHERE b.policy = s.p AND b.starts_at = s.s
        RETURNING b.policy, b.starts_at, b.used::float8 / nullif(b.lim + b.granted, 0) AS share,
            budget_passed(b.soft, b.used, b.lim + b.granted) AS percent
    ), told AS (
        SELECT DISTINCT ON (k.n) k.n, w.percent, w.policy, w.starts_at FROM booked k CROSS JOIN LATERAL unnest(k.win_policy, k.win_start) x(p, s)
            JOIN windows w ON w.policy = x.p AND w.starts_at = x.s AND w.percent > 0 ORDER BY k.n, w.percent DESC, w.share DESC
    ), new AS (
        INSERT INTO budget_warnings AS x (policy, starts_at, percent) SELECT DISTINCT d.policy, d.starts_at, d.percent FROM told d
            WHERE NOT EXISTS (SELECT 1 FROM budget_warnings o WHERE o.policy = d.policy AND o.starts_at = d.starts_at AND o.percent = d.percent)
            ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING RETURNING x.policy, x.starts_at, x.percent
    )
    SELECT (CASE WHEN k.n IS NOT NULL THEN 1
                 WHEN (SELECT q.node = nd FROM llm_requests q WHERE q.user_id = t.u AND q.id = t.r) THEN 2 ELSE 3 END)::smallint,
           coalesce(k.cost, (SELECT q.cost_microcredits FROM llm_requests q WHERE q.user_id = t.u AND q.id = t.r AND q.node = nd), 0), d.percent,
           budget_label(d.policy), EXISTS (SELECT FROM new x WHERE x.policy = d.policy AND x.starts_at = d.starts_at AND x.percent = d.percent)
        FROM unnest(us, rs) WITH ORDINALITY t(u, r, n) LEFT JOIN booked k ON k.n = t.n LEFT JOIN told d ON d.n = t.n ORDER BY t.n;
END $$;

-- Gives up open requests whose node has not extended them in time. Any node may run it; several at once share the rows.
CREATE OR REPLACE FUNCTION reap(most int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    us uuid[];
    rs uuid[];
    n int;
BEGIN
    SELECT array_agg(user_id), array_agg(id) INTO us, rs FROM
        (SELECT user_id, id FROM llm_requests WHERE state = 1 AND expires_at < now() ORDER BY user_id, id LIMIT most FOR UPDATE SKIP LOCKED) x;
    PERFORM ledger_lock_requests(us, rs);
    WITH late AS (
        SELECT q.* FROM unnest(us, rs) t(u, r) JOIN llm_requests q ON q.user_id = t.u AND q.id = t.r
    ), closed AS (
        -- What was held is released here; a late settle must not release it again.
        UPDATE llm_requests q SET state = 3, held = 0, held_micro = 0, held_requests = 0, outcome = 'expired', ended_at = now() FROM late
        WHERE q.user_id = late.user_id AND q.id = late.id RETURNING late.held, late.held_micro, late.held_requests, q.win_policy, q.win_start, q.win_unit
    ), windows AS (
        UPDATE budget_windows b SET held = b.held - s.h
        FROM (SELECT w.p, w.s, sum(CASE w.u WHEN 1 THEN k.held WHEN 2 THEN k.held_micro ELSE k.held_requests END)::bigint h
              FROM closed k CROSS JOIN LATERAL unnest(k.win_policy, k.win_start, k.win_unit) w(p, s, u) GROUP BY 1, 2 ORDER BY 1, 2) s
        WHERE b.policy = s.p AND b.starts_at = s.s RETURNING 1
    )
    SELECT count(*) INTO n FROM closed WHERE (SELECT count(*) FROM windows) >= 0;
    RETURN n;
END $$;

-- A node that starts again books what its predecessor left open with the last counts that were made durable.
CREATE OR REPLACE FUNCTION release_node(nd uuid) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    q record;
    n int;
BEGIN
    SELECT array_agg(user_id) us, array_agg(key_id) ks, array_agg(id) rs, array_agg(model) ms, array_agg(admitted_at) ats, array_agg(done_in) i,
           array_agg(0::bigint) c, array_agg(done_out) o, array_agg('node_lost'::text) e, count(*) n INTO q
        FROM (SELECT * FROM llm_requests WHERE node = nd AND state = 1 ORDER BY user_id, id) x;
    IF q.n = 0 THEN RETURN 0; END IF;
    SELECT count(*) INTO n FROM settle_many(q.us, q.ks, q.rs, q.ms, q.ats, q.i, q.c, q.o, q.e, nd);
    RETURN n;
END $$;
