/* Tests of apps/cyberdevstudio/ledger_verify.c: right books are fine, and each way of being wrong is named by its rule. */
#include "tests/support/test.h"

#include "apps/cyberdevstudio/ledger_verify.h"
#include "lib/base/str.h"
#include "tests/support/pg.h"

#define USER "00000000-0000-7000-8000-0000000000a1"
#define KEY "00000000-0000-7000-8000-0000000000b1"
#define NODE "00000000-0000-7000-8000-0000000000c1"
#define OPEN "00000000-0000-7000-8000-000000000101"
#define DONE "00000000-0000-7000-8000-000000000102"
#define REAPED "00000000-0000-7000-8000-000000000103"
#define LOST "00000000-0000-7000-8000-000000000104"

static struct test_pg pg;
static struct cds_db *db;

static void run(const char *sql)
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
    db = test_pg_open(&pg);
    return 0;
}

static int unmake(void **state)
{
    cds_db_close(&db);
    test_pg_free(&pg);
    return 0;
}

/* One request of each kind, made by the ledger's own functions: open, settled, given up, booked without a reservation. */
static int fresh(void **state)
{
    run("DELETE FROM users; DELETE FROM models; DELETE FROM budget_user; DELETE FROM budget_key; DELETE FROM llm_requests; DELETE FROM token_ledger;"
        "INSERT INTO users (id, email, password_hash, role, month_tokens_limit) VALUES ('" USER "', 'a@x.org', '-', 'developer', 1000);"
        "INSERT INTO api_keys (user_id, id, name, hash, month_tokens_limit) VALUES ('" USER "', '" KEY "', 'k', 'h', 500);"
        "INSERT INTO models VALUES ('m', 10, 1, 100);"
        "SELECT reserve('" USER "', '" KEY "', r, 'm', '2026-11-01', 50, '" NODE "', '1 min') FROM unnest('{" OPEN "," DONE "," REAPED
        "}'::uuid[]) r;"
        "UPDATE llm_requests SET expires_at = now() - interval '1 s' WHERE id = '" REAPED "'; SELECT reap(500);"
        "SELECT settle_many('{" USER "," USER "}', '{" KEY "," KEY "}', '{" DONE "," LOST
        "}', '{m,m}', '{2026-11-01,2026-11-01}', '{30,40}', '{10,0}', '{5,60}', '{stop,stop}', '" NODE "')");
    return 0;
}

static struct cds_ledger_report verify(void)
{
    struct cds_ledger_report report = {.broken = -1};
    struct cds_err err = {0};
    if (cds_ledger_verify(db, &report, &err))
        fail_msg("%s %s", err.message, err.detail);
    return report;
}

static void books_that_the_functions_wrote_are_right(void **state)
{
    struct cds_ledger_report report = verify();
    assert_int_equal(report.broken, 0);
    assert_int_equal(report.requests, 4);
    assert_int_equal(report.open_requests, 1);
    assert_int_equal(report.entries, 2);
    assert_int_equal(report.tokens, 135);
    assert_int_equal(report.cost_micro, 20 * 10 + 10 * 1 + 5 * 100 + 40 * 10 + 60 * 100);
    for (int i = 0; i < CDS_LEDGER_CHECKS; i++) {
        assert_int_equal(report.checks[i].broken, 0);
        assert_string_equal(report.checks[i].example, "");
        assert_true(*report.checks[i].name && *report.checks[i].rule);
    }
}

static void empty_books_are_right(void **state)
{
    run("DELETE FROM budget_user; DELETE FROM budget_key; DELETE FROM llm_requests; DELETE FROM token_ledger");
    assert_int_equal(verify().broken, 0);
}

static void limit_below_what_is_used_is_not_a_defect(void **state)
{
    run("UPDATE budget_user SET lim = 1; UPDATE budget_key SET lim = 1");
    assert_int_equal(verify().broken, 0);
}

/* What somebody changed by hand, and the rules that must notice; a space after each. */
static void each_wrong_is_named_by_its_rule(void **state)
{
    static const struct {
        const char *sql, *broken;
    } rows[] = {
        {"UPDATE budget_user SET used = used + 1", "user_used "},
        {"UPDATE budget_user SET used = used - 1", "user_used "},
        {"DELETE FROM budget_user", "user_used user_held "},
        {"UPDATE budget_user SET held = held + 1", "user_held "},
        {"UPDATE budget_user SET held = 0", "user_held "},
        {"UPDATE budget_key SET used = used + 1", "key_counts "},
        {"UPDATE budget_key SET held = held + 1", "key_counts "},
        {"DELETE FROM token_ledger WHERE request_id = '" DONE "'", "user_used key_counts request_booked "},
        {"DELETE FROM llm_requests WHERE id = '" DONE "'", "entry_has_request "},
        {"UPDATE llm_requests SET state = 1 WHERE id = '" LOST "'", "entry_has_request "},
        {"UPDATE llm_requests SET held = 1 WHERE id = '" REAPED "'", "given_up_holds_nothing "},
        {"UPDATE token_ledger SET cost_micro = cost_micro + 1 WHERE request_id = '" DONE "'", "request_booked entry_priced "},
        {"UPDATE llm_requests SET price_out = 99 WHERE id = '" DONE "'", "entry_priced "},
        {"UPDATE llm_requests SET used = 36 WHERE id = '" DONE "'", "request_booked "},
        {"UPDATE llm_requests SET held = 34 WHERE id = '" DONE "'", "within_hold "},
        {"UPDATE llm_requests SET outcome = NULL WHERE id = '" DONE "'", "ended_explained "},
        {"UPDATE llm_requests SET ended_at = NULL WHERE id = '" REAPED "'", "ended_explained "},
        {"UPDATE llm_requests SET expires_at = now() - interval '2 hours' WHERE id = '" OPEN "'", "ended_explained "},
    };
    for (size_t at = 0; at < CDS_ARRAY_LEN(rows); at++) {
        char broken[400] = "";
        fresh(NULL);
        run(rows[at].sql);
        struct cds_ledger_report report = verify();
        int64_t sum = 0;
        for (int i = 0; i < CDS_LEDGER_CHECKS; i++) {
            sum += report.checks[i].broken;
            if (!report.checks[i].broken)
                continue;
            strcat(broken, report.checks[i].name);
            strcat(broken, " ");
            assert_true(*report.checks[i].example);
        }
        if (!cds_streq(broken, rows[at].broken))
            fail_msg("%s: %s", rows[at].sql, broken);
        assert_int_equal(report.broken, sum);
    }
}

/* Every rule has a case above that breaks it: a new rule without one fails here. */
static void no_rule_is_without_a_case(void **state)
{
    run("UPDATE budget_user SET used = used + 1, held = held + 1; UPDATE budget_key SET used = used + 1;"
        "UPDATE llm_requests SET used = 77, held = 1, outcome = NULL WHERE id = '" DONE "'; UPDATE llm_requests SET held = 1 WHERE id = '" REAPED "';"
        "UPDATE token_ledger SET cost_micro = 1 WHERE request_id = '" DONE "'; DELETE FROM llm_requests WHERE id = '" LOST "'");
    struct cds_ledger_report report = verify();
    for (int i = 0; i < CDS_LEDGER_CHECKS; i++)
        if (!report.checks[i].broken)
            fail_msg("%s", report.checks[i].name);
}

static void failure_leaves_the_report_and_the_connection_as_they_were(void **state)
{
    struct cds_ledger_report report = {.broken = -1};
    struct cds_err err = {0};
    run("ALTER TABLE token_ledger RENAME TO gone");
    assert_int_equal(cds_ledger_verify(db, &report, &err), CDS_INTERNAL);
    assert_true(*err.message);
    assert_int_equal(report.broken, -1);
    run("ALTER TABLE gone RENAME TO token_ledger");
    assert_int_equal(verify().broken, 0);
}

#define FRESH(fn) cmocka_unit_test_setup(fn, fresh)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRESH(books_that_the_functions_wrote_are_right),
        FRESH(empty_books_are_right),
        FRESH(limit_below_what_is_used_is_not_a_defect),
        FRESH(each_wrong_is_named_by_its_rule),
        FRESH(no_rule_is_without_a_case),
        FRESH(failure_leaves_the_report_and_the_connection_as_they_were),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
