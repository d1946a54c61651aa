/* Tests of database/migrations/0013_budgets.sql with many connections at once, and with servers that are killed in the middle of it. */
#include "tests/support/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "tests/support/books.h"

#define MONTH "2026-11-01"

enum { THREADS = 20, EACH = 10, BATCHERS = 4, BATCH = 5, ROUNDS = 60, HOT = 6, KILLS = 5, LOADERS = 6, WAIT_MS = 120000 };

static void fresh(struct cds_db *db)
{
    test_script(db, TEST_NOTHING TEST_USER(USER, "a@x.org") TEST_KEY(USER, KEY) TEST_USER_MONTH(USER, "1000") TEST_KEY_MONTH(USER, KEY, "1000000000")
                        TEST_PRICE("m", "10", "1", "100"));
}

static const char *new_id(char id[static CDS_UUID_LEN + 1])
{
    cds_uuid7(id);
    return id;
}

static int64_t reserve(struct cds_db *db, const char *key, const char *request, const char *tokens)
{
    const char *params[] = {USER, key, request, tokens};
    return test_number(db, "SELECT code FROM reserve($1, $2, $3, 'm', '" MONTH "', $4, '" NODE "', '1 min')", 4, params, true);
}

static int64_t settle(struct cds_db *db, const char *key, const char *request, const char *n_in, const char *n_out)
{
    const char *params[] = {USER, key, request, n_in, n_out};
    return test_number(db, "SELECT code FROM settle($1, $2, $3, 'm', '" MONTH "', $4, 0, $5, 'stop', '" NODE "')", 5, params, true);
}

/* ---- a budget for ten ---- */
static atomic_int admitted, refused, failed;

static void *reserve_ones(void *unused)
{
    struct cds_db *db = NULL;
    if (!test_pg_join(&books.pg, &db))
        failed++;
    for (int i = 0; db && i < EACH; i++) {
        char id[CDS_UUID_LEN + 1];
        int64_t code = reserve(db, NO_KEY, new_id(id), "100");
        atomic_fetch_add(code == 1 ? &admitted : code == 4 ? &refused : &failed, 1);
    }
    cds_db_close(&db);
    return NULL;
}

static void two_hundred_parallel_reservations_with_a_budget_for_ten_admit_ten(void **state)
{
    struct cds_db *db = test_patient(test_pg_open(&books.pg));
    fresh(db);
    admitted = refused = failed = 0;
    books_in_threads(THREADS, reserve_ones);
    assert_int_equal(failed, 0);
    assert_int_equal(admitted, 10);
    assert_int_equal(refused, THREADS * EACH - 10);
    assert_int_equal(test_sql_i64(db, "SELECT held FROM budget_user"), 1000);
    test_books(db);
    cds_db_close(&db);
}

/* As llmserver does it: batches, and one by one when the batch did not fit. */
static void *reserve_batches(void *unused)
{
    struct cds_db *db = NULL;
    if (!test_pg_join(&books.pg, &db))
        failed++;
    for (int i = 0; db && i < THREADS * EACH / BATCHERS / BATCH; i++) {
        char ids[BATCH][CDS_UUID_LEN + 1], list[BATCH * (CDS_UUID_LEN + 1) + 2] = "{";
        for (int k = 0; k < BATCH; k++) {
            strcat(list, new_id(ids[k]));
            strcat(list, k + 1 < BATCH ? "," : "}");
        }
        const char *params[] = {list};
        int64_t code = test_number(db,
                                   "SELECT (reserve_many(array_fill('" USER "'::uuid, ARRAY[5]), array_fill('" NO_KEY
                                   "'::uuid, ARRAY[5]), $1, array_fill('m'::text, ARRAY[5]), array_fill('" MONTH
                                   "'::timestamptz, ARRAY[5]), array_fill(100::bigint, ARRAY[5]), '" NODE "', '1 min'))[1]",
                                   1, params, true);
        if (code == 1)
            admitted += BATCH;
        else if (code != 0)
            failed++;
        for (int k = 0; code == 0 && k < BATCH; k++) {
            int64_t one = reserve(db, NO_KEY, ids[k], "100");
            atomic_fetch_add(one == 1 ? &admitted : one == 4 ? &refused : &failed, 1);
        }
    }
    cds_db_close(&db);
    return NULL;
}

static void parallel_batches_with_a_budget_for_ten_admit_ten(void **state)
{
    struct cds_db *db = test_patient(test_pg_open(&books.pg));
    fresh(db);
    admitted = refused = failed = 0;
    books_in_threads(BATCHERS, reserve_batches);
    assert_int_equal(failed, 0);
    assert_int_equal(admitted, 10);
    assert_int_equal(refused, THREADS * EACH - 10);
    test_books(db);
    cds_db_close(&db);
}

/* ---- one order of locks ---- */
static char hot[HOT][CDS_UUID_LEN + 1];
static pthread_barrier_t gate;

/* Everything that can happen to one request at once: two who extend it, one by one and in a batch, one who settles, one who reaps. */
static void *extend_one(void *unused)
{
    struct cds_db *db = NULL;
    if (!test_pg_join(&books.pg, &db))
        failed++;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&gate);
        for (int i = 0; db && i < HOT; i++) {
            const char *params[] = {USER, hot[i]};
            int64_t code = test_number(db, "SELECT code FROM extend($1, $2, 55, 1, 1, '1 min')", 2, params, true);
            failed += code != 1 && code != 2;
        }
        pthread_barrier_wait(&gate);
    }
    cds_db_close(&db);
    return NULL;
}

static void *extend_batch(void *unused)
{
    struct cds_db *db = NULL;
    if (!test_pg_join(&books.pg, &db))
        failed++;
    for (int round = 0; round < ROUNDS; round++) {
        char list[HOT * (CDS_UUID_LEN + 1) + 2] = "{";
        pthread_barrier_wait(&gate);
        for (int i = 0; i < HOT; i++) {
            strcat(list, hot[i]);
            strcat(list, i + 1 < HOT ? "," : "}");
        }
        static const char *const totals[] = {"53", "56", "59"};
        for (size_t i = 0; db && i < CDS_ARRAY_LEN(totals); i++) {
            const char *params[] = {list, totals[i]};
            failed += test_number(db,
                                  "SELECT (extend_many(array_fill('" USER "'::uuid, ARRAY[6]), $1, array_fill($2::bigint, ARRAY[6]),"
                                  " array_fill(1::bigint, ARRAY[6]), array_fill(1::bigint, ARRAY[6]), '1 min'))[1]",
                                  2, params, true) < 0;
        }
        pthread_barrier_wait(&gate);
    }
    cds_db_close(&db);
    return NULL;
}

static void *settle_each(void *unused)
{
    struct cds_db *db = NULL;
    if (!test_pg_join(&books.pg, &db))
        failed++;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&gate);
        for (int i = 0; db && i < HOT; i++)
            failed += settle(db, KEY, hot[i], "1", "1") != 1;
        pthread_barrier_wait(&gate);
    }
    cds_db_close(&db);
    return NULL;
}

static void *reap_all(void *unused)
{
    struct cds_db *db = NULL;
    if (!test_pg_join(&books.pg, &db))
        failed++;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&gate);
        for (int i = 0; db && i < 2; i++)
            failed += test_number(db, "SELECT reap(500)", 0, NULL, true) < 0;
        pthread_barrier_wait(&gate);
    }
    cds_db_close(&db);
    return NULL;
}

static void extending_settling_and_reaping_one_request_never_deadlocks(void **state)
{
    static void *(*const parts[])(void *) = {extend_one, extend_batch, settle_each, reap_all};
    pthread_t threads[CDS_ARRAY_LEN(parts)];
    struct cds_db *db = test_patient(test_pg_open(&books.pg));
    fresh(db);
    test_script(db, "UPDATE budget_policies SET lim = 1000000000");
    failed = 0;
    pthread_barrier_init(&gate, NULL, CDS_ARRAY_LEN(parts) + 1);
    for (size_t i = 0; i < CDS_ARRAY_LEN(parts); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, parts[i], NULL), 0);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < HOT; i++)
            failed += reserve(db, KEY, new_id(hot[i]), "50") != 1;
        /* Half of them have expired: the reaper is after them. */
        test_script(db, "UPDATE llm_requests SET expires_at = now() - interval '1 s' WHERE state = 1 AND right(id::text, 1) < '8'");
        pthread_barrier_wait(&gate);
        pthread_barrier_wait(&gate);
    }
    for (size_t i = 0; i < CDS_ARRAY_LEN(parts); i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&gate);
    assert_int_equal(failed, 0);
    test_script(db, "SELECT pg_stat_force_next_flush()");
    assert_int_equal(test_sql_i64(db, "SELECT deadlocks FROM pg_stat_database WHERE datname = 'studio'"), 0);
    assert_int_equal(test_sql_i64(db, "SELECT count(*) FROM token_ledger"), ROUNDS * HOT);
    assert_int_equal(test_sql_i64(db, "SELECT used FROM budget_key"), 2 * ROUNDS * HOT);
    test_books(db);
    cds_db_close(&db);
}

/* ---- kill -9 ---- */
enum { JOURNAL_MAX = 4000, UNSETTLED = 3 };
struct entry {
    char id[CDS_UUID_LEN + 1];
    atomic_bool extended, acknowledged;
};
static struct entry journal[KILLS][JOURNAL_MAX];
static atomic_int journal_used[KILLS], loading;
static atomic_bool stop;
static int lap;

/* As llmserver does it: reserves without waiting for the disk, extends and settles durably, until the server dies. */
static void *load(void *unused)
{
    struct cds_db *hold = NULL, *book = NULL;
    if (!test_pg_join(&books.pg, &hold) || !test_pg_join(&books.pg, &book))
        failed++;
    loading++;
    while (hold && book && !stop) {
        int at = atomic_fetch_add(&journal_used[lap], 1);
        if (at >= JOURNAL_MAX)
            break;
        struct entry *entry = &journal[lap][at];
        const char *params[] = {USER, KEY, new_id(entry->id)}, *request[] = {USER, entry->id};
        /* No retry: the server is meant to go away. */
        if (cds_db_exec(hold,
                        "SELECT x.code FROM set_config('synchronous_commit', 'off', true) s, reserve($1, $2, $3, 'm', '" MONTH "', 20, '" NODE
                        "', '1 min') x",
                        3, params, false, NULL, NULL))
            break;
        if (cds_db_exec(hold, "SELECT code FROM extend($1, $2, 40, 6, 2, '1 min')", 2, request, false, NULL, NULL))
            break;
        entry->extended = true;
        if (at % UNSETTLED == 0)
            continue; /* still runs when the server dies */
        if (cds_db_exec(book, "SELECT code FROM settle($1, $2, $3, 'm', '" MONTH "', 7, 0, 3, 'stop', '" NODE "')", 3, params, false, NULL, NULL))
            break;
        entry->acknowledged = true;
    }
    cds_db_close(&hold);
    cds_db_close(&book);
    return NULL;
}

static void kill_lap(void)
{
    pthread_t threads[LOADERS];
    stop = false;
    loading = 0;
    for (int i = 0; i < LOADERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, load, NULL), 0);
    /* All of them are connected: one that still tries to would try until its deadline, without a server. */
    for (uint64_t deadline_ms = cds_now_ms() + WAIT_MS; loading < LOADERS || journal_used[lap] < 60; usleep(200)) {
        assert_int_equal(failed, 0);
        assert_true(cds_ms_left(deadline_ms) > 0);
    }
    test_pg_kill_all(&books.pg);
    stop = true;
    for (int i = 0; i < LOADERS; i++)
        pthread_join(threads[i], NULL);
    test_pg_start(&books.pg);
}

/* What an answered extension holds and has noted is still there; a settlement that came after it has noted more. */
static int lost_extensions(struct cds_db *db, int n)
{
    int lost = 0;
    for (int i = 0; i < n; i++) {
        const char *params[] = {journal[lap][i].id};
        if (journal[lap][i].extended)
            lost += test_number(db, "SELECT count(*) FROM llm_requests WHERE id = $1::uuid AND held = 40 AND done_in >= 6 AND done_out >= 2", 1,
                                params, true) != 1;
    }
    return lost;
}

static void killed_server_loses_no_acknowledged_extension_or_settlement_and_replays_bill_once(void **state)
{
    struct cds_db *db = test_patient(test_pg_open(&books.pg));
    fresh(db);
    test_script(db, "UPDATE budget_policies SET lim = 1000000000");
    cds_db_close(&db);
    failed = 0;
    int64_t entries = 0;
    for (lap = 0; lap < KILLS; lap++) {
        kill_lap();
        db = test_patient(test_pg_open(&books.pg));
        test_books(db);
        int n = journal_used[lap] < JOURNAL_MAX ? journal_used[lap] : JOURNAL_MAX, lost = lost_extensions(db, n);
        for (int i = 0; i < n; i++) {
            int64_t code = settle(db, KEY, journal[lap][i].id, "7", "3");
            lost += code != 1 && code != 2;
            lost += code == 1 && journal[lap][i].acknowledged; /* it was acknowledged, and was gone */
            lost += settle(db, KEY, journal[lap][i].id, "7", "3") != 2;
        }
        assert_int_equal(lost, 0);
        entries += n;
        assert_int_equal(test_sql_i64(db, "SELECT count(*) FROM token_ledger"), entries);
        assert_int_equal(test_sql_i64(db, "SELECT used FROM budget_user"), 10 * entries);
        assert_int_equal(test_sql_i64(db, "SELECT held FROM budget_user"), 0);
        test_books(db);
        cds_db_close(&db);
    }
    assert_int_equal(failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_hundred_parallel_reservations_with_a_budget_for_ten_admit_ten),
        cmocka_unit_test(parallel_batches_with_a_budget_for_ten_admit_ten),
        cmocka_unit_test(extending_settling_and_reaping_one_request_never_deadlocks),
        cmocka_unit_test(killed_server_loses_no_acknowledged_extension_or_settlement_and_replays_bill_once),
    };
    return cmocka_run_group_tests(tests, books_open, books_close);
}
