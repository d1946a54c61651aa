-- Requests with an Idempotency-Key (docs/adr/0071-idempotency-keys.md), and what reports of use are read from (docs/adr/0072-usage-and-forecasts.md).

-- One row per key of a caller while it is valid. A row without a status belongs to the server that carries the request out, until lease.
CREATE TABLE idempotency_keys (
    principal    uuid NOT NULL,                          -- the API key, or the user of a session
    key          text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    user_id      uuid NOT NULL,
    digest       bytea NOT NULL CHECK (length(digest) = 32), -- SHA-256 of address and body
    request_id   uuid NOT NULL,                          -- in the ledger
    node         uuid NOT NULL,
    lease        timestamptz NOT NULL,
    status       smallint,                               -- HTTP status of the answer; NULL: it is being carried out
    content_type text,
    answer       text CHECK (octet_length(answer) <= 1048576), -- NULL beside a status: billed, but not kept
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    PRIMARY KEY (principal, key)
);
CREATE INDEX idempotency_keys_expired ON idempotency_keys (expires_at);

-- Who carries a request out? verdict: run (the caller does, now), running, answer (status, content_type, answer), lost (billed, and no answer is kept),
-- other (the key stands for another request), full (the caller has `most` keys), again (ask once more).
--
-- A server asks only about keys that it does not know of, so a row of its own that has no answer is one that a crash, or a lost connection, left
-- behind. What the ledger booked for it decides: nothing, and it is carried out now; something, and it is never billed again.
CREATE FUNCTION once_claim(p uuid, k text, u uuid, d bytea, r uuid, nd uuid, valid interval, leased interval, most int,
                           OUT verdict text, OUT request uuid, OUT status smallint, OUT content_type text, OUT answer text) LANGUAGE plpgsql AS $$
DECLARE
    o idempotency_keys;
    q_state smallint;
    q_used bigint;
BEGIN
    DELETE FROM idempotency_keys i WHERE i.principal = p AND i.key = k AND i.expires_at <= now();
    SELECT * INTO o FROM idempotency_keys i WHERE i.principal = p AND i.key = k FOR UPDATE;
    IF NOT FOUND THEN
        IF (SELECT count(*) FROM idempotency_keys i WHERE i.principal = p AND i.expires_at > now()) >= most THEN
            verdict := 'full';
            RETURN;
        END IF;
        INSERT INTO idempotency_keys (principal, key, user_id, digest, request_id, node, lease, expires_at)
            VALUES (p, k, u, d, r, nd, now() + leased, now() + valid) ON CONFLICT DO NOTHING;
        verdict := CASE WHEN FOUND THEN 'run' ELSE 'again' END;
        RETURN;
    END IF;
    request := o.request_id;
    IF o.digest <> d THEN
        verdict := 'other';
    ELSIF o.status IS NOT NULL THEN
        verdict := CASE WHEN o.answer IS NULL THEN 'lost' ELSE 'answer' END;
        status := o.status;
        content_type := o.content_type;
        answer := o.answer;
    ELSIF o.node <> nd AND o.lease > now() THEN
        verdict := 'running';
    ELSE
        SELECT l.state, l.used INTO q_state, q_used FROM llm_requests l WHERE l.user_id = o.user_id AND l.id = o.request_id;
        IF q_state = 1 THEN
            verdict := 'running'; -- its books are not closed yet
        ELSIF q_used > 0 THEN
            verdict := 'lost';
        ELSE
            UPDATE idempotency_keys i SET request_id = r, node = nd, lease = now() + leased WHERE i.principal = p AND i.key = k;
            verdict := 'run';
            request := r;
        END IF;
    END IF;
END $$;

-- Use of all users in a range of days is read by time; lines come in its order, so a summary per block is enough.
CREATE INDEX token_ledger_time ON token_ledger USING brin (created_at);

-- The names that older texts use. No mail, no prompt: what a reader of reports may see.
CREATE OR REPLACE VIEW token_usage AS
    SELECT user_id, (created_at AT TIME ZONE 'UTC')::date AS day, model, count(*) AS requests, sum(n_in) AS prompt_tokens,
           sum(n_cached) AS cached_tokens, sum(n_out) AS completion_tokens, sum(cost_micro) AS cost_micro, count(DISTINCT key_id) AS keys
    FROM token_ledger WHERE kind = 1 GROUP BY 1, 2, 3;

CREATE OR REPLACE VIEW model_usage AS
    SELECT model, (created_at AT TIME ZONE 'UTC')::date AS day, count(*) AS requests, sum(n_in) AS prompt_tokens,
           sum(n_cached) AS cached_tokens, sum(n_out) AS completion_tokens, sum(cost_micro) AS cost_micro, count(DISTINCT user_id) AS users
    FROM token_ledger WHERE kind = 1 GROUP BY 1, 2;

-- ---- What will be used, and what is unusual: plain SQL, and PostgresML where it is there and wanted ----

-- Not "pgml": that name belongs to the extension. Only the owner of these functions needs rights on it (SECURITY DEFINER, fixed names and parameters);
-- the role of the gateway gets none: pgml.activate_venv and trust_remote_code run programs inside of the server.
CREATE SCHEMA cds_ml;

CREATE FUNCTION cds_ml.pgml_version() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT extversion FROM pg_extension WHERE extname = 'pgml'), '')
$$;

CREATE TABLE cds_ml.training (x real NOT NULL, tokens real NOT NULL);     -- of the one training that runs
CREATE TABLE cds_ml.trained (project text PRIMARY KEY, at timestamptz NOT NULL);

-- Tokens of each day (UTC) from the first use in that range to its end; x counts days.
CREATE FUNCTION cds_ml.days(of_user uuid, first date, last date) RETURNS TABLE (day date, x int, tokens float8) LANGUAGE sql STABLE AS $$
    WITH b AS MATERIALIZED (
        SELECT (e.created_at AT TIME ZONE 'UTC')::date AS d, sum(e.n_in + e.n_out)::float8 AS t FROM public.token_ledger e
        WHERE e.kind = 1 AND (of_user IS NULL OR e.user_id = of_user) AND e.created_at >= first::timestamp AT TIME ZONE 'UTC'
            AND e.created_at < (last + 1)::timestamp AT TIME ZONE 'UTC' AND e.period >= first - 62 GROUP BY 1)
    SELECT g.d::date, g.d::date - date '2020-01-01', coalesce(b.t, 0)
        FROM generate_series((SELECT min(b.d) FROM b)::timestamp, last::timestamp, interval '1 day') g(d) LEFT JOIN b ON b.d = g.d::date
$$;

-- Student's t at 0.9, from its expansion around the normal distribution: within 2 % from three degrees of freedom on.
CREATE FUNCTION cds_ml.t90(df float8) RETURNS float8 LANGUAGE sql IMMUTABLE AS $$
    SELECT 1.2816 + (1.2816 ^ 3 + 1.2816) / (4 * df) + (5 * 1.2816 ^ 5 + 16 * 1.2816 ^ 3 + 3 * 1.2816) / (96 * df ^ 2)
$$;

-- A linear model by pgml of the days in cds_ml.training: the sum of what it expects of days x0 (a share of it) to x1, and its squared error.
-- NULL: pgml is not there, or it refused.
CREATE FUNCTION cds_ml.pgml_line(project text, of_user uuid, first date, last date, x0 int, x1 int, share float8, OUT total float8, OUT sse float8)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF cds_ml.pgml_version() = '' THEN RETURN; END IF;
    PERFORM pg_advisory_xact_lock(1515);
    BEGIN
        DELETE FROM cds_ml.training;
        INSERT INTO cds_ml.training SELECT d.x, d.tokens FROM cds_ml.days(of_user, first, last) d;
        IF NOT EXISTS (SELECT FROM cds_ml.trained t WHERE t.project = pgml_line.project AND t.at > now() - interval '6 hours') THEN
            EXECUTE 'SELECT count(*) FROM pgml.train(project_name => $1, task => ''regression'', relation_name => ''cds_ml.training'', '
                    'y_column_name => ''tokens'')' USING project;
            INSERT INTO cds_ml.trained VALUES (project, now()) ON CONFLICT ON CONSTRAINT trained_pkey DO UPDATE SET at = excluded.at;
        END IF;
        EXECUTE 'SELECT sum(CASE WHEN x = $2 THEN $4 ELSE 1 END * greatest(pgml.predict($1, ARRAY[x::real])::float8, 0)) FROM generate_series($2, $3) x'
            INTO total USING project, x0, x1, share;
        EXECUTE 'SELECT sum((t.tokens - pgml.predict($1, ARRAY[t.x])::float8) ^ 2) FROM cds_ml.training t' INTO sse USING project;
    EXCEPTION WHEN OTHERS THEN
        RAISE WARNING 'pgml refused, so the forecast is made without it: %', SQLERRM;
        total := NULL;
        sse := NULL;
    END;
END $$;

-- The tokens of at's month (UTC), when it is over: what is booked, and for each day that is left (and what is left of today) what a line through the
-- days of the last eight weeks says; with fewer than seven days their mean. low to high holds four of five such months, if days differ from the line as
-- they did: the spread of the days, and what is not known about the line itself. Today is no day yet. used_pgml: the line is a model of PostgresML.
CREATE FUNCTION cds_ml.month_forecast(of_user uuid, at timestamptz, want_pgml boolean, OUT engine text, OUT basis text, OUT days int, OUT used bigint,
                                      OUT expected bigint, OUT low bigint, OUT high bigint, OUT per_day bigint) LANGUAGE plpgsql AS $$
DECLARE
    now_utc timestamp := at AT TIME ZONE 'UTC';
    today date := now_utc::date;
    month_first date := date_trunc('month', now_utc)::date;
    month_last date := (date_trunc('month', now_utc) + interval '1 month' - interval '1 day')::date;
    share float8 := 1 - extract(epoch FROM now_utc - today::timestamp) / 86400;
    h float8 := (month_last - today) + share;
    x0 int := today - date '2020-01-01';
    r record;
    rest float8 := 0;
    variance float8;
    spread float8;
    off float8;
    line record;
BEGIN
    engine := 'sql';
    SELECT coalesce(sum(e.n_in + e.n_out), 0) INTO used FROM token_ledger e WHERE e.kind = 1 AND (of_user IS NULL OR e.user_id = of_user)
        AND e.created_at >= month_first::timestamp AT TIME ZONE 'UTC' AND e.created_at <= at AND e.period >= month_first - 62;
    SELECT count(*) AS n, avg(d.tokens) AS mean, var_samp(d.tokens) AS var, avg(d.x) AS x, regr_slope(d.tokens, d.x) AS slope,
           regr_intercept(d.tokens, d.x) AS icpt, regr_sxx(d.tokens, d.x) AS sxx, regr_syy(d.tokens, d.x) AS syy, regr_sxy(d.tokens, d.x) AS sxy
        INTO r FROM cds_ml.days(of_user, today - 56, today - 1) d;
    days := r.n;
    basis := CASE WHEN r.n = 0 THEN 'none' WHEN r.n < 7 THEN 'mean' ELSE 'trend' END;
    IF r.n BETWEEN 1 AND 6 THEN
        rest := h * r.mean;
        variance := h * r.var + h ^ 2 * r.var / r.n;
        IF r.n > 1 THEN spread := cds_ml.t90(r.n - 1) * sqrt(variance); END IF;
    ELSIF r.n >= 7 THEN
        SELECT sum(w.w * greatest(r.icpt + r.slope * w.x, 0)), sum(w.w * (w.x - r.x)) INTO rest, off
            FROM (SELECT x, CASE WHEN x = x0 THEN share ELSE 1 END AS w FROM generate_series(x0, x0 + (month_last - today)) x) w;
        variance := greatest(r.syy - r.slope * r.sxy, 0) / (r.n - 2);
        IF want_pgml THEN
            SELECT * INTO line FROM cds_ml.pgml_line('cds_usage_' || coalesce(of_user::text, 'all'), of_user, today - 56, today - 1, x0,
                                                     x0 + (month_last - today), share);
            IF line.total IS NOT NULL THEN
                engine := 'pgml';
                rest := line.total;
                variance := line.sse / (r.n - 2);
            END IF;
        END IF;
        spread := cds_ml.t90(r.n - 2) * sqrt(h * variance + h ^ 2 * variance / r.n + variance * off ^ 2 / r.sxx);
    END IF;
    expected := used + round(rest);
    low := CASE WHEN spread IS NULL THEN used ELSE greatest(used, used + round(rest - spread)) END;
    high := used + round(rest + spread); -- NULL: one day, or none, says nothing about their spread
    per_day := CASE WHEN h > 0 THEN round(rest / h) ELSE 0 END;
END $$;

-- Days on which a key (or the sessions of a user) used far more than it does: at least 1,000 tokens over the median of up to 28 days before it, and more
-- than 3.5 times their spread. The spread is 1.4826 MAD (which is the deviation of a normal distribution), 1.2533 times the mean deviation where more
-- than half of the days are alike, and never below a tenth of the median or 100 tokens. Seven days must have passed since its first use.
CREATE FUNCTION cds_ml.unusual_days(of_user uuid, first date, last date, most int)
    RETURNS TABLE (day date, user_id uuid, key_id uuid, tokens bigint, typical bigint, score numeric) LANGUAGE sql STABLE AS $$
    WITH b AS MATERIALIZED (
        SELECT e.user_id AS u, e.key_id AS k, (e.created_at AT TIME ZONE 'UTC')::date AS d, sum(e.n_in + e.n_out)::float8 AS t FROM token_ledger e
        WHERE e.kind = 1 AND (of_user IS NULL OR e.user_id = of_user) AND e.created_at >= (first - 28)::timestamp AT TIME ZONE 'UTC'
            AND e.created_at < (last + 1)::timestamp AT TIME ZONE 'UTC' AND e.period >= first - 90 GROUP BY 1, 2, 3
    ), began AS (SELECT b.u, b.k, min(b.d) AS d FROM b GROUP BY 1, 2
    ), c AS (
        SELECT b.*, h.ts FROM b JOIN began g ON g.u = b.u AND g.k = b.k
        CROSS JOIN LATERAL (SELECT array_agg(coalesce(p.t, 0)) AS ts FROM generate_series(greatest(b.d - 28, g.d)::timestamp, (b.d - 1)::timestamp, interval '1 day') s(d)
            LEFT JOIN b p ON p.u = b.u AND p.k = b.k AND p.d = s.d::date) h
        WHERE b.d >= first AND b.t >= 1000 AND b.d - g.d >= 7
    ), m AS (
        SELECT c.*, (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY v) FROM unnest(c.ts) v) AS median FROM c
    ), s AS (
        SELECT m.*, (SELECT greatest(CASE WHEN percentile_cont(0.5) WITHIN GROUP (ORDER BY abs(v - m.median)) > 0
                    THEN 1.4826 * percentile_cont(0.5) WITHIN GROUP (ORDER BY abs(v - m.median)) ELSE 1.2533 * avg(abs(v - m.median)) END,
                0.1 * m.median, 100) FROM unnest(m.ts) v) AS spread FROM m
    )
    SELECT s.d, s.u, s.k, s.t::bigint, round(s.median)::bigint, round(((s.t - s.median) / s.spread)::numeric, 1)
        FROM s WHERE s.t - s.median >= 1000 AND s.t - s.median > 3.5 * s.spread ORDER BY s.d DESC, 6 DESC, s.u, s.k LIMIT most
$$;

-- Vectors by pgml, where it is there: model and texts as pgml.embed takes them, nothing else of it. Raises when it is not.
CREATE FUNCTION cds_ml.embed(model text, inputs text[]) RETURNS SETOF real[] LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF cds_ml.pgml_version() = '' THEN
        RAISE EXCEPTION 'this database has no pgml' USING ERRCODE = 'feature_not_supported';
    END IF;
    RETURN QUERY EXECUTE 'SELECT e.v FROM unnest($2) WITH ORDINALITY i(t, n) CROSS JOIN LATERAL (SELECT pgml.embed($1, i.t) AS v) e ORDER BY i.n'
        USING model, inputs;
END $$;
GRANT USAGE ON SCHEMA cds_ml TO PUBLIC; -- its functions; its tables are their owner's
