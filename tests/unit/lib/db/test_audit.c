/* Tests of database/migrations/0016_audit.sql: the chain of the audit log, who may change it (nobody), and the line of each change of rights, keys,
 * limits, prices, grants and reach. docs/adr/0073-audit-chain.md. */
#include "tests/support/test.h"

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/jwt/jwt.h"
#include "tests/support/books.h"

static void nobody_changes_takes_out_or_empties_a_line_the_owner_neither(void **state)
{
    static const char *const attacks[] = {"UPDATE audit_log SET detail = '{}'", "DELETE FROM audit_log", "TRUNCATE audit_log"};
    books_run("SELECT audit_add('begin', 'test', NULL, NULL, 'x', NULL, '{}')");
    for (size_t i = 0; i < CDS_ARRAY_LEN(attacks); i++) {
        struct cds_err err = {0};
        assert_int_not_equal(cds_db_script(books.db, attacks[i], &err), CDS_OK);
        if (!strstr(err.detail, "append only"))
            fail_msg("%s: %s %s", attacks[i], err.message, err.detail);
    }
}

/* Computed here, and not by the database's own functions. */
static void each_line_has_the_hash_of_the_one_before_and_of_everything_in_it_and_the_end_is_noted(void **state)
{
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    struct cds_err err = {0};
    char before[65] = "0000000000000000000000000000000000000000000000000000000000000000";
    books_run("SELECT audit_add('begin', 'api', '" USER "', '" KEY "', 'user.block', '" OTHER "', '{\"a\": [1, \"\\u00e9\"]}');"
              "SELECT audit_add('end', 'api', NULL, NULL, 'user.block', NULL, '{}')");
    assert_int_equal(
        cds_db_exec(books.db,
                    "SELECT seq, encode(prev, 'hex'), encode(hash, 'hex'), jsonb_build_array(seq, (extract(epoch FROM at) * 1000000)::bigint,"
                    " phase, source, actor, actor_key, action, request_id, detail)::text FROM audit_log ORDER BY seq",
                    0, NULL, false, &rows, &err),
        CDS_OK);
    assert_true(cds_rows_count(rows) >= 2);
    for (int i = 0; i < cds_rows_count(rows); i++) {
        char text[2048], hex[65];
        size_t len = 0;
        assert_int_equal(cds_rows_i64(rows, i, 0, 0), i + 1);
        assert_string_equal(cds_rows_str(rows, i, 1), before);
        for (const char *c = before; *c; c += 2) {
            unsigned byte;
            assert_int_equal(sscanf(c, "%2x", &byte), 1);
            text[len++] = (char)byte;
        }
        cds_strcpy(text + len, sizeof(text) - len, cds_rows_str(rows, i, 3));
        cds_sha256_hex(text, len + strlen(text + len), hex);
        assert_string_equal(cds_rows_str(rows, i, 2), hex);
        cds_strcpy(before, sizeof(before), hex);
    }
    assert_int_equal(books_number("SELECT seq FROM audit_head"), cds_rows_count(rows));
    char head[65];
    assert_string_equal(test_sql(books.db, "SELECT encode(hash, 'hex') FROM audit_head", head, sizeof(head)), before);
}

/** A statement and the line that it must leave. */
struct watched {
    const char *sql, *action, *object, *before, *after; /* before, after: as jsonb writes them, "" for none */
};

static void leaves(const struct watched *w)
{
    char got[1000], wanted[1000];
    int64_t lines = books_number("SELECT count(*) FROM audit_log");
    books_run(w->sql);
    snprintf(wanted, sizeof(wanted), "1|%s|change|%s|%s|%s", w->action, w->object, w->before, w->after);
    char sql[400];
    snprintf(sql, sizeof(sql),
             "SELECT count(*) OVER () || '|' || action || '|' || phase || '|' || (detail ->> 'object') || '|' || coalesce(detail ->> 'before', '')"
             " || '|' || coalesce(detail ->> 'after', '') FROM audit_log WHERE seq > %lld",
             (long long)lines);
    test_sql(books.db, sql, got, sizeof(got));
    if (!cds_streq(got, wanted))
        fail_msg("%s\n  left   %s\n  wanted %s", w->sql, got, wanted);
}

static void each_change_of_rights_keys_limits_prices_grants_and_reach_has_its_line(void **state)
{
    books_run("INSERT INTO users (id, email, password_hash, role) VALUES ('" USER "', 'canary@x.org', '$2b$canary', 'developer'),"
              " ('" OTHER "', 'other@x.org', '$2b$canary', 'admin')");
    static const struct watched all[] = {
        {"UPDATE users SET role = 'viewer' WHERE id = '" USER "'", "users update", USER, "{\"role\": \"developer\"}", "{\"role\": \"viewer\"}"},
        {"UPDATE users SET status = 'blocked' WHERE id = '" USER "'", "users update", USER, "{\"status\": \"active\"}", "{\"status\": \"blocked\"}"},
        {"INSERT INTO invites (token_hash, user_id, kind, expires_at) VALUES (repeat('c', 64), '" USER "', 'reset', '2026-01-01Z')", "invites insert",
         USER, "", "{\"kind\": \"reset\", \"used_at\": null, \"created_by\": null, \"expires_at\": \"2026-01-01T00:00:00+00:00\"}"},
        {"UPDATE invites SET used_at = '2026-01-02Z' WHERE user_id = '" USER "'", "invites update", USER, "{\"used_at\": null}",
         "{\"used_at\": \"2026-01-02T00:00:00+00:00\"}"},
        {"UPDATE api_keys SET role = 'admin' WHERE id = '" KEY "'", "api_keys update", KEY, "{\"role\": \"viewer\"}", "{\"role\": \"admin\"}"},
        {"UPDATE api_keys SET scopes = '{llm}' WHERE id = '" KEY "'", "api_keys update", KEY, "{\"scopes\": []}", "{\"scopes\": [\"llm\"]}"},
        {"UPDATE api_keys SET models = '{m}' WHERE id = '" KEY "'", "api_keys update", KEY, "{\"models\": []}", "{\"models\": [\"m\"]}"},
        {"UPDATE api_keys SET requests_per_minute = 7 WHERE id = '" KEY "'", "api_keys update", KEY, "{\"requests_per_minute\": null}",
         "{\"requests_per_minute\": 7}"},
        {"UPDATE api_keys SET tokens_per_minute = 7 WHERE id = '" KEY "'", "api_keys update", KEY, "{\"tokens_per_minute\": null}",
         "{\"tokens_per_minute\": 7}"},
        {"UPDATE api_keys SET concurrent_requests = 7 WHERE id = '" KEY "'", "api_keys update", KEY, "{\"concurrent_requests\": null}",
         "{\"concurrent_requests\": 7}"},
        {"UPDATE api_keys SET expires_at = '2040-01-01Z' WHERE id = '" KEY "'", "api_keys update", KEY, "{\"expires_at\": null}",
         "{\"expires_at\": \"2040-01-01T00:00:00+00:00\"}"},
        {"INSERT INTO rate_limits (user_id, requests_per_minute, set_by) VALUES ('" USER "', 5, '" OTHER "')", "rate_limits insert", USER, "",
         "{\"set_by\": \"" OTHER "\", \"tokens_per_minute\": null, \"concurrent_requests\": null, \"requests_per_minute\": 5}"},
        {"DELETE FROM rate_limits WHERE user_id = '" USER "'", "rate_limits delete", USER,
         "{\"set_by\": \"" OTHER "\", \"tokens_per_minute\": null, \"concurrent_requests\": null, \"requests_per_minute\": 5}", ""},
    };
    books_run("INSERT INTO api_keys (user_id, id, name, hash) VALUES ('" USER "', '" KEY "', 'canary-name', 'canary-hash')");
    for (size_t i = 0; i < CDS_ARRAY_LEN(all); i++)
        leaves(&all[i]);
    /* Those of which the row says enough: a line of the table each. */
    static const char *const rest[][2] = {
        {"INSERT INTO model_prices (model, price_input, price_cached, price_output) VALUES ('m', 1, 1, 1)", "model_prices insert"},
        {"UPDATE model_prices SET price_output = 2 WHERE model = 'm'", "model_prices update"},
        {"INSERT INTO budget_policies (scope, user_id, unit, span, lim) VALUES ('user', '" USER "', 1, 'month', 100)", "budget_policies insert"},
        {"UPDATE budget_policies SET lim = 200 WHERE user_id = '" USER "' AND scope = 'user'", "budget_policies update"},
        {"INSERT INTO oidc_identities (issuer, subject, user_id) VALUES ('https://i', 'canary-subject', '" USER "')", "oidc_identities insert"},
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(rest); i++) {
        char sql[300];
        int64_t before = books_number("SELECT max(seq) FROM audit_log");
        books_run(rest[i][0]);
        snprintf(sql, sizeof(sql), "SELECT count(*) FROM audit_log WHERE seq > %lld AND action = '%s'", (long long)before, rest[i][1]);
        if (books_number(sql) != 1)
            fail_msg("no line, or more: %s", rest[i][0]);
    }
    assert_int_equal(books_number("SELECT count(*) FROM audit_log a WHERE a::text ~ 'canary'"), 0);
}

static void every_table_of_rights_keys_limits_prices_grants_and_reach_is_watched(void **state)
{
    char names[400];
    assert_string_equal(
        test_sql(books.db,
                 "SELECT string_agg(DISTINCT tgrelid::regclass::text, ' ' ORDER BY tgrelid::regclass::text) FROM pg_trigger t"
                 " WHERE tgname = 'audit_made' AND EXISTS (SELECT FROM pg_trigger c WHERE c.tgrelid = t.tgrelid AND c.tgname = 'audit_changed')",
                 names, sizeof(names)),
        "api_keys budget_grants budget_policies invites model_prices oidc_identities project_network rate_limits users");
}

/* A change that is taken back leaves no line, and the line of one that stands is of the same transaction. */
static void change_that_is_rolled_back_leaves_no_line(void **state)
{
    int64_t before = books_number("SELECT seq FROM audit_head");
    books_run("BEGIN; UPDATE users SET role = 'developer' WHERE id = '" USER "'; ROLLBACK");
    assert_int_equal(books_number("SELECT seq FROM audit_head"), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_changes_takes_out_or_empties_a_line_the_owner_neither),
        cmocka_unit_test(each_line_has_the_hash_of_the_one_before_and_of_everything_in_it_and_the_end_is_noted),
        cmocka_unit_test(every_table_of_rights_keys_limits_prices_grants_and_reach_is_watched),
        cmocka_unit_test(each_change_of_rights_keys_limits_prices_grants_and_reach_has_its_line),
        cmocka_unit_test(change_that_is_rolled_back_leaves_no_line),
    };
    return cmocka_run_group_tests(tests, books_open, books_close);
}
