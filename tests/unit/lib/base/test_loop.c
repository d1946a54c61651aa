#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/loop.h"
#include "lib/base/pool.h"
#include "tests/support/test.h"

enum { WAIT_MS = 60000 }; /* ends a test that hangs */

static struct cds_loop *new_loop(void)
{
    struct cds_loop *loop = NULL;
    assert_int_equal(cds_loop_new(&loop, NULL), CDS_OK);
    return loop;
}

struct pair {
    struct cds_watch *first, *second;
    int calls;
};

static void remove_both(void *user, int fd, uint32_t events)
{
    struct pair *pair = user;
    pair->calls++;
    cds_watch_remove(&pair->first);
    cds_watch_remove(&pair->second);
}

static void a_watch_removed_inside_the_batch_is_not_called_again(void **state)
{
    struct cds_loop *loop = new_loop();
    struct pair pair = {0};
    int a[2], b[2];
    assert_int_equal(pipe(a) | pipe(b), 0);
    assert_int_equal(cds_watch_add(loop, a[0], EPOLLIN, remove_both, &pair, &pair.first, NULL), CDS_OK);
    assert_int_equal(cds_watch_add(loop, b[0], EPOLLIN, remove_both, &pair, &pair.second, NULL), CDS_OK);
    assert_int_equal(write(a[1], "x", 1) + write(b[1], "x", 1), 2);
    cds_loop_once(loop, 1000);
    cds_loop_once(loop, 0);
    assert_int_equal(pair.calls, 1);
    close(a[0]), close(a[1]), close(b[0]), close(b[1]);
    cds_loop_free(&loop);
}

struct order {
    char text[8];
    struct cds_loop *loop;
};
static void note_a(void *user)
{
    strcat(((struct order *)user)->text, "a");
}
static void note_b(void *user)
{
    strcat(((struct order *)user)->text, "b");
}
static void note_c_and_stop(void *user)
{
    struct order *order = user;
    strcat(order->text, "c");
    cds_loop_stop(order->loop);
}

static void timers_run_in_the_order_of_their_deadlines(void **state)
{
    struct cds_loop *loop = new_loop();
    struct order order = {.loop = loop};
    struct cds_timer *timers[4];
    uint64_t now = cds_now_ms();
    assert_int_equal(cds_timer_add(loop, now + 30, note_c_and_stop, &order, &timers[0]), CDS_OK);
    assert_int_equal(cds_timer_add(loop, now + 10, note_a, &order, &timers[1]), CDS_OK);
    assert_int_equal(cds_timer_add(loop, now + 20, note_b, &order, &timers[2]), CDS_OK);
    assert_int_equal(cds_timer_add(loop, now + 15, note_b, &order, &timers[3]), CDS_OK);
    cds_timer_remove(&timers[3]);
    cds_loop_run(loop);
    assert_string_equal(order.text, "abc");
    for (int i = 0; i < 3; i++)
        cds_timer_remove(&timers[i]);
    cds_loop_free(&loop);
}

static struct cds_timer *eager;
static int eager_runs;
static void set_again(void *user)
{
    eager_runs++;
    cds_timer_set(eager, 0);
}

static void a_timer_that_sets_itself_to_now_does_not_starve_the_loop(void **state)
{
    struct cds_loop *loop = new_loop();
    eager_runs = 0;
    assert_int_equal(cds_timer_add(loop, 0, set_again, NULL, &eager), CDS_OK);
    cds_loop_once(loop, 0);
    assert_int_equal(eager_runs, 1);
    cds_timer_remove(&eager);
    cds_loop_free(&loop);
}

static int heap_last;
static void check_rising(void *user)
{
    int value = (int)(intptr_t)user;
    assert_true(value >= heap_last);
    heap_last = value;
}

static void a_thousand_timers_in_random_order_run_sorted(void **state)
{
    struct cds_loop *loop = new_loop();
    struct cds_timer *timers[1000];
    uint64_t base = cds_now_ms() - 2000;
    unsigned seed = 7;
    heap_last = -1;
    for (size_t i = 0; i < 1000; i++) {
        int offset = rand_r(&seed) % 1000;
        assert_int_equal(cds_timer_add(loop, base + (uint64_t)offset, check_rising, (void *)(intptr_t)offset, &timers[i]), CDS_OK);
    }
    for (size_t i = 0; i < 1000; i += 3)
        cds_timer_set(timers[i], UINT64_MAX);
    cds_loop_once(loop, 0);
    assert_true(heap_last > 0);
    for (size_t i = 0; i < 1000; i++)
        cds_timer_remove(&timers[i]);
    cds_loop_free(&loop);
}

static void count_post(void *user)
{
    (*(int *)user)++;
}

static void *post_many(void *user)
{
    for (int i = 0; i < 1000; i++)
        if (cds_loop_post(((void **)user)[0], count_post, ((void **)user)[1]))
            return user;
    return NULL;
}

static void every_post_of_another_thread_arrives_once(void **state)
{
    struct cds_loop *loop = new_loop();
    int count = 0;
    void *args[2] = {loop, &count};
    pthread_t thread;
    void *failed;
    assert_int_equal(pthread_create(&thread, NULL, post_many, args), 0);
    pthread_join(thread, &failed);
    assert_null(failed);
    cds_loop_once(loop, 1000);
    assert_int_equal(count, 1000);
    cds_loop_free(&loop);
}

static void posts_beyond_the_queue_length_are_refused(void **state)
{
    struct cds_loop *loop = new_loop();
    int count = 0, taken = 0;
    while (cds_loop_post(loop, count_post, &count) == CDS_OK)
        taken++;
    assert_int_equal(taken, 65536);
    cds_loop_once(loop, 0);
    assert_int_equal(count, taken);
    assert_int_equal(cds_loop_post(loop, count_post, &count), CDS_OK);
    cds_loop_free(&loop);
}

static void on_signal(void *user, int signo)
{
    *(int *)user = signo;
}

static void a_signal_arrives_as_a_callback(void **state)
{
    struct cds_loop *loop = new_loop();
    int got = 0;
    assert_int_equal(cds_loop_signal(loop, SIGUSR1, on_signal, &got, NULL), CDS_OK);
    kill(getpid(), SIGUSR1);
    cds_loop_once(loop, 1000);
    assert_int_equal(got, SIGUSR1);
    cds_loop_free(&loop);
}

struct gate {
    pthread_mutex_t lock;
    int done;
};
static void wait_for_gate(void *user)
{
    struct gate *gate = user;
    pthread_mutex_lock(&gate->lock);
    pthread_mutex_unlock(&gate->lock);
}
static void count_done(void *user)
{
    ((struct gate *)user)->done++;
}

static void the_pool_refuses_work_beyond_its_queue(void **state)
{
    struct cds_loop *loop = new_loop();
    struct cds_pool *pool = NULL;
    struct gate gate = {.lock = PTHREAD_MUTEX_INITIALIZER};
    assert_int_equal(cds_pool_new(loop, 1, 2, &pool, NULL), CDS_OK);
    pthread_mutex_lock(&gate.lock);
    int taken = 0;
    for (uint64_t until = cds_now_ms() + WAIT_MS; taken < 3 && cds_now_ms() < until;) /* one runs, two wait */
        taken += cds_pool_submit(pool, wait_for_gate, count_done, &gate) == CDS_OK;
    assert_int_equal(taken, 3);
    assert_int_equal(cds_pool_submit(pool, wait_for_gate, count_done, &gate), CDS_BUSY);
    pthread_mutex_unlock(&gate.lock);
    for (uint64_t until = cds_now_ms() + WAIT_MS; gate.done < 3 && cds_now_ms() < until;)
        cds_loop_once(loop, 100);
    assert_int_equal(gate.done, 3);
    cds_pool_free(&pool);
    cds_loop_free(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_watch_removed_inside_the_batch_is_not_called_again),
        cmocka_unit_test(timers_run_in_the_order_of_their_deadlines),
        cmocka_unit_test(a_timer_that_sets_itself_to_now_does_not_starve_the_loop),
        cmocka_unit_test(a_thousand_timers_in_random_order_run_sorted),
        cmocka_unit_test(every_post_of_another_thread_arrives_once),
        cmocka_unit_test(posts_beyond_the_queue_length_are_refused),
        cmocka_unit_test(a_signal_arrives_as_a_callback),
        cmocka_unit_test(the_pool_refuses_work_beyond_its_queue),
    };
    return RUN_ALL(tests);
}
