/* Tests of database/migrations/0013_budgets.sql: calls that come twice, ids that belong to somebody else, holds that nobody keeps. */
#include "tests/support/test.h"

#include "tests/support/books.h"

#define R1 REQ(01)
#define R2 REQ(02)
#define MONTH "2026-11-01"
#define RESERVE(key, request, month, tokens, node)                                                                                                   \
    "SELECT code FROM reserve('" USER "', '" key "', '" request "', 'm', '" month "', " tokens ", '" node "', interval '1 min')"
#define EXTEND(request, total, n_in, n_out) "SELECT code FROM extend('" USER "', '" request "', " total ", " n_in ", " n_out ", interval '1 min')"
#define SETTLE(request, n_in, n_out, node)                                                                                                           \
    "SELECT concat_ws(' ', code, cost_micro) FROM settle('" USER "', '" NO_KEY "', '" request "', 'm', '" MONTH "'::date, " n_in ", 0, " n_out       \
    ", 'stop', '" node "')"
#define SETTLE_MANY(request, n_in, n_out, node)                                                                                                      \
    "SELECT concat_ws(' ', code, cost_micro) FROM settle_many('{" USER "}', '{" NO_KEY "}', '{" request "}', '{m}', ARRAY['" MONTH                   \
    "'::timestamptz], '{" n_in "}', '{0}', '{" n_out "}', '{stop}', '" node "')"
#define BUDGET "SELECT used || ' ' || held FROM budget_user WHERE period = '" MONTH "'"
#define ROW(request) "SELECT concat_ws(' ', state, held, done_in, done_out) FROM llm_requests WHERE id = '" request "'"

static int fresh(void **state)
{
    books_run(TEST_NOTHING TEST_USER(USER, "a@x.org") TEST_KEY(USER, KEY) TEST_USER_MONTH(USER, "1000") TEST_KEY_MONTH(USER, KEY, "500")
                  TEST_PRICE("m", "10", "1", "100") TEST_PRICE("n", "10", "1", "100"));
    return 0;
}

static void reserve_again_is_its_own_only_while_open_and_the_same_in_all(void **state)
{
    assert_string_equal(books_get(RESERVE(NO_KEY, R1, MONTH, "100", NODE)), "1");
    assert_string_equal(books_get(RESERVE(NO_KEY, R1, MONTH, "100", NODE)), "6");
    assert_string_equal(books_get(RESERVE(NO_KEY, R1, MONTH, "101", NODE)), "2");
    assert_string_equal(books_get(RESERVE(NO_KEY, R1, MONTH, "100", NODE2)), "2");
    assert_string_equal(books_get(RESERVE(KEY, R1, MONTH, "100", NODE)), "2");
    assert_string_equal(books_get(RESERVE(NO_KEY, R1, "2026-12-01", "100", NODE)), "2");
    assert_string_equal(
        books_get("SELECT code FROM reserve('" USER "', '" NO_KEY "', '" R1 "', 'n', '" MONTH "', 100, '" NODE "', interval '1 min')"), "2");
    assert_string_equal(books_get(BUDGET), "0 100");
    books_get(SETTLE(R1, "5", "5", NODE));
    assert_string_equal(books_get(RESERVE(NO_KEY, R1, MONTH, "100", NODE)), "2");
    assert_string_equal(books_get(BUDGET), "10 0");
}

static void extend_again_holds_once(void **state)
{
    books_get(RESERVE(KEY, R1, MONTH, "100", NODE));
    for (int i = 0; i < 3; i++)
        assert_string_equal(books_get(EXTEND(R1, "300", "40", "60")), "1");
    assert_string_equal(books_get(BUDGET), "0 300");
    assert_string_equal(books_get("SELECT held FROM budget_key"), "300");
    assert_string_equal(books_get(ROW(R1)), "1 300 40 60");
    /* One that comes late takes nothing back. */
    assert_string_equal(books_get(EXTEND(R1, "200", "40", "30")), "1");
    assert_string_equal(books_get(ROW(R1)), "1 300 40 60");
    assert_string_equal(books_get(BUDGET), "0 300");
}

static void extend_again_is_no_refusal_when_the_limit_was_reached_or_lowered_meanwhile(void **state)
{
    books_get(RESERVE(NO_KEY, R1, MONTH, "100", NODE));
    assert_string_equal(books_get(EXTEND(R1, "1000", "40", "60")), "1");
    assert_string_equal(books_get(EXTEND(R1, "1000", "40", "60")), "1");
    assert_string_equal(books_get(EXTEND(R1, "1001", "40", "60")), "4");
    books_run("UPDATE budget_user SET lim = 10, counted_when_set = used + held");
    assert_string_equal(books_get(EXTEND(R1, "1000", "40", "60")), "1");
    assert_string_equal(books_get("SELECT extend_many('{" USER "}', '{" R1 "}', '{1000}', '{50}', '{70}', interval '1 min')"), "{1}");
    assert_string_equal(books_get("SELECT extend_many('{" USER "}', '{" R1 "}', '{1001}', '{60}', '{80}', interval '1 min')"), "{0}");
    assert_string_equal(books_get(ROW(R1)), "1 1000 50 70");
}

static void extend_many_again_holds_once(void **state)
{
    books_get(RESERVE(KEY, R1, MONTH, "100", NODE));
    books_get(RESERVE(NO_KEY, R2, MONTH, "100", NODE));
    books_get(EXTEND(R1, "200", "1", "2")); /* one of the two has got there by itself */
    for (int i = 0; i < 2; i++)
        assert_string_equal(
            books_get("SELECT extend_many('{" USER "," USER "}', '{" R1 "," R2 "}', '{200,400}', '{1,3}', '{2,4}', interval '1 min')"), "{1,1}");
    assert_string_equal(books_get(BUDGET), "0 600");
    assert_string_equal(books_get("SELECT held FROM budget_key"), "200");
    assert_string_equal(books_get(ROW(R2)), "1 400 3 4");
    assert_string_equal(books_get("SELECT extend_many('{" USER "," USER "}', '{" R1 "," R1 "}', '{300,300}', '{1,1}', '{9,9}', interval '1 min')"),
                        "{0,0}");
    assert_string_equal(books_get("SELECT extend_many('{}', '{}', '{}', '{}', '{}', interval '1 min')"), "{}");
}

/** Four settlements of a request that NODE2 reserved: of nothing and of something by NODE, then the first and another one of its own. */
static void assert_own_node_only(const char *nothing, const char *other, const char *own, const char *own_again)
{
    books_get(RESERVE(NO_KEY, R1, MONTH, "100", NODE2));
    assert_string_equal(books_get(nothing), "3 0");
    assert_string_equal(books_get(other), "3 0");
    assert_string_equal(books_get(ROW(R1)), "1 100 0 0");
    assert_string_equal(books_get(own), "1 150");
    assert_string_equal(books_get(other), "3 0");
    assert_string_equal(books_get(own_again), "2 150");
    assert_string_equal(books_get(BUDGET), "6 0");
}

static void settle_of_another_nodes_request_changes_nothing(void **state)
{
    assert_own_node_only(SETTLE(R1, "0", "0", NODE), SETTLE(R1, "7", "7", NODE), SETTLE(R1, "5", "1", NODE2), SETTLE(R1, "7", "7", NODE2));
}

static void settle_many_of_another_nodes_request_changes_nothing(void **state)
{
    assert_own_node_only(SETTLE_MANY(R1, "0", "0", NODE), SETTLE_MANY(R1, "7", "7", NODE), SETTLE_MANY(R1, "5", "1", NODE2),
                         SETTLE_MANY(R1, "7", "7", NODE2));
}

/* The order in which a reservation and its release reach the database is not known when the answer of the first was lost. */
static void release_closes_a_reservation_or_keeps_it_from_being_made(void **state)
{
    books_get(RESERVE(NO_KEY, R1, MONTH, "100", NODE));
    assert_string_equal(books_get(SETTLE(R1, "0", "0", NODE)), "1 0");
    assert_string_equal(books_get(SETTLE(R2, "0", "0", NODE)), "1 0");
    assert_string_equal(books_get(RESERVE(NO_KEY, R2, MONTH, "100", NODE)), "2");
    assert_string_equal(books_get(BUDGET), "0 0");
}

static void prolong_keeps_only_what_is_named_open_and_of_this_node(void **state)
{
    books_get(RESERVE(NO_KEY, R1, MONTH, "100", NODE));
    books_get(RESERVE(NO_KEY, R2, MONTH, "100", NODE)); /* the server does not know that it has this one */
    books_run("UPDATE llm_requests SET expires_at = now() - interval '1 s'");
    assert_string_equal(books_get("SELECT prolong('{" USER "}', '{" R1 "}', '" NODE2 "', interval '1 min')"), "0");
    assert_string_equal(books_get("SELECT prolong('{" USER "}', '{" R1 "}', '" NODE "', interval '1 min')"), "1");
    assert_string_equal(books_get("SELECT reap(500)"), "1");
    assert_string_equal(books_get(ROW(R1)), "1 100 0 0");
    assert_string_equal(books_get(ROW(R2)), "3 0 0 0");
    assert_string_equal(books_get("SELECT prolong('{" USER "," USER "}', '{" R1 "," R2 "}', '" NODE "', interval '1 min')"), "1");
    assert_string_equal(books_get("SELECT prolong('{}', '{}', '" NODE "', interval '1 min')"), "0");
    assert_string_equal(books_get(BUDGET), "0 100");
}

#define CHECKED(fn) cmocka_unit_test_setup_teardown(fn, fresh, books_verified)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CHECKED(reserve_again_is_its_own_only_while_open_and_the_same_in_all),
        CHECKED(extend_again_holds_once),
        CHECKED(extend_again_is_no_refusal_when_the_limit_was_reached_or_lowered_meanwhile),
        CHECKED(extend_many_again_holds_once),
        CHECKED(settle_of_another_nodes_request_changes_nothing),
        CHECKED(settle_many_of_another_nodes_request_changes_nothing),
        CHECKED(release_closes_a_reservation_or_keeps_it_from_being_made),
        CHECKED(prolong_keeps_only_what_is_named_open_and_of_this_node),
    };
    return cmocka_run_group_tests(tests, books_open, books_close);
}
