/* tests/unit/apps/llmserver/scripted_ledger.h: the meter on a scripted ledger in place of lib/db, for the programs that include it.
 *
 * Calls wait in a list until the test answers them; nothing is answered by itself. It defines the functions of lib/db and of the clock, so a program
 * that includes it has no database, and time passes only while it waits for a call.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "apps/llmserver/metering.h"
#include "lib/base/str.h"
#include "lib/db/db.h"
#include "tests/support/own_clock.h"

struct cds_dbq {
    int number; /* 1: reserve, 2: settle */
};
struct cds_rows {
    int count;
    int64_t code[CDS_METER_BATCH], cost;
    const char *refused; /* JSON of a reservation or extension that was refused */
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
    return col == 1 ? rows->refused : NULL;
}
bool cds_rows_bool(const struct cds_rows *rows, int row, int col)
{
    return false;
}
int64_t cds_rows_i64(const struct cds_rows *rows, int row, int col, int64_t otherwise)
{
    return col == 0 ? rows->code[row] : col == 1 ? rows->cost : 0;
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
static void on_settled(void *user, const struct cds_meter_booked *booked)
{
    settled++;
    last_cost = booked->cost_micro;
}

/** What the budgets say when they refuse. */
static const char *refused_json = "[{\"scope\":\"user\",\"window\":\"month\",\"unit\":\"tokens\",\"limit\":55,\"used\":7,\"held\":7,\"needs\":100,"
                                  "\"resets_at\":\"2026-12-01T00:00:00Z\"}]";

/** Answers the oldest call of which `text` is a part. */
static void answer(const char *text, int count, int64_t code, int64_t cost, const struct cds_err *err)
{
    for (int i = 0; i < call_count; i++) {
        struct made made = calls[i];
        if (!made.done || !strstr(made.sql, text))
            continue;
        calls[i].done = NULL;
        struct cds_rows rows = {.count = count, .cost = cost, .refused = refused_json};
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
/** Lets timers fire until a call with this text is open. */
static void wait_for_call(const char *text)
{
    for (int i = 0; i < 100 && open_calls(text) == 0; i++)
        own_clock_pass(loop, 50);
    assert_int_equal(open_calls(text), 1);
}

static struct cds_meter_request request(const char *id)
{
    return (struct cds_meter_request){.user_id = "11111111-1111-4111-8111-111111111111",
                                      .request_id = id,
                                      .model = "m",
                                      .key_id = "",
                                      .admitted = "2026-11-26T10:00:00.000Z",
                                      .prompt_tokens = 44};
}
static const char *const ids[] = {"00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002",
                                  "00000000-0000-4000-8000-000000000003"};

static void hold(int i)
{
    struct cds_meter_request r = request(ids[i]);
    assert_int_equal(cds_meter_reserve(meter, &r, 100, on_granted, NULL, NULL), CDS_OK);
}

/** The folder "/" is on a disk of which nobody needs more than this. */
static uint64_t disk_min_bytes;
/** Where settlements are written down; NULL: nowhere. */
static const char *journal_path;
static const char *node = "22222222-2222-4222-8222-222222222222";

/** A meter whose calls wait for their answers, the first of them too. */
static void begin(void)
{
    call_count = opened = granted = refused = settled = 0;
    const struct cds_meter_options options = {.conninfo = "x",
                                              .node = node,
                                              .price_in = 1,
                                              .price_out = 2,
                                              .journal_path = journal_path,
                                              .disk_path = "/",
                                              .disk_min_bytes = disk_min_bytes};
    struct cds_meter_options with_loop = options;
    assert_int_equal(cds_loop_new(&loop, NULL), CDS_OK);
    with_loop.loop = loop;
    assert_int_equal(cds_meter_new(&with_loop, &meter, NULL), CDS_OK);
}
static int start(void **state)
{
    begin();
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

#define T(name) cmocka_unit_test_setup_teardown(name, started, stop)
