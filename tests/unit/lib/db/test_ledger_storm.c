/* Tests of database/migrations/0013_budgets.sql: several llmservers at once with batches in any order, reapers that share,
 * a node that starts again while its predecessor still books. The database counts deadlocks; there must be none. */
#include "tests/support/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "tests/support/books.h"

#define USER_N "00000000-0000-7000-8000-0000000a%04u"
#define KEY_N "00000000-0000-7000-8000-0000000b%04u"
#define MONTH "2026-11-01"

enum { USERS = 5, NODES = 4, ROUNDS = 60, BATCH = 12, REAPERS = 2, LATE = 400, WAIT_MS = 120000, LIST_MAX = 16384, PAUSE_US = 1000 };

static atomic_int failed, held, alone, booked, again, reaped;
static atomic_bool storm_over;

/* Users with a limit that some batches pass, each with a limited key. */
static struct cds_db *fresh(void)
{
    struct cds_db *db = test_patient(test_pg_open(&books.pg));
    test_script(db, TEST_NOTHING TEST_PRICE("m", "10", "1", "100"));
    for (unsigned i = 0; i < USERS; i++) {
        char sql[700];
        snprintf(sql, sizeof(sql),
                 "INSERT INTO users (id, email, password_hash, role) VALUES ('" USER_N "', 'u%u@x.org', '-', 'developer');"
                 "INSERT INTO api_keys (user_id, id, name, hash) VALUES ('" USER_N "', '" KEY_N "', 'k', 'h%u');"
                 "SELECT budget_begin('user', '" USER_N "', NULL, %d, NULL), budget_begin('key', '" USER_N "', '" KEY_N "', 15000, NULL)",
                 i, i, i, i, i, i, i == 0 ? 3000 : 100000, i, i);
        test_script(db, sql);
    }
    failed = held = alone = booked = again = reaped = 0;
    storm_over = false;
    return db;
}

/* ---- a storm of batches ---- */
struct batch {
    char users[LIST_MAX], keys[LIST_MAX], ids[LIST_MAX];
};

static void add(char *list, const char *item)
{
    size_t len = strlen(list);
    snprintf(list + len, LIST_MAX - len, "%c%s", len ? ',' : '{', item);
}

/* Users and keys in whatever order chance brings: that is what a queue of requests looks like. */
static void fill(struct batch *batch, unsigned *seed)
{
    memset(batch, 0, sizeof(*batch));
    for (int i = 0; i < BATCH; i++) {
        char user[64], key[64], id[CDS_UUID_LEN + 1];
        unsigned who = (unsigned)rand_r(seed) % USERS;
        snprintf(user, sizeof(user), USER_N, who);
        snprintf(key, sizeof(key), KEY_N, who);
        cds_uuid7(id);
        add(batch->users, user);
        add(batch->keys, rand_r(seed) % 2 ? key : NO_KEY);
        add(batch->ids, id);
    }
    strcat(batch->users, "}");
    strcat(batch->keys, "}");
    strcat(batch->ids, "}");
}

/* For threads, where an assertion cannot be made. Nothing is repeated: a deadlock is a failure here. @return rows with code 1, -1 for an error */
static int ones(struct cds_db *db, const char *sql, int n, const char *const *params)
{
    struct cds_rows *rows = NULL;
    if (cds_db_exec(db, sql, n, params, false, &rows, NULL))
        return -1;
    int count = 0;
    for (int i = 0; i < cds_rows_count(rows); i++)
        count += cds_rows_i64(rows, i, 0, 0) == 1;
    cds_rows_free(&rows);
    return count;
}

static int reserve_all(struct cds_db *db, const struct batch *batch)
{
    const char *params[] = {batch->users, batch->keys, batch->ids};
    return ones(db,
                "SELECT unnest(reserve_many($1, $2, $3, array_fill('m'::text, ARRAY[12]), array_fill('" MONTH
                "'::timestamptz, ARRAY[12]), array_fill(50::bigint, ARRAY[12]), '" NODE "', interval '1 min'))",
                3, params);
}

static int extend_all(struct cds_db *db, const struct batch *batch)
{
    const char *params[] = {batch->users, batch->ids};
    return ones(db,
                "SELECT unnest(extend_many($1, $2, array_fill(55::bigint, ARRAY[12]), array_fill(9::bigint, ARRAY[12]), array_fill(1::bigint,"
                " ARRAY[12]), interval '1 min'))",
                2, params);
}

static int settle_all(struct cds_db *db, const struct batch *batch)
{
    const char *params[] = {batch->users, batch->keys, batch->ids};
    return ones(db,
                "SELECT code FROM settle_many($1, $2, $3, array_fill('m'::text, ARRAY[12]), array_fill('" MONTH
                "'::date, ARRAY[12]), array_fill(10::bigint, ARRAY[12]), array_fill(4::bigint, ARRAY[12]), array_fill(5::bigint, ARRAY[12]),"
                " array_fill('stop'::text, ARRAY[12]), '" NODE "')",
                3, params);
}

static void *be_llmserver(void *number)
{
    unsigned seed = (unsigned)(uintptr_t)number + 1;
    struct cds_db *db = NULL;
    struct batch batch;
    if (!test_pg_join(&books.pg, &db)) {
        failed++;
        return NULL;
    }
    for (int round = 0; round < ROUNDS; round++) {
        fill(&batch, &seed);
        int got = reserve_all(db, &batch);
        failed += got != 0 && got != BATCH;
        atomic_fetch_add(got == BATCH ? &held : &alone, 1);
        for (int i = 0; got == BATCH && i < 2; i++) /* the second time as after a lost answer */
            failed += extend_all(db, &batch) < 0;
        got = settle_all(db, &batch); /* also those that hold nothing: they ran before the refusal was known */
        atomic_fetch_add(got == BATCH ? &booked : &failed, 1);
        got = settle_all(db, &batch); /* the answer was lost, so it is asked again */
        atomic_fetch_add(got == 0 ? &again : &failed, 1);
    }
    cds_db_close(&db);
    return NULL;
}

static void *be_reaper(void *unused)
{
    struct cds_db *db = NULL;
    if (!test_pg_join(&books.pg, &db))
        failed++;
    while (db && !storm_over) {
        struct cds_rows *rows = NULL;
        if (cds_db_exec(db, "SELECT reap(500)", 0, NULL, false, &rows, NULL))
            failed++;
        else
            atomic_fetch_add(&reaped, (int)cds_rows_i64(rows, 0, 0, 0));
        cds_rows_free(&rows);
        usleep(PAUSE_US);
    }
    cds_db_close(&db);
    return NULL;
}

static void storm_of_mixed_batches_has_no_deadlock_and_books_each_once(void **state)
{
    pthread_t nodes[NODES], reapers[REAPERS];
    struct cds_db *db = fresh();
    int64_t before = test_deadlocks(db);
    for (int i = 0; i < REAPERS; i++)
        assert_int_equal(pthread_create(&reapers[i], NULL, be_reaper, NULL), 0);
    for (uintptr_t i = 0; i < NODES; i++)
        assert_int_equal(pthread_create(&nodes[i], NULL, be_llmserver, (void *)i), 0);
    for (int i = 0; i < NODES; i++)
        pthread_join(nodes[i], NULL);
    storm_over = true;
    for (int i = 0; i < REAPERS; i++)
        pthread_join(reapers[i], NULL);
    assert_int_equal(failed, 0);
    assert_true(held > 0 && alone > 0); /* both ways were taken */
    assert_int_equal(booked, NODES * ROUNDS);
    assert_int_equal(again, NODES * ROUNDS);
    assert_int_equal(test_sql_i64(db, "SELECT count(*) FROM token_ledger"), NODES * ROUNDS * BATCH);
    assert_int_equal(test_sql_i64(db, "SELECT sum(used) FROM budget_user"), NODES * ROUNDS * BATCH * 15);
    assert_int_equal(test_sql_i64(db, "SELECT sum(b.held) FROM budget_user b"), 0);
    assert_int_equal(test_deadlocks(db), before);
    test_books(db);
    cds_db_close(&db);
}

/* ---- two connections of one server ---- */
enum { PAIRS = 64, LAPS = 150 };
static struct batch forward, backward;

/* The same requests in opposite orders: holds are raised on one connection while the other keeps them from expiring. */
static void reserve_pairs(struct cds_db *db)
{
    char ids[PAIRS][CDS_UUID_LEN + 1];
    memset(&forward, 0, sizeof(forward));
    memset(&backward, 0, sizeof(backward));
    for (int i = 0; i < PAIRS; i++) {
        char user[64];
        cds_uuid7(ids[i]);
        snprintf(user, sizeof(user), USER_N, 1 + (unsigned)i % (USERS - 1));
        const char *params[] = {user, ids[i]};
        assert_int_equal(ones(db, "SELECT code FROM reserve($1, '" NO_KEY "', $2, 'm', '" MONTH "', 10, '" NODE "', '1 min')", 2, params), 1);
    }
    for (int i = 0; i < PAIRS; i++) {
        char user[64];
        snprintf(user, sizeof(user), USER_N, 1 + (unsigned)i % (USERS - 1));
        add(forward.users, user);
        add(forward.ids, ids[i]);
        snprintf(user, sizeof(user), USER_N, 1 + (unsigned)(PAIRS - 1 - i) % (USERS - 1));
        add(backward.users, user);
        add(backward.ids, ids[PAIRS - 1 - i]);
    }
    strcat(forward.users, "}");
    strcat(forward.ids, "}");
    strcat(backward.users, "}");
    strcat(backward.ids, "}");
}

static void *prolong_backward(void *unused)
{
    struct cds_db *db = NULL;
    const char *params[] = {backward.users, backward.ids};
    if (!test_pg_join(&books.pg, &db))
        failed++;
    while (db && !storm_over) {
        struct cds_rows *rows = NULL;
        if (cds_db_exec(db, "SELECT prolong($1, $2, '" NODE "', interval '2 min')", 2, params, false, &rows, NULL) ||
            cds_rows_i64(rows, 0, 0, 0) != PAIRS)
            failed++;
        cds_rows_free(&rows);
    }
    cds_db_close(&db);
    return NULL;
}

static void prolonging_and_extending_the_same_requests_never_deadlocks(void **state)
{
    pthread_t thread;
    struct cds_db *db = fresh();
    int64_t before = test_deadlocks(db);
    reserve_pairs(db);
    assert_int_equal(pthread_create(&thread, NULL, prolong_backward, NULL), 0);
    for (int i = 0; i < LAPS; i++) {
        char total[16];
        snprintf(total, sizeof(total), "%d", 11 + i);
        const char *params[] = {forward.users, forward.ids, total};
        failed += ones(db,
                       "SELECT unnest(extend_many($1, $2, array_fill($3::bigint, ARRAY[64]), array_fill(1::bigint, ARRAY[64]),"
                       " array_fill(1::bigint, ARRAY[64]), interval '1 min'))",
                       3, params) != PAIRS;
    }
    storm_over = true;
    pthread_join(thread, NULL);
    assert_int_equal(failed, 0);
    assert_int_equal(test_deadlocks(db), before);
    assert_int_equal(test_sql_i64(db, "SELECT sum(held) FROM budget_user"), PAIRS * (11 + LAPS - 1));
    test_books(db);
    cds_db_close(&db);
}

/* ---- first requests of a window ---- */
enum { HOURS = 60 }; /* within the keys' months */
static pthread_barrier_t hour_begins;

/* Each hour has windows of its own, which nobody has made yet. Settled without a reservation in every second one: that makes windows, too. */
static void *begin_hours(void *order)
{
    const bool down = order != NULL;
    struct cds_db *db = NULL;
    if (!test_pg_join(&books.pg, &db))
        failed++;
    for (unsigned hour = 0; hour < HOURS; hour++) {
        struct batch batch;
        char at[8];
        memset(&batch, 0, sizeof(batch));
        snprintf(at, sizeof(at), "%u", hour);
        for (unsigned i = 0; i < BATCH; i++) {
            char user[64], key[64], id[CDS_UUID_LEN + 1];
            const unsigned who = 1 + (down ? BATCH - 1 - i : i) % (USERS - 1);
            snprintf(user, sizeof(user), USER_N, who);
            snprintf(key, sizeof(key), KEY_N, who);
            cds_uuid7(id);
            add(batch.users, user);
            add(batch.keys, key);
            add(batch.ids, id);
        }
        strcat(batch.users, "}");
        strcat(batch.keys, "}");
        strcat(batch.ids, "}");
        const char *params[] = {batch.users, batch.keys, batch.ids, at};
        pthread_barrier_wait(&hour_begins);
        if (!db)
            continue;
        failed +=
            ones(db,
                 hour % 2 ? "SELECT code FROM settle_many($1, $2, $3, array_fill('m'::text, ARRAY[12]), array_fill('" MONTH
                            "'::timestamptz + $4::int * interval '1 hour', ARRAY[12]), array_fill(10::bigint, ARRAY[12]),"
                            " array_fill(4::bigint, ARRAY[12]), array_fill(5::bigint, ARRAY[12]), array_fill('stop'::text, ARRAY[12]), '" NODE "')"
                          : "SELECT unnest(reserve_many($1, $2, $3, array_fill('m'::text, ARRAY[12]), array_fill('" MONTH
                            "'::timestamptz + $4::int * interval '1 hour', ARRAY[12]), array_fill(50::bigint, ARRAY[12]), '" NODE
                            "', interval '1 min'))",
                 4, params) != BATCH;
    }
    cds_db_close(&db);
    return NULL;
}

static void first_batches_of_a_window_never_deadlock(void **state)
{
    pthread_t threads[2];
    struct cds_db *db = fresh();
    int64_t before = test_deadlocks(db);
    test_script(db,
                "INSERT INTO budget_policies (scope, user_id, unit, span, lim) SELECT 'user', id, 1, 'hour', 100000 FROM users;"
                "INSERT INTO budget_policies (scope, user_id, key_id, unit, span, lim) SELECT 'key', user_id, id, 3, 'hour', 100000 FROM api_keys");
    pthread_barrier_init(&hour_begins, NULL, 2);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, begin_hours, i ? &hour_begins : NULL), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&hour_begins);
    assert_int_equal(failed, 0);
    assert_int_equal(test_deadlocks(db), before);
    test_books(db);
    cds_db_close(&db);
}

/* ---- sharing ---- */
static void reserve_late_ones(struct cds_db *db)
{
    test_script(db, "SELECT reserve('00000000-0000-7000-8000-0000000a0001', '" NO_KEY "', gen_random_uuid(), 'm', '" MONTH "', 10, '" NODE
                    "', interval '-1 second') FROM generate_series(1, 400)");
}

static void two_reapers_share_the_late_requests(void **state)
{
    pthread_t reapers[REAPERS];
    struct cds_db *db = fresh();
    reserve_late_ones(db);
    for (int i = 0; i < REAPERS; i++)
        assert_int_equal(pthread_create(&reapers[i], NULL, be_reaper, NULL), 0);
    uint64_t deadline_ms = cds_now_ms() + WAIT_MS;
    while (test_sql_i64(db, "SELECT count(*) FROM llm_requests WHERE state = 1") > 0)
        assert_true(cds_ms_left(deadline_ms) > 0);
    storm_over = true;
    for (int i = 0; i < REAPERS; i++)
        pthread_join(reapers[i], NULL);
    assert_int_equal(failed, 0);
    assert_int_equal(reaped, LATE); /* each by exactly one of them */
    test_books(db);
    cds_db_close(&db);
}

/* A killed llmserver's last settlement may still be on its way in the database when its successor releases the node. */
static void *release(void *unused)
{
    struct cds_db *db = NULL;
    struct cds_rows *rows = NULL;
    if (!test_pg_join(&books.pg, &db) || cds_db_exec(db, "SELECT release_node('" NODE "')", 0, NULL, false, &rows, NULL))
        failed++;
    cds_rows_free(&rows);
    cds_db_close(&db);
    return NULL;
}

static void node_that_starts_again_and_its_predecessor_book_each_request_once(void **state)
{
    struct cds_db *db = fresh();
    for (int round = 0; round < 20; round++) {
        pthread_t thread;
        struct batch batch;
        unsigned seed = (unsigned)round + 100;
        do
            fill(&batch, &seed);
        while (strstr(batch.users, "0000000a0000")); /* the poor user would make it "alone" */
        assert_int_equal(reserve_all(db, &batch), BATCH);
        assert_int_equal(pthread_create(&thread, NULL, release, NULL), 0);
        int got = settle_all(db, &batch);
        pthread_join(thread, NULL);
        assert_true(got >= 0 && got <= BATCH);
        test_books(db);
    }
    assert_int_equal(failed, 0);
    assert_int_equal(test_sql_i64(db, "SELECT count(*) FROM llm_requests WHERE state = 2"), 20 * BATCH);
    assert_int_equal(test_sql_i64(db, "SELECT count(*) FROM token_ledger"), 20 * BATCH);
    cds_db_close(&db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(storm_of_mixed_batches_has_no_deadlock_and_books_each_once),
        cmocka_unit_test(prolonging_and_extending_the_same_requests_never_deadlocks),
        cmocka_unit_test(first_batches_of_a_window_never_deadlock),
        cmocka_unit_test(two_reapers_share_the_late_requests),
        cmocka_unit_test(node_that_starts_again_and_its_predecessor_book_each_request_once),
    };
    return cmocka_run_group_tests(tests, books_open, books_close);
}
