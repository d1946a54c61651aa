#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/llmserver/ledger.h"
#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"

/* The functions are in database/migrations/0013_budgets.sql. A batch is held as a whole or not at all (code 0: "alone"); a
 * single call says why. Only reservations commit without waiting for the disk: one that a crash loses takes its hold with it, and its settlement is
 * booked all the same. An extension that was granted must not vanish: the request would use more than the hold that is left, and a node that died
 * would be billed for less than it noted. */
#define QUICK "set_config('synchronous_commit', 'off', true)"
/* Called in a list of columns, a function costs less than called as a table; OFFSET 0 keeps it from being called for each column. */
#define ONCE(call) " FROM (SELECT " call " AS r OFFSET 0) x"
static const char reserve_one[] = "SELECT (x.r).code, (x.r).refused" ONCE(
    QUICK ", reserve($1::uuid, $2::uuid, $3::uuid, $4::text, $5::timestamptz, $6::bigint, $7::uuid, $8::interval, $9::bigint)");
static const char reserve_batch[] =
    "SELECT x.code FROM " QUICK " s, unnest(reserve_many($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[], $6::bigint[], $7::uuid,"
    " $8::interval, $9::bigint[])) WITH ORDINALITY x(code, n) ORDER BY x.n";
static const char extend_one[] =
    "SELECT (x.r).code, (x.r).refused" ONCE("extend($1::uuid, $2::uuid, $3::bigint, $4::bigint, $5::bigint, $6::interval)");
static const char extend_batch[] =
    "SELECT x.code FROM unnest(extend_many($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::interval))"
    " WITH ORDINALITY x(code, n) ORDER BY x.n";
static const char settle_one[] = "SELECT (x.r).code, (x.r).cost_micro, (x.r).soft, (x.r).soft_policy, (x.r).fresh" ONCE(
    "settle($1::uuid, $2::uuid, $3::uuid, $4::text, $5::timestamptz, $6::bigint, $7::bigint, $8::bigint, $9::text, $10::uuid)");
static const char settle_batch[] = "SELECT code, cost_micro, soft, soft_policy, fresh FROM settle_many($1::uuid[], $2::uuid[], $3::uuid[], "
                                   "$4::text[], $5::timestamptz[], $6::bigint[],"
                                   " $7::bigint[], $8::bigint[], $9::text[], $10::uuid)";
const char cds_ledger_sql_recover[] = "SELECT release_node($1::uuid)";
const char cds_ledger_sql_prolong[] = "SELECT prolong($1::uuid[], $2::uuid[], $3::uuid, $4::interval)";
const char cds_ledger_sql_reap[] = "SELECT reap(500)";
const char cds_ledger_sql_add_model[] = "INSERT INTO model_prices (model, price_input, price_cached, price_output) VALUES ($1::text, $2::bigint, "
                                        "$2::bigint, $3::bigint) ON CONFLICT DO NOTHING";
const char cds_ledger_ttl[] = "120 seconds";

/* Stands for "no key: a signed-in session". */
#define NO_KEY "00000000-0000-0000-0000-000000000000"
/* A client waits for a hold, nobody for a settlement. */
enum { ARRAY_MAX = 256 * 1024, CALL_MS = 4000, HOLD_MS = 1500, COLUMNS_MAX = 10 };

/* --- columns ------------------------------------------------------------------------------------------------------------ */

typedef void add_fn(struct cds_buf *buf, const struct cds_ledger_op *op);

static void add_user(struct cds_buf *buf, const struct cds_ledger_op *op)
{
    (void)cds_buf_add_str(buf, op->user_id);
}
static void add_key(struct cds_buf *buf, const struct cds_ledger_op *op)
{
    (void)cds_buf_add_str(buf, *op->key_id ? op->key_id : NO_KEY);
}
static void add_request(struct cds_buf *buf, const struct cds_ledger_op *op)
{
    (void)cds_buf_add_str(buf, op->request_id);
}
static void add_model(struct cds_buf *buf, const struct cds_ledger_op *op)
{
    /* Model ids are letters, digits, '.', '_' and '-' (registry.c): nothing to quote. */
    (void)cds_buf_add_str(buf, op->model);
}
static void add_admitted(struct cds_buf *buf, const struct cds_ledger_op *op)
{
    (void)cds_buf_add_str(buf, op->admitted);
}
static void add_tokens(struct cds_buf *buf, const struct cds_ledger_op *op)
{
    (void)cds_buf_addf(buf, "%" PRIu32, op->tokens);
}
static void add_total(struct cds_buf *buf, const struct cds_ledger_op *op)
{
    (void)cds_buf_addf(buf, "%" PRIu32, op->total_tokens);
}
static void add_prompt(struct cds_buf *buf, const struct cds_ledger_op *op)
{
    (void)cds_buf_addf(buf, "%" PRIu32, op->prompt_tokens);
}
static void add_in(struct cds_buf *buf, const struct cds_ledger_op *op)
{
    (void)cds_buf_addf(buf, "%" PRIu32, op->used.prompt_tokens);
}
static void add_cached(struct cds_buf *buf, const struct cds_ledger_op *op)
{
    (void)cds_buf_addf(buf, "%" PRIu32, op->used.cached_tokens);
}
static void add_out(struct cds_buf *buf, const struct cds_ledger_op *op)
{
    (void)cds_buf_addf(buf, "%" PRIu32, op->used.completion_tokens);
}
static void add_outcome(struct cds_buf *buf, const struct cds_ledger_op *op)
{
    (void)cds_buf_add_str(buf, op->outcome);
}

/* --- calls -------------------------------------------------------------------------------------------------------------- */

/** How a column is given: one value per op (an array in a batch), or one for all. */
enum form { PER_OP, NODE, TTL };
struct column {
    enum form form;
    add_fn *add;
};
struct call {
    const char *one, *batch;
    struct column columns[COLUMNS_MAX];
    int count;
};
static const struct call calls[CDS_LEDGER_KINDS] = {
    [CDS_LEDGER_RESERVE] = {reserve_one,
                            reserve_batch,
                            {{PER_OP, add_user},
                             {PER_OP, add_key},
                             {PER_OP, add_request},
                             {PER_OP, add_model},
                             {PER_OP, add_admitted},
                             {PER_OP, add_tokens},
                             {NODE, NULL},
                             {TTL, NULL},
                             {PER_OP, add_prompt}},
                            9},
    [CDS_LEDGER_EXTEND] = {extend_one,
                           extend_batch,
                           {{PER_OP, add_user}, {PER_OP, add_request}, {PER_OP, add_total}, {PER_OP, add_in}, {PER_OP, add_out}, {TTL, NULL}},
                           6},
    [CDS_LEDGER_SETTLE] = {settle_one,
                           settle_batch,
                           {{PER_OP, add_user},
                            {PER_OP, add_key},
                            {PER_OP, add_request},
                            {PER_OP, add_model},
                            {PER_OP, add_admitted},
                            {PER_OP, add_in},
                            {PER_OP, add_cached},
                            {PER_OP, add_out},
                            {PER_OP, add_outcome},
                            {NODE, NULL}},
                           10},
};

/** What is of another node goes out alone, so the first speaks for all of a batch. */
static struct cds_buf value(const struct cds_ledger_lane *lane, const struct column *column, bool as_array)
{
    struct cds_buf buf = cds_buf_init(ARRAY_MAX);
    const struct cds_ledger_op *first = lane->flying.first;
    if (column->form == NODE || column->form == TTL) {
        (void)cds_buf_add_str(&buf, column->form == NODE ? first->node : cds_ledger_ttl);
    } else if (!as_array) {
        column->add(&buf, first);
    } else {
        for (const struct cds_ledger_op *op = first; op; op = op->next) {
            (void)cds_buf_add_str(&buf, op == first ? "{" : ",");
            column->add(&buf, op);
        }
        (void)cds_buf_add_str(&buf, "}");
    }
    return buf;
}

cds_rc cds_ledger_send(struct cds_ledger_lane *lane, cds_dbq_done_fn *done)
{
    const struct call *call = &calls[lane->flying.first->kind];
    bool single = lane->flying.count == 1;
    struct cds_buf values[COLUMNS_MAX];
    const char *params[COLUMNS_MAX];
    cds_rc rc = CDS_OK;
    for (int i = 0; i < call->count; i++) {
        values[i] = value(lane, &call->columns[i], !single);
        params[i] = values[i].data;
        if (values[i].failed)
            rc = CDS_EXHAUSTED;
    }
    if (rc == CDS_OK)
        rc = cds_dbq_exec(lane->db, single ? call->one : call->batch, call->count, params,
                          cds_now_ms() + (lane->flying.first->kind == CDS_LEDGER_SETTLE ? CALL_MS : HOLD_MS), done, lane);
    for (int i = 0; i < call->count; i++)
        cds_buf_free(&values[i]);
    return rc;
}

/* --- answers ------------------------------------------------------------------------------------------------------------ */

void cds_ledger_read(const struct cds_ledger_op *op, const struct cds_rows *rows, int row, struct cds_ledger_answer *ret)
{
    enum { ALONE = 0, DONE = 1, REPLAY = 2, KEY_LIMIT = 3, OTHER_LIMIT = 4, NO_MODEL = 5, HELD_BEFORE = 6, FOREIGN = 3 };
    int64_t code = cds_rows_i64(rows, row, 0, -1);
    if (op->kind == CDS_LEDGER_SETTLE) {
        ret->is = code == FOREIGN ? CDS_LEDGER_FOREIGN : CDS_LEDGER_DONE;
        ret->booked = (struct cds_meter_booked){.cost_micro = cds_rows_i64(rows, row, 1, 0),
                                                .soft_percent = (unsigned)cds_rows_i64(rows, row, 2, 0),
                                                .soft_budget = cds_rows_str(rows, row, 3)};
        ret->soft_fresh = ret->booked.soft_percent > 0 && cds_rows_bool(rows, row, 4);
    } else if (code == DONE) {
        ret->is = CDS_LEDGER_DONE;
    } else if (code == ALONE) {
        ret->is = CDS_LEDGER_ALONE;
    } else if (code == REPLAY && op->kind == CDS_LEDGER_RESERVE) {
        ret->is = CDS_LEDGER_DUPLICATE;
    } else if (code == HELD_BEFORE) {
        ret->is = CDS_LEDGER_HELD_BEFORE;
    } else if (code == KEY_LIMIT || code == OTHER_LIMIT) {
        ret->is = CDS_LEDGER_REFUSED;
        cds_ledger_over_budget(op, cds_rows_str(rows, row, 1), &ret->err);
    } else if (code == NO_MODEL) {
        ret->is = CDS_LEDGER_NO_PRICE;
    } else {
        ret->is = CDS_LEDGER_REFUSED;
        cds_fail(&ret->err, CDS_UNAVAILABLE, __func__, "The reservation of this request has expired, so no more tokens can be reserved.");
    }
}
