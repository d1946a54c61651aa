/* Tests of database/migrations/0013_budgets.sql and 0014_budget_admin.sql: what each limit counts and refuses, prices that change, grants, the dry
 * run. */
#include "tests/support/test.h"

#include "tests/support/books.h"

#define NEXT_KEY "00000000-0000-7000-8000-0000000000b2"
#define GRANT "00000000-0000-7000-8000-0000000000d1"

static int fresh(void **state)
{
    test_early_in_the_hour();
    books_run(TEST_NOTHING TEST_USER(USER, "a@x.org") TEST_USER(OTHER, "b@x.org") TEST_KEY(USER, KEY) TEST_PRICE("m", "10", "1", "100")
                  TEST_PRICE("n", "10", "1", "100"));
    return 0;
}

/* "verdict" of budget_put. u, k, m: SQL values, quoted or NULL. */
static const char *put(const char *scope, const char *u, const char *k, const char *m, int unit, const char *span, const char *zone, long limit)
{
    char sql[600];
    snprintf(sql, sizeof(sql), "SELECT verdict FROM budget_put(NULL, '%s', %s, %s, %s, %d::smallint, '%s', '%s', %ld, '{50,80,95}')", scope, u, k, m,
             unit, span, zone, limit);
    return books_get(sql);
}

/* "code" or "code scope". prompt: of the tokens. */
static const char *reserve(const char *user, const char *key, const char *request, const char *model, const char *at, int prompt, int tokens)
{
    char sql[600];
    snprintf(sql, sizeof(sql),
             "SELECT concat_ws(' ', code, refused -> 0 ->> 'scope') FROM reserve('%s', '%s', '%s', '%s', %s, %d, '" NODE "', interval '1 min', %d)",
             user, key, request, model, at, tokens, prompt);
    return books_get(sql);
}

static bool by_batch; /* everything holds of settle() and of a batch of one */

static const char *settle(const char *request, int n_in, int n_out)
{
    char sql[600];
    snprintf(sql, sizeof(sql),
             by_batch ? "SELECT concat_ws(' ', code, cost_micro, soft, soft_policy, fresh) FROM settle_many('{" USER "}', '{" NO_KEY
                        "}', '{%s}', '{m}',"
                        " ARRAY[now()], '{%d}', '{0}', '{%d}', '{stop}', '" NODE "')"
                      : "SELECT concat_ws(' ', code, cost_micro, soft, soft_policy, fresh) FROM settle('" USER "', '" NO_KEY "', '%s', 'm',"
                        " now(), %d, 0, %d, 'stop', '" NODE "')",
             request, n_in, n_out);
    return books_get(sql);
}

#define WINDOW "SELECT concat_ws(' ', used, held, lim) FROM budget_usage"

/* ---- scopes, units ---- */
static void each_scope_limits_its_own_and_nothing_else(void **state)
{
    static const struct {
        const char *scope, *u, *k, *m, *other_user, *other_key, *other_model;
    } rows[] = {{"global", "NULL", "NULL", "NULL", NULL, NULL, NULL},        {"user", "'" USER "'", "NULL", "NULL", OTHER, NO_KEY, "m"},
                {"key", "NULL", "'" KEY "'", "NULL", USER, NO_KEY, "m"},     {"model", "NULL", "NULL", "'m'", USER, KEY, "n"},
                {"user_model", "'" USER "'", "NULL", "'m'", USER, KEY, "n"}, {"key_model", "NULL", "'" KEY "'", "'m'", USER, KEY, "n"}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(rows); i++) {
        char refused[40];
        fresh(NULL);
        assert_string_equal(put(rows[i].scope, rows[i].u, rows[i].k, rows[i].m, 1, "day", "UTC", 100), "created");
        assert_string_equal(reserve(USER, KEY, REQ(01), "m", "now()", 50, 100), "1");
        snprintf(refused, sizeof(refused), "%d %s", strstr(rows[i].scope, "key") ? 3 : 4, rows[i].scope);
        assert_string_equal(reserve(USER, KEY, REQ(02), "m", "now()", 1, 1), refused);
        if (rows[i].other_user)
            assert_string_equal(reserve(rows[i].other_user, rows[i].other_key, REQ(03), rows[i].other_model, "now()", 1, 1), "1");
        books_verified(NULL);
    }
}

static void all_limits_that_refuse_are_named_the_narrowest_first(void **state)
{
    put("global", "NULL", "NULL", "NULL", 3, "day", "UTC", 0);
    put("user", "'" USER "'", "NULL", "NULL", 1, "month", "UTC", 10);
    put("key", "NULL", "'" KEY "'", "NULL", 1, "hour", "UTC", 10);
    put("key", "NULL", "'" KEY "'", "NULL", 2, "hour", "UTC", 1000000);
    assert_string_equal(books_get("SELECT string_agg(x ->> 'scope', ' ') || ' ' || min(lim) FROM reserve('" USER "', '" KEY
                                  "', '" REQ(01) "', 'm', now(), 11, '" NODE "', '1 min') r, jsonb_array_elements(r.refused) x"),
                        "key user global 10");
    assert_string_equal(books_get("SELECT count(*) FROM llm_requests"), "0");
}

/* Windows are held one after the other, in the order of their policies' ids, which chance made: so each of two is once the one that refuses. */
static void what_does_not_fit_everywhere_is_held_nowhere(void **state)
{
    put("user", "'" USER "'", "NULL", "NULL", 1, "day", "UTC", 100);
    put("user", "'" USER "'", "NULL", "NULL", 3, "day", "UTC", 2);
    assert_string_equal(reserve(USER, NO_KEY, REQ(01), "m", "now()", 1, 60), "1");
    assert_string_equal(reserve(USER, NO_KEY, REQ(02), "m", "now()", 1, 41), "4 user"); /* of tokens */
    assert_string_equal(books_get("SELECT string_agg(held::text, ' ' ORDER BY unit DESC) FROM budget_usage"), "60 1");
    assert_string_equal(books_get("SELECT code FROM extend('" USER "', '" REQ(01) "', 101, 1, 1, '1 min')"), "4");
    assert_string_equal(books_get("SELECT string_agg(held::text, ' ' ORDER BY unit DESC) FROM budget_usage"), "60 1");
    assert_string_equal(reserve(USER, NO_KEY, REQ(02), "m", "now()", 1, 5), "1");
    assert_string_equal(reserve(USER, NO_KEY, REQ(03), "m", "now()", 1, 5), "4 user"); /* of requests */
    assert_string_equal(reserve(USER, NO_KEY, REQ(02), "m", "now()", 1, 6), "2");      /* known, and other tokens */
    assert_string_equal(books_get("SELECT string_agg(held::text, ' ' ORDER BY unit DESC) FROM budget_usage"), "65 2");
    put("user", "'" USER "'", "NULL", "NULL", 3, "day", "UTC", 5);
    assert_string_equal(reserve(USER, NO_KEY, REQ(02), "m", "now()", 1, 6), "2"); /* there was room */
    assert_string_equal(books_get("SELECT string_agg(held::text, ' ' ORDER BY unit DESC) FROM budget_usage"), "65 2");
    assert_string_equal(books_get("SELECT count(*) FROM llm_requests WHERE win_policy[1] > win_policy[2]"), "0"); /* the order of locks */
}

static void no_count_falls_below_nothing(void **state)
{
    static const char *const wrong[] = {"UPDATE budget_windows SET held = -1", "UPDATE budget_windows SET used = -1",
                                        "UPDATE llm_requests SET held = -1",   "UPDATE llm_requests SET used = -1",
                                        "UPDATE token_ledger SET n_out = -1",  "UPDATE token_ledger SET n_cached = n_in + 1"};
    put("user", "'" USER "'", "NULL", "NULL", 1, "day", "UTC", 100);
    reserve(USER, NO_KEY, REQ(01), "m", "now()", 1, 60);
    settle(REQ(01), 1, 2);
    for (size_t i = 0; i < CDS_ARRAY_LEN(wrong); i++) {
        struct cds_err err = {0};
        assert_int_equal(cds_db_exec(books.db, wrong[i], 0, NULL, false, NULL, &err), CDS_BAD_PARAM);
    }
}

static void micro_credits_hold_the_dearest_end_and_book_the_real_one(void **state)
{
    put("user", "'" USER "'", "NULL", "NULL", 2, "month", "UTC", 10000);
    assert_string_equal(reserve(USER, NO_KEY, REQ(01), "m", "now()", 10, 100), "1"); /* 10 * 10 + 90 * 100 */
    assert_string_equal(books_get(WINDOW), "0 9100 10000");
    assert_string_equal(reserve(USER, NO_KEY, REQ(02), "m", "now()", 1, 10), "4 user"); /* 910, of 900 that are left */
    assert_string_equal(reserve(USER, NO_KEY, REQ(02), "m", "now()", 0, 9), "1");
    assert_string_equal(books_get("SELECT code FROM extend('" USER "', '" REQ(01) "', 101, 10, 50, '1 min')"), "4");
    settle(REQ(01), 10, 20);
    assert_string_equal(books_get(WINDOW), "2100 900 10000");
}

static void requests_count_while_they_run_and_when_something_came_of_them(void **state)
{
    put("user", "'" USER "'", "NULL", "NULL", 3, "hour", "UTC", 2);
    assert_string_equal(reserve(USER, NO_KEY, REQ(01), "m", "now()", 1, 2), "1");
    assert_string_equal(reserve(USER, NO_KEY, REQ(02), "m", "now()", 1, 2), "1");
    assert_string_equal(reserve(USER, NO_KEY, REQ(03), "m", "now()", 1, 2), "4 user");
    settle(REQ(01), 0, 0); /* it failed */
    settle(REQ(02), 1, 1);
    assert_string_equal(books_get(WINDOW), "1 0 2");
    assert_string_equal(reserve(USER, NO_KEY, REQ(03), "m", "now()", 1, 2), "1");
    books_run("UPDATE llm_requests SET expires_at = now() - interval '1 s' WHERE id = '" REQ(03) "'; SELECT reap(10)");
    assert_string_equal(books_get(WINDOW), "1 0 2");
    settle(REQ(03), 1, 1); /* late: it is booked without a hold */
    assert_string_equal(books_get(WINDOW), "2 0 2");
}

/* ---- windows ---- */
static void a_request_counts_in_the_window_of_its_admission_to_its_end(void **state)
{
    put("user", "'" USER "'", "NULL", "NULL", 1, "day", "UTC", 100);
    assert_string_equal(reserve(USER, NO_KEY, REQ(01), "m", "'2026-11-30 23:59:55+00'", 1, 60), "1");
    assert_string_equal(reserve(USER, NO_KEY, REQ(02), "m", "'2026-11-30 23:59:59.999+00'", 1, 60), "4 user");
    assert_string_equal(reserve(USER, NO_KEY, REQ(02), "m", "'2026-12-01 00:00:00+00'", 1, 60), "1");
    /* The clock of another node is five seconds behind: what it admitted before midnight counts before it. */
    assert_string_equal(reserve(USER, NO_KEY, REQ(03), "m", "'2026-11-30 23:59:56+00'", 1, 40), "1");
    assert_string_equal(books_get("SELECT code FROM extend('" USER "', '" REQ(01) "', 61, 1, 50, '1 min')"), "4");
    settle(REQ(01), 1, 59);
    assert_string_equal(
        books_get("SELECT string_agg(concat_ws(' ', starts_at::date, used, held), ', ' ORDER BY starts_at) FROM budget_usage WHERE used + held > 0"),
        "2026-11-30 60 40, 2026-12-01 0 60");
}

static void windows_follow_the_calendar_of_their_zone(void **state)
{
    static const struct {
        const char *span, *zone, *at, *start, *hours;
    } rows[] = {
        {"day", "Europe/Berlin", "2026-03-29 12:00+00", "2026-03-28 23:00:00+00", "23"}, /* the clock goes forward */
        {"day", "Europe/Berlin", "2026-10-25 12:00+00", "2026-10-24 22:00:00+00", "25"}, /* and back */
        {"hour", "Europe/Berlin", "2026-10-25 00:30+00", "2026-10-25 00:00:00+00", "1"}, /* 02:30, the first time */
        {"hour", "Europe/Berlin", "2026-10-25 01:30+00", "2026-10-25 01:00:00+00", "1"}, /* 02:30, the second time */
        {"hour", "Asia/Kolkata", "2026-11-26 10:10+00", "2026-11-26 09:30:00+00", "1"},  /* half an hour off */
        {"week", "UTC", "2026-11-29 23:59+00", "2026-11-23 00:00:00+00", "168"},         /* a Sunday belongs to the Monday before */
        {"week", "UTC", "2026-11-30 00:00+00", "2026-11-30 00:00:00+00", "168"},
        {"week", "UTC", "2027-01-01 12:00+00", "2026-12-28 00:00:00+00", "168"},
        {"week", "Europe/Berlin", "2026-03-25 12:00+00", "2026-03-22 23:00:00+00", "167"},
        {"month", "UTC", "2026-01-31 23:59+00", "2026-01-01 00:00:00+00", "744"},
        {"month", "UTC", "2028-02-29 12:00+00", "2028-02-01 00:00:00+00", "696"}, /* a leap year */
        {"month", "UTC", "2027-02-28 23:59+00", "2027-02-01 00:00:00+00", "672"},
        {"month", "America/New_York", "2026-12-01 04:59+00", "2026-11-01 04:00:00+00", "721"},
        {"day", "America/Sao_Paulo", "2018-11-04 12:00+00", "2018-11-04 03:00:00+00", "23"}, /* a day without a midnight */
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(rows); i++) {
        char sql[500], want[100];
        snprintf(sql, sizeof(sql),
                 "SELECT s || ' ' || round(extract(epoch FROM budget_end('%s', '%s', 'UTC', '-infinity', s) - s) / 3600)"
                 " FROM budget_start('%s', '%s', 'UTC', '-infinity', '%s') s",
                 rows[i].span, rows[i].zone, rows[i].span, rows[i].zone, rows[i].at);
        snprintf(want, sizeof(want), "%s %s", rows[i].start, rows[i].hours);
        assert_string_equal(books_get(sql), want);
    }
}

static void each_moment_of_a_year_lies_in_its_window(void **state)
{
    static const char *const zones[] = {"UTC",          "Europe/Berlin",    "America/New_York", "Asia/Kolkata",
                                        "Pacific/Apia", "Australia/Sydney", "America/Sao_Paulo"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(zones); i++) {
        char sql[800];
        snprintf(sql, sizeof(sql),
                 "SELECT count(*) FROM generate_series('2026-01-01'::timestamptz, '2027-01-02', '31 minutes') t, "
                 "unnest('{hour,day,week,month}'::text[]) p,"
                 " budget_start(p, '%s', 'UTC', '-infinity', t) s, budget_end(p, '%s', 'UTC', '-infinity', s) e WHERE t < s OR t >= e"
                 " OR budget_start(p, '%s', 'UTC', '-infinity', e) <> e",
                 zones[i], zones[i], zones[i]);
        assert_string_equal(books_get(sql), "0");
    }
}

static void another_zone_holds_from_the_next_window(void **state)
{
    char before[64];
    assert_string_equal(put("user", "'" USER "'", "NULL", "NULL", 1, "month", "UTC", 100), "created");
    strcpy(before, books_get("SELECT starts_at FROM budget_usage"));
    assert_string_equal(put("user", "'" USER "'", "NULL", "NULL", 1, "month", "Europe/Berlin", 100), "changed");
    assert_string_equal(reserve(USER, NO_KEY, REQ(01), "m", "now()", 1, 60), "1");
    assert_string_equal(books_get("SELECT string_agg(starts_at::text, ' ') FROM budget_usage WHERE held > 0"), before);
    /* The next one begins where this one ends, and has a Berlin end. */
    assert_string_equal(
        books_get("SELECT (budget_start(p.span, p.zone, p.old_zone, p.zone_from, w.ends_at) = w.ends_at) || ' ' ||"
                  " to_char(budget_end(p.span, p.zone, p.old_zone, p.zone_from, w.ends_at) AT TIME ZONE 'Europe/Berlin', 'DD HH24:MI')"
                  " FROM budget_policies p JOIN budget_windows w ON w.policy = p.id"),
        "true 01 00:00");
    assert_string_equal(put("user", "'" USER "'", "NULL", "NULL", 1, "month", "Nowhere/Nothing", 100), "zone");
    assert_string_equal(put("user", "'" USER "'", "NULL", "NULL", 1, "month", "UTC", 100), "changed");
}

/* ---- setting limits ---- */
static void a_new_limit_counts_what_was_used_and_what_runs(void **state)
{
    reserve(USER, KEY, REQ(01), "m", "now()", 10, 100);
    settle(REQ(01), 10, 20);
    reserve(USER, KEY, REQ(02), "m", "now()", 10, 100);
    reserve(OTHER, NO_KEY, REQ(03), "m", "now()", 10, 100);
    assert_string_equal(put("user", "'" USER "'", "NULL", "NULL", 1, "month", "UTC", 200), "created");
    assert_string_equal(books_get(WINDOW), "30 100 200");
    assert_string_equal(put("key", "NULL", "'" KEY "'", "NULL", 2, "month", "UTC", 100000), "created");
    assert_string_equal(books_get(WINDOW " WHERE scope = 'key'"), "2100 9100 100000");
    assert_string_equal(put("model", "NULL", "NULL", "'m'", 3, "day", "UTC", 100), "created");
    assert_string_equal(books_get(WINDOW " WHERE scope = 'model'"), "1 2 100");
    assert_string_equal(put("global", "NULL", "NULL", "NULL", 1, "lifetime", "UTC", 1000), "created");
    assert_string_equal(books_get(WINDOW " WHERE scope = 'global'"), "0 0 1000");
    books_verified(NULL);
    assert_string_equal(reserve(USER, NO_KEY, REQ(04), "m", "now()", 1, 71), "4 user");
    assert_string_equal(reserve(USER, NO_KEY, REQ(04), "m", "now()", 1, 70), "1");
    settle(REQ(02), 10, 30);
    assert_string_equal(books_get(WINDOW " WHERE scope = 'user'"), "70 70 200");
    assert_string_equal(books_get(WINDOW " WHERE scope = 'key'"), "5200 0 100000");
    assert_string_equal(books_get(WINDOW " WHERE scope = 'model'"), "2 2 100");
}

static void a_lower_limit_blocks_what_comes_and_lets_what_runs_end(void **state)
{
    put("user", "'" USER "'", "NULL", "NULL", 1, "month", "UTC", 200);
    reserve(USER, NO_KEY, REQ(01), "m", "now()", 10, 100);
    assert_string_equal(put("user", "'" USER "'", "NULL", "NULL", 1, "month", "UTC", 50), "changed");
    books_verified(NULL);
    assert_string_equal(reserve(USER, NO_KEY, REQ(02), "m", "now()", 1, 1), "4 user");
    assert_string_equal(books_get("SELECT code FROM extend('" USER "', '" REQ(01) "', 101, 1, 50, '1 min')"), "4");
    settle(REQ(01), 10, 90);
    assert_string_equal(books_get(WINDOW), "100 0 50");
}

static void a_shorter_window_may_not_allow_more_than_a_longer_one(void **state)
{
    assert_string_equal(put("user", "'" USER "'", "NULL", "NULL", 1, "month", "UTC", 100), "created");
    assert_string_equal(put("user", "'" USER "'", "NULL", "NULL", 1, "day", "UTC", 101), "order");
    assert_string_equal(put("user", "'" USER "'", "NULL", "NULL", 1, "day", "UTC", 100), "created");
    assert_string_equal(put("user", "'" USER "'", "NULL", "NULL", 1, "month", "UTC", 99), "order");
    assert_string_equal(put("user", "'" USER "'", "NULL", "NULL", 2, "day", "UTC", 101), "created"); /* another unit */
    assert_string_equal(put("user", "'" OTHER "'", "NULL", "NULL", 1, "day", "UTC", 101), "created");
}

static void a_limit_of_nobody_is_unknown(void **state)
{
    assert_string_equal(put("user", "'" GRANT "'", "NULL", "NULL", 1, "day", "UTC", 1), "unknown");
    assert_string_equal(put("user", "NULL", "NULL", "NULL", 1, "day", "UTC", 1), "unknown");
    assert_string_equal(put("key", "NULL", "'" GRANT "'", "NULL", 1, "day", "UTC", 1), "unknown");
}

static void a_limit_of_somebody_who_was_deleted_is_unknown(void **state)
{
    assert_string_equal(put("user", "'" USER "'", "NULL", "NULL", 1, "day", "UTC", 1), "created");
    books_run("UPDATE users SET status = 'deleted' WHERE id = '" USER "'");
    assert_string_equal(put("user", "'" USER "'", "NULL", "NULL", 1, "week", "UTC", 1), "unknown");
    assert_string_equal(put("user_model", "'" USER "'", "NULL", "'m'", 1, "week", "UTC", 1), "unknown");
}

static void a_removed_limit_refuses_nothing_and_the_books_stay_right(void **state)
{
    put("user", "'" USER "'", "NULL", "NULL", 1, "month", "UTC", 100);
    reserve(USER, NO_KEY, REQ(01), "m", "now()", 10, 100);
    assert_string_equal(books_get("SELECT budget_remove(id) FROM budget_policies"), "ok");
    assert_string_equal(books_get("SELECT budget_remove(id) FROM budget_policies"), "unknown");
    assert_string_equal(books_get("SELECT code FROM extend('" USER "', '" REQ(01) "', 200, 1, 50, '1 min')"), "1");
    assert_string_equal(reserve(USER, NO_KEY, REQ(02), "m", "now()", 10, 100), "1");
    settle(REQ(01), 10, 150);
    assert_string_equal(books_get(WINDOW), "160 0");
}

static void a_rotated_key_counts_in_the_budget_of_its_first_one(void **state)
{
    put("key", "NULL", "'" KEY "'", "NULL", 1, "month", "UTC", 100);
    books_run("INSERT INTO api_keys (user_id, id, name, hash, rotated_from, budget_key) VALUES ('" USER "', '" NEXT_KEY "', 'k', 'h2', '" KEY
              "', '" KEY "')");
    assert_string_equal(reserve(USER, KEY, REQ(01), "m", "now()", 1, 60), "1");
    assert_string_equal(reserve(USER, NEXT_KEY, REQ(02), "m", "now()", 1, 60), "3 key");
    assert_string_equal(reserve(USER, NEXT_KEY, REQ(02), "m", "now()", 1, 40), "1");
    assert_string_equal(put("key", "NULL", "'" NEXT_KEY "'", "NULL", 1, "month", "UTC", 90), "changed");
}

/* ---- grants ---- */
#define GIVE(id, amount, why)                                                                                                                        \
    "SELECT concat_ws(' ', verdict, lim, used, held) FROM (SELECT id FROM budget_policies) p, budget_grant('" id "', p.id, " amount ", '" OTHER      \
    "', '" why "')"

static void a_grant_at_the_limit_lets_the_next_request_in_and_counts_once(void **state)
{
    put("user", "'" USER "'", "NULL", "NULL", 1, "month", "UTC", 100);
    assert_string_equal(reserve(USER, NO_KEY, REQ(01), "m", "now()", 1, 100), "1");
    assert_string_equal(reserve(USER, NO_KEY, REQ(02), "m", "now()", 1, 50), "4 user");
    assert_string_equal(books_get(GIVE(GRANT, "50", "a present")), "ok 150 0 100");
    assert_string_equal(books_get(GIVE(GRANT, "50", "a present")), "again 150 0 100"); /* a double click */
    assert_string_equal(books_get(GIVE(GRANT, "51", "a present")), "taken 150 0 100");
    assert_string_equal(reserve(USER, NO_KEY, REQ(02), "m", "now()", 1, 50), "1");
    assert_string_equal(reserve(USER, NO_KEY, REQ(03), "m", "now()", 1, 1), "4 user");
    assert_string_equal(books_get("SELECT concat_ws(' ', amount, actor, reason) FROM budget_grants"), "50 " OTHER " a present");
    /* Another limit keeps what was given. */
    put("user", "'" USER "'", "NULL", "NULL", 1, "month", "UTC", 101);
    assert_string_equal(reserve(USER, NO_KEY, REQ(03), "m", "now()", 1, 1), "1");
}

static void a_taking_blocks_what_comes_and_takes_no_more_than_there_is(void **state)
{
    put("user", "'" USER "'", "NULL", "NULL", 1, "month", "UTC", 100);
    reserve(USER, NO_KEY, REQ(01), "m", "now()", 1, 60);
    assert_string_equal(books_get(GIVE(REQ(91), "-101", "a mistake")), "below 100 0 60");
    assert_string_equal(books_get(GIVE(REQ(92), "-100", "a mistake")), "ok 0 0 60");
    assert_string_equal(reserve(USER, NO_KEY, REQ(02), "m", "now()", 1, 1), "4 user");
    settle(REQ(01), 1, 59);
    assert_string_equal(books_get(GIVE(REQ(93), "-1", "x y")), "below 0 60 0");
    assert_string_equal(books_get("SELECT verdict FROM budget_grant('" REQ(94) "', '" GRANT "', 5, '" OTHER "', 'why not')"), "unknown");
    struct cds_err err = {0};
    assert_int_not_equal(cds_db_script(books.db, GIVE(REQ(95), "5", ""), &err), CDS_OK); /* no reason */
}

/* ---- prices ---- */
static void a_hold_keeps_its_price_when_another_one_is_set(void **state)
{
    put("user", "'" USER "'", "NULL", "NULL", 2, "month", "UTC", 100000);
    reserve(USER, NO_KEY, REQ(01), "m", "now()", 10, 20); /* 10 * 10 + 10 * 100 */
    assert_string_equal(books_get("SELECT price_put(NULL, 'm', NULL, 20000000, 2000000, 500000000)"), "ok");
    assert_string_equal(books_get("SELECT code FROM extend('" USER "', '" REQ(01) "', 40, 10, 5, '1 min')"), "1");
    assert_string_equal(books_get(WINDOW), "0 3100 100000");
    assert_string_equal(settle(REQ(01), 10, 30), "1 3100 f");
    assert_string_equal(books_get("SELECT cost_microcredits || ' ' || price_input || ' ' || price_cached || ' ' || price_output FROM llm_requests"),
                        "3100 10000000 1000000 100000000");
    reserve(USER, NO_KEY, REQ(02), "m", "clock_timestamp()", 10, 20);
    assert_string_equal(books_get("SELECT held_micro || ' ' || price_output FROM llm_requests WHERE id = '" REQ(02) "'"), "5200 500000000");
}

static void a_price_of_the_future_holds_from_its_moment_on(void **state)
{
    books_run("SELECT price_put(NULL, 'm', now() + interval '1 hour', 1000000, 1000000, 1000000)");
    reserve(USER, NO_KEY, REQ(01), "m", "now() + interval '59 minutes'", 1, 2);
    reserve(USER, NO_KEY, REQ(02), "m", "now() + interval '61 minutes'", 1, 2);
    assert_string_equal(books_get("SELECT string_agg(price_output::text, ' ' ORDER BY id) FROM llm_requests"), "100000000 1000000");
    assert_string_equal(books_get("SELECT price_put(NULL, 'm', now() - interval '1 hour', 1, 1, 1)"), "past");
    struct cds_err err = {0};
    assert_int_not_equal(cds_db_script(books.db, "SELECT price_put(NULL, 'm', NULL, -1, 1, 1)", &err), CDS_OK);
}

static void a_cost_is_exact_and_rounded_up_once(void **state)
{
    assert_string_equal(books_get("SELECT ledger_cost(1, 0, 0, 1, 0, 0)"), "1");
    assert_string_equal(books_get("SELECT ledger_cost(1000000, 0, 0, 1, 0, 0)"), "1");
    assert_string_equal(books_get("SELECT ledger_cost(3, 1, 5, 300000, 100000, 700000)"), "5"); /* 0.6 + 0.1 + 3.5 = 4.2 */
    assert_string_equal(books_get("SELECT ledger_cost(0, 0, 0, 7, 7, 7)"), "0");
    assert_string_equal(books_get("SELECT ledger_cost(4294967295, 0, 4294967295, 1000000000000000, 0, 1000000000000000)"), "8589934590000000000");
    assert_string_equal(
        books_get("SELECT count(*) FROM (SELECT (random() * 100000)::bigint a, (random() * 100000)::bigint o, (random() * 1e9)::bigint p,"
                  " (random() * 1e9)::bigint c, (random() * 1e9)::bigint q FROM generate_series(1, 2000)) x"
                  " WHERE ledger_cost(a, a / 3, o, p, c, q) <> ceil(((a - a / 3)::numeric * p + (a / 3)::numeric * c + o::numeric * q) / 1000000)"),
        "0");
}

/* ---- soft limits ---- */
static void soft_limits_are_told_and_noted_once_each(void **state)
{
    put("user", "'" USER "'", "NULL", "NULL", 1, "month", "UTC", 100);
    reserve(USER, NO_KEY, REQ(01), "m", "now()", 1, 49);
    assert_string_equal(settle(REQ(01), 1, 48), "1 4810 f");
    reserve(USER, NO_KEY, REQ(02), "m", "now()", 1, 1);
    assert_string_equal(settle(REQ(02), 1, 0), "1 10 50 user tokens month t");
    reserve(USER, NO_KEY, REQ(03), "m", "now()", 1, 1);
    assert_string_equal(settle(REQ(03), 1, 0), "1 10 50 user tokens month f");
    reserve(USER, NO_KEY, REQ(04), "m", "now()", 1, 45);
    assert_string_equal(settle(REQ(04), 1, 44), "1 4410 95 user tokens month t");
    assert_string_equal(books_get("SELECT string_agg(percent::text, ' ' ORDER BY percent) FROM budget_warnings"), "50 95");
    /* Of several the one that is further; chance decides about the order in which they are booked. */
    put("user", "'" USER "'", "NULL", "NULL", 1, "day", "UTC", 98);
    put("user", "'" USER "'", "NULL", "NULL", 1, "month", "UTC", 198);
    reserve(USER, NO_KEY, REQ(05), "m", "now()", 1, 2);
    assert_string_equal(settle(REQ(05), 1, 1), "1 110 95 user tokens day t"); /* 98 of 98, and 49 % of the month */
    put("user", "'" USER "'", "NULL", "NULL", 1, "month", "UTC", 103);
    put("user", "'" USER "'", "NULL", "NULL", 1, "day", "UTC", 99);
    reserve(USER, NO_KEY, REQ(06), "m", "now()", 1, 1);
    assert_string_equal(settle(REQ(06), 1, 0), "1 10 95 user tokens day f"); /* 99 of 99 before 99 of 103 */
    put("user", "'" USER "'", "NULL", "NULL", 1, "day", "UTC", 102);
    put("user", "'" USER "'", "NULL", "NULL", 1, "month", "UTC", 102);
    books_run(
        "UPDATE budget_policies SET soft = '{50}' WHERE span = 'day'; UPDATE budget_windows w SET soft = p.soft FROM budget_policies p WHERE p.id = "
        "w.policy");
    reserve(USER, NO_KEY, REQ(07), "m", "now()", 1, 1);
    assert_string_equal(settle(REQ(07), 1, 0), "1 10 95 user tokens month f");
}

/* ---- dry run ---- */
#define CHECK(prompt, answer)                                                                                                                        \
    "SELECT concat_ws(' ', j -> 'admitted', j -> 'complete', j -> 'held_tokens', j -> 'cost_at_least', j -> 'cost_at_most', j -> 'refused_by' -> 0 " \
    "-> 'needs', j -> 'short_of' -> 0 -> 'remaining') FROM budget_check('" USER "', '" NO_KEY "', 'm', " prompt ", " answer ", 256) j"

static void the_dry_run_says_what_a_request_would_meet_and_holds_nothing(void **state)
{
    assert_string_equal(books_get(CHECK("10", "20")), "true true 30 10 2100");
    put("user", "'" USER "'", "NULL", "NULL", 1, "month", "UTC", 1000);
    assert_string_equal(books_get(CHECK("10", "20")), "true true 30 10 2100");
    assert_string_equal(books_get(CHECK("10", "2000")), "true false 266 10 200100 1000");
    reserve(USER, NO_KEY, REQ(01), "m", "now()", 10, 900);
    assert_string_equal(books_get(CHECK("10", "2000")), "false false 266 10 200100 266 100");
    assert_string_equal(books_get(WINDOW), "0 900 1000");
    assert_string_equal(books_get("SELECT budget_check('" USER "', '" NO_KEY "', 'unknown', 1, 1, 256) IS NULL"), "t");
    assert_string_equal(books_get("SELECT count(*) FROM llm_requests"), "1");
}

#define T(name) cmocka_unit_test_setup_teardown(name, fresh, books_verified)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(each_scope_limits_its_own_and_nothing_else),
        T(all_limits_that_refuse_are_named_the_narrowest_first),
        T(what_does_not_fit_everywhere_is_held_nowhere),
        T(no_count_falls_below_nothing),
        T(micro_credits_hold_the_dearest_end_and_book_the_real_one),
        T(requests_count_while_they_run_and_when_something_came_of_them),
        T(a_request_counts_in_the_window_of_its_admission_to_its_end),
        T(windows_follow_the_calendar_of_their_zone),
        T(each_moment_of_a_year_lies_in_its_window),
        T(another_zone_holds_from_the_next_window),
        T(a_new_limit_counts_what_was_used_and_what_runs),
        T(a_lower_limit_blocks_what_comes_and_lets_what_runs_end),
        T(a_shorter_window_may_not_allow_more_than_a_longer_one),
        T(a_limit_of_nobody_is_unknown),
        T(a_limit_of_somebody_who_was_deleted_is_unknown),
        T(a_removed_limit_refuses_nothing_and_the_books_stay_right),
        T(a_rotated_key_counts_in_the_budget_of_its_first_one),
        T(a_grant_at_the_limit_lets_the_next_request_in_and_counts_once),
        T(a_taking_blocks_what_comes_and_takes_no_more_than_there_is),
        T(a_hold_keeps_its_price_when_another_one_is_set),
        T(a_price_of_the_future_holds_from_its_moment_on),
        T(a_cost_is_exact_and_rounded_up_once),
        T(soft_limits_are_told_and_noted_once_each),
        T(the_dry_run_says_what_a_request_would_meet_and_holds_nothing),
    };
    int failed = cmocka_run_group_tests_name("one by one", tests, books_open, books_close);
    by_batch = true;
    return failed + cmocka_run_group_tests_name("in batches", tests, books_open, books_close);
}
