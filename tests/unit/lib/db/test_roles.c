/* Tests of database/migrations/0017_roles.sql: what each role of the database can do, and above all what it cannot: docs/adr/0075-database-roles.md.
 */
#include "tests/support/test.h"

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "tests/support/pg.h"

#define USER "00000000-0000-7000-8000-0000000000a1"
#define NODE "00000000-0000-7000-8000-0000000000c1"
#define NO_KEY "00000000-0000-0000-0000-000000000000"
#define R1 "00000000-0000-7000-8000-000000000101"

static struct test_pg pg;
static struct cds_db *owner, *app, *auth, *reader;

static struct cds_db *as(enum cds_db_role role)
{
    char conninfo[CDS_DB_CONNINFO_MAX];
    struct cds_err err = {0};
    struct cds_db *db = NULL;
    if (cds_db_conninfo_as(pg.config, role, conninfo, &err) || cds_db_open(conninfo, cds_now_ms() + 120000, &db, &err))
        fail_msg("%s %s", err.message, err.detail);
    return db;
}

static void run(struct cds_db *db, const char *sql)
{
    struct cds_err err = {0};
    if (cds_db_script(db, sql, &err))
        fail_msg("%s: %s %s", sql, err.message, err.detail);
}

static int make(void **state)
{
    test_pg_make(&pg);
    test_pg_start(&pg);
    test_pg_migrate(&pg);
    owner = test_pg_open(&pg);
    run(owner, "INSERT INTO users (id, email, password_hash, role) VALUES ('" USER "', 'somebody@x.org', '$2b$canary', 'developer');"
               "INSERT INTO model_prices (model, price_input, price_cached, price_output) VALUES ('m', 1000000, 1000000, 1000000);"
               "INSERT INTO api_keys (user_id, id, name, hash) VALUES ('" USER "', '" R1 "', 'k', 'canary-hash')");
    app = as(CDS_DB_APP);
    auth = as(CDS_DB_AUTH);
    reader = as(CDS_DB_READER);
    return 0;
}

static int unmake(void **state)
{
    cds_db_close(&app);
    cds_db_close(&auth);
    cds_db_close(&reader);
    cds_db_close(&owner);
    test_pg_free(&pg);
    return 0;
}

/* The statement is refused for want of rights, and for nothing else. */
static void refused(struct cds_db *db, const char *sql)
{
    struct cds_err err = {0};
    if (cds_db_script(db, sql, &err) == CDS_OK)
        fail_msg("allowed: %s", sql);
    if (!cds_starts_with(err.detail, "42501")) /* insufficient_privilege */
        fail_msg("%s: %s %s", sql, err.message, err.detail);
}

static void all_refused(struct cds_db *db, const char *const *list)
{
    for (; *list; list++)
        refused(db, *list);
}

static const char *const schema_attacks[] = {"DROP TABLE token_ledger",
                                             "DROP TABLE audit_log",
                                             "ALTER TABLE token_ledger ADD COLUMN x int",
                                             "ALTER TABLE audit_log DISABLE TRIGGER ALL",
                                             "ALTER TABLE token_ledger OWNER TO CURRENT_USER",
                                             "CREATE TABLE mine (x int)",
                                             "CREATE TEMPORARY TABLE mine (x int)",
                                             "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
                                             "CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
                                             "DROP TRIGGER audit_append_only ON audit_log",
                                             "CREATE ROLE mine SUPERUSER",
                                             "ALTER ROLE cds_app SUPERUSER",
                                             "GRANT cds_auth TO cds_app",
                                             "CREATE DATABASE mine",
                                             "SET ROLE studio",
                                             "SET SESSION AUTHORIZATION studio",
                                             "SELECT roles_grant()",
                                             "UPDATE schema_migrations SET sha256 = ''",
                                             "DELETE FROM schema_migrations",
                                             "SET session_replication_role = replica",
                                             "COPY (SELECT 1) TO PROGRAM 'true'",
                                             "SELECT pg_read_file('/etc/passwd')",
                                             NULL};

static void no_role_of_a_service_can_change_the_schema_or_become_another(void **state)
{
    all_refused(app, schema_attacks);
    all_refused(auth, schema_attacks);
    all_refused(reader, schema_attacks);
}

static void gateway_can_book_but_neither_write_nor_change_nor_delete_a_line_of_the_ledger(void **state)
{
    static const char *const attacks[] = {
        "UPDATE token_ledger SET n_in = 0",
        "DELETE FROM token_ledger",
        "TRUNCATE token_ledger",
        "INSERT INTO token_ledger (user_id, request_id, kind, key_id, period, model, n_in, n_cached, n_out, cost_micro)"
        " VALUES ('" USER "', '" NODE "', 1, '" NO_KEY "', '2026-11-01', 'm', 1, 0, 1, 1)",
        "DELETE FROM llm_requests",
        "TRUNCATE llm_requests",
        "DELETE FROM budget_windows",
        "DELETE FROM budget_policies",
        "UPDATE budget_grants SET amount = 1",
        "DELETE FROM budget_grants",
        NULL};
    run(app, "SELECT reserve('" USER "', '" NO_KEY "', '" R1 "', 'm', now(), 100, '" NODE "', interval '1 hour', 10);"
             "SELECT settle_many('{" USER "}', '{" NO_KEY "}', '{" R1 "}', '{m}', ARRAY[now()], '{30}', '{0}', '{20}', '{stop}', '" NODE "')");
    assert_int_equal(test_sql_i64(app, "SELECT count(*) FROM token_ledger WHERE request_id = '" R1 "'"), 1);
    all_refused(app, attacks);
}

static void nobody_changes_a_line_of_the_audit_log(void **state)
{
    static const char *const attacks[] = {"UPDATE audit_log SET actor = NULL", "DELETE FROM audit_log", "TRUNCATE audit_log", NULL};
    static const char *const more[] = {"UPDATE audit_head SET seq = 0", "DELETE FROM audit_head", "INSERT INTO audit_log SELECT * FROM audit_log",
                                       NULL};
    run(app, "SELECT audit_add('begin', 'test', NULL, NULL, 'x', NULL, '{}')");
    all_refused(app, attacks);
    all_refused(app, more);
    all_refused(auth, attacks);
    all_refused(auth, more);
    all_refused(reader, attacks);
    all_refused(reader, more);
    all_refused(owner, attacks); /* the trigger's work */
}

static void gateway_sees_no_secret_of_the_sign_in_and_changes_nobody_but_by_the_functions(void **state)
{
    static const char *const attacks[] = {"SELECT password_hash FROM users",
                                          "SELECT * FROM users",
                                          "SELECT hash FROM api_keys",
                                          "SELECT token_hash FROM refresh_tokens",
                                          "SELECT token_hash FROM invites",
                                          "SELECT * FROM setup_tokens",
                                          "UPDATE users SET role = 'admin'",
                                          "UPDATE users SET password_hash = 'x'",
                                          "INSERT INTO users (id, email, password_hash, role) VALUES (gen_random_uuid(), 'x@y.z', '-', 'admin')",
                                          "DELETE FROM users",
                                          "UPDATE sessions SET revoked_at = NULL",
                                          "INSERT INTO access_changes SELECT * FROM access_changes",
                                          "UPDATE access_clock SET seq = 0",
                                          "UPDATE schema_migrations SET sha256 = ''",
                                          "DELETE FROM schema_migrations_lock",
                                          "SELECT * FROM oidc_identities",
                                          "SELECT token_hash FROM setup_tokens",
                                          "UPDATE api_keys SET revoked_at = NULL",
                                          NULL};
    all_refused(app, attacks);
    assert_int_equal(test_sql_i64(app, "SELECT count(*) FROM users WHERE email = 'somebody@x.org'"), 1);
    char verdict[32];
    assert_string_equal(test_sql(app, "SELECT user_change('" USER "', NULL, 'blocked', 'test')", verdict, sizeof(verdict)), "ok");
    /* What it needs of them. */
    assert_string_equal(test_sql(app, "SELECT user_has_password('" USER "')", verdict, sizeof(verdict)), "t");
    run(app, "SELECT id, email, role FROM users FOR UPDATE; SELECT id, name FROM api_keys; SELECT user_id, kind FROM invites; SELECT * FROM sessions;"
             "SELECT * FROM access_changes; SELECT * FROM access_clock; SELECT * FROM schema_migrations");
    static const char *const functions[] = {"session_end", "sessions_end", "key_end", "ledger_seal", "access_note", "budget_begin", "user_forget"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(functions); i++) {
        char sql[200];
        snprintf(sql, sizeof(sql),
                 "SELECT count(*) FROM pg_proc WHERE proname = '%s' AND prosecdef AND has_function_privilege('cds_app', oid, 'EXECUTE')",
                 functions[i]);
        if (test_sql_i64(owner, sql) < 1)
            fail_msg("%s does not act with the owner's rights, or is not for the gateway", functions[i]);
    }
}

/* Whoever calls such a function must not be able to say where it finds its tables. Those that book have none of their own: see the migration. */
static void function_with_the_owners_rights_finds_its_tables_in_public_and_nowhere_else(void **state)
{
    char names[400];
    assert_string_equal(
        test_sql(owner,
                 "SELECT coalesce(string_agg(proname, ' '), '') FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef"
                 " AND prosrc !~ 'INTO token_ledger' AND NOT coalesce('search_path=public, pg_temp' = ANY (proconfig), false)",
                 names, sizeof(names)),
        "");
    assert_true(test_sql_i64(owner, "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef") > 10);
    assert_int_equal(test_sql_i64(owner, "SELECT count(*) FROM (VALUES ('cds_app'), ('cds_auth'), ('cds_reader')) r(n), (VALUES ('roles_make()'),"
                                         " ('roles_grant()')) f(n) WHERE has_function_privilege(r.n, f.n, 'EXECUTE')"),
                     0);
}

/* Whatever a server had before, or somebody granted by hand: roles_grant makes it right. */
static void grants_are_made_anew_whatever_was_there_before(void **state)
{
    run(owner,
        "GRANT TEMPORARY ON DATABASE studio TO PUBLIC; GRANT CREATE ON SCHEMA public TO PUBLIC; GRANT SELECT ON users TO PUBLIC;"
        "GRANT SELECT ON token_ledger TO cds_auth; GRANT SELECT ON users TO cds_reader; GRANT DELETE ON token_ledger TO cds_app;"
        "GRANT EXECUTE ON FUNCTION user_change(uuid, text, text, text) TO PUBLIC, cds_reader;"
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO cds_auth, cds_reader; SELECT roles_grant(); CREATE TABLE after (x int)");
    refused(app, "CREATE TEMPORARY TABLE mine (x int)");
    refused(app, "CREATE TABLE mine (x int)");
    refused(app, "DELETE FROM token_ledger");
    refused(app, "SELECT password_hash FROM users");
    refused(auth, "SELECT * FROM token_ledger");
    refused(auth, "SELECT * FROM after");
    refused(reader, "SELECT * FROM users");
    refused(reader, "SELECT * FROM after");
    refused(reader, "SELECT user_change('" USER "', 'admin', NULL, 'x')");
    run(owner, "DROP TABLE after");
}

static void sign_in_sees_neither_ledger_nor_projects(void **state)
{
    static const char *const attacks[] = {"SELECT * FROM token_ledger",
                                          "SELECT * FROM llm_requests",
                                          "UPDATE budget_windows SET used = 0",
                                          "SELECT * FROM projects",
                                          "SELECT * FROM runs",
                                          "SELECT * FROM audit_log",
                                          "DELETE FROM users",
                                          NULL};
    all_refused(auth, attacks);
    assert_int_equal(test_sql_i64(auth, "SELECT count(password_hash) FROM users"), 1);
    /* What is its own. */
    static const char *const own[] = {"users",    "setup_tokens", "sessions",       "refresh_tokens", "invites",
                                      "api_keys", "access_clock", "access_changes", "oidc_identities"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(own); i++) {
        char sql[300];
        snprintf(sql, sizeof(sql),
                 "SELECT has_table_privilege('cds_auth', '%s', 'SELECT') AND has_table_privilege('cds_auth', '%s', 'INSERT')"
                 " AND has_table_privilege('cds_auth', '%s', 'UPDATE') AND has_table_privilege('cds_auth', '%s', 'DELETE') = ('%s' <> 'users')",
                 own[i], own[i], own[i], own[i], own[i]);
        char right[8];
        if (!cds_streq(test_sql(owner, sql, right, sizeof(right)), "t"))
            fail_msg("cds_auth has not what it needs of %s, or more", own[i]);
    }
    run(auth, "SELECT * FROM schema_migrations; SELECT audit_add('begin', 'test', NULL, NULL, 'x', NULL, '{}')");
}

static void reader_sees_charts_and_no_mail_name_prompt_or_secret(void **state)
{
    static const char *const tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'model_prices'";
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    struct cds_err err = {0};
    assert_int_equal(cds_db_exec(owner, tables, 0, NULL, false, &rows, &err), CDS_OK);
    assert_true(cds_rows_count(rows) > 15);
    for (int i = 0; i < cds_rows_count(rows); i++) {
        char sql[200];
        snprintf(sql, sizeof(sql), "SELECT * FROM %s", cds_rows_str(rows, i, 0));
        refused(reader, sql);
    }
    /* What it may see has no column that could hold such a thing. */
    assert_int_equal(test_sql_i64(owner, "SELECT count(*) FROM information_schema.column_privileges WHERE grantee = 'cds_reader' AND column_name ~"
                                         " 'mail|name|password|hash|token$|prompt$|content|answer|text|detail|source_text|address|device|reason'"),
                     0);
    assert_true(test_sql_i64(reader, "SELECT count(*) FROM reader_users") > 0);
    assert_true(test_sql_i64(reader, "SELECT count(*) FROM reader_audit") > 0);
    run(reader,
        "SELECT * FROM token_usage; SELECT * FROM model_usage; SELECT * FROM tokens_used; SELECT * FROM budget_usage; SELECT * FROM model_prices;"
        "SELECT * FROM reader_requests; SELECT * FROM reader_ledger; SELECT * FROM reader_runs");
    static const char *const attacks[] = {"SELECT audit_add('begin', 'x', NULL, NULL, 'x', NULL, '{}')",
                                          "SELECT user_change('" USER "', 'admin', NULL, 'x')",
                                          "SELECT settle_many('{}', '{}', '{}', '{}', ARRAY[]::timestamptz[], '{}', '{}', '{}', '{}', '" NODE "')",
                                          "UPDATE model_prices SET price_input = 0",
                                          "INSERT INTO model_prices (model) VALUES ('x')",
                                          NULL};
    all_refused(reader, attacks);
}

/* A table that a later migration makes is the gateway's and nobody else's, until it says otherwise. */
static void table_of_a_later_migration_is_the_gateways_alone(void **state)
{
    run(owner, "CREATE TABLE later (x int); CREATE FUNCTION later_fn() RETURNS int LANGUAGE sql AS 'SELECT 1'");
    run(app, "INSERT INTO later VALUES (1); SELECT later_fn()");
    refused(auth, "SELECT * FROM later");
    refused(reader, "SELECT * FROM later");
    refused(reader, "SELECT later_fn()");
    run(owner, "DROP TABLE later; DROP FUNCTION later_fn()");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_role_of_a_service_can_change_the_schema_or_become_another),
        cmocka_unit_test(gateway_can_book_but_neither_write_nor_change_nor_delete_a_line_of_the_ledger),
        cmocka_unit_test(nobody_changes_a_line_of_the_audit_log),
        cmocka_unit_test(gateway_sees_no_secret_of_the_sign_in_and_changes_nobody_but_by_the_functions),
        cmocka_unit_test(function_with_the_owners_rights_finds_its_tables_in_public_and_nowhere_else),
        cmocka_unit_test(grants_are_made_anew_whatever_was_there_before),
        cmocka_unit_test(sign_in_sees_neither_ledger_nor_projects),
        cmocka_unit_test(reader_sees_charts_and_no_mail_name_prompt_or_secret),
        cmocka_unit_test(table_of_a_later_migration_is_the_gateways_alone),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
