-- Calls of the ledger that come twice, and what a changed limit leaves behind (docs/adr/0012-one-attempt-one-hold.md, 0013-limits-and-room.md).

-- A limit may be set below what counts already. From then on used + held can only fall until it is below the limit again, so this is the other
-- ceiling that `ledger verify` checks against.
ALTER TABLE budget_user ADD COLUMN counted_when_set bigint NOT NULL DEFAULT 0 CHECK (counted_when_set >= 0);
UPDATE budget_user SET counted_when_set = used + held WHERE lim IS NOT NULL AND used + held > lim;

-- As in 0004, and code 6: this very reservation is held already (open, same node, key, month, model and tokens). Whose earlier call got no answer
-- may take 6 for a yes; for everybody else it is a replay like 2.
CREATE OR REPLACE FUNCTION reserve(u uuid, k uuid, r uuid, m text, p date, am bigint, nd uuid, ttl interval,
                                   OUT code smallint, OUT lim bigint, OUT used bigint, OUT held bigint) LANGUAGE plpgsql AS $$
DECLARE
    pr models;
    k_lim bigint;
    k_used bigint;
    k_held bigint;
    same boolean;
BEGIN
    PERFORM ledger_open_month(ARRAY[u], ARRAY[k], ARRAY[p]);
    SELECT * INTO pr FROM models WHERE id = m;
    IF NOT FOUND THEN code := 5; RETURN; END IF;
    SELECT b.lim, b.used, b.held INTO k_lim, k_used, k_held FROM budget_key b
        WHERE b.user_id = u AND b.key_id = k AND b.period = p FOR NO KEY UPDATE;
    SELECT b.lim, b.used, b.held INTO lim, used, held FROM budget_user b WHERE b.user_id = u AND b.period = p FOR NO KEY UPDATE;
    -- Before the limits: what an earlier call holds for this request counts in them already.
    SELECT q.state = 1 AND q.node = nd AND q.key_id = k AND q.period = p AND q.model = m AND q.held = am INTO same
        FROM llm_requests q WHERE q.user_id = u AND q.id = r;
    IF FOUND THEN code := CASE WHEN same THEN 6 ELSE 2 END; RETURN; END IF;
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

-- Raises the hold of a running request to am tokens in all, and notes how far it is (done_in, done_out). A total, so that a call may come twice:
-- what is held already is held once. Codes as in reserve; 2: the request is not open.
CREATE OR REPLACE FUNCTION extend(u uuid, r uuid, am bigint, n_in bigint, n_out bigint, ttl interval,
                                  OUT code smallint, OUT lim bigint, OUT used bigint, OUT held bigint) LANGUAGE plpgsql AS $$
DECLARE
    q llm_requests;
    more bigint;
BEGIN
    SELECT * INTO q FROM llm_requests WHERE user_id = u AND id = r AND state = 1 FOR NO KEY UPDATE;
    IF NOT FOUND THEN code := 2; RETURN; END IF;
    more := greatest(am - q.held, 0);
    SELECT b.lim, b.used, b.held INTO lim, used, held FROM budget_key b
        WHERE b.user_id = u AND b.key_id = q.key_id AND b.period = q.period FOR NO KEY UPDATE;
    IF more > 0 AND used + held + more > lim THEN code := 3; RETURN; END IF;
    SELECT b.lim, b.used, b.held INTO lim, used, held FROM budget_user b WHERE b.user_id = u AND b.period = q.period FOR NO KEY UPDATE;
    IF more > 0 AND used + held + more > lim THEN code := 4; RETURN; END IF;
    UPDATE llm_requests l SET held = l.held + more, done_in = greatest(l.done_in, n_in), done_out = greatest(l.done_out, n_out),
        expires_at = now() + ttl WHERE l.user_id = u AND l.id = r;
    UPDATE budget_key b SET held = b.held + more WHERE b.user_id = u AND b.key_id = q.key_id AND b.period = q.period;
    UPDATE budget_user b SET held = b.held + more WHERE b.user_id = u AND b.period = q.period;
    code := 1;
END $$;

-- A batch of them: all 1, or all 0 ("alone").
CREATE OR REPLACE FUNCTION extend_many(us uuid[], rs uuid[], am bigint[], n_in bigint[], n_out bigint[], ttl interval)
    RETURNS smallint[] LANGUAGE plpgsql AS $$
DECLARE
    n int := coalesce(array_length(us, 1), 0);
    got int;
    want int;
    more bigint[];
BEGIN
    PERFORM ledger_lock_requests(us, rs);
    SELECT array_agg(greatest(t.a - q.held, 0) ORDER BY t.n) INTO more FROM unnest(us, rs, am) WITH ORDINALITY t(u, r, a, n)
        JOIN llm_requests q ON q.user_id = t.u AND q.id = t.r AND q.state = 1;
    IF coalesce(array_length(more, 1), 0) <> n THEN RETURN array_fill(0::smallint, ARRAY[n]); END IF;
    BEGIN
        UPDATE llm_requests q SET held = q.held + t.a, done_in = greatest(q.done_in, t.i), done_out = greatest(q.done_out, t.o),
            expires_at = now() + ttl
            FROM unnest(us, rs, more, n_in, n_out) t(u, r, a, i, o) WHERE q.user_id = t.u AND q.id = t.r AND q.state = 1;
        GET DIAGNOSTICS got = ROW_COUNT;
        IF got <> n THEN RAISE EXCEPTION 'alone' USING ERRCODE = 'CDS01'; END IF;
        SELECT count(*) INTO want FROM (SELECT DISTINCT q.user_id, q.key_id, q.period FROM unnest(us, rs) t(u, r)
            JOIN llm_requests q ON q.user_id = t.u AND q.id = t.r
            JOIN budget_key b ON b.user_id = q.user_id AND b.key_id = q.key_id AND b.period = q.period) x;
        WITH s AS (SELECT q.user_id u, q.key_id k, q.period p, sum(t.a)::bigint a FROM unnest(us, rs, more) t(u, r, a)
                JOIN llm_requests q ON q.user_id = t.u AND q.id = t.r GROUP BY 1, 2, 3 ORDER BY 1, 2, 3)
            UPDATE budget_key b SET held = b.held + s.a FROM s
            WHERE b.user_id = s.u AND b.key_id = s.k AND b.period = s.p AND (s.a = 0 OR b.used + b.held + s.a <= b.lim);
        GET DIAGNOSTICS got = ROW_COUNT;
        IF got <> want THEN RAISE EXCEPTION 'alone' USING ERRCODE = 'CDS01'; END IF;
        SELECT count(*) INTO want FROM (SELECT DISTINCT q.user_id, q.period FROM unnest(us, rs) t(u, r)
            JOIN llm_requests q ON q.user_id = t.u AND q.id = t.r) x;
        WITH s AS (SELECT q.user_id u, q.period p, sum(t.a)::bigint a FROM unnest(us, rs, more) t(u, r, a)
                JOIN llm_requests q ON q.user_id = t.u AND q.id = t.r GROUP BY 1, 2 ORDER BY 1, 2)
            UPDATE budget_user b SET held = b.held + s.a FROM s
            WHERE b.user_id = s.u AND b.period = s.p AND (s.a = 0 OR b.lim IS NULL OR b.used + b.held + s.a <= b.lim);
        GET DIAGNOSTICS got = ROW_COUNT;
        IF got <> want THEN RAISE EXCEPTION 'alone' USING ERRCODE = 'CDS01'; END IF;
    EXCEPTION WHEN SQLSTATE 'CDS01' THEN
        RETURN array_fill(0::smallint, ARRAY[n]);
    END;
    RETURN array_fill(1::smallint, ARRAY[n]);
END $$;

-- As in 0004, and code 3: the id belongs to a request of another node; nothing was booked. The caller books under a new id.
CREATE OR REPLACE FUNCTION settle_many(us uuid[], ks uuid[], rs uuid[], ms text[], pp date[], n_in bigint[], n_cached bigint[], n_out bigint[],
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
        WHERE q.user_id = t.u AND q.id = t.r AND q.state IN (1, 3) AND q.node = nd
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
    RETURN QUERY SELECT (CASE WHEN q.node <> nd THEN 3 WHEN t.r = ANY (now_booked) THEN 1 ELSE 2 END)::smallint,
        CASE WHEN q.node = nd THEN q.cost_micro ELSE 0 END
        FROM unnest(us, rs) WITH ORDINALITY t(u, r, n) JOIN llm_requests q ON q.user_id = t.u AND q.id = t.r ORDER BY t.n;
END $$;

-- Keeps exactly these requests of a node from expiring: a hold that its node knows nothing of is left to the reaper. Locks in the one order, before
-- it writes.
CREATE FUNCTION prolong(us uuid[], rs uuid[], nd uuid, ttl interval) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    n int;
BEGIN
    PERFORM 1 FROM unnest(us, rs) t(u, r) JOIN llm_requests q ON q.user_id = t.u AND q.id = t.r AND q.state = 1 AND q.node = nd
        ORDER BY q.user_id, q.id FOR NO KEY UPDATE OF q;
    UPDATE llm_requests q SET expires_at = now() + ttl FROM unnest(us, rs) t(u, r)
        WHERE q.user_id = t.u AND q.id = t.r AND q.state = 1 AND q.node = nd;
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END $$;
