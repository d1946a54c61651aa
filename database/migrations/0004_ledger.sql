-- The token ledger: hold, hold more, book once.
--
-- Budgets count tokens (prompt + completion) per user, and per key where a key has a limit, in the calendar month (UTC) of the admission.
-- Lock order everywhere: requests, then key rows sorted, then user rows sorted. (A request that is only being made is locked last: nobody else can
-- know it.) Each table is written once per statement, nothing hangs on triggers or
-- session state, and user_id leads every key, so that the same code runs behind a pooler and on a sharded database.

CREATE TABLE budget_user (
    user_id uuid NOT NULL,
    period  date NOT NULL,
    lim     bigint CHECK (lim >= 0),                     -- NULL: no limit
    used    bigint NOT NULL DEFAULT 0 CHECK (used >= 0),
    held    bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
    PRIMARY KEY (user_id, period)
) WITH (fillfactor = 40);

CREATE TABLE budget_key (
    user_id uuid NOT NULL,
    key_id  uuid NOT NULL,
    period  date NOT NULL,
    lim     bigint NOT NULL CHECK (lim >= 0),            -- a key without a limit has no row
    used    bigint NOT NULL DEFAULT 0 CHECK (used >= 0),
    held    bigint NOT NULL DEFAULT 0 CHECK (held >= 0),
    PRIMARY KEY (user_id, key_id, period)
) WITH (fillfactor = 40);

CREATE TABLE llm_requests (
    user_id      uuid NOT NULL,
    id           uuid NOT NULL,                          -- request id
    key_id       uuid NOT NULL,
    period       date NOT NULL,
    model        text NOT NULL,
    node         uuid NOT NULL,                          -- llmserver that runs it
    state        smallint NOT NULL CHECK (state IN (1, 2, 3)), -- 1 open, 2 settled, 3 given up by the reaper
    held         bigint NOT NULL CHECK (held >= 0),      -- tokens; counts in the budgets while the state is 1
    price_in     bigint NOT NULL,                        -- pinned at admission
    price_cached bigint NOT NULL,
    price_out    bigint NOT NULL,
    done_in      bigint NOT NULL DEFAULT 0,              -- last durable count, written with each extension
    done_out     bigint NOT NULL DEFAULT 0,
    used         bigint CHECK (used >= 0),
    cost_micro   bigint CHECK (cost_micro >= 0),
    outcome      text,                                   -- stop, length, cancelled, gone, crashed, failed, node_lost, expired
    admitted_at  timestamptz NOT NULL DEFAULT now(),
    ended_at     timestamptz,
    expires_at   timestamptz NOT NULL,
    PRIMARY KEY (user_id, id)
);
CREATE INDEX llm_requests_open ON llm_requests (expires_at) WHERE state = 1;
CREATE INDEX llm_requests_node ON llm_requests (node) WHERE state = 1;
CREATE INDEX llm_requests_recent ON llm_requests (user_id, admitted_at DESC);

-- Append only.
CREATE TABLE token_ledger (
    user_id    uuid NOT NULL,
    request_id uuid NOT NULL,
    kind       smallint NOT NULL CHECK (kind = 1),       -- 1 settle
    key_id     uuid NOT NULL,
    period     date NOT NULL,
    model      text NOT NULL,
    n_in       bigint NOT NULL CHECK (n_in >= 0),        -- prompt tokens, cached ones included
    n_cached   bigint NOT NULL CHECK (n_cached BETWEEN 0 AND n_in),
    n_out      bigint NOT NULL CHECK (n_out >= 0),
    cost_micro bigint NOT NULL CHECK (cost_micro >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, request_id, kind)
);
CREATE INDEX token_ledger_month ON token_ledger (user_id, period);

-- Budget rows of a month are made on first use. Somebody who is not in users gets a limit of 0: nothing is reserved, and what ran is still booked.
CREATE FUNCTION ledger_open_month(us uuid[], ks uuid[], pp date[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO budget_key (user_id, key_id, period, lim)
        SELECT DISTINCT t.u, t.k, t.p, a.month_tokens_limit FROM unnest(us, ks, pp) t(u, k, p)
            JOIN api_keys a ON a.user_id = t.u AND a.id = t.k AND a.month_tokens_limit IS NOT NULL
        WHERE NOT EXISTS (SELECT 1 FROM budget_key b WHERE b.user_id = t.u AND b.key_id = t.k AND b.period = t.p)
        ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING;
    INSERT INTO budget_user (user_id, period, lim)
        SELECT DISTINCT t.u, t.p, CASE WHEN o.id IS NULL THEN 0 ELSE o.month_tokens_limit END
            FROM unnest(us, pp) t(u, p) LEFT JOIN users o ON o.id = t.u
        WHERE NOT EXISTS (SELECT 1 FROM budget_user b WHERE b.user_id = t.u AND b.period = t.p)
        ORDER BY 1, 2 ON CONFLICT DO NOTHING;
END $$;

-- Takes the locks on budgets in the one order. A statement that changes many rows locks them in whatever order its plan meets them; only a sort
-- directly below the locking decides about it.
CREATE FUNCTION ledger_lock(us uuid[], ks uuid[], pp date[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM budget_key b JOIN (SELECT DISTINCT t.u, t.k, t.p FROM unnest(us, ks, pp) t(u, k, p)) s
        ON b.user_id = s.u AND b.key_id = s.k AND b.period = s.p ORDER BY b.user_id, b.key_id, b.period FOR NO KEY UPDATE OF b;
    PERFORM 1 FROM budget_user b JOIN (SELECT DISTINCT t.u, t.p FROM unnest(us, pp) t(u, p)) s
        ON b.user_id = s.u AND b.period = s.p ORDER BY b.user_id, b.period FOR NO KEY UPDATE OF b;
END $$;

-- The same for requests and then for the budgets that they count in.
CREATE FUNCTION ledger_lock_requests(us uuid[], rs uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM unnest(us, rs) t(u, r) JOIN llm_requests q ON q.user_id = t.u AND q.id = t.r ORDER BY q.user_id, q.id FOR NO KEY UPDATE OF q;
    PERFORM ledger_lock(array_agg(q.user_id), array_agg(q.key_id), array_agg(q.period))
        FROM unnest(us, rs) t(u, r) JOIN llm_requests q ON q.user_id = t.u AND q.id = t.r;
END $$;

-- Holds am tokens for one request. code: 1 held, 2 replay (the request id is there already), 3 key limit, 4 user limit, 5 unknown model.
-- For 3 and 4 the budget that refused: its limit, used and held tokens.
CREATE FUNCTION reserve(u uuid, k uuid, r uuid, m text, p date, am bigint, nd uuid, ttl interval,
                        OUT code smallint, OUT lim bigint, OUT used bigint, OUT held bigint) LANGUAGE plpgsql AS $$
DECLARE
    pr models;
    k_lim bigint;
    k_used bigint;
    k_held bigint;
BEGIN
    PERFORM ledger_open_month(ARRAY[u], ARRAY[k], ARRAY[p]);
    SELECT * INTO pr FROM models WHERE id = m;
    IF NOT FOUND THEN code := 5; RETURN; END IF;
    SELECT b.lim, b.used, b.held INTO k_lim, k_used, k_held FROM budget_key b
        WHERE b.user_id = u AND b.key_id = k AND b.period = p FOR NO KEY UPDATE;
    SELECT b.lim, b.used, b.held INTO lim, used, held FROM budget_user b WHERE b.user_id = u AND b.period = p FOR NO KEY UPDATE;
    -- Before the limits: what an earlier call holds for this request counts in them already.
    PERFORM 1 FROM llm_requests WHERE user_id = u AND id = r;
    IF FOUND THEN code := 2; RETURN; END IF;
    IF k_used + k_held + am > k_lim THEN
        code := 3;
        lim := k_lim;
        used := k_used;
        held := k_held;
        RETURN;
    END IF;
    IF used + held + am > lim THEN code := 4; RETURN; END IF;
    INSERT INTO llm_requests (user_id, id, key_id, period, model, node, state, held, price_in, price_cached, price_out, expires_at)
        VALUES (u, r, k, p, m, nd, 1, am, pr.price_in, pr.price_cached, pr.price_out, now() + ttl) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN code := 2; RETURN; END IF;
    UPDATE budget_key b SET held = b.held + am WHERE b.user_id = u AND b.key_id = k AND b.period = p;
    UPDATE budget_user b SET held = b.held + am WHERE b.user_id = u AND b.period = p;
    code := 1;
END $$;

-- The same for a batch in one commit. Either all are held (all 1), or nothing is and every answer is 0: "alone", send each by reserve().
CREATE FUNCTION reserve_many(us uuid[], ks uuid[], rs uuid[], ms text[], p date, am bigint[], nd uuid, ttl interval)
    RETURNS smallint[] LANGUAGE plpgsql AS $$
DECLARE
    n int := coalesce(array_length(us, 1), 0);
    got int;
    want int;
BEGIN
    PERFORM ledger_open_month(us, ks, array_fill(p, ARRAY[n]));
    PERFORM ledger_lock(us, ks, array_fill(p, ARRAY[n]));
    BEGIN
        SELECT count(*) INTO want FROM (SELECT DISTINCT t.u, t.k FROM unnest(us, ks) t(u, k)
            JOIN budget_key b ON b.user_id = t.u AND b.key_id = t.k AND b.period = p) x;
        WITH s AS (SELECT u, k, sum(a)::bigint a FROM unnest(us, ks, am) t(u, k, a) GROUP BY 1, 2 ORDER BY 1, 2)
            UPDATE budget_key b SET held = b.held + s.a FROM s
            WHERE b.user_id = s.u AND b.key_id = s.k AND b.period = p AND b.used + b.held + s.a <= b.lim;
        GET DIAGNOSTICS got = ROW_COUNT;
        IF got <> want THEN RAISE EXCEPTION 'alone' USING ERRCODE = 'CDS01'; END IF;
        INSERT INTO llm_requests (user_id, id, key_id, period, model, node, state, held, price_in, price_cached, price_out, expires_at)
            SELECT t.u, t.r, t.k, p, t.m, nd, 1, t.a, m.price_in, m.price_cached, m.price_out, now() + ttl
            FROM unnest(us, ks, rs, ms, am) t(u, k, r, m, a) JOIN models m ON m.id = t.m ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS got = ROW_COUNT;
        IF got <> n THEN RAISE EXCEPTION 'alone' USING ERRCODE = 'CDS01'; END IF;
        SELECT count(DISTINCT u) INTO want FROM unnest(us) u;
        WITH s AS (SELECT u, sum(a)::bigint a FROM unnest(us, am) t(u, a) GROUP BY 1 ORDER BY 1)
            UPDATE budget_user b SET held = b.held + s.a FROM s
            WHERE b.user_id = s.u AND b.period = p AND (b.lim IS NULL OR b.used + b.held + s.a <= b.lim);
        GET DIAGNOSTICS got = ROW_COUNT;
        IF got <> want THEN RAISE EXCEPTION 'alone' USING ERRCODE = 'CDS01'; END IF;
    EXCEPTION WHEN SQLSTATE 'CDS01' THEN
        RETURN array_fill(0::smallint, ARRAY[n]);
    END;
    RETURN array_fill(1::smallint, ARRAY[n]);
END $$;

-- Holds am tokens more for a running request and notes how far it is (done_in, done_out). Codes as in reserve; 2: the request is not open.
CREATE FUNCTION extend(u uuid, r uuid, am bigint, n_in bigint, n_out bigint, ttl interval,
                       OUT code smallint, OUT lim bigint, OUT used bigint, OUT held bigint) LANGUAGE plpgsql AS $$
DECLARE
    q llm_requests;
BEGIN
    SELECT * INTO q FROM llm_requests WHERE user_id = u AND id = r AND state = 1 FOR NO KEY UPDATE;
    IF NOT FOUND THEN code := 2; RETURN; END IF;
    SELECT b.lim, b.used, b.held INTO lim, used, held FROM budget_key b
        WHERE b.user_id = u AND b.key_id = q.key_id AND b.period = q.period FOR NO KEY UPDATE;
    IF used + held + am > lim THEN code := 3; RETURN; END IF;
    SELECT b.lim, b.used, b.held INTO lim, used, held FROM budget_user b WHERE b.user_id = u AND b.period = q.period FOR NO KEY UPDATE;
    IF used + held + am > lim THEN code := 4; RETURN; END IF;
    UPDATE llm_requests SET held = llm_requests.held + am, done_in = n_in, done_out = n_out, expires_at = now() + ttl
        WHERE user_id = u AND id = r;
    UPDATE budget_key b SET held = b.held + am WHERE b.user_id = u AND b.key_id = q.key_id AND b.period = q.period;
    UPDATE budget_user b SET held = b.held + am WHERE b.user_id = u AND b.period = q.period;
    code := 1;
END $$;

-- A batch of extensions: all 1, or all 0 ("alone").
CREATE FUNCTION extend_many(us uuid[], rs uuid[], am bigint[], n_in bigint[], n_out bigint[], ttl interval) RETURNS smallint[] LANGUAGE plpgsql AS $$
DECLARE
    n int := coalesce(array_length(us, 1), 0);
    got int;
    want int;
BEGIN
    PERFORM ledger_lock_requests(us, rs);
    BEGIN
        UPDATE llm_requests q SET held = q.held + t.a, done_in = t.i, done_out = t.o, expires_at = now() + ttl
            FROM unnest(us, rs, am, n_in, n_out) t(u, r, a, i, o) WHERE q.user_id = t.u AND q.id = t.r AND q.state = 1;
        GET DIAGNOSTICS got = ROW_COUNT;
        IF got <> n THEN RAISE EXCEPTION 'alone' USING ERRCODE = 'CDS01'; END IF;
        SELECT count(*) INTO want FROM (SELECT DISTINCT q.user_id, q.key_id, q.period FROM unnest(us, rs) t(u, r)
            JOIN llm_requests q ON q.user_id = t.u AND q.id = t.r
            JOIN budget_key b ON b.user_id = q.user_id AND b.key_id = q.key_id AND b.period = q.period) x;
        WITH s AS (SELECT q.user_id u, q.key_id k, q.period p, sum(t.a)::bigint a FROM unnest(us, rs, am) t(u, r, a)
                JOIN llm_requests q ON q.user_id = t.u AND q.id = t.r GROUP BY 1, 2, 3 ORDER BY 1, 2, 3)
            UPDATE budget_key b SET held = b.held + s.a FROM s
            WHERE b.user_id = s.u AND b.key_id = s.k AND b.period = s.p AND b.used + b.held + s.a <= b.lim;
        GET DIAGNOSTICS got = ROW_COUNT;
        IF got <> want THEN RAISE EXCEPTION 'alone' USING ERRCODE = 'CDS01'; END IF;
        SELECT count(*) INTO want FROM (SELECT DISTINCT q.user_id, q.period FROM unnest(us, rs) t(u, r)
            JOIN llm_requests q ON q.user_id = t.u AND q.id = t.r) x;
        WITH s AS (SELECT q.user_id u, q.period p, sum(t.a)::bigint a FROM unnest(us, rs, am) t(u, r, a)
                JOIN llm_requests q ON q.user_id = t.u AND q.id = t.r GROUP BY 1, 2 ORDER BY 1, 2)
            UPDATE budget_user b SET held = b.held + s.a FROM s
            WHERE b.user_id = s.u AND b.period = s.p AND (b.lim IS NULL OR b.used + b.held + s.a <= b.lim);
        GET DIAGNOSTICS got = ROW_COUNT;
        IF got <> want THEN RAISE EXCEPTION 'alone' USING ERRCODE = 'CDS01'; END IF;
    EXCEPTION WHEN SQLSTATE 'CDS01' THEN
        RETURN array_fill(0::smallint, ARRAY[n]);
    END;
    RETURN array_fill(1::smallint, ARRAY[n]);
END $$;

-- Books each request exactly once. Rows come back in the order of the arrays: code 1 booked now, 2 booked before (cost as booked then).
-- Also books what lost its reservation in a crash (the row is made here) and what the reaper had given up: charged without a hold.
CREATE FUNCTION settle_many(us uuid[], ks uuid[], rs uuid[], ms text[], pp date[], n_in bigint[], n_cached bigint[], n_out bigint[],
                            outcomes text[], nd uuid)
    RETURNS TABLE (code smallint, cost_micro bigint) LANGUAGE plpgsql AS $$
DECLARE
    now_booked uuid[];
BEGIN
    PERFORM ledger_open_month(us, ks, pp);
    INSERT INTO llm_requests (user_id, id, key_id, period, model, node, state, held, price_in, price_cached, price_out, expires_at)
        SELECT t.u, t.r, t.k, t.p, t.m, nd, 1, 0, coalesce(m.price_in, 0), coalesce(m.price_cached, 0), coalesce(m.price_out, 0), now()
        FROM unnest(us, ks, rs, ms, pp) t(u, k, r, m, p) LEFT JOIN models m ON m.id = t.m
        WHERE NOT EXISTS (SELECT 1 FROM llm_requests q WHERE q.user_id = t.u AND q.id = t.r)
        ORDER BY 1, 2 ON CONFLICT DO NOTHING;
    -- In a statement of its own, so that the next one sees what an extension it had to wait for has added to the budgets: PostgreSQL checks
    -- constraints on the values of the statement's snapshot, and held would seem to fall below zero.
    PERFORM ledger_lock_requests(us, rs);
    WITH booked AS (
        UPDATE llm_requests q SET state = 2, used = t.i + t.o, done_in = t.i, done_out = t.o, outcome = t.e, ended_at = now(),
            cost_micro = (t.i - t.c) * q.price_in + t.c * q.price_cached + t.o * q.price_out
        FROM unnest(us, rs, n_in, n_cached, n_out, outcomes) t(u, r, i, c, o, e)
        WHERE q.user_id = t.u AND q.id = t.r AND q.state IN (1, 3)
        RETURNING q.user_id, q.id, q.key_id, q.period, q.model, q.held, q.cost_micro AS cost, t.i, t.c, t.o
    ), entries AS (
        INSERT INTO token_ledger (user_id, request_id, kind, key_id, period, model, n_in, n_cached, n_out, cost_micro)
        SELECT user_id, id, 1, key_id, period, model, i, c, o, cost FROM booked
    ), keys AS (
        UPDATE budget_key b SET held = b.held - s.h, used = b.used + s.t
        FROM (SELECT user_id, key_id, period, sum(held)::bigint h, sum(i + o)::bigint t FROM booked GROUP BY 1, 2, 3 ORDER BY 1, 2, 3) s
        WHERE b.user_id = s.user_id AND b.key_id = s.key_id AND b.period = s.period RETURNING 1
    ), people AS (
        UPDATE budget_user b SET held = b.held - s.h, used = b.used + s.t
        FROM (SELECT user_id, period, sum(held)::bigint h, sum(i + o)::bigint t FROM booked GROUP BY 1, 2 ORDER BY 1, 2) s
        WHERE (SELECT count(*) FROM keys) >= 0 AND b.user_id = s.user_id AND b.period = s.period RETURNING 1
    )
    SELECT coalesce(array_agg(id), '{}') INTO now_booked FROM booked WHERE (SELECT count(*) FROM people) >= 0;
    RETURN QUERY SELECT (CASE WHEN t.r = ANY (now_booked) THEN 1 ELSE 2 END)::smallint, q.cost_micro
        FROM unnest(us, rs) WITH ORDINALITY t(u, r, n) JOIN llm_requests q ON q.user_id = t.u AND q.id = t.r ORDER BY t.n;
END $$;

-- Gives up open requests whose node has not extended them in time. Any node may run it; several at once share the rows.
CREATE FUNCTION reap(most int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    us uuid[];
    rs uuid[];
    n int;
BEGIN
    SELECT array_agg(user_id), array_agg(id) INTO us, rs FROM
        (SELECT user_id, id FROM llm_requests WHERE state = 1 AND expires_at < now() ORDER BY user_id, id LIMIT most FOR UPDATE SKIP LOCKED) x;
    PERFORM ledger_lock_requests(us, rs);
    WITH late AS (
        SELECT q.user_id, q.id, q.held FROM unnest(us, rs) t(u, r) JOIN llm_requests q ON q.user_id = t.u AND q.id = t.r
    ), closed AS (
        -- What was held is released here; a late settle must not release it again.
        UPDATE llm_requests q SET state = 3, held = 0, outcome = 'expired', ended_at = now() FROM late
        WHERE q.user_id = late.user_id AND q.id = late.id RETURNING q.user_id, q.id, q.key_id, q.period, late.held
    ), keys AS (
        UPDATE budget_key b SET held = b.held - s.h
        FROM (SELECT user_id, key_id, period, sum(held)::bigint h FROM closed GROUP BY 1, 2, 3 ORDER BY 1, 2, 3) s
        WHERE b.user_id = s.user_id AND b.key_id = s.key_id AND b.period = s.period RETURNING 1
    ), people AS (
        UPDATE budget_user b SET held = b.held - s.h
        FROM (SELECT user_id, period, sum(held)::bigint h FROM closed GROUP BY 1, 2 ORDER BY 1, 2) s
        WHERE (SELECT count(*) FROM keys) >= 0 AND b.user_id = s.user_id AND b.period = s.period RETURNING 1
    )
    SELECT count(*) INTO n FROM closed WHERE (SELECT count(*) FROM people) >= 0;
    RETURN n;
END $$;

-- A node that starts again books what its predecessor left open with the last counts that were made durable.
CREATE FUNCTION release_node(nd uuid) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    q record;
    n int;
BEGIN
    SELECT array_agg(user_id) us, array_agg(key_id) ks, array_agg(id) rs, array_agg(model) ms, array_agg(period) pp, array_agg(done_in) i,
           array_agg(0::bigint) c, array_agg(done_out) o, array_agg('node_lost'::text) e, count(*) n INTO q
        FROM (SELECT * FROM llm_requests WHERE node = nd AND state = 1 ORDER BY user_id, id) x;
    IF q.n = 0 THEN RETURN 0; END IF;
    SELECT count(*) INTO n FROM settle_many(q.us, q.ks, q.rs, q.ms, q.pp, q.i, q.c, q.o, q.e, nd);
    RETURN n;
END $$;
