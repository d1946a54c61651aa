/* Tests of apps/cyberdevstudio/ledger_verify.c: right books pass, and each rule notices the damage that it is there for. */
#include "tests/support/test.h"

#include "apps/cyberdevstudio/ledger_verify.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "tests/support/budgets.h"
#include "tests/support/pg.h"

/* One user with a key; r1 is settled (30 + 20 tokens), r2 is open, r3 was given up, r4 was settled under the key. */
#define USER "00000000-0000-7000-8000-0000000000a1"
#define KEY "00000000-0000-7000-8000-0000000000b1"
#define NO_KEY "00000000-0000-0000-0000-000000000000"
#define NODE "00000000-0000-7000-8000-0000000000c1"
#define R1 "00000000-0000-7000-8000-000000000101"
#define R2 "00000000-0000-7000-8000-000000000102"
#define R3 "00000000-0000-7000-8000-000000000103"
#define R4 "00000000-0000-7000-8000-000000000104"
#define R5 "00000000-0000-7000-8000-000000000105"
#define RESERVE(key, request, tokens)                                                                                                                \
    "SELECT reserve('" USER "', '" key "', '" request "', 'm', '2026-11-01', " tokens ", '" NODE "', interval '1 hour');"
#define SETTLE(key, request, n_in, n_cached, n_out)                                                                                                  \
    "SELECT settle_many('{" USER "}', '{" key "}', '{" request "}', '{m}', ARRAY['2026-11-01']::date[], '{" n_in "}', '{" n_cached "}', '{" n_out    \
    "}', '{stop}', '" NODE "');"

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
    run(TEST_BUDGETS);
    return 0;
}

static int unmake(void **state)
{
    cds_db_close(&db);
    test_pg_free(&pg);
    return 0;
}

static int fresh(void **state)
{
    run(TEST_NOTHING
        "INSERT INTO users (id, email, password_hash, role) VALUES ('" USER "', 'a@x.org', '-', 'developer');"
        "INSERT INTO api_keys (user_id, id, name, hash) VALUES ('" USER "', '" KEY "', 'k', 'h');" TEST_USER_MONTH(USER, "1000") TEST_KEY_MONTH(
            USER, KEY,
            "300") "SELECT budget_put(NULL, 'global', NULL, NULL, NULL, 2::smallint, 'day', 'UTC', 1000000, '{80}');"
                   "SELECT budget_put(NULL, 'model', NULL, NULL, 'm', 3::smallint, 'hour', 'UTC', 100, '{80}');"
                   "SELECT budget_grant(gen_random_uuid(), id, 5, '" USER
                   "', 'a present') FROM budget_policies WHERE scope = 'global';" TEST_PRICE("m", "10", "1", "100") RESERVE(NO_KEY, R1, "100")
                       RESERVE(NO_KEY, R2, "100") RESERVE(NO_KEY, R3, "100") RESERVE(KEY, R4, "100") SETTLE(NO_KEY, R1, "30", "10", "20")
                           SETTLE(KEY, R4, "5", "0", "5") "UPDATE llm_requests SET expires_at = now() - interval '1 minute' WHERE id = '" R3
                                                          "'; SELECT reap(10)");
    return 0;
}

static struct cds_ledger_report verify(void)
{
    struct cds_ledger_report report;
    struct cds_err err = {0};
    if (cds_ledger_verify(db, &report, &err))
        fail_msg("%s %s", err.message, err.detail);
    return report;
}

static void right_books_pass_and_are_counted(void **state)
{
    struct cds_ledger_report report = verify();
    for (int i = 0; i < CDS_LEDGER_CHECKS; i++) {
        if (report.checks[i].broken)
            fail_msg("%s: %s", report.checks[i].name, report.checks[i].example);
        assert_true(*report.checks[i].name && *report.checks[i].rule);
        assert_string_equal(report.checks[i].example, "");
    }
    assert_int_equal(report.broken, 0);
    assert_int_equal(report.requests, 4);
    assert_int_equal(report.open_requests, 1);
    assert_int_equal(report.entries, 2);
    assert_int_equal(report.tokens, 60);
    assert_int_equal(report.cost_micro, 20 * 10 + 10 * 1 + 20 * 100 + 5 * 10 + 5 * 100);
}

/* The rule of that name is broken by this damage, with an example; *also may be another that the same damage must break, or NULL. */
static void notices(const char *name, const char *damage, const char *also)
{
    fresh(NULL);
    run(damage);
    struct cds_ledger_report report = verify();
    bool found = false;
    int64_t sum = 0;
    for (int i = 0; i < CDS_LEDGER_CHECKS; i++) {
        const struct cds_ledger_check *check = &report.checks[i];
        bool wanted = cds_streq(check->name, name), expected = wanted || (also && strstr(also, check->name));
        sum += check->broken;
        found = found || wanted;
        if ((check->broken > 0) != expected)
            fail_msg("%s after %s: %d broken (%s)", check->name, damage, (int)check->broken, check->example);
        assert_true((*check->example != '\0') == (check->broken > 0));
    }
    assert_true(found);
    assert_int_equal(report.broken, sum);
}

static void used_that_is_not_the_sum_of_the_ledger_is_noticed(void **state)
{
    notices("window_used", "UPDATE budget_user SET used = used + 1", NULL);
    notices("window_used", "UPDATE budget_user SET used = used - 1", NULL);
    notices("window_used",
            "UPDATE llm_requests SET state = 3, held = 0, used = NULL, cost_microcredits = NULL WHERE id = '" R1 "';"
            "DELETE FROM token_ledger WHERE request_id = '" R1 "'",
            "one_end");
    notices("window_there", "DELETE FROM budget_user", NULL);
}

static void held_that_is_not_the_sum_of_open_requests_is_noticed(void **state)
{
    notices("window_held", "UPDATE budget_user SET held = held + 1", NULL);
    notices("window_held", "UPDATE budget_user SET held = 0", NULL);
    notices("window_held", "UPDATE llm_requests SET held = held - 1 WHERE id = '" R2 "'", NULL);
    notices("window_held", "UPDATE llm_requests SET held_micro = held_micro - 1 WHERE id = '" R2 "'", NULL);
    notices("window_held", "UPDATE llm_requests SET held_requests = 0 WHERE id = '" R2 "'", NULL);
    notices("window_held", "DELETE FROM llm_requests WHERE id = '" R2 "'", NULL);
}

static void grant_without_its_line_is_noticed(void **state)
{
    notices("window_granted", "UPDATE budget_windows SET granted = granted + 1 WHERE lim = 1000", NULL);
    notices("window_granted", "DELETE FROM budget_grants", NULL);
}

static void settled_request_without_its_entry_is_noticed(void **state)
{
    notices("request_booked", "DELETE FROM token_ledger WHERE request_id = '" R1 "'", "totals");
    notices("request_booked", "UPDATE llm_requests SET used = used + 1 WHERE id = '" R1 "'", "window_used totals");
    notices("request_booked", "UPDATE llm_requests SET used = NULL WHERE id = '" R1 "'", "window_used totals");
    notices("request_booked", "UPDATE llm_requests SET cost_microcredits = cost_microcredits + 1 WHERE id = '" R1 "'", "window_used totals");
    notices("request_booked", "UPDATE llm_requests SET period = '2026-10-01' WHERE id = '" R1 "'", "totals");
    notices("request_booked", "UPDATE llm_requests SET key_id = '" NODE "' WHERE id = '" R1 "'", NULL);
}

static void entry_without_a_settled_request_is_noticed(void **state)
{
    notices("entry_has_request", "DELETE FROM llm_requests WHERE id = '" R1 "'", "window_used totals");
    notices("entry_has_request", "UPDATE llm_requests SET state = 1, held = 0 WHERE id = '" R1 "'", "window_used window_held totals one_end");
}

static void given_up_request_that_holds_or_was_charged_is_noticed(void **state)
{
    notices("given_up_holds_nothing", "UPDATE llm_requests SET held = 5 WHERE id = '" R3 "'", NULL);
    notices("given_up_holds_nothing", "UPDATE llm_requests SET state = 3, held = 0 WHERE id = '" R1 "'",
            "entry_has_request window_used totals one_end");
}

static void cost_that_is_not_tokens_times_price_is_noticed(void **state)
{
    notices("entry_priced",
            "UPDATE token_ledger SET cost_micro = cost_micro + 1 WHERE request_id = '" R1 "';"
            "UPDATE llm_requests SET cost_microcredits = cost_microcredits + 1 WHERE id = '" R1 "'",
            "window_used");
    notices("entry_priced", "UPDATE llm_requests SET price_cached = 2000000 WHERE id = '" R1 "'", NULL);
    notices("entry_priced", "UPDATE llm_requests SET price_output = 99000000 WHERE id = '" R1 "'", NULL);
}

static void price_list_that_changed_later_is_right(void **state)
{
    run("UPDATE model_prices SET price_input = 77, price_cached = 77, price_output = 77");
    assert_int_equal(verify().broken, 0);
}

static void request_that_used_more_than_it_held_is_noticed(void **state)
{
    notices("within_hold", "UPDATE llm_requests SET held = 49 WHERE id = '" R1 "'", NULL);
}

/* R1 used 50 and R4 10, R2 holds 100: 160 of 1000, and 10 of the key's 300. */
static void budget_that_counts_more_than_its_limit_is_noticed(void **state)
{
    notices("within_limit", "UPDATE budget_user SET lim = 159", NULL);
    notices("within_limit", "UPDATE budget_user SET lim = 0, counted_when_set = 159", NULL);
    notices("within_limit", "UPDATE budget_key SET lim = 9", NULL);
    notices("within_limit", "UPDATE budget_user SET held = held + 1000; UPDATE llm_requests SET held = held + 1000 WHERE id = '" R2 "'",
            NULL); /* two that raced */
}

static void limit_that_is_reached_to_the_token_is_right(void **state)
{
    run("UPDATE budget_user SET lim = 160; UPDATE budget_key SET lim = 10");
    assert_int_equal(verify().broken, 0);
}

static void limit_that_was_lowered_later_is_right(void **state)
{
    run("UPDATE budget_user SET lim = 5, counted_when_set = used + held");
    assert_int_equal(verify().broken, 0);
}

static void usage_that_was_booked_without_a_hold_is_right_and_no_more_than_that(void **state)
{
    fresh(NULL);
    run(SETTLE(KEY, R5, "2000", "0", "0"));
    assert_int_equal(verify().broken, 0);
    notices("within_limit", SETTLE(KEY, R5, "2000", "0", "0") "UPDATE budget_user SET lim = 159", NULL);
}

static void end_without_an_explanation_is_noticed(void **state)
{
    notices("one_end", "UPDATE llm_requests SET outcome = NULL WHERE id = '" R1 "'", NULL);
    notices("one_end", "UPDATE llm_requests SET ended_at = NULL WHERE id = '" R3 "'", NULL);
}

static void request_with_two_ends_is_noticed(void **state)
{
    notices("one_end", "UPDATE llm_requests SET outcome = 'stop' WHERE id = '" R2 "'", NULL);
    notices("one_end", "UPDATE llm_requests SET ended_at = now() WHERE id = '" R2 "'", NULL);
    notices("one_end", "UPDATE llm_requests SET outcome = 'stop' WHERE id = '" R3 "'", NULL);
    notices("one_end", "UPDATE llm_requests SET used = 1 WHERE id = '" R3 "'", NULL);
    notices("one_end", "UPDATE llm_requests SET cost_microcredits = 0 WHERE id = '" R3 "'", NULL);
}

static void request_that_outlived_its_lease_is_noticed(void **state)
{
    notices("lease_kept", "UPDATE llm_requests SET expires_at = now() - interval '61 minutes' WHERE id = '" R2 "'", NULL);
    run("UPDATE llm_requests SET expires_at = now() - interval '59 minutes' WHERE id = '" R2 "'");
    assert_int_equal(verify().broken, 0);
}

/* Two mistakes that cancel each other out in every line are found in no line: the sums of the months find one that moved. */
static void month_whose_sums_differ_is_noticed(void **state)
{
    notices("totals", "UPDATE token_ledger SET period = '2026-10-01' WHERE request_id = '" R1 "'", "request_booked");
}

static void shown_usage_that_is_not_the_ledgers_is_noticed(void **state)
{
    notices("usage_by_day",
            "CREATE TABLE kept AS SELECT pg_get_viewdef('token_usage') AS v; CREATE OR REPLACE VIEW token_usage AS SELECT user_id,"
            " (created_at AT TIME ZONE 'UTC')::date AS day, model, count(*) AS requests, sum(n_in) AS prompt_tokens, sum(n_cached) AS cached_tokens,"
            " sum(n_out) + 1 AS completion_tokens, sum(cost_micro) AS cost_micro, count(DISTINCT key_id) AS keys FROM token_ledger GROUP BY 1, 2, 3",
            NULL);
    run("DO $$ BEGIN EXECUTE 'CREATE OR REPLACE VIEW token_usage AS ' || (SELECT v FROM kept); END $$; DROP TABLE kept");
    notices(
        "usage_by_model",
        "CREATE TABLE kept AS SELECT pg_get_viewdef('model_usage') AS v; CREATE OR REPLACE VIEW model_usage AS SELECT model,"
        " (created_at AT TIME ZONE 'UTC')::date AS day, count(*) AS requests, sum(n_in) AS prompt_tokens, sum(n_cached) AS cached_tokens,"
        " sum(n_out) AS completion_tokens, sum(cost_micro) AS cost_micro, count(DISTINCT user_id) AS users FROM token_ledger WHERE request_id <> '" R4
        "' GROUP BY 1, 2",
        NULL);
    run("DO $$ BEGIN EXECUTE 'CREATE OR REPLACE VIEW model_usage AS ' || (SELECT v FROM kept); END $$; DROP TABLE kept");
    notices("month_shown",
            "CREATE TABLE kept AS SELECT pg_get_viewdef('tokens_used') AS v;"
            "CREATE OR REPLACE VIEW tokens_used AS SELECT user_id, period, sum(n_in + n_out)::bigint - 1 AS tokens, 0::bigint AS held,"
            " NULL::bigint AS lim FROM token_ledger GROUP BY 1, 2",
            NULL);
    run("DO $$ BEGIN EXECUTE 'CREATE OR REPLACE VIEW tokens_used AS ' || (SELECT v FROM kept); END $$; DROP TABLE kept");
    assert_int_equal(verify().broken, 0);
}

/* ---- the client's list ---- */
static struct cds_ledger_check of_answers(const char *answers)
{
    struct cds_ledger_report report;
    struct cds_err err = {0};
    if (cds_ledger_verify_answers(db, answers, &report, &err))
        fail_msg("%s %s", err.message, err.detail);
    for (int i = 0; i < CDS_LEDGER_CHECKS; i++)
        if (report.checks[i].number == CDS_LEDGER_OF_ANSWERS)
            return report.checks[i];
    fail_msg("there is no rule %d", CDS_LEDGER_OF_ANSWERS);
    return report.checks[0];
}

static void answers_that_are_settled_as_told_are_right(void **state)
{
    assert_int_equal(of_answers(R1 " 30 20\n" R4 " 5 5\n").broken, 0);
    assert_int_equal(of_answers(R1 "\n" R4 "\n").broken, 0);
    assert_int_equal(of_answers("").broken, 0);
    assert_false(of_answers("").skipped);
    assert_true(of_answers(NULL).skipped);
}

static void answer_that_is_not_settled_or_with_other_tokens_is_noticed(void **state)
{
    assert_int_equal(of_answers(R1 " 30 21\n").broken, 1);
    assert_int_equal(of_answers(R1 " 29 20\n").broken, 1);
    assert_string_equal(of_answers(R1 " 30 20\n" R5 "\n").example, R5); /* nobody knows it */
    assert_int_equal(of_answers(R2 "\n").broken, 1);                    /* open */
    assert_int_equal(of_answers(R3 "\n").broken, 1);                    /* given up */
    assert_int_equal(of_answers(R2 " 1 1\n" R3 " 1 1\n" R5 " 1 1\n").broken, 3);
}

static void list_that_is_none_is_refused(void **state)
{
    static const char *const lists[] = {"hello\n", R1 " 30\n" R1 " x 20\n", R1 " 99999999999999999999 1\n"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(lists); i++) {
        struct cds_ledger_report report = {.broken = -7};
        struct cds_err err = {0};
        assert_int_equal(cds_ledger_verify_answers(db, lists[i], &report, &err), CDS_BAD_PARAM);
        assert_non_null(strstr(err.message, "request id"));
        assert_int_equal(report.broken, -7);
    }
}

/* The checks read one snapshot: what is booked between two of them cannot make them disagree. */
static void transaction_of_the_check_is_over_afterwards(void **state)
{
    verify();
    assert_int_equal(test_sql_i64(db, "UPDATE llm_requests SET outcome = outcome WHERE id = '" R1 "' RETURNING 1"), 1);
    assert_int_equal(verify().broken, 0);
}

static void database_without_a_ledger_is_an_error_and_leaves_the_report_as_it_was(void **state)
{
    struct cds_ledger_report report = {.broken = -7};
    struct cds_err err = {0};
    run("ALTER TABLE token_ledger RENAME TO elsewhere");
    cds_rc rc = cds_ledger_verify(db, &report, &err);
    run("ALTER TABLE elsewhere RENAME TO token_ledger");
    assert_int_equal(rc, CDS_INTERNAL);
    assert_int_equal(report.broken, -7);
    assert_true(*err.message);
}

int main(void)
{
#define ROW(fn) cmocka_unit_test_setup(fn, fresh)
    const struct CMUnitTest tests[] = {
        ROW(right_books_pass_and_are_counted),
        ROW(used_that_is_not_the_sum_of_the_ledger_is_noticed),
        ROW(held_that_is_not_the_sum_of_open_requests_is_noticed),
        ROW(grant_without_its_line_is_noticed),
        ROW(settled_request_without_its_entry_is_noticed),
        ROW(entry_without_a_settled_request_is_noticed),
        ROW(given_up_request_that_holds_or_was_charged_is_noticed),
        ROW(cost_that_is_not_tokens_times_price_is_noticed),
        ROW(price_list_that_changed_later_is_right),
        ROW(request_that_used_more_than_it_held_is_noticed),
        ROW(budget_that_counts_more_than_its_limit_is_noticed),
        ROW(limit_that_is_reached_to_the_token_is_right),
        ROW(limit_that_was_lowered_later_is_right),
        ROW(usage_that_was_booked_without_a_hold_is_right_and_no_more_than_that),
        ROW(end_without_an_explanation_is_noticed),
        ROW(request_with_two_ends_is_noticed),
        ROW(request_that_outlived_its_lease_is_noticed),
        ROW(month_whose_sums_differ_is_noticed),
        ROW(shown_usage_that_is_not_the_ledgers_is_noticed),
        ROW(answers_that_are_settled_as_told_are_right),
        ROW(answer_that_is_not_settled_or_with_other_tokens_is_noticed),
        ROW(list_that_is_none_is_refused),
        ROW(transaction_of_the_check_is_over_afterwards),
        ROW(database_without_a_ledger_is_an_error_and_leaves_the_report_as_it_was),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
