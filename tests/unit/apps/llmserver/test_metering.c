#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "apps/llmserver/metering.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/db/db.h"

/* A scripted ledger in place of lib/db: calls wait in a list until the test answers them. */
struct cds_dbq {
    int number; /* 1: reserve, 2: settle */
};
struct cds_rows {
    int count;
    int64_t code[8], cost;
};
static struct made {
    struct cds_dbq *db;
    const char *sql;
    char *params[10];
    int n;
    cds_dbq_done_fn *done;
    void *user;
} calls[32];
static int call_count, opened;
static struct cds_dbq connections[2];

cds_rc cds_dbq_open(struct cds_loop *loop, const char *conninfo, size_t queue_max, struct cds_dbq **ret, struct cds_err *reterr)
{
    connections[opened].number = opened + 1;
    *ret = &connections[opened++];
    return CDS_OK;
}
void cds_dbq_close(struct cds_dbq **dbq)
{
    *dbq = NULL;
}
cds_rc cds_dbq_exec(struct cds_dbq *dbq, const char *sql, int n, const char *const *params, uint64_t deadline_ms, cds_dbq_done_fn *done, void *user)
{
    struct made *made = &calls[call_count++];
    assert_true(call_count <= 32);
    *made = (struct made){.db = dbq, .sql = sql, .n = n, .done = done, .user = user};
    for (int i = 0; i < n; i++)
        made->params[i] = strdup(params[i]);
    return CDS_OK;
}
bool cds_dbq_ready(const struct cds_dbq *dbq)
{
    return true;
}
bool cds_dbq_busy(const struct cds_dbq *dbq)
{
    return false;
}
int cds_rows_count(const struct cds_rows *rows)
{
    return rows->count;
}
const char *cds_rows_str(const struct cds_rows *rows, int row, int col)
{
    return NULL;
}
int64_t cds_rows_i64(const struct cds_rows *rows, int row, int col, int64_t otherwise)
{
    return col == 0 ? rows->code[row] : col == 1 ? rows->cost : 7;
}

/* --- the test's side ---------------------------------------------------------------------------------------------------- */

static struct cds_loop *loop;
static struct cds_meter *meter;
static int granted, refused;
static cds_rc last_code;
static char last_message[320];
static int64_t last_cost;
static int settled;

static void on_granted(void *user, const struct cds_err *err)
{
    granted += !err;
    refused += err != NULL;
    last_code = err ? err->code : CDS_OK;
    strcpy(last_message, err ? err->message : "");
}
static void on_settled(void *user, int64_t cost_micro)
{
    settled++;
    last_cost = cost_micro;
}

/** Answers the oldest call of which `text` is a part. */
static void answer(const char *text, int count, int64_t code, int64_t cost, const struct cds_err *err)
{
    for (int i = 0; i < call_count; i++) {
        struct made made = calls[i];
        if (!made.done || !strstr(made.sql, text))
            continue;
        calls[i].done = NULL;
        struct cds_rows rows = {.count = count, .cost = cost};
        for (int k = 0; k < count; k++)
            rows.code[k] = code;
        made.done(made.user, err ? NULL : &rows, err);
        return;
    }
    fail_msg("no open call with %s", text);
}
static int open_calls(const char *text)
{
    int count = 0;
    for (int i = 0; i < call_count; i++)
        count += calls[i].done && strstr(calls[i].sql, text);
    return count;
}
/** The statement of a call that was made, answered or not. */
static const char *sql_with(const char *text)
{
    for (int i = 0; i < call_count; i++)
        if (strstr(calls[i].sql, text))
            return calls[i].sql;
    fail_msg("no call with %s", text);
    return "";
}
/** Lets timers fire until a call with this text is open. */
static void wait_for_call(const char *text)
{
    for (int i = 0; i < 100 && open_calls(text) == 0; i++)
        cds_loop_once(loop, 50);
    assert_int_equal(open_calls(text), 1);
}

static struct cds_meter_request request(const char *id)
{
    return (struct cds_meter_request){"11111111-1111-4111-8111-111111111111", id, "m", "2026-11-01"};
}
static const char *const ids[] = {"00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002",
                                  "00000000-0000-4000-8000-000000000003"};

static void hold(int i)
{
    struct cds_meter_request r = request(ids[i]);
    assert_int_equal(cds_meter_reserve(meter, &r, 100, on_granted, NULL, NULL), CDS_OK);
}

static int start(void **state)
{
    call_count = opened = granted = refused = settled = 0;
    const struct cds_meter_options options = {.conninfo = "x", .node = "22222222-2222-4222-8222-222222222222", .price_in = 1, .price_out = 2};
    struct cds_meter_options with_loop = options;
    assert_int_equal(cds_loop_new(&loop, NULL), CDS_OK);
    with_loop.loop = loop;
    assert_int_equal(cds_meter_new(&with_loop, &meter, NULL), CDS_OK);
    wait_for_call("release_node");
    return 0;
}
static int stop(void **state)
{
    for (int i = 0; i < call_count; i++)
        for (int k = 0; k < calls[i].n; k++)
            free(calls[i].params[k]);
    cds_meter_free(&meter);
    cds_loop_free(&loop);
    return 0;
}
static int started(void **state)
{
    start(state);
    answer("release_node", 1, 0, 0, NULL);
    return 0;
}

static void meter_refuses_before_the_predecessor_is_cleaned_up(void **state)
{
    struct cds_meter_request r = request(ids[0]);
    struct cds_err err = {0};
    assert_int_equal(cds_meter_reserve(meter, &r, 100, on_granted, NULL, &err), CDS_UNAVAILABLE);
    assert_int_equal(cds_meter_ready(meter, &err), CDS_UNAVAILABLE);
    answer("release_node", 1, 0, 0, NULL);
    assert_int_equal(cds_meter_ready(meter, &err), CDS_OK);
}

static void meter_reserves_a_single_request_by_the_single_call(void **state)
{
    hold(0);
    assert_int_equal(open_calls("reserve("), 1);
    answer("reserve(", 1, 1, 0, NULL);
    assert_int_equal(granted, 1);
}

static void meter_gathers_what_arrives_while_a_call_is_open(void **state)
{
    hold(0);
    hold(1);
    hold(2);
    assert_int_equal(open_calls("reserve_many"), 0);
    answer("reserve(", 1, 1, 0, NULL);
    assert_int_equal(open_calls("reserve_many"), 1);
    assert_non_null(strstr(calls[call_count - 1].params[2], ids[1]));
    assert_non_null(strstr(calls[call_count - 1].params[2], ids[2]));
    assert_string_equal(calls[call_count - 1].params[5], "{100,100}");
    answer("reserve_many", 2, 1, 0, NULL);
    assert_int_equal(granted, 3);
}

static void meter_sends_a_batch_that_failed_as_a_whole_one_by_one(void **state)
{
    hold(0);
    hold(1);
    hold(2);
    answer("reserve(", 1, 1, 0, NULL);
    answer("reserve_many", 2, 0, 0, NULL);
    answer("reserve(", 1, 1, 0, NULL);
    answer("reserve(", 1, 4, 55, NULL);
    assert_int_equal(granted, 2);
    assert_int_equal(refused, 1);
    assert_int_equal(last_code, CDS_BUDGET_EXCEEDED);
    assert_non_null(strstr(last_message, "7 of 55"));
    assert_non_null(strstr(last_message, "2026-12-01"));
}

static void meter_takes_a_replay_for_its_own_only_after_a_lost_answer(void **state)
{
    struct cds_err lost = {0};
    cds_fail(&lost, CDS_UNAVAILABLE, "db", "gone");
    hold(0);
    answer("reserve(", 1, 2, 0, NULL);
    assert_int_equal(last_code, CDS_CONFLICT);
    hold(1);
    answer("reserve(", 0, 0, 0, &lost);
    assert_int_equal(granted, 0);
    wait_for_call("reserve(");
    answer("reserve(", 1, 2, 0, NULL);
    assert_int_equal(granted, 1);
}

static void meter_makes_the_price_row_that_is_missing(void **state)
{
    hold(0);
    answer("reserve(", 1, 5, 0, NULL);
    assert_int_equal(granted + refused, 0);
    answer("INSERT INTO models", 0, 0, 0, NULL);
    wait_for_call("reserve(");
    answer("reserve(", 1, 1, 0, NULL);
    assert_int_equal(granted, 1);
}

static void meter_repeats_a_settlement_until_it_is_acknowledged(void **state)
{
    struct cds_err lost = {0};
    cds_fail(&lost, CDS_UNAVAILABLE, "db", "gone");
    struct cds_meter_request r = request(ids[0]);
    const struct cds_meter_used used = {10, 4, 20};
    cds_meter_settle(meter, &r, &used, "stop", on_settled, &settled);
    assert_false(cds_meter_idle(meter));
    for (int i = 0; i < 3; i++) {
        answer("settle_many", 0, 0, 0, &lost);
        assert_int_equal(settled, 0);
        assert_false(cds_meter_idle(meter));
        wait_for_call("settle_many");
    }
    assert_string_equal(calls[call_count - 1].params[5], "{10}");
    assert_string_equal(calls[call_count - 1].params[6], "{4}");
    assert_string_equal(calls[call_count - 1].params[7], "{20}");
    assert_string_equal(calls[call_count - 1].params[8], "{stop}");
    answer("settle_many", 1, 2, 33, NULL);
    assert_int_equal(settled, 1);
    assert_int_equal(last_cost, 33);
    assert_true(cds_meter_idle(meter));
}

static void meter_books_for_a_caller_that_left(void **state)
{
    struct cds_meter_request r = request(ids[0]);
    const struct cds_meter_used used = {10, 0, 20};
    cds_meter_settle(meter, &r, &used, "gone", on_settled, &settled);
    cds_meter_forget(meter, &settled);
    answer("settle_many", 1, 1, 50, NULL);
    assert_int_equal(settled, 0);
    assert_true(cds_meter_idle(meter));
}

static void meter_extends_before_it_reserves(void **state)
{
    struct cds_meter_request r = request(ids[2]);
    const struct cds_meter_used so_far = {10, 0, 250};
    hold(0);
    hold(1);
    assert_int_equal(cds_meter_extend(meter, &r, 512, &so_far, on_granted, NULL, NULL), CDS_OK);
    answer("reserve(", 1, 1, 0, NULL);
    assert_int_equal(open_calls("extend("), 1);
    answer("extend(", 1, 2, 0, NULL);
    assert_int_equal(refused, 1);
    assert_int_equal(open_calls("reserve("), 1);
    answer("reserve(", 1, 1, 0, NULL);
    assert_int_equal(granted, 2);
}

/* A granted extension must survive a crash: what it noted is billed, and nobody uses more than what is held. */
static void meter_waits_for_the_disk_with_all_but_reservations(void **state)
{
    struct cds_meter_request r = request(ids[0]);
    const struct cds_meter_used so_far = {10, 0, 200};
    const char *const quick[] = {"reserve(", "reserve_many("}, *const durable[] = {"extend(", "extend_many(", "settle_many("};
    hold(0);
    hold(1);
    hold(2);
    answer("reserve(", 1, 1, 0, NULL);
    answer("reserve_many(", 2, 1, 0, NULL);
    for (int i = 0; i < 3; i++) {
        r.request_id = ids[i];
        assert_int_equal(cds_meter_extend(meter, &r, 256, &so_far, on_granted, NULL, NULL), CDS_OK);
    }
    answer("extend(", 1, 1, 0, NULL);
    answer("extend_many(", 2, 1, 0, NULL);
    cds_meter_settle(meter, &r, &so_far, "stop", NULL, NULL);
    for (size_t i = 0; i < CDS_ARRAY_LEN(quick); i++)
        assert_non_null(strstr(sql_with(quick[i]), "synchronous_commit"));
    for (size_t i = 0; i < CDS_ARRAY_LEN(durable); i++)
        assert_null(strstr(sql_with(durable[i]), "synchronous_commit"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, started, stop)
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(meter_refuses_before_the_predecessor_is_cleaned_up, start, stop),
        T(meter_reserves_a_single_request_by_the_single_call),
        T(meter_gathers_what_arrives_while_a_call_is_open),
        T(meter_sends_a_batch_that_failed_as_a_whole_one_by_one),
        T(meter_takes_a_replay_for_its_own_only_after_a_lost_answer),
        T(meter_makes_the_price_row_that_is_missing),
        T(meter_repeats_a_settlement_until_it_is_acknowledged),
        T(meter_books_for_a_caller_that_left),
        T(meter_extends_before_it_reserves),
        T(meter_waits_for_the_disk_with_all_but_reservations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
