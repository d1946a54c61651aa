/* Tests of lib/db/queue.c: the asynchronous connection on the loop. */
#include "tests/support/test.h"

#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/db/priv.h"
#include "tests/support/pg.h"
#include "tests/support/timely.h"

enum { QUEUE = 8, TURN_MS = 20, LONG_MS = 120000, LOG_MAX = 64 };

static struct test_pg pg;
static struct cds_loop *loop;

/* What came back, in order. */
static struct answer {
    cds_rc code;
    char rule[48], text[32];
} answers[LOG_MAX];
static int answered;

static int make(void **state)
{
    test_pg_make(&pg);
    test_pg_start(&pg);
    return cds_loop_new(&loop, NULL);
}

static int unmake(void **state)
{
    cds_loop_free(&loop);
    test_pg_free(&pg);
    return 0;
}

static void on_answer(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct answer *answer = &answers[answered++ % LOG_MAX];
    *answer = (struct answer){.code = err ? err->code : CDS_OK};
    assert_true((rows == NULL) == (err != NULL));
    if (err)
        cds_strcpy(answer->rule, sizeof(answer->rule), err->rule);
    else if (cds_rows_count(rows) && cds_rows_str(rows, 0, 0))
        cds_strcpy(answer->text, sizeof(answer->text), cds_rows_str(rows, 0, 0));
}

static void turn_until(int wanted)
{
    uint64_t deadline_ms = cds_now_ms() + LONG_MS;
    while (answered < wanted) {
        assert_true(cds_ms_left(deadline_ms) > 0);
        cds_loop_once(loop, TURN_MS);
    }
}

static void turn_until_ready(struct cds_dbq *q, bool ready)
{
    uint64_t deadline_ms = cds_now_ms() + LONG_MS;
    while (cds_dbq_ready(q) != ready) {
        assert_true(cds_ms_left(deadline_ms) > 0);
        cds_loop_once(loop, TURN_MS);
    }
}

static struct cds_dbq *open_queue(const char *conninfo)
{
    struct cds_dbq *q = NULL;
    answered = 0;
    assert_int_equal(cds_dbq_open(loop, conninfo, QUEUE, &q, NULL), CDS_OK);
    return q;
}

static cds_rc ask(struct cds_dbq *q, const char *sql, const char *param)
{
    return cds_dbq_exec(q, sql, param ? 1 : 0, &param, cds_now_ms() + LONG_MS, on_answer, NULL);
}

static void answers_come_in_order(void **state)
{
    struct cds_dbq *q = open_queue(pg.conninfo);
    char param[] = "first";
    assert_false(cds_dbq_ready(q));
    assert_false(cds_dbq_busy(q));
    assert_int_equal(ask(q, "SELECT $1::text", param), CDS_OK);
    memset(param, 'x', 5); /* it was copied */
    assert_int_equal(ask(q, "SELECT 1 / 0", NULL), CDS_OK);
    assert_int_equal(ask(q, "SELECT 'third'", NULL), CDS_OK);
    assert_true(cds_dbq_busy(q));
    turn_until(3);
    assert_string_equal(answers[0].text, "first");
    assert_int_equal(answers[1].code, CDS_BAD_PARAM);
    assert_string_equal(answers[2].text, "third");
    assert_true(cds_dbq_ready(q));
    assert_false(cds_dbq_busy(q));
    cds_dbq_close(&q);
    assert_null(q);
}

static void session_has_its_settings(void **state)
{
    struct cds_dbq *q = open_queue(pg.conninfo);
    assert_int_equal(ask(q, "SHOW statement_timeout", NULL), CDS_OK);
    assert_int_equal(ask(q, "SHOW lock_timeout", NULL), CDS_OK);
    turn_until(2);
    assert_string_equal(answers[0].text, "10s");
    assert_string_equal(answers[1].text, "2s");
    cds_dbq_close(&q);
}

/* The pause between two tries does not grow while a database restarts: it is asked again as soon as it can be there. */
static void a_database_that_comes_back_is_found_within_a_third_of_a_second(void **state)
{
    enum { LIMIT_MS = 350, TRIES = 3 }; /* the machine may have been busy with other things at that very moment */
    for (int i = 1; i <= TRIES; i++) {
        struct cds_dbq *q = open_queue(pg.conninfo);
        turn_until_ready(q, true);
        test_pg_stop(&pg, SIGINT);
        turn_until_ready(q, false);
        uint64_t away_until_ms = cds_now_ms() + 2500; /* long enough for a pause that doubles to have grown */
        while (cds_ms_left(away_until_ms))
            cds_loop_once(loop, TURN_MS);
        test_pg_start(&pg);
        uint64_t begin_ms = cds_now_ms();
        turn_until_ready(q, true);
        uint64_t took_ms = cds_now_ms() - begin_ms;
        cds_dbq_close(&q);
        if (took_ms < LIMIT_MS)
            return;
        if (i == TRIES)
            test_timely(took_ms, LIMIT_MS);
    }
}

/* A host that vanished without a word is noticed by the kernel within seconds, on every connection that goes over the network. */
static void connections_notice_a_silent_host(void **state)
{
    PGconn *conn = db_connect("host=127.0.0.1 port=1", true);
    int found = 0;
    PQconninfoOption *options = PQconninfo(conn);
    for (const PQconninfoOption *o = options; o && o->keyword; o++) {
        found += cds_streq(o->keyword, "tcp_user_timeout") && cds_streq(o->val, "10000");
        found += cds_streq(o->keyword, "keepalives_idle") && cds_streq(o->val, "10");
    }
    assert_int_equal(found, 2);
    PQconninfoFree(options);
    PQfinish(conn);
}

static void full_queue_refuses(void **state)
{
    struct cds_dbq *q = open_queue(pg.conninfo);
    for (int i = 0; i < QUEUE; i++)
        assert_int_equal(ask(q, "SELECT 1", NULL), CDS_OK);
    assert_int_equal(ask(q, "SELECT 1", NULL), CDS_BUSY);
    turn_until(QUEUE);
    assert_int_equal(ask(q, "SELECT 1", NULL), CDS_OK);
    turn_until(QUEUE + 1);
    cds_dbq_close(&q);
}

static void close_cancels_what_is_open(void **state)
{
    struct cds_dbq *q = open_queue(pg.conninfo);
    turn_until_ready(q, true);
    assert_int_equal(ask(q, "SELECT pg_sleep(300)", NULL), CDS_OK);
    assert_int_equal(ask(q, "SELECT 1", NULL), CDS_OK);
    cds_dbq_close(&q);
    assert_int_equal(answered, 2);
    assert_int_equal(answers[0].code, CDS_CANCELLED);
    assert_int_equal(answers[1].code, CDS_CANCELLED);
}

static void late_statements_are_answered_and_the_queue_goes_on(void **state)
{
    struct cds_dbq *q = open_queue(pg.conninfo);
    turn_until_ready(q, true);
    const uint64_t soon_ms = cds_now_ms() + 50; /* for both: who is late is looked for now and then only, maybe just between two */
    assert_int_equal(cds_dbq_exec(q, "SELECT pg_sleep(300)", 0, NULL, soon_ms, on_answer, NULL), CDS_OK);
    assert_int_equal(cds_dbq_exec(q, "SELECT 'late'", 0, NULL, soon_ms, on_answer, NULL), CDS_OK);
    assert_int_equal(ask(q, "SELECT 'in time'", NULL), CDS_OK);
    turn_until(3);
    /* The one that never left is answered first; the outcome of the other one is not known. */
    assert_int_equal(answers[0].code, CDS_UNAVAILABLE);
    assert_string_equal(answers[0].rule, "");
    assert_int_equal(answers[1].code, CDS_UNAVAILABLE);
    assert_string_equal(answers[1].rule, "db.unknown_outcome");
    assert_string_equal(answers[2].text, "in time");
    cds_dbq_close(&q);
}

static void absent_server_is_waited_for_until_the_deadline(void **state)
{
    struct cds_dbq *q = open_queue("host=/nonexistent user=studio dbname=studio");
    assert_int_equal(cds_dbq_exec(q, "SELECT 1", 0, NULL, cds_now_ms() + 300, on_answer, NULL), CDS_OK);
    turn_until(1);
    assert_int_equal(answers[0].code, CDS_UNAVAILABLE);
    assert_false(cds_dbq_ready(q));
    cds_dbq_close(&q);
}

static void restart_fails_the_statement_in_flight_and_keeps_the_others(void **state)
{
    struct cds_dbq *q = open_queue(pg.conninfo);
    turn_until_ready(q, true);
    assert_int_equal(ask(q, "SELECT pg_sleep(300)", NULL), CDS_OK);
    assert_int_equal(ask(q, "SELECT 'later'", NULL), CDS_OK);
    cds_loop_once(loop, 0);
    test_pg_kill_all(&pg);
    turn_until(1);
    assert_int_equal(answers[0].code, CDS_UNAVAILABLE);
    assert_string_equal(answers[0].rule, "db.unknown_outcome");
    assert_false(cds_dbq_ready(q));
    test_pg_start(&pg);
    turn_until(2);
    assert_string_equal(answers[1].text, "later");
    cds_dbq_close(&q);
}

/* Who repeats a statement must know whether the first try may have been carried out. */
static void error_says_whether_the_outcome_is_known(void **state)
{
    static const struct {
        const char *sql, *rule;
        cds_rc code;
    } rows[] = {
        {"BEGIN", "", CDS_OK}, /* the short time holds for the one statement that is about it */
        {"SET LOCAL statement_timeout = '50ms'", "", CDS_OK},
        {"SELECT pg_sleep(300)", "", CDS_TIMED_OUT}, /* 57014 */
        {"ROLLBACK", "", CDS_OK},
        {"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40P01'; END $$", "", CDS_BUSY},                          /* deadlock */
        {"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '53100'; END $$", "", CDS_EXHAUSTED},                     /* disk full */
        {"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '57P01'; END $$", "db.unknown_outcome", CDS_UNAVAILABLE}, /* told in time */
        {"SELECT pg_terminate_backend(pg_backend_pid())", "db.unknown_outcome", CDS_UNAVAILABLE},                   /* 57P01 */
    };
    struct cds_dbq *q = open_queue(pg.conninfo);
    for (size_t i = 0; i < CDS_ARRAY_LEN(rows); i++) {
        assert_int_equal(ask(q, rows[i].sql, NULL), CDS_OK);
        turn_until((int)i + 1);
        assert_int_equal(answers[i].code, rows[i].code);
        assert_string_equal(answers[i].rule, rows[i].rule);
    }
    cds_dbq_close(&q);
}

static void idle_connection_that_breaks_is_noticed_and_opened_again(void **state)
{
    struct cds_dbq *q = open_queue(pg.conninfo);
    turn_until_ready(q, true);
    test_pg_stop(&pg, SIGINT);
    turn_until_ready(q, false);
    test_pg_start(&pg);
    turn_until_ready(q, true);
    cds_dbq_close(&q);
}

/* ---- callbacks that go on ---- */
static struct cds_dbq *again;
static char *big;

static void ask_again(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    on_answer(NULL, rows, err);
    const char *params[] = {big};
    assert_int_equal(cds_dbq_exec(again, "SELECT length($1)", 1, params, cds_now_ms() + LONG_MS, on_answer, NULL), CDS_OK);
}

/* More than a socket takes at once: the rest has to be sent when there is room, also for a statement that a callback asked for. */
static void big_statement_from_inside_a_callback_is_sent_whole(void **state)
{
    enum { BIG = 8 << 20 };
    again = open_queue(pg.conninfo);
    turn_until_ready(again, true);
    big = malloc(BIG + 1);
    assert_non_null(big);
    memset(big, 'x', BIG);
    big[BIG] = '\0';
    assert_int_equal(cds_dbq_exec(again, "SELECT 'small'", 0, NULL, cds_now_ms() + LONG_MS, ask_again, NULL), CDS_OK);
    turn_until(2);
    assert_string_equal(answers[0].text, "small");
    assert_string_equal(answers[1].text, "8388608");
    free(big);
    cds_dbq_close(&again);
}

static void many_statements_from_inside_callbacks_end(void **state)
{
    again = open_queue(pg.conninfo);
    big = (char *)"abc";
    for (int i = 0; i < QUEUE / 2; i++)
        assert_int_equal(cds_dbq_exec(again, "SELECT 'x'", 0, NULL, cds_now_ms() + LONG_MS, ask_again, NULL), CDS_OK);
    turn_until(QUEUE);
    cds_loop_once(loop, TURN_MS);
    assert_int_equal(answered, QUEUE);
    assert_false(cds_dbq_busy(again));
    cds_dbq_close(&again);
}

/* ---- a slow line: every byte of the server's in a read of its own ---- */
static int relay_fd;
static atomic_bool relay_stop;

static void pass_on(int client, int server)
{
    char buf[65536];
    while (!relay_stop) {
        struct pollfd fds[2] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
        if (poll(fds, 2, TURN_MS) <= 0)
            continue;
        if (fds[0].revents) {
            ssize_t n = read(client, buf, sizeof(buf));
            if (n <= 0 || write(server, buf, (size_t)n) != n)
                return;
        }
        if (fds[1].revents) {
            /* Not faster than they are taken: SIOCOUTQ tells what the client has not read yet. */
            int unread = 1;
            if (read(server, buf, 1) != 1 || write(client, buf, 1) != 1)
                return;
            while (!relay_stop && ioctl(client, SIOCOUTQ, &unread) == 0 && unread > 0)
                usleep(20);
        }
    }
}

static struct sockaddr_un socket_below(const char *folder)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char path[400];
    snprintf(path, sizeof(path), "%s/%s/.s.PGSQL.5432", pg.home.path, folder);
    cds_strcpy(address.sun_path, sizeof(address.sun_path), path);
    return address;
}

static void *relay(void *unused)
{
    struct sockaddr_un address = socket_below("run/pg");
    while (!relay_stop) {
        struct pollfd wait = {relay_fd, POLLIN, 0};
        if (poll(&wait, 1, TURN_MS) <= 0)
            continue;
        int client = accept(relay_fd, NULL, NULL);
        int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (client >= 0 && connect(server, (struct sockaddr *)&address, sizeof(address)) == 0)
            pass_on(client, server);
        close(client);
        close(server);
    }
    return NULL;
}

static void answer_that_arrives_byte_by_byte_is_not_lost(void **state)
{
    pthread_t thread;
    struct sockaddr_un address = socket_below("relay");
    char folder[300], conninfo[400];
    snprintf(folder, sizeof(folder), "%s/relay", pg.home.path);
    assert_int_equal(mkdir(folder, 0700), 0);
    relay_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(relay_fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(relay_fd, 4), 0);
    relay_stop = false;
    assert_int_equal(pthread_create(&thread, NULL, relay, NULL), 0);
    snprintf(conninfo, sizeof(conninfo), "host=%s user=studio dbname=studio", folder);
    struct cds_dbq *q = open_queue(conninfo);
    for (int i = 0; i < 4; i++)
        assert_int_equal(ask(q, "SELECT 'slow'", NULL), CDS_OK);
    turn_until(4);
    for (int i = 0; i < 4; i++)
        assert_string_equal(answers[i].text, "slow");
    cds_dbq_close(&q);
    relay_stop = true;
    pthread_join(thread, NULL);
    close(relay_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_come_in_order),
        cmocka_unit_test(session_has_its_settings),
        cmocka_unit_test(full_queue_refuses),
        cmocka_unit_test(close_cancels_what_is_open),
        cmocka_unit_test(late_statements_are_answered_and_the_queue_goes_on),
        cmocka_unit_test(absent_server_is_waited_for_until_the_deadline),
        cmocka_unit_test(restart_fails_the_statement_in_flight_and_keeps_the_others),
        cmocka_unit_test(a_database_that_comes_back_is_found_within_a_third_of_a_second),
        cmocka_unit_test(connections_notice_a_silent_host),
        cmocka_unit_test(error_says_whether_the_outcome_is_known),
        cmocka_unit_test(idle_connection_that_breaks_is_noticed_and_opened_again),
        cmocka_unit_test(big_statement_from_inside_a_callback_is_sent_whole),
        cmocka_unit_test(many_statements_from_inside_callbacks_end),
        cmocka_unit_test(answer_that_arrives_byte_by_byte_is_not_lost),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
