/* Tests of database/migrations/0007_project_add.sql: the ceiling of projects holds whatever runs at once. */
#include "tests/support/test.h"

#include <pthread.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "tests/support/books.h"

enum { THREADS = 4, WAIT_MS = 120000 };

static void fresh(struct cds_db *db)
{
    test_script(db, "DELETE FROM users;" TEST_USER(USER, "a@x.org") TEST_USER(OTHER, "b@x.org"));
}

/* For threads too, where an assertion cannot be made. @return the code, -1 for an error */
static int64_t add(struct cds_db *db, const char *user, const char *name, const char *most)
{
    char id[CDS_UUID_LEN + 1];
    struct cds_rows *rows = NULL;
    cds_uuid7(id);
    const char *params[] = {user, id, name, most};
    if (cds_db_exec(db, "SELECT code, made_at IS NOT NULL FROM project_add($1::uuid, $2::uuid, $3, 'empty', $4::integer)", 4, params, false, &rows,
                    NULL))
        return -1;
    int64_t code = cds_rows_i64(rows, 0, 0, -1);
    if ((code == 1) != cds_rows_bool(rows, 0, 1))
        code = -2;
    cds_rows_free(&rows);
    return code;
}

static void the_ceiling_is_exact_and_belongs_to_one_user(void **state)
{
    struct cds_db *db = test_pg_open(&books.pg);
    fresh(db);
    assert_int_equal(add(db, USER, "one", "2"), 1);
    assert_int_equal(add(db, USER, "two", "2"), 1);
    assert_int_equal(add(db, USER, "three", "2"), 3);
    assert_int_equal(add(db, OTHER, "three", "2"), 1);
    assert_int_equal(test_sql_i64(db, "SELECT count(*) FROM projects"), 3);
    cds_db_close(&db);
}

static void a_name_is_taken_once_per_user_and_an_unknown_user_gets_nothing(void **state)
{
    struct cds_db *db = test_pg_open(&books.pg);
    fresh(db);
    assert_int_equal(add(db, USER, "one", "9"), 1);
    assert_int_equal(add(db, USER, "one", "9"), 2);
    assert_int_equal(add(db, OTHER, "one", "9"), 1);
    assert_int_equal(add(db, "00000000-0000-7000-8000-0000000000ff", "one", "9"), 0);
    assert_int_equal(test_sql_i64(db, "SELECT count(*) FROM projects"), 2);
    cds_db_close(&db);
}

struct racer {
    pthread_t thread;
    struct cds_db *db;
    char name[16];
    int64_t code;
};

static void *race(void *arg)
{
    struct racer *racer = arg;
    racer->code = add(racer->db, USER, racer->name, "1");
    return NULL;
}

static void of_many_at_once_only_as_many_get_in_as_there_is_room_for(void **state)
{
    static struct racer racers[THREADS];
    struct cds_db *db = test_patient(test_pg_open(&books.pg)), *watcher = test_pg_open(&books.pg);
    int made = 0, full = 0;
    fresh(db);
    /* All of them have begun, and so hold their snapshot, before the first may go on. */
    assert_int_equal(cds_db_script(db, "BEGIN; SELECT 1 FROM users WHERE id = '" USER "' FOR UPDATE", NULL), CDS_OK);
    for (int i = 0; i < THREADS; i++) {
        racers[i].db = test_patient(test_pg_open(&books.pg));
        snprintf(racers[i].name, sizeof(racers[i].name), "p%d", i);
        assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
    for (uint64_t deadline_ms = cds_now_ms() + WAIT_MS;
         test_sql_i64(watcher, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") < THREADS; usleep(2000))
        assert_true(cds_ms_left(deadline_ms) > 0);
    assert_int_equal(cds_db_script(db, "COMMIT", NULL), CDS_OK);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(racers[i].thread, NULL);
        cds_db_close(&racers[i].db);
        made += racers[i].code == 1;
        full += racers[i].code == 3;
    }
    assert_int_equal(made, 1);
    assert_int_equal(full, THREADS - 1);
    assert_int_equal(test_sql_i64(db, "SELECT count(*) FROM projects WHERE user_id = '" USER "'"), 1);
    cds_db_close(&db);
    cds_db_close(&watcher);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_ceiling_is_exact_and_belongs_to_one_user),
        cmocka_unit_test(a_name_is_taken_once_per_user_and_an_unknown_user_gets_nothing),
        cmocka_unit_test(of_many_at_once_only_as_many_get_in_as_there_is_room_for),
    };
    return cmocka_run_group_tests(tests, books_open, books_close);
}
