/* Tests of database/migrations/0013_budgets.sql and 0014_budget_admin.sql with many connections at once: limits of every kind are never passed,
 * limits and prices are set while requests run, a double click is one grant. The database counts deadlocks; there must be none. */
#include "tests/support/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "tests/support/books.h"

#define GRANT "00000000-0000-7000-8000-0000000000d1"

enum { THREADS = 20, EACH = 10, LAPS = 40, WAIT_MS = 120000 };

static atomic_int admitted, refused, failed, other;
static atomic_bool over;

static struct cds_db *fresh(void)
{
    struct cds_db *db = test_patient(test_pg_open(&books.pg));
    test_early_in_the_hour();
    test_script(db, TEST_NOTHING TEST_USER(USER, "a@x.org") TEST_USER(OTHER, "b@x.org") TEST_KEY(USER, KEY) TEST_PRICE("m", "10", "1", "100"));
    admitted = refused = failed = other = 0;
    over = false;
    return db;
}

static struct cds_db *connect_or_fail(void)
{
    struct cds_db *db = NULL;
    if (!test_pg_join(&books.pg, &db))
        failed++;
    return db;
}

/* ---- 200 calls, a budget for ten ---- */

/* Half of the callers with a session, half with a key: what they share decides. */
static void *reserve_ones(void *number_of_thread)
{
    struct cds_db *db = connect_or_fail();
    for (int i = 0; db && i < EACH; i++) {
        char id[CDS_UUID_LEN + 1];
        cds_uuid7(id);
        const char *params[] = {(uintptr_t)number_of_thread % 4 == 3 ? OTHER : USER, (uintptr_t)number_of_thread % 2 ? NO_KEY : KEY, id};
        int64_t code = test_number(db, "SELECT code FROM reserve($1, $2, $3, 'm', now(), 100, '" NODE "', '1 min', 10)", 3, params, false);
        atomic_fetch_add(code == 1 ? &admitted : code == 3 || code == 4 ? &refused : &failed, 1);
    }
    cds_db_close(&db);
    return NULL;
}

static void two_hundred_parallel_calls_with_a_budget_for_ten_admit_exactly_ten_whatever_is_counted(void **state)
{
    static const char *const policies[] = {
        "SELECT budget_put(NULL, 'global', NULL, NULL, NULL, 1::smallint, 'month', 'UTC', 1000, '{}')",
        "SELECT budget_put(NULL, 'global', NULL, NULL, NULL, 3::smallint, 'day', 'UTC', 10, '{}')",
        "SELECT budget_put(NULL, 'model', NULL, NULL, 'm', 2::smallint, 'lifetime', 'UTC', 91000, '{}')", /* 10 * (10 * 10 + 90 * 100) */
        /* Several at once: the tightest decides. */
        "SELECT budget_put(NULL, 'global', NULL, NULL, NULL, 1::smallint, 'month', 'UTC', 100000, '{}');"
        "SELECT budget_put(NULL, 'user', '" USER "', NULL, NULL, 1::smallint, 'month', 'UTC', 50000, '{}');"
        "SELECT budget_put(NULL, 'key', NULL, '" KEY "', NULL, 2::smallint, 'week', 'UTC', 5000000, '{}');"
        "SELECT budget_put(NULL, 'model', NULL, NULL, 'm', 3::smallint, 'hour', 'Europe/Berlin', 10, '{}')"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(policies); i++) {
        struct cds_db *db = fresh();
        int64_t before = test_deadlocks(db);
        test_script(db, policies[i]);
        books_in_threads(THREADS, reserve_ones);
        assert_int_equal(failed, 0);
        assert_int_equal(admitted, 10);
        assert_int_equal(refused, THREADS * EACH - 10);
        assert_int_equal(test_sql_i64(db, "SELECT count(*) FROM llm_requests"), 10);
        assert_int_equal(test_deadlocks(db), before);
        test_books(db);
        cds_db_close(&db);
    }
}

/* ---- limits and prices are set while requests run ---- */

static void *live_and_die(void *unused)
{
    struct cds_db *db = connect_or_fail();
    while (db && !over) {
        char id[CDS_UUID_LEN + 1];
        cds_uuid7(id);
        const char *params[] = {id};
        int64_t code =
            test_number(db, "SELECT code FROM reserve('" USER "', '" KEY "', $1, 'm', now(), 20, '" NODE "', '1 min', 10)", 1, params, false);
        if (code != 1) {
            atomic_fetch_add(code == 3 || code == 4 ? &refused : &failed, 1);
            continue;
        }
        admitted++;
        code = test_number(db, "SELECT code FROM extend('" USER "', $1, 30, 10, 5, '1 min')", 1, params, false);
        failed += code != 1 && code != 3 && code != 4;
        code = test_number(db, "SELECT code FROM settle('" USER "', '" KEY "', $1, 'm', now(), 10, 5, 7, 'stop', '" NODE "')", 1, params, false);
        failed += code != 1;
    }
    cds_db_close(&db);
    return NULL;
}

/* The threads have got in more often than that. */
static void until_admitted(int more_than)
{
    for (uint64_t deadline_ms = cds_now_ms() + WAIT_MS; admitted <= more_than; usleep(1000)) {
        assert_int_equal(failed, 0);
        assert_true(cds_ms_left(deadline_ms) > 0);
    }
}

static void limits_grants_and_prices_that_change_while_requests_run_lose_nothing(void **state)
{
    pthread_t threads[6];
    struct cds_db *db = fresh();
    int64_t before = test_deadlocks(db);
    for (size_t i = 0; i < CDS_ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, live_and_die, NULL), 0);
    for (int lap = 0; lap < LAPS; lap++) {
        until_admitted(lap);
        /* One change is one transaction. */
        test_script(db, "SELECT budget_put(NULL, 'user', '" USER "', NULL, NULL, 1::smallint, 'month', 'UTC', 1000000000, '{50}')");
        test_script(db, "SELECT budget_put(NULL, 'key', NULL, '" KEY "', NULL, 2::smallint, 'day', 'Europe/Berlin', 1000000000, '{50}')");
        test_script(db, "SELECT budget_put(NULL, 'model', NULL, NULL, 'm', 3::smallint, 'hour', 'UTC', 1000000000, '{50}')");
        test_books(db);
        for (int i = 0; i < 3; i++)
            test_script(db, "SELECT budget_grant(gen_random_uuid(), id, 5, '" OTHER "', 'why not') FROM (SELECT id FROM budget_policies"
                            " WHERE removed_at IS NULL ORDER BY random() LIMIT 1) x");
        test_script(db, "SELECT price_put(NULL, 'm', NULL, 1000000 + (random() * 1e7)::int, 1000000, 1000000)");
        test_books(db);
        for (int i = 0; i < 2; i++)
            test_script(db, "SELECT budget_remove(id) FROM (SELECT id FROM budget_policies WHERE removed_at IS NULL ORDER BY random() LIMIT 1) x");
        test_books(db);
    }
    until_admitted(LAPS);
    over = true;
    for (size_t i = 0; i < CDS_ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(failed, 0);
    assert_int_equal(test_sql_i64(db, "SELECT sum(held) FROM budget_windows"), 0);
    assert_int_equal(test_sql_i64(db, "SELECT count(*) FROM token_ledger"), admitted);
    assert_int_equal(test_deadlocks(db), before);
    test_books(db);
    cds_db_close(&db);
}

/* ---- a double click ---- */

static void *grant_once(void *unused)
{
    struct cds_db *db = connect_or_fail();
    int64_t code = db ? test_number(db,
                                    "SELECT CASE verdict WHEN 'ok' THEN 1 WHEN 'again' THEN 2 ELSE 3 END FROM (SELECT id FROM budget_policies) p,"
                                    " budget_grant('" GRANT "', p.id, 100, '" OTHER "', 'a double click')",
                                    0, NULL, false)
                      : -1;
    atomic_fetch_add(code == 1 ? &admitted : code == 2 ? &other : &failed, 1);
    cds_db_close(&db);
    return NULL;
}

static void twenty_clicks_on_one_grant_give_once(void **state)
{
    struct cds_db *db = fresh();
    test_script(db, "SELECT budget_put(NULL, 'global', NULL, NULL, NULL, 1::smallint, 'month', 'UTC', 1000, '{}')");
    books_in_threads(THREADS, grant_once);
    assert_int_equal(failed, 0);
    assert_int_equal(admitted, 1);
    assert_int_equal(other, THREADS - 1);
    assert_int_equal(test_sql_i64(db, "SELECT granted FROM budget_windows"), 100);
    test_books(db);
    cds_db_close(&db);
}

/* ---- a grant while many wait at the limit ---- */

static void *reserve_until_over(void *unused)
{
    struct cds_db *db = connect_or_fail();
    while (db && !over) {
        char id[CDS_UUID_LEN + 1];
        cds_uuid7(id);
        const char *params[] = {id};
        int64_t code =
            test_number(db, "SELECT code FROM reserve('" USER "', '" NO_KEY "', $1, 'm', now(), 100, '" NODE "', '1 min', 10)", 1, params, false);
        atomic_fetch_add(code == 1 ? &admitted : code == 4 ? &refused : &failed, 1);
    }
    cds_db_close(&db);
    return NULL;
}

static void grants_at_the_limit_admit_exactly_what_they_give(void **state)
{
    pthread_t threads[6];
    struct cds_db *db = fresh();
    test_script(db, "SELECT budget_put(NULL, 'user', '" USER "', NULL, NULL, 1::smallint, 'month', 'UTC', 1000, '{}')");
    for (size_t i = 0; i < CDS_ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reserve_until_over, NULL), 0);
    for (int lap = 1; lap <= 10; lap++) {
        test_script(db, "SELECT budget_grant(gen_random_uuid(), id, 250, '" OTHER "', 'more') FROM budget_policies");
        /* What is refused from now on, but for the one that each of them may have been doing, is refused because the grant is used up. */
        int was = refused;
        for (uint64_t deadline_ms = cds_now_ms() + WAIT_MS; refused < was + 20;) {
            assert_true(cds_ms_left(deadline_ms) > 0);
            usleep(1000);
        }
    }
    over = true;
    for (size_t i = 0; i < CDS_ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(failed, 0);
    assert_int_equal(admitted, (1000 + 10 * 250) / 100);
    test_books(db);
    cds_db_close(&db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_hundred_parallel_calls_with_a_budget_for_ten_admit_exactly_ten_whatever_is_counted),
        cmocka_unit_test(limits_grants_and_prices_that_change_while_requests_run_lose_nothing),
        cmocka_unit_test(twenty_clicks_on_one_grant_give_once),
        cmocka_unit_test(grants_at_the_limit_admit_exactly_what_they_give),
    };
    return cmocka_run_group_tests(tests, books_open, books_close);
}
