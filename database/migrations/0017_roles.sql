-- Each process connects as a role that has what it needs and no more: docs/adr/0075-database-roles.md.
--
-- The owner of the schema applies migrations and is the command line's; services are cds_app (gateway, model server) and cds_auth (sign-in). cds_reader
-- is for charts. Roles belong to the whole server: one that is there already is taken as it is. Where the owner may not make roles (a database that
-- is not ours), there are none, and the services connect as the address says.

CREATE FUNCTION roles_make() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    r text;
BEGIN
    FOREACH r IN ARRAY ARRAY['cds_app', 'cds_auth', 'cds_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT', r);
        END IF;
    END LOOP;
    RETURN true;
EXCEPTION WHEN insufficient_privilege THEN
    RETURN false;
END
$$;
SELECT roles_make();

-- What writes for others checks by itself, and finds its tables in public and nowhere else. Not so what books: a search path of its own would make the
-- functions that it shares with reserve() be planned anew at every call (ten times the cost). It is safe without: a role of a service can make nothing
-- in any schema, temporary ones included, so there is nothing else that a name could find.
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.proname IN ('audit_add', 'ledger_seal',
        'access_note', 'session_end', 'sessions_end', 'user_change', 'user_forget', 'key_end', 'budget_begin') LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = public, pg_temp', f);
    END LOOP;
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.prosrc ~ 'INTO token_ledger' LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER', f);
    END LOOP;
END
$$;

CREATE FUNCTION user_has_password(of_user uuid) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT password_hash <> '*' FROM users WHERE id = of_user
$$;

-- What charts may show: no address, no name, no text that somebody wrote.
CREATE VIEW reader_users AS SELECT id, role, status, created_at, last_login_at FROM users;
CREATE VIEW reader_requests AS
    SELECT user_id, id, key_id, model, state, used, cost_microcredits, outcome, admitted_at, ended_at FROM llm_requests;
CREATE VIEW reader_ledger AS
    SELECT user_id, request_id, key_id, model, n_in, n_cached, n_out, cost_micro, created_at FROM token_ledger;
CREATE VIEW reader_runs AS SELECT user_id, id, project_id, engine, language, started_at, ended_at, end_state, wall_ms, cpu_ms, peak_memory_bytes FROM runs;
CREATE VIEW reader_audit AS SELECT seq, at, phase, source, actor, action, request_id FROM audit_log;

-- Grants, in a function: a restored copy gets them anew, since roles are not part of one.
CREATE FUNCTION roles_grant() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    t text;
BEGIN
    IF (SELECT count(*) FROM pg_roles WHERE rolname IN ('cds_app', 'cds_auth', 'cds_reader')) < 3 THEN
        RETURN false;
    END IF;
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    REVOKE CREATE ON SCHEMA public FROM PUBLIC;
    REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, cds_app, cds_auth, cds_reader;
    REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC, cds_reader;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON TABLES FROM cds_auth, cds_reader;
    ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO cds_app;
    ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT EXECUTE ON FUNCTIONS TO cds_app, cds_auth;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO cds_app, cds_auth;

    -- Gateway and model server: everything but secrets, the schema, and what is append only or changed by functions alone.
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO cds_app;
    REVOKE ALL ON users, setup_tokens, refresh_tokens, invites, api_keys FROM cds_app;
    REVOKE INSERT, UPDATE, DELETE ON token_ledger, audit_log, audit_head, sessions, access_clock, access_changes, schema_migrations,
        schema_migrations_lock FROM cds_app;
    REVOKE DELETE ON llm_requests, budget_policies, budget_windows FROM cds_app;
    REVOKE UPDATE, DELETE ON budget_grants FROM cds_app;
    FOR t IN SELECT c FROM (VALUES ('users', 'password_hash'), ('api_keys', 'hash'), ('invites', 'token_hash')) s(tab, secret)
        CROSS JOIN LATERAL (SELECT format('GRANT SELECT (%s) ON %I TO cds_app', string_agg(quote_ident(column_name::text), ', '), s.tab) AS c
            FROM information_schema.columns WHERE table_schema = 'public' AND table_name = s.tab AND column_name <> s.secret) g
    LOOP
        EXECUTE t;
    END LOOP;
    GRANT UPDATE (display_name) ON users TO cds_app; -- it locks a user's row while it counts their projects

    -- Sign-in: people, their sessions and keys; nothing of ledger, projects and runs.
    GRANT SELECT, INSERT, UPDATE, DELETE ON users, setup_tokens, sessions, refresh_tokens, invites, api_keys, access_clock, access_changes TO cds_auth;
    REVOKE DELETE ON users FROM cds_auth;
    FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename LIKE 'oidc%' LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO cds_auth', t);
        EXECUTE format('REVOKE ALL ON %I FROM cds_app', t);
    END LOOP;
    GRANT SELECT ON schema_migrations TO cds_auth;

    GRANT SELECT ON reader_users, reader_requests, reader_ledger, reader_runs, reader_audit, token_usage, model_usage, tokens_used, budget_usage, model_prices TO cds_reader;
    REVOKE EXECUTE ON FUNCTION roles_make(), roles_grant() FROM cds_app, cds_auth;
    RETURN true;
END
$$;
SELECT roles_grant();
