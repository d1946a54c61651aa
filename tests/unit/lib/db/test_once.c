/* Tests of once_claim() of database/migrations/0015_usage.sql: who carries out a request with an Idempotency-Key. */
#include "tests/support/test.h"

#include "tests/support/books.h"

static int fresh(void **state)
{
    books_run(TEST_NOTHING "DELETE FROM idempotency_keys;" TEST_USER(USER, "a@x.org") TEST_PRICE("m", "10", "1", "100"));
    return 0;
}

/** "verdict", with the answer where there is one. */
static const char *claim(const char *who, const char *key, const char *body, const char *request, const char *node)
{
    char sql[500];
    snprintf(sql, sizeof(sql),
             "SELECT concat_ws(' ', verdict, answer) FROM once_claim('%s', '%s', '" USER "', sha256('%s'), '%s', '%s', interval '1 day', interval '1 "
             "hour', 3)",
             who, key, body, request, node);
    return books_get(sql);
}

static void another_body_under_a_key_is_another_request(void **state)
{
    assert_string_equal(claim(USER, "k", "x", REQ(01), NODE), "run");
    assert_string_equal(claim(USER, "k", "y", REQ(02), NODE), "other");
    assert_string_equal(claim(USER, "k", "y", REQ(02), NODE2), "other");
    assert_string_equal(claim(OTHER, "k", "y", REQ(03), NODE), "run"); /* somebody else's key of that name */
}

static void an_answer_that_is_there_is_given_again_and_one_that_is_not_is_lost(void **state)
{
    claim(USER, "k", "x", REQ(01), NODE);
    books_run("UPDATE idempotency_keys SET status = 200, content_type = 'text/plain', answer = 'as told'");
    assert_string_equal(claim(USER, "k", "x", REQ(02), NODE), "answer as told");
    assert_string_equal(claim(USER, "k", "x", REQ(02), NODE2), "answer as told");
    books_run("UPDATE idempotency_keys SET answer = NULL");
    assert_string_equal(claim(USER, "k", "x", REQ(02), NODE), "lost");
    assert_string_equal(books_get("SELECT request_id FROM idempotency_keys"), REQ(01));
}

static void a_key_that_another_server_carries_out_runs_until_its_lease_ends(void **state)
{
    claim(USER, "k", "x", REQ(01), NODE);
    assert_string_equal(claim(USER, "k", "x", REQ(02), NODE2), "running");
    books_run("UPDATE idempotency_keys SET lease = now() - interval '1 s'");
    assert_string_equal(claim(USER, "k", "x", REQ(02), NODE2), "run");
    assert_string_equal(books_get("SELECT request_id || ' ' || node FROM idempotency_keys"), REQ(02) " " NODE2);
}

/* A server asks only about what it does not know of: a row of its own is one that a crash left behind. */
static void what_a_crash_left_is_decided_by_what_the_ledger_has_booked(void **state)
{
    claim(USER, "k", "x", REQ(01), NODE);
    assert_string_equal(claim(USER, "k", "x", REQ(02), NODE), "run"); /* it never came to a reservation */
    books_run("SELECT reserve('" USER "', '" NO_KEY "', '" REQ(02) "', 'm', now(), 100, '" NODE "', interval '1 min', 10)");
    assert_string_equal(claim(USER, "k", "x", REQ(03), NODE), "running"); /* its books are open */
    books_run("SELECT settle_many('{" USER "}', '{" NO_KEY "}', '{" REQ(02) "}', '{m}', ARRAY[now()], '{0}', '{0}', '{0}', '{error}', '" NODE "')");
    assert_string_equal(claim(USER, "k", "x", REQ(03), NODE), "run"); /* nothing was billed */
    books_run("SELECT reserve('" USER "', '" NO_KEY
              "', '" REQ(03) "', 'm', now(), 100, '" NODE "', interval '1 min', 10);"
                             "SELECT settle_many('{" USER "}', '{" NO_KEY
                             "}', '{" REQ(03) "}', '{m}', ARRAY[now()], '{10}', '{0}', '{5}', '{node_lost}', '" NODE "')");
    assert_string_equal(claim(USER, "k", "x", REQ(04), NODE), "lost"); /* something was: never again under this key */
    assert_string_equal(books_get("SELECT request_id FROM idempotency_keys"), REQ(03));
}

static void an_expired_key_is_a_new_one(void **state)
{
    claim(USER, "k", "x", REQ(01), NODE);
    books_run("UPDATE idempotency_keys SET status = 200, answer = 'old', expires_at = now() - interval '1 s'");
    assert_string_equal(claim(USER, "k", "y", REQ(02), NODE), "run");
    assert_string_equal(books_get("SELECT count(*) || ' ' || min(request_id::text) FROM idempotency_keys"), "1 " REQ(02));
}

static void a_caller_has_so_many_valid_keys(void **state)
{
    for (int i = 0; i < 3; i++) {
        char key[8];
        snprintf(key, sizeof(key), "k%d", i);
        assert_string_equal(claim(USER, key, "x", REQ(01), NODE), "run");
    }
    assert_string_equal(claim(USER, "k3", "x", REQ(02), NODE), "full");
    assert_string_equal(claim(USER, "k2", "x", REQ(02), NODE2), "running"); /* one that is there is no new one */
    assert_string_equal(claim(OTHER, "k3", "x", REQ(02), NODE), "run");     /* nor are those of somebody else */
    books_run("UPDATE idempotency_keys SET expires_at = now() - interval '1 s' WHERE key = 'k0'");
    assert_string_equal(claim(USER, "k3", "x", REQ(02), NODE), "run");
}

/* Its row comes in between look and insert, by a function that stands in for the other server. */
static void a_row_that_came_in_between_is_asked_for_again(void **state)
{
    books_run("CREATE FUNCTION other_server() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
              "CREATE TRIGGER in_between BEFORE INSERT ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION other_server()");
    assert_string_equal(claim(USER, "k", "x", REQ(01), NODE), "again");
    books_run("DROP TRIGGER in_between ON idempotency_keys; DROP FUNCTION other_server()");
    assert_string_equal(claim(USER, "k", "x", REQ(01), NODE), "run");
}

#define T(name) cmocka_unit_test_setup(name, fresh)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(another_body_under_a_key_is_another_request),
        T(an_answer_that_is_there_is_given_again_and_one_that_is_not_is_lost),
        T(a_key_that_another_server_carries_out_runs_until_its_lease_ends),
        T(what_a_crash_left_is_decided_by_what_the_ledger_has_booked),
        T(an_expired_key_is_a_new_one),
        T(a_caller_has_so_many_valid_keys),
        T(a_row_that_came_in_between_is_asked_for_again),
    };
    return cmocka_run_group_tests(tests, books_open, books_close);
}
