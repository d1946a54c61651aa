/* Tests of lib/base/pool.c: work on other threads, answers on the loop's. Part of what runs under TSan. */
#include "tests/support/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/pool.h"

enum { WAIT_MS = 60000, MANY = 3000 };

struct bench {
    struct cds_loop *loop;
    struct cds_pool *pool;
    pthread_t loop_thread;
    atomic_int running, ran; /* touched by workers */
    atomic_bool hold, freeing;
    pid_t loop_tid;
    int done;       /* touched by the loop thread only */
    long sum;       /* written by workers before done: the pool is what orders it */
    long parts[64]; /* one job each */
};

static void make(struct bench *b, unsigned threads, size_t queue_max)
{
    *b = (struct bench){.loop_thread = pthread_self(), .loop_tid = gettid()};
    assert_int_equal(cds_loop_new(&b->loop, NULL), CDS_OK);
    assert_int_equal(cds_pool_new(b->loop, threads, queue_max, &b->pool, NULL), CDS_OK);
}

static void unmake(struct bench *b)
{
    cds_pool_free(&b->pool);
    assert_null(b->pool);
    cds_loop_free(&b->loop);
}

static void turn_until(struct bench *b, int done)
{
    for (uint64_t end_ms = cds_now_ms() + WAIT_MS; b->done < done && cds_ms_left(end_ms) > 0;)
        cds_loop_once(b->loop, 10);
    assert_int_equal(b->done, done);
}

static void hold_on(struct bench *b)
{
    atomic_fetch_add(&b->running, 1);
    while (atomic_load(&b->hold))
        usleep(500);
    atomic_fetch_add(&b->ran, 1);
}

static void run(void *user)
{
    struct bench *b = user;
    assert_false(pthread_equal(pthread_self(), b->loop_thread));
    hold_on(b);
}

static void done(void *user)
{
    struct bench *b = user;
    assert_true(pthread_equal(pthread_self(), b->loop_thread));
    b->done++;
}

static void jobs_run_elsewhere_and_are_answered_on_the_loop_thread(void **state)
{
    struct bench b;
    make(&b, 2, 8);
    assert_int_equal(cds_pool_submit(b.pool, run, done, &b), CDS_OK);
    turn_until(&b, 1);
    assert_int_equal(atomic_load(&b.ran), 1);
    unmake(&b);
}

/** Without a lock of their own: what a job wrote is there when its answer comes. */
static void run_part(void *user)
{
    *(long *)user += 7;
}

static struct bench *counted;

static void done_part(void *user)
{
    counted->sum += *(long *)user;
    counted->done++;
}

static void many_jobs_are_each_answered_once_and_what_they_wrote_is_seen(void **state)
{
    struct bench b;
    make(&b, 3, CDS_ARRAY_LEN(b.parts));
    counted = &b;
    for (int sent = 0; sent < MANY;) {
        long *part = &b.parts[sent % (int)CDS_ARRAY_LEN(b.parts)];
        /* A place is used again only when its job was answered. */
        while (sent - b.done >= (int)CDS_ARRAY_LEN(b.parts))
            cds_loop_once(b.loop, 10);
        if (sent % (int)CDS_ARRAY_LEN(b.parts) == 0)
            turn_until(&b, sent);
        *part = sent;
        assert_int_equal(cds_pool_submit(b.pool, run_part, done_part, part), CDS_OK);
        sent++;
    }
    turn_until(&b, MANY);
    assert_int_equal(b.sum, 7L * MANY + (long)MANY * (MANY - 1) / 2);
    unmake(&b);
}

static void a_full_queue_refuses_and_has_room_again_later(void **state)
{
    struct bench b;
    make(&b, 1, 2);
    atomic_store(&b.hold, true);
    assert_int_equal(cds_pool_submit(b.pool, run, done, &b), CDS_OK);
    while (atomic_load(&b.running) == 0)
        usleep(500);
    /* One runs; two may wait. */
    assert_int_equal(cds_pool_submit(b.pool, run, done, &b), CDS_OK);
    assert_int_equal(cds_pool_submit(b.pool, run, done, &b), CDS_OK);
    assert_int_equal(cds_pool_submit(b.pool, run, done, &b), CDS_BUSY);
    atomic_store(&b.hold, false);
    turn_until(&b, 3);
    assert_int_equal(cds_pool_submit(b.pool, run, done, &b), CDS_OK);
    turn_until(&b, 4);
    unmake(&b);
}

/** Whether a thread of this process waits for something. */
static bool sleeps(pid_t tid)
{
    char path[64], text[256] = "";
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
    FILE *f = fopen(path, "re");
    bool read = f && fgets(text, sizeof(text), f);
    const char *name_end = strrchr(text, ')');
    if (f)
        fclose(f);
    return read && name_end && name_end[1] == ' ' && name_end[2] == 'S';
}

/** Once the thread of the loop frees the pool, and waits in there: for nothing else does it wait from then on. */
static void *let_go(void *user)
{
    struct bench *b = user;
    while (!atomic_load(&b->freeing) || !sleeps(b->loop_tid))
        usleep(500);
    atomic_store(&b->hold, false);
    return NULL;
}

static void freeing_waits_for_what_runs_and_drops_what_waits(void **state)
{
    struct bench b;
    pthread_t thread;
    make(&b, 1, 8);
    atomic_store(&b.hold, true);
    for (int i = 0; i < 4; i++)
        assert_int_equal(cds_pool_submit(b.pool, run, done, &b), CDS_OK);
    while (atomic_load(&b.running) == 0)
        usleep(500);
    assert_int_equal(pthread_create(&thread, NULL, let_go, &b), 0);
    atomic_store(&b.freeing, true);
    cds_pool_free(&b.pool);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(atomic_load(&b.ran), 1);
    cds_loop_once(b.loop, 10);
    assert_int_equal(b.done, 1);
    unmake(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_run_elsewhere_and_are_answered_on_the_loop_thread),
        cmocka_unit_test(many_jobs_are_each_answered_once_and_what_they_wrote_is_seen),
        cmocka_unit_test(a_full_queue_refuses_and_has_room_again_later),
        cmocka_unit_test(freeing_waits_for_what_runs_and_drops_what_waits),
    };
    return RUN_ALL(tests);
}
