/* Tests of apps/cyberdevstudio/ledger_verify.c: right books pass, and each rule notices the damage that it is there for. */
#include "tests/support/test.h"

#include "apps/cyberdevstudio/ledger_verify.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "tests/support/books.h"

/* One user with a key; r1 is settled (30 + 20 tokens), r2 is open, r3 was given up, r4 was settled under the key. */
#define R1 REQ(01)
#define R2 REQ(02)
#define R3 REQ(03)
#define R4 REQ(04)
#define R5 REQ(05)
#define RESERVE(key, request, tokens)                                                                                                                \
    "SELECT reserve('" USER "', '" key "', '" request "', 'm', '2026-11-01', " tokens ", '" NODE "', interval '1 hour');"
#define SETTLE(key, request, n_in, n_cached, n_out)                                                                                                  \
    "SELECT settle_many('{" USER "}', '{" key "}', '{" request "}', '{m}', ARRAY['2026-11-01']::date[], '{" n_in "}', '{" n_cached "}', '{" n_out    \
    "}', '{stop}', '" NODE "');"

static int fresh(void **state)
{
    test_early_in_the_hour();
    books_run(TEST_NOTHING TEST_USER(USER, "a@x.org") TEST_KEY(USER, KEY) TEST_USER_MONTH(USER, "1000") TEST_KEY_MONTH(
        USER, KEY, "300") "SELECT budget_put(NULL, 'global', NULL, NULL, NULL, 2::smallint, 'day', 'UTC', 1000000, '{80}');"
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
    if (cds_ledger_verify(books.db, &report, &err))
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
    books_run(damage);
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
    books_run("UPDATE model_prices SET price_input = 77, price_cached = 77, price_output = 77");
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
    books_run("UPDATE budget_user SET lim = 160; UPDATE budget_key SET lim = 10");
    assert_int_equal(verify().broken, 0);
}

static void limit_that_was_lowered_later_is_right(void **state)
{
    books_run("UPDATE budget_user SET lim = 5, counted_when_set = used + held");
    assert_int_equal(verify().broken, 0);
}

static void usage_that_was_booked_without_a_hold_is_right_and_no_more_than_that(void **state)
{
    fresh(NULL);
    books_run(SETTLE(KEY, R5, "2000", "0", "0"));
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
    books_run("UPDATE llm_requests SET expires_at = now() - interval '59 minutes' WHERE id = '" R2 "'");
    assert_int_equal(verify().broken, 0);
}

/* Two mistakes that cancel each other out in every line are found in no line: the sums of the months find one that moved. */
static void month_whose_sums_differ_is_noticed(void **state)
{
    notices("totals", "UPDATE token_ledger SET period = '2026-10-01' WHERE request_id = '" R1 "'", "request_booked");
}

/* The view shows one thing otherwise, until the second statement. */
static void shown_otherwise(const char *name, const char *view, const char *from, const char *to)
{
    char damage[2048];
    snprintf(damage, sizeof(damage),
             "CREATE TABLE kept AS SELECT pg_get_viewdef('%s') AS v; DO $$ DECLARE d text := (SELECT replace(v, '%s', '%s') FROM kept); BEGIN"
             " IF d = (SELECT v FROM kept) THEN RAISE 'nothing was changed'; END IF; EXECUTE 'CREATE OR REPLACE VIEW %s AS ' || d; END $$",
             view, from, to, view);
    notices(name, damage, NULL);
    snprintf(damage, sizeof(damage), "DO $$ BEGIN EXECUTE 'CREATE OR REPLACE VIEW %s AS ' || (SELECT v FROM kept); END $$; DROP TABLE kept", view);
    books_run(damage);
    assert_int_equal(verify().broken, 0);
}

static void shown_usage_that_is_not_the_ledgers_is_noticed(void **state)
{
    shown_otherwise("usage_by_day", "token_usage", "sum(token_ledger.n_out)", "sum(token_ledger.n_out) + 1");
    shown_otherwise("usage_by_model", "model_usage", "count(*)", "count(*) + 1");
    shown_otherwise("month_shown", "tokens_used", "n_in + token_ledger.n_out", "n_in");
}

/* ---- the audit log ---- */
#define BY_HAND(sql) "ALTER TABLE audit_log DISABLE TRIGGER audit_append_only; " sql "; ALTER TABLE audit_log ENABLE TRIGGER audit_append_only"
#define LINES                                                                                                                                        \
    "SELECT audit_add('begin', 'api', '" USER "', NULL, 'user.block', NULL, '{\"a\": 1}'), audit_add('end', 'api', '" USER                           \
    "', NULL, 'user.block', NULL, '{}')"

/* Lines are added behind whatever is there; the damage is taken back, since nothing can be removed from this log. */
static void chain_notices(const char *damage)
{
    books_run("CREATE TABLE kept AS TABLE audit_log; CREATE TABLE kept_head AS TABLE audit_head");
    books_run(damage);
    struct cds_ledger_report report = verify();
    books_run(BY_HAND("DELETE FROM audit_log; INSERT INTO audit_log TABLE kept; DELETE FROM audit_head; INSERT INTO audit_head TABLE kept_head;"
                      "DROP TABLE kept; DROP TABLE kept_head"));
    for (int i = 0; i < CDS_LEDGER_CHECKS; i++)
        if ((report.checks[i].broken > 0) != cds_streq(report.checks[i].name, "audit_chain"))
            fail_msg("%s after %s: %s", report.checks[i].name, damage, report.checks[i].example);
    assert_int_equal(verify().broken, 0);
}

static void line_of_the_audit_log_that_was_changed_taken_out_or_cut_off_is_noticed(void **state)
{
    books_run(LINES);
    chain_notices(BY_HAND("UPDATE audit_log SET detail = '{}' WHERE seq = 2"));
    chain_notices(BY_HAND("UPDATE audit_log SET actor = NULL WHERE actor IS NOT NULL"));
    chain_notices(BY_HAND("UPDATE audit_log SET at = at - interval '1 microsecond' WHERE seq = 3"));
    chain_notices(BY_HAND("UPDATE audit_log SET source = source || ' ', action = action WHERE seq = 1"));
    chain_notices(BY_HAND("DELETE FROM audit_log WHERE seq = 2"));
    chain_notices(BY_HAND("DELETE FROM audit_log WHERE seq = (SELECT max(seq) FROM audit_log)"));
    chain_notices(BY_HAND("DELETE FROM audit_log"));
    chain_notices("UPDATE audit_head SET seq = seq + 1");
    chain_notices("DELETE FROM audit_head");
    /* Its own hash was made to fit, the next line's was not. */
    chain_notices(BY_HAND("UPDATE audit_log SET detail = '{\"x\": 1}' WHERE seq = 2; UPDATE audit_log l SET hash = audit_hash(l) WHERE seq = 2"));
}

static void day_of_the_ledger_that_was_changed_behind_its_seal_is_noticed(void **state)
{
    assert_int_equal(books_number("SELECT ledger_seal()"), 0); /* today is not over */
    books_run("UPDATE token_ledger SET created_at = now() - interval '2 days'; SELECT ledger_seal()");
    assert_int_equal(books_number("SELECT count(*) FROM audit_log WHERE phase = 'seal'"), 1);
    assert_int_equal(books_number("SELECT ledger_seal()"), 1); /* yesterday, without a line */
    assert_int_equal(books_number("SELECT ledger_seal()"), 0);
    assert_int_equal(verify().broken, 0);
    static const char *const damages[] = {"UPDATE token_ledger SET model = 'n' WHERE request_id = '" R1 "'",
                                          "UPDATE token_ledger SET created_at = created_at + interval '1 microsecond' WHERE request_id = '" R4 "'"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(damages); i++) {
        books_run("CREATE TABLE kept AS TABLE token_ledger");
        books_run(damages[i]);
        struct cds_ledger_report report = verify();
        books_run("DELETE FROM token_ledger; INSERT INTO token_ledger TABLE kept; DROP TABLE kept");
        for (int n = 0; n < CDS_LEDGER_CHECKS; n++)
            if ((report.checks[n].broken > 0) != cds_streq(report.checks[n].name, "ledger_sealed"))
                fail_msg("%s after %s: %s", report.checks[n].name, damages[i], report.checks[n].example);
    }
    books_run("INSERT INTO token_ledger SELECT user_id, gen_random_uuid(), kind, key_id, period, model, n_in, n_cached, n_out, cost_micro, created_at"
              " FROM token_ledger WHERE request_id = '" R1 "'");
    struct cds_ledger_report report = verify();
    assert_true(report.broken > 0);
    books_run(
        BY_HAND("DELETE FROM audit_log; UPDATE audit_head SET seq = 0, hash = decode(repeat('00', 32), 'hex')")); /* for the tests behind this one */
}

static void replay_without_its_request_is_noticed(void **state)
{
    static const char add[] =
        "DELETE FROM idempotency_keys; INSERT INTO idempotency_keys (principal, key, user_id, digest, request_id, node, lease, status,"
        " expires_at) VALUES ('" USER "', 'k', '" USER "', sha256(''), '%s', '" NODE "', now(), 200, now() + interval '1 day')";
    char sql[512];
    snprintf(sql, sizeof(sql), add, R1);
    books_run(sql);
    assert_int_equal(verify().broken, 0);
    snprintf(sql, sizeof(sql), add, R2); /* open */
    notices("replay_has_request", sql, NULL);
    snprintf(sql, sizeof(sql), add, R5); /* nobody knows it */
    notices("replay_has_request", sql, NULL);
    books_run("DELETE FROM idempotency_keys");
}

/* ---- the client's list ---- */
static struct cds_ledger_check of_answers(const char *answers)
{
    struct cds_ledger_report report;
    struct cds_err err = {0};
    if (cds_ledger_verify_answers(books.db, answers, &report, &err))
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
        assert_int_equal(cds_ledger_verify_answers(books.db, lists[i], &report, &err), CDS_BAD_PARAM);
        assert_non_null(strstr(err.message, "request id"));
        assert_int_equal(report.broken, -7);
    }
}

/* The checks read one snapshot: what is booked between two of them cannot make them disagree. */
static void transaction_of_the_check_is_over_afterwards(void **state)
{
    verify();
    assert_int_equal(books_number("UPDATE llm_requests SET outcome = outcome WHERE id = '" R1 "' RETURNING 1"), 1);
    assert_int_equal(verify().broken, 0);
}

static void database_without_a_ledger_is_an_error_and_leaves_the_report_as_it_was(void **state)
{
    struct cds_ledger_report report = {.broken = -7};
    struct cds_err err = {0};
    books_run("ALTER TABLE token_ledger RENAME TO elsewhere");
    cds_rc rc = cds_ledger_verify(books.db, &report, &err);
    books_run("ALTER TABLE elsewhere RENAME TO token_ledger");
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
        ROW(line_of_the_audit_log_that_was_changed_taken_out_or_cut_off_is_noticed),
        ROW(day_of_the_ledger_that_was_changed_behind_its_seal_is_noticed),
        ROW(replay_without_its_request_is_noticed),
        ROW(answers_that_are_settled_as_told_are_right),
        ROW(answer_that_is_not_settled_or_with_other_tokens_is_noticed),
        ROW(list_that_is_none_is_refused),
        ROW(transaction_of_the_check_is_over_afterwards),
        ROW(database_without_a_ledger_is_an_error_and_leaves_the_report_as_it_was),
    };
    return cmocka_run_group_tests(tests, books_open, books_close);
}
