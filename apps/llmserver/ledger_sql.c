#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/llmserver/ledger.h"
#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"

/* The functions are in database/migrations/0004_ledger.sql and described in database/README.md. Every array call answers one row per entry, in
 * the order of the entries. */
static const char reserve_sql[] =
    "SELECT outcome, used, held, lim, resets_at FROM ledger_reserve_many($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5)";
static const char extend_sql[] = "SELECT outcome, used, held, lim, resets_at FROM ledger_extend_many($1::uuid[], $2::uuid[], $3::bigint[])";
static const char settle_sql[] = "SELECT outcome, cost_micro FROM ledger_settle_many($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[])";
const char cds_ledger_sql_recover[] = "SELECT ledger_node_start($1)";
const char cds_ledger_sql_prolong[] = "SELECT ledger_node_prolong($1)";
const char cds_ledger_sql_add_model[] = "SELECT ledger_model_add($1, $2::bigint, $3::bigint)";

enum { ARRAY_MAX = 256 * 1024, CALL_MS = 4000 };

/* --- asking ------------------------------------------------------------------------------------------------------------- */

typedef void add_fn(struct cds_buf *buf, const struct cds_ledger_op *op);

static void add_user(struct cds_buf *buf, const struct cds_ledger_op *op)
{
    (void)cds_buf_add_str(buf, op->user_id);
}
static void add_request(struct cds_buf *buf, const struct cds_ledger_op *op)
{
    (void)cds_buf_add_str(buf, op->request_id);
}
static void add_model(struct cds_buf *buf, const struct cds_ledger_op *op)
{
    /* Model ids are letters, digits, '.', '_' and '-' (registry.c): nothing to escape inside the quotes. */
    (void)cds_buf_addf(buf, "\"%s\"", op->model);
}
static void add_a(struct cds_buf *buf, const struct cds_ledger_op *op)
{
    (void)cds_buf_addf(buf, "%" PRId64, op->a);
}
static void add_b(struct cds_buf *buf, const struct cds_ledger_op *op)
{
    (void)cds_buf_addf(buf, "%" PRId64, op->b);
}

/** One array parameter: "{x,y,...}" of every op in the batch. */
static struct cds_buf array(const struct cds_ledger_list *ops, add_fn *add)
{
    struct cds_buf buf = cds_buf_init(ARRAY_MAX);
    (void)cds_buf_add_str(&buf, "{");
    for (const struct cds_ledger_op *op = ops->first; op; op = op->next) {
        if (op != ops->first)
            (void)cds_buf_add_str(&buf, ",");
        add(&buf, op);
    }
    (void)cds_buf_add_str(&buf, "}");
    return buf;
}

cds_rc cds_ledger_send(struct cds_ledger_lane *lane, cds_dbq_done_fn *done)
{
    static const struct {
        const char *sql;
        add_fn *columns[5];
        int count;
        bool node; /**< the node follows the arrays */
    } calls[CDS_LEDGER_KINDS] = {
        [CDS_LEDGER_RESERVE] = {reserve_sql, {add_user, add_request, add_model, add_a}, 4, true},
        [CDS_LEDGER_EXTEND] = {extend_sql, {add_user, add_request, add_a}, 3, false},
        [CDS_LEDGER_SETTLE] = {settle_sql, {add_user, add_request, add_model, add_a, add_b}, 5, false},
    };
    enum cds_ledger_kind kind = lane->flying.first->kind;
    struct cds_buf columns[5] = {0};
    const char *params[6];
    cds_rc rc = CDS_OK;
    int n = 0;
    for (; n < calls[kind].count; n++) {
        columns[n] = array(&lane->flying, calls[kind].columns[n]);
        params[n] = columns[n].data;
        if (columns[n].failed)
            rc = CDS_EXHAUSTED;
    }
    if (calls[kind].node)
        params[n++] = lane->meter->node;
    if (rc == CDS_OK)
        rc = cds_dbq_exec(lane->db, calls[kind].sql, n, params, cds_now_ms() + CALL_MS, done, lane);
    for (int i = 0; i < calls[kind].count; i++)
        cds_buf_free(&columns[i]);
    return rc;
}

/* --- reading ------------------------------------------------------------------------------------------------------------ */

/** The sentence for a user whose month is used up. */
static void over_budget(const struct cds_rows *rows, int row, struct cds_err *err)
{
    int64_t used = cds_rows_i64(rows, row, 1, 0), held = cds_rows_i64(rows, row, 2, 0), limit = cds_rows_i64(rows, row, 3, 0);
    const char *resets = cds_rows_str(rows, row, 4);
    char held_text[64] = "";
    if (held > 0)
        snprintf(held_text, sizeof(held_text), " and %" PRId64 " reserved by running requests", held);
    cds_fail(err, CDS_BUDGET_EXCEEDED, __func__, "The monthly token budget is used up: %" PRId64 " of %" PRId64 " tokens used%s; it resets on %.10s",
             used, limit, held_text, resets ? resets : "the first of next month");
    cds_err_hint(err, "Ask for a shorter answer, wait for the reset, or ask an administrator for more.");
    cds_err_rule(err, "budget.user.month");
}

void cds_ledger_read(const struct cds_ledger_op *op, const struct cds_rows *rows, int row, struct cds_ledger_answer *ret)
{
    const char *outcome = cds_rows_str(rows, row, 0);
    if (op->kind == CDS_LEDGER_SETTLE)
        ret->cost_micro = cds_rows_i64(rows, row, 1, 0);
    if (cds_streq(outcome, "ok") || cds_streq(outcome, "already")) {
        ret->is = CDS_LEDGER_DONE;
    } else if (cds_streq(outcome, "replay")) {
        ret->is = op->kind == CDS_LEDGER_RESERVE ? CDS_LEDGER_DUPLICATE : CDS_LEDGER_DONE;
    } else if (cds_streq(outcome, "alone")) {
        ret->is = CDS_LEDGER_ALONE;
    } else if (cds_streq(outcome, "budget")) {
        ret->is = CDS_LEDGER_REFUSED;
        over_budget(rows, row, &ret->err);
    } else {
        ret->is = CDS_LEDGER_REFUSED;
        cds_fail(&ret->err, CDS_DENIED, __func__, "The token ledger refused this request (%s)", outcome ? outcome : "no answer");
        cds_err_hint(&ret->err, "Sign in again; if that does not help, ask an administrator.");
    }
}
