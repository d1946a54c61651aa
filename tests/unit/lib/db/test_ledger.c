/* Tests of database/migrations/0013_budgets.sql: hold, hold more, book once; refusals, replays, what a crash or the reaper
 * took away. */
#include "tests/support/test.h"

#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "tests/support/books.h"

#define FREE "00000000-0000-7000-8000-0000000000a3"
#define STRANGER "00000000-0000-7000-8000-0000000000ff"
#define MONTH "'2026-11-01'"

/* Each test begins with two limited users, one without a limit, one key and one model. */
static int fresh(void **state)
{
    books_run(TEST_NOTHING TEST_USER(USER, "a@x.org") TEST_USER(OTHER, "b@x.org") TEST_USER(FREE, "c@x.org") TEST_KEY(USER, KEY)
                  TEST_USER_MONTH(USER, "1000") TEST_USER_MONTH(OTHER, "1000") TEST_KEY_MONTH(USER, KEY, "300") TEST_PRICE("m", "10", "1", "100"));
    return 0;
}

static const char *reserve(const char *user, const char *key, const char *request, const char *model, int tokens)
{
    char sql[600];
    snprintf(sql, sizeof(sql),
             "SELECT concat_ws(' ', code, lim, used, held) FROM reserve('%s', '%s', '%s', '%s', " MONTH ", %d, '" NODE "', interval '1 min')", user,
             key, request, model, tokens);
    return books_get(sql);
}

static const char *extend(const char *user, const char *request, int tokens, int n_in, int n_out)
{
    char sql[600];
    snprintf(sql, sizeof(sql), "SELECT concat_ws(' ', code, lim, used, held) FROM extend('%s', '%s', %d, %d, %d, interval '1 min')", user, request,
             tokens, n_in, n_out);
    return books_get(sql);
}

static bool by_batch; /* everything holds of settle() and of a batch of one */

static const char *settle(const char *user, const char *key, const char *request, int n_in, int n_cached, int n_out)
{
    char sql[600];
    snprintf(sql, sizeof(sql),
             by_batch ? "SELECT concat_ws(' ', code, cost_micro) FROM settle_many('{%s}', '{%s}', '{%s}', '{m}', ARRAY[" MONTH
                        "]::date[], '{%d}', '{%d}', '{%d}', '{stop}', '" NODE "')"
                      : "SELECT concat_ws(' ', code, cost_micro) FROM settle('%s', '%s', '%s', 'm', " MONTH "::date, %d, %d, %d, 'stop', '" NODE "')",
             user, key, request, n_in, n_cached, n_out);
    return books_get(sql);
}

/* "used held" of a user's month. */
static const char *budget(const char *user)
{
    char sql[300];
    snprintf(sql, sizeof(sql), "SELECT used || ' ' || held FROM budget_user WHERE user_id = '%s' AND period = " MONTH, user);
    return books_get(sql);
}

static const char *key_budget(void)
{
    return books_get("SELECT used || ' ' || held FROM budget_key WHERE key_id = '" KEY "' AND period = " MONTH);
}

/* ---- reserve ---- */
static void reserve_holds_tokens_and_pins_the_price(void **state)
{
    assert_string_equal(reserve(USER, NO_KEY, REQ(01), "m", 250), "1");
    assert_string_equal(budget(USER), "0 250");
    books_run("UPDATE model_prices SET price_input = 99000000, price_output = 99000000");
    assert_string_equal(settle(USER, NO_KEY, REQ(01), 3, 0, 2), "1 230");
}

static void reserve_takes_the_last_token_and_refuses_one_more(void **state)
{
    assert_string_equal(reserve(USER, NO_KEY, REQ(01), "m", 1000), "1");
    assert_string_equal(reserve(USER, NO_KEY, REQ(02), "m", 1), "4 1000 0 1000");
    assert_string_equal(reserve(OTHER, NO_KEY, REQ(02), "m", 1), "1");
    assert_string_equal(books_get("SELECT count(*) FROM llm_requests WHERE user_id = '" USER "'"), "1");
}

static void reserve_counts_what_is_used_and_what_is_held(void **state)
{
    reserve(USER, NO_KEY, REQ(01), "m", 600);
    settle(USER, NO_KEY, REQ(01), 500, 0, 0);
    reserve(USER, NO_KEY, REQ(02), "m", 300);
    assert_string_equal(reserve(USER, NO_KEY, REQ(03), "m", 201), "4 1000 500 300");
    assert_string_equal(reserve(USER, NO_KEY, REQ(03), "m", 200), "1");
}

static void reserve_names_the_key_when_its_limit_is_the_narrower_one(void **state)
{
    assert_string_equal(reserve(USER, KEY, REQ(01), "m", 300), "1");
    assert_string_equal(reserve(USER, KEY, REQ(02), "m", 1), "3 300 0 300");
    assert_string_equal(reserve(USER, NO_KEY, REQ(02), "m", 1), "1");
    assert_string_equal(key_budget(), "0 300");
    assert_string_equal(budget(USER), "0 301");
}

static void reserve_again_says_that_it_is_held_even_when_the_limit_is_full(void **state)
{
    reserve(USER, KEY, REQ(01), "m", 300);
    assert_string_equal(
        books_get("SELECT code FROM reserve('" USER "', '" KEY "', '" REQ(01) "', 'm', " MONTH ", 300, '" NODE "', interval '1 min')"), "6");
    assert_string_equal(key_budget(), "0 300");
    assert_string_equal(budget(USER), "0 300");
    reserve(OTHER, NO_KEY, REQ(01), "m", 1000);
    assert_int_equal(*reserve(OTHER, NO_KEY, REQ(01), "m", 1000), '6');
    assert_string_equal(budget(OTHER), "0 1000");
}

static void reserve_of_a_settled_id_is_a_replay(void **state)
{
    reserve(USER, NO_KEY, REQ(01), "m", 10);
    settle(USER, NO_KEY, REQ(01), 5, 0, 5);
    assert_int_equal(*reserve(USER, NO_KEY, REQ(01), "m", 10), '2');
    assert_string_equal(budget(USER), "10 0");
}

static void reserve_refuses_an_unknown_model_and_an_unknown_user(void **state)
{
    assert_string_equal(reserve(USER, NO_KEY, REQ(01), "other", 10), "5");
    assert_string_equal(reserve(STRANGER, NO_KEY, REQ(01), "m", 10), "4 0 0 0");
    assert_string_equal(books_get("SELECT count(*) FROM llm_requests"), "0");
}

static void user_without_a_limit_has_none(void **state)
{
    assert_string_equal(reserve(FREE, NO_KEY, REQ(01), "m", 2000000000), "1");
    assert_string_equal(reserve(FREE, NO_KEY, REQ(02), "m", 2000000000), "1");
}

static void months_are_counted_apart(void **state)
{
    reserve(USER, NO_KEY, REQ(01), "m", 1000);
    assert_string_equal(books_get("SELECT code FROM reserve('" USER "', '" NO_KEY "', '" REQ(02) "', 'm', '2026-12-01', 1000, '" NODE "', '1 min')"),
                        "1");
    settle(USER, NO_KEY, REQ(01), 1, 0, 1);
    assert_string_equal(budget(USER), "2 0");
    assert_string_equal(books_get("SELECT held FROM budget_user WHERE user_id = '" USER "' AND period = '2026-12-01'"), "1000");
}

/* ---- batches ---- */
#define BATCH(users, keys, requests, models, amounts)                                                                                                \
    "SELECT reserve_many('{" users "}', '{" keys "}', '{" requests "}', '{" models "}', array_fill(" MONTH                                           \
    "::timestamptz, ARRAY[cardinality('{" users "}'::uuid[])]), '{" amounts "}', '" NODE "', '1 min')"

static void reserve_many_holds_all(void **state)
{
    assert_string_equal(books_get(BATCH(USER "," OTHER "," USER, NO_KEY "," NO_KEY "," KEY, REQ(01) "," REQ(02) "," REQ(03), "m,m,m", "100,200,300")),
                        "{1,1,1}");
    assert_string_equal(budget(USER), "0 400");
    assert_string_equal(budget(OTHER), "0 200");
    assert_string_equal(key_budget(), "0 300");
}

static void reserve_many_holds_nothing_when_one_does_not_fit(void **state)
{
    static const char *const batches[] = {
        BATCH(USER "," OTHER, NO_KEY "," NO_KEY, REQ(01) "," REQ(02), "m,m", "1001,1"),  /* user limit */
        BATCH(USER "," USER, NO_KEY "," NO_KEY, REQ(01) "," REQ(02), "m,m", "500,501"),  /* together too much */
        BATCH(USER "," OTHER, KEY "," NO_KEY, REQ(01) "," REQ(02), "m,m", "301,1"),      /* key limit */
        BATCH(USER "," OTHER, NO_KEY "," NO_KEY, REQ(01) "," REQ(02), "m,other", "1,1"), /* no such model */
        BATCH(USER "," STRANGER, NO_KEY "," NO_KEY, REQ(01) "," REQ(02), "m,m", "1,1"),  /* no such user */
        BATCH(USER "," USER, NO_KEY "," NO_KEY, REQ(01) "," REQ(01), "m,m", "1,1"),      /* the same id twice */
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(batches); i++) {
        assert_string_equal(books_get(batches[i]), "{0,0}");
        assert_string_equal(books_get("SELECT count(*) || ' ' || (SELECT sum(held) FROM budget_user) FROM llm_requests"), "0 0");
    }
}

static void reserve_many_with_a_known_id_is_sent_alone(void **state)
{
    reserve(USER, NO_KEY, REQ(01), "m", 5);
    assert_string_equal(books_get(BATCH(USER "," OTHER, NO_KEY "," NO_KEY, REQ(01) "," REQ(02), "m,m", "5,5")), "{0,0}");
    assert_string_equal(budget(USER), "0 5");
}

static void reserve_many_of_nothing_is_nothing(void **state)
{
    assert_string_equal(books_get(BATCH("", "", "", "", "")), "{}");
}

/* ---- extend ---- */
static void extend_holds_more_and_notes_the_progress(void **state)
{
    reserve(USER, KEY, REQ(01), "m", 100);
    assert_string_equal(extend(USER, REQ(01), 300, 40, 60), "1");
    assert_string_equal(budget(USER), "0 300");
    assert_string_equal(key_budget(), "0 300");
    assert_string_equal(books_get("SELECT concat_ws(' ', held, done_in, done_out) FROM llm_requests"), "300 40 60");
}

static void extend_is_refused_past_a_limit_and_changes_nothing(void **state)
{
    reserve(USER, KEY, REQ(01), "m", 100);
    assert_string_equal(extend(USER, REQ(01), 301, 40, 60), "3 300 0 100");
    reserve(OTHER, NO_KEY, REQ(02), "m", 100);
    assert_string_equal(extend(OTHER, REQ(02), 1001, 40, 60), "4 1000 0 100");
    assert_string_equal(books_get("SELECT string_agg(concat_ws(' ', held, done_in, done_out), ',') FROM llm_requests"), "100 0 0,100 0 0");
    assert_string_equal(budget(OTHER), "0 100");
}

static void extend_of_a_closed_or_unknown_request_is_refused(void **state)
{
    assert_string_equal(extend(USER, REQ(01), 1, 0, 0), "2");
    reserve(USER, NO_KEY, REQ(01), "m", 10);
    settle(USER, NO_KEY, REQ(01), 1, 0, 1);
    assert_string_equal(extend(USER, REQ(01), 1, 0, 0), "2");
    assert_string_equal(budget(USER), "2 0");
}

static void extend_many_is_all_or_nothing(void **state)
{
    reserve(USER, KEY, REQ(01), "m", 100);
    reserve(OTHER, NO_KEY, REQ(02), "m", 100);
    assert_string_equal(books_get("SELECT extend_many('{" USER "," OTHER "}', '{" REQ(01) "," REQ(02) "}', '{200,150}', '{1,2}', '{3,4}', '1 min')"),
                        "{1,1}");
    assert_string_equal(books_get("SELECT extend_many('{" USER "," OTHER "}', '{" REQ(01) "," REQ(02) "}', '{301,200}', '{5,5}', '{5,5}', '1 min')"),
                        "{0,0}");
    assert_string_equal(books_get("SELECT extend_many('{" USER "," OTHER "}', '{" REQ(01) "," REQ(03) "}', '{201,151}', '{5,5}', '{5,5}', '1 min')"),
                        "{0,0}");
    assert_string_equal(books_get("SELECT string_agg(concat_ws(' ', held, done_in, done_out), ',' ORDER BY id) FROM llm_requests"),
                        "200 1 3,150 2 4");
    assert_string_equal(key_budget(), "0 200");
    assert_string_equal(budget(OTHER), "0 150");
}

/* ---- settle ---- */
static void settle_books_once_and_answers_the_same_again(void **state)
{
    reserve(USER, KEY, REQ(01), "m", 100);
    assert_string_equal(settle(USER, KEY, REQ(01), 20, 5, 10), "1 1155"); /* 15*10 + 5*1 + 10*100 */
    assert_string_equal(settle(USER, KEY, REQ(01), 99, 0, 99), "2 1155");
    assert_string_equal(budget(USER), "30 0");
    assert_string_equal(key_budget(), "30 0");
    assert_string_equal(books_get("SELECT concat_ws(' ', n_in, n_cached, n_out, cost_micro) FROM token_ledger"), "20 5 10 1155");
}

static void settle_of_a_failed_request_is_free(void **state)
{
    reserve(USER, NO_KEY, REQ(01), "m", 100);
    assert_string_equal(settle(USER, NO_KEY, REQ(01), 0, 0, 0), "1 0");
    assert_string_equal(budget(USER), "0 0");
}

static void settle_bills_an_id_whose_reservation_is_gone(void **state)
{
    assert_string_equal(settle(USER, KEY, REQ(01), 20, 0, 10), "1 1200");
    assert_string_equal(settle(USER, KEY, REQ(01), 20, 0, 10), "2 1200");
    assert_string_equal(budget(USER), "30 0");
    assert_string_equal(key_budget(), "30 0");
}

static void settle_bills_beyond_the_limit_and_blocks_what_comes(void **state)
{
    assert_string_equal(settle(USER, NO_KEY, REQ(01), 900, 0, 200), "1 29000");
    assert_string_equal(reserve(USER, NO_KEY, REQ(02), "m", 1), "4 1000 1100 0");
}

static void settle_bills_a_request_of_a_deleted_user(void **state)
{
    assert_string_equal(settle(STRANGER, NO_KEY, REQ(01), 1, 0, 1), "1 110");
    assert_string_equal(books_get("SELECT tokens FROM tokens_used WHERE user_id = '" STRANGER "'"), "2");
}

static void settle_bills_a_request_that_the_reaper_closed(void **state)
{
    reserve(USER, KEY, REQ(01), "m", 100);
    reserve(OTHER, NO_KEY, REQ(02), "m", 100);
    books_run("UPDATE llm_requests SET expires_at = now() - interval '1 s' WHERE id = '" REQ(01) "'");
    assert_string_equal(books_get("SELECT reap(500)"), "1");
    assert_string_equal(books_get("SELECT reap(500)"), "0");
    assert_string_equal(budget(USER), "0 0");
    assert_string_equal(key_budget(), "0 0");
    assert_string_equal(budget(OTHER), "0 100");
    assert_string_equal(books_get("SELECT concat_ws(' ', state, held, outcome) FROM llm_requests WHERE id = '" REQ(01) "'"), "3 0 expired");
    assert_string_equal(settle(USER, KEY, REQ(01), 20, 0, 10), "1 1200");
    assert_string_equal(budget(USER), "30 0");
    assert_string_equal(key_budget(), "30 0");
}

static void settle_many_answers_in_the_order_of_its_arrays(void **state)
{
    reserve(USER, NO_KEY, REQ(03), "m", 100);
    reserve(OTHER, NO_KEY, REQ(01), "m", 100);
    settle(OTHER, NO_KEY, REQ(01), 7, 0, 0);
    assert_string_equal(
        books_get("SELECT string_agg(code || ':' || cost_micro, ' ') FROM settle_many('{" USER "," OTHER "," FREE "}', '{" NO_KEY "," NO_KEY
                  "," NO_KEY "}', '{" REQ(03) "," REQ(01) "," REQ(02) "}', '{m,m,m}', ARRAY[" MONTH "," MONTH "," MONTH
                                                                      "]::date[], '{1,2,3}', '{0,0,0}', '{0,0,0}', '{stop,stop,stop}', '" NODE "')"),
        "1:10 2:70 1:30");
    assert_string_equal(budget(USER), "1 0");
    assert_string_equal(books_get("SELECT tokens FROM tokens_used WHERE user_id = '" FREE "'"), "3");
}

static void settle_refuses_counts_that_cannot_be(void **state)
{
    static const char *const calls[] = {
        "SELECT * FROM settle_many('{" USER "}', '{" NO_KEY "}', '{" REQ(01) "}', '{m}', ARRAY[" MONTH
                                                                             "]::date[], '{1}', '{2}', '{0}', '{stop}', '" NODE "')",
        "SELECT * FROM settle('" USER "', '" NO_KEY "', '" REQ(01) "', 'm', " MONTH "::date, 1, 2, 0, 'stop', '" NODE "')",
        "SELECT * FROM settle('" USER "', '" NO_KEY "', '" REQ(01) "', 'm', " MONTH "::date, 1, 0, -1, 'stop', '" NODE "')"};
    reserve(USER, NO_KEY, REQ(01), "m", 100);
    for (size_t i = 0; i < CDS_ARRAY_LEN(calls); i++) {
        struct cds_err err = {0};
        assert_int_equal(cds_db_exec(books.db, calls[i], 0, NULL, false, NULL, &err), CDS_BAD_PARAM);
        assert_string_equal(budget(USER), "0 100");
    }
}

/* ---- crash of a node ---- */
static void node_that_starts_again_books_what_it_had_noted(void **state)
{
    reserve(USER, KEY, REQ(01), "m", 100);
    extend(USER, REQ(01), 200, 20, 80);
    reserve(OTHER, NO_KEY, REQ(02), "m", 100);
    books_run("UPDATE llm_requests SET node = '" NODE2 "' WHERE id = '" REQ(02) "'");
    assert_string_equal(books_get("SELECT release_node('" NODE "')"), "1");
    assert_string_equal(books_get("SELECT release_node('" NODE "')"), "0");
    assert_string_equal(budget(USER), "100 0");
    assert_string_equal(key_budget(), "100 0");
    assert_string_equal(budget(OTHER), "0 100");
    assert_string_equal(books_get("SELECT outcome FROM llm_requests WHERE id = '" REQ(01) "'"), "node_lost");
}

static void reaper_leaves_living_requests_and_takes_at_most_what_it_is_told(void **state)
{
    reserve(USER, NO_KEY, REQ(01), "m", 10);
    reserve(USER, NO_KEY, REQ(02), "m", 10);
    reserve(USER, NO_KEY, REQ(03), "m", 10);
    books_run("UPDATE llm_requests SET expires_at = now() - interval '1 s' WHERE id <> '" REQ(03) "'");
    assert_string_equal(books_get("SELECT reap(1)"), "1");
    assert_string_equal(budget(USER), "0 20");
    assert_string_equal(books_get("SELECT reap(500)"), "1");
    assert_string_equal(budget(USER), "0 10");
}

/* ---- views ---- */
static void views_show_what_was_booked(void **state)
{
    reserve(USER, NO_KEY, REQ(01), "m", 100);
    settle(USER, NO_KEY, REQ(01), 20, 5, 10);
    assert_string_equal(books_get("SELECT concat_ws(' ', tokens, held, lim) FROM tokens_used"), "30 0 1000");
    assert_string_equal(
        books_get("SELECT concat_ws(' ', model, requests, prompt_tokens, cached_tokens, completion_tokens, cost_micro) FROM token_usage"),
        "m 1 20 5 10 1155");
    assert_string_equal(books_get("SELECT concat_ws(' ', model, requests, cost_micro) FROM model_usage"), "m 1 1155");
}

#define CHECKED(fn) cmocka_unit_test_setup_teardown(fn, fresh, books_verified)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CHECKED(reserve_holds_tokens_and_pins_the_price),
        CHECKED(reserve_takes_the_last_token_and_refuses_one_more),
        CHECKED(reserve_counts_what_is_used_and_what_is_held),
        CHECKED(reserve_names_the_key_when_its_limit_is_the_narrower_one),
        CHECKED(reserve_again_says_that_it_is_held_even_when_the_limit_is_full),
        CHECKED(reserve_of_a_settled_id_is_a_replay),
        CHECKED(reserve_refuses_an_unknown_model_and_an_unknown_user),
        CHECKED(user_without_a_limit_has_none),
        CHECKED(months_are_counted_apart),
        CHECKED(reserve_many_holds_all),
        CHECKED(reserve_many_holds_nothing_when_one_does_not_fit),
        CHECKED(reserve_many_with_a_known_id_is_sent_alone),
        CHECKED(reserve_many_of_nothing_is_nothing),
        CHECKED(extend_holds_more_and_notes_the_progress),
        CHECKED(extend_is_refused_past_a_limit_and_changes_nothing),
        CHECKED(extend_of_a_closed_or_unknown_request_is_refused),
        CHECKED(extend_many_is_all_or_nothing),
        CHECKED(settle_books_once_and_answers_the_same_again),
        CHECKED(settle_of_a_failed_request_is_free),
        CHECKED(settle_bills_an_id_whose_reservation_is_gone),
        CHECKED(settle_bills_beyond_the_limit_and_blocks_what_comes),
        CHECKED(settle_bills_a_request_of_a_deleted_user),
        CHECKED(settle_bills_a_request_that_the_reaper_closed),
        CHECKED(settle_many_answers_in_the_order_of_its_arrays),
        CHECKED(settle_refuses_counts_that_cannot_be),
        CHECKED(node_that_starts_again_books_what_it_had_noted),
        CHECKED(reaper_leaves_living_requests_and_takes_at_most_what_it_is_told),
        CHECKED(views_show_what_was_booked),
    };
    int failed = cmocka_run_group_tests_name("one by one", tests, books_open, books_close);
    by_batch = true;
    return failed + cmocka_run_group_tests_name("in batches", tests, books_open, books_close);
}
