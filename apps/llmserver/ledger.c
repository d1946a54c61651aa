#include "apps/llmserver/ledger.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/jwt/jwt.h"
#include "lib/log/log.h"
#include "lib/metrics/metrics.h"

enum { BACKOFF_FIRST_MS = 50, BACKOFF_MAX_MS = 2000, PAUSE_FIRST_MS = 1000, PAUSE_MAX_MS = 60000 };

static void pump(struct cds_ledger_lane *lane);

/* --- lists -------------------------------------------------------------------------------------------------------------- */

static void append(struct cds_ledger_list *list, struct cds_ledger_op *op)
{
    op->next = NULL;
    if (list->last)
        list->last->next = op;
    else
        list->first = op;
    list->last = op;
    list->count++;
}

static struct cds_ledger_op *take_first(struct cds_ledger_list *list)
{
    struct cds_ledger_op *op = list->first;
    if (!op)
        return NULL;
    list->first = op->next;
    if (!list->first)
        list->last = NULL;
    list->count--;
    op->next = NULL;
    return op;
}

/** Puts a whole list back in front of another, in its order. */
static void put_back(struct cds_ledger_list *list, struct cds_ledger_list *front)
{
    if (!front->first)
        return;
    front->last->next = list->first;
    if (!list->last)
        list->last = front->last;
    list->first = front->first;
    list->count += front->count;
    *front = (struct cds_ledger_list){0};
}

/* --- answers ------------------------------------------------------------------------------------------------------------ */

/** A reservation that may be in the ledger although it is not wanted: a settlement of nothing closes it, and keeps one that is still on its way in
 *  the database from being made. */
static void release(struct cds_ledger_lane *lane, const struct cds_ledger_op *op)
{
    static const struct cds_meter_used nothing = {0};
    const struct cds_meter_request request = {
        .user_id = op->user_id, .request_id = op->request_id, .model = op->model, .key_id = op->key_id, .admitted = op->admitted};
    cds_meter_settle(lane->meter, &request, &nothing, "failed", NULL, NULL);
}

static void answer_granted(struct cds_ledger_lane *lane, struct cds_ledger_op *op, const struct cds_err *err)
{
    struct cds_live_set *set = &lane->meter->live;
    struct cds_live *live = cds_live_find(set, op->user_id, op->request_id);
    if (!err && live) {
        live->granted = true;
        live->held_tokens = op->total_tokens;
    } else if (err && op->kind == CDS_LEDGER_RESERVE) {
        if (op->uncertain)
            release(lane, op);
        else
            cds_live_drop(set, op->user_id, op->request_id);
    }
    if (op->granted)
        op->granted(op->user, err);
    free(op);
}

static void give_up(struct cds_ledger_lane *lane, struct cds_ledger_op *op, const struct cds_err *why)
{
    struct cds_err err = {0};
    cds_fail(&err, CDS_UNAVAILABLE, __func__, "The token ledger is not reachable, so no tokens can be reserved.");
    cds_err_hint(&err, "Try again in a few seconds.");
    cds_err_rule(&err, "ledger.unavailable");
    err.retry_after_ms = 2000;
    if (why)
        cds_err_detail(&err, "%s %s", why->message, why->detail);
    answer_granted(lane, op, &err);
}

/** Another id for a settlement, always the same one: whoever books it again after a crash finds it booked. A UUID of version 8 (RFC 9562). */
static void take_other_id(struct cds_ledger_op *op)
{
    char text[256], hex[65];
    int len = snprintf(text, sizeof(text), "%s %s %s %s", op->node, op->user_id, op->request_id, op->admitted);
    cds_sha256_hex(text, (size_t)len, hex);
    snprintf(op->request_id, sizeof(op->request_id), "%.8s-%.4s-8%.3s-8%.3s-%.12s", hex, hex + 8, hex + 12, hex + 15, hex + 18);
}

/** The answer to a settlement; true when it has to go out again. */
static bool take_settled(struct cds_ledger_lane *lane, struct cds_ledger_op *op, const struct cds_ledger_answer *answer)
{
    cds_live_drop(&lane->meter->live, op->user_id, op->request_id);
    bool empty = op->used.prompt_tokens == 0 && op->used.completion_tokens == 0;
    if (answer->is == CDS_LEDGER_FOREIGN && !empty) {
        /* Our reservation was lost in a crash of the database, and another server's request has taken the id since. */
        char old_id[CDS_UUID_LEN + 1];
        cds_strcpy(old_id, sizeof(old_id), op->request_id);
        take_other_id(op);
        cds_log(CDS_LOG_WARN, "another server has a request of this id; it is booked under a new one", CDS_LS("request_id", old_id),
                CDS_LS("new_id", op->request_id));
        return true;
    }
    cds_journal_drop(lane->meter->journal, op->place);
    cds_metric_add(CDS_M_TOKEN_SPEND, op->model, (int64_t)op->used.prompt_tokens + op->used.completion_tokens);
    cds_metric_add(CDS_M_LLM_TOKENS_PROMPT, op->model, op->used.prompt_tokens);
    cds_metric_add(CDS_M_LLM_TOKENS_COMPLETION, op->model, op->used.completion_tokens);
    if (answer->soft_fresh)
        cds_log(CDS_LOG_WARN, "a budget has passed a soft limit", CDS_LS("budget", answer->booked.soft_budget),
                CDS_LI("percent", answer->booked.soft_percent), CDS_LS("user_id", op->user_id), CDS_LS("request_id", op->request_id));
    if (op->settled)
        op->settled(op->user, &answer->booked);
    free(op);
    return false;
}

/** One op of an answered batch; true when it has to go out again. */
static bool take_answer(struct cds_ledger_lane *lane, struct cds_ledger_op *op, const struct cds_rows *rows, int row)
{
    struct cds_ledger_answer answer = {0};
    cds_ledger_read(op, rows, row, &answer);
    if (answer.is == CDS_LEDGER_ALONE && !op->alone) {
        op->alone = true;
        return true;
    }
    if (op->kind == CDS_LEDGER_SETTLE)
        return take_settled(lane, op, &answer);
    if (answer.is == CDS_LEDGER_NO_PRICE && cds_now_ms() < op->deadline_ms) {
        /* The price is made when a model is loaded; this request was quicker. */
        cds_meter_add_model(lane->meter, op->model);
        lane->backoff_ms = BACKOFF_FIRST_MS;
        return true;
    }
    /* Only our own earlier call, whose answer was lost, makes a reservation that is there already a yes. */
    if (answer.is == CDS_LEDGER_HELD_BEFORE)
        answer.is = op->uncertain ? CDS_LEDGER_DONE : CDS_LEDGER_DUPLICATE;
    if (answer.is == CDS_LEDGER_DONE) {
        answer_granted(lane, op, NULL);
        return false;
    }
    if (answer.is == CDS_LEDGER_NO_PRICE)
        cds_fail(&answer.err, CDS_UNAVAILABLE, __func__, "The model %s has no price yet, so no tokens can be reserved.", op->model);
    if (answer.is == CDS_LEDGER_DUPLICATE)
        cds_fail(&answer.err, CDS_CONFLICT, __func__, "The ledger knows this request id already.");
    if (answer.is == CDS_LEDGER_REFUSED)
        cds_metric_add(CDS_M_LEDGER_REFUSED, NULL, 1);
    answer_granted(lane, op, &answer.err);
    return false;
}

/* --- failures ----------------------------------------------------------------------------------------------------------- */

/** Puts a settlement aside that the database refuses by itself. It is never dropped, and tried again ever more rarely. */
static void park(struct cds_ledger_lane *lane, struct cds_ledger_op *op, const struct cds_err *err)
{
    op->pause_ms = op->pause_ms ? op->pause_ms * 2 : PAUSE_FIRST_MS;
    if (op->pause_ms > PAUSE_MAX_MS)
        op->pause_ms = PAUSE_MAX_MS;
    op->due_ms = cds_now_ms() + op->pause_ms;
    cds_log(CDS_LOG_ERROR, "the database refuses a settlement; the others pass it and it is tried again", CDS_LS("request_id", op->request_id),
            CDS_LS("user_id", op->user_id), CDS_LI("prompt_tokens", op->used.prompt_tokens), CDS_LI("completion_tokens", op->used.completion_tokens),
            CDS_LI("again_in_ms", op->pause_ms), CDS_LS("error", err->message), CDS_LS("detail", err->detail));
    append(&lane->parked, op);
    if (lane->parked.count == 1 || op->due_ms < lane->unpark_ms)
        cds_timer_set(lane->unpark, lane->unpark_ms = op->due_ms);
}

/** Those whose pause is over wait behind all others. */
static void on_unpark(void *user)
{
    struct cds_ledger_lane *lane = user;
    struct cds_ledger_list all = lane->parked;
    uint64_t now = cds_now_ms();
    lane->parked = (struct cds_ledger_list){0};
    lane->unpark_ms = UINT64_MAX;
    for (struct cds_ledger_op *op; (op = take_first(&all)) != NULL;) {
        if (op->due_ms > now && op->due_ms < lane->unpark_ms)
            lane->unpark_ms = op->due_ms;
        append(op->due_ms > now ? &lane->parked : &lane->waiting[op->kind], op);
    }
    cds_timer_set(lane->unpark, lane->unpark_ms);
    pump(lane);
}

static void back_off(struct cds_ledger_lane *lane)
{
    lane->backoff_ms = lane->backoff_ms ? lane->backoff_ms * 2 : BACKOFF_FIRST_MS;
    if (lane->backoff_ms > BACKOFF_MAX_MS)
        lane->backoff_ms = BACKOFF_MAX_MS;
    lane->retrying = true;
    cds_timer_set(lane->retry, cds_now_ms() + lane->backoff_ms);
}

/** The call failed as a whole: settlements and ops with time left go out again. */
static void take_failure(struct cds_ledger_lane *lane, const struct cds_err *err)
{
    struct cds_ledger_list flying = lane->flying, again = {0};
    lane->flying = (struct cds_ledger_list){0};
    /* The database is well and does not like an entry: one of a batch must not hold up the others, so they go out one by one. */
    bool disliked = err->code == CDS_BAD_PARAM || err->code == CDS_CONFLICT || err->code == CDS_INTERNAL;
    bool lone = flying.count == 1, unknown = cds_streq(err->rule, "db.unknown_outcome");
    enum cds_ledger_kind kind = flying.first ? flying.first->kind : CDS_LEDGER_RESERVE;
    if (disliked && lone && kind == CDS_LEDGER_SETTLE) {
        park(lane, take_first(&flying), err);
        pump(lane);
        return;
    }
    cds_log_err(CDS_LOG_WARN, "the ledger did not answer a batch; it is sent again", NULL, err);
    back_off(lane);
    for (struct cds_ledger_op *op; (op = take_first(&flying)) != NULL;) {
        op->alone = op->alone || disliked;
        op->uncertain = op->uncertain || unknown;
        if (op->deadline_ms <= cds_now_ms() + lane->backoff_ms)
            give_up(lane, op, err);
        else
            append(&again, op);
    }
    put_back(&lane->waiting[kind], &again);
}

static void on_answer(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct cds_ledger_lane *lane = user;
    struct cds_err short_answer = {0};
    if (!err && cds_rows_count(rows) != (int)lane->flying.count) {
        cds_fail(&short_answer, CDS_INTERNAL, __func__, "The ledger answered %d of %u entries.", cds_rows_count(rows), lane->flying.count);
        cds_err_rule(&short_answer, "db.unknown_outcome");
        err = &short_answer;
    }
    lane->busy = false;
    if (err && err->code == CDS_CANCELLED)
        return; /* the connection is being closed; the ops are freed with the lane */
    if (err) {
        take_failure(lane, err);
        return;
    }
    lane->backoff_ms = 0;
    struct cds_ledger_list flying = lane->flying, again = {0};
    lane->flying = (struct cds_ledger_list){0};
    enum cds_ledger_kind kind = flying.first->kind;
    int row = 0;
    for (struct cds_ledger_op *op; (op = take_first(&flying)) != NULL; row++)
        if (take_answer(lane, op, rows, row))
            append(&again, op);
    put_back(&lane->waiting[kind], &again);
    if (lane->backoff_ms) {
        lane->retrying = true;
        cds_timer_set(lane->retry, cds_now_ms() + lane->backoff_ms);
    }
    pump(lane);
}

/* --- sending ------------------------------------------------------------------------------------------------------------ */

/** Moves what goes into one call to `flying`: all waiting ops of one kind up to the batch size, or a single one that must go alone. */
static void gather(struct cds_ledger_lane *lane, struct cds_ledger_list *waiting)
{
    while (waiting->first && lane->flying.count < CDS_METER_BATCH) {
        bool alone = waiting->first->alone;
        if (lane->flying.count > 0 && alone)
            return;
        append(&lane->flying, take_first(waiting));
        if (alone)
            return;
    }
}

static void pump(struct cds_ledger_lane *lane)
{
    static const char *const names[] = {"reserve", "extend", "settle"};
    if (lane->busy || lane->retrying)
        return;
    /* Extensions first: an answer is being written for them. */
    static const enum cds_ledger_kind order[] = {CDS_LEDGER_EXTEND, CDS_LEDGER_RESERVE, CDS_LEDGER_SETTLE};
    for (size_t i = 0; i < CDS_ARRAY_LEN(order) && lane->flying.count == 0; i++)
        gather(lane, &lane->waiting[order[i]]);
    if (lane->flying.count == 0)
        return;
    enum cds_ledger_kind kind = lane->flying.first->kind;
    lane->busy = true;
    cds_rc rc = cds_ledger_send(lane, on_answer);
    if (rc == CDS_OK) {
        cds_metric_add(CDS_M_LEDGER_BATCHES, names[kind], 1);
        return;
    }
    struct cds_err err = {0};
    cds_fail(&err, rc, __func__, "The call to the ledger could not be sent.");
    lane->busy = false;
    take_failure(lane, &err);
}

static void on_retry(void *user)
{
    struct cds_ledger_lane *lane = user;
    lane->retrying = false;
    pump(lane);
}

void cds_ledger_put(struct cds_ledger_lane *lane, struct cds_ledger_op *op)
{
    append(&lane->waiting[op->kind], op);
    pump(lane);
}

/** All lists of a lane, NULL behind the last. */
static struct cds_ledger_list *list_of(struct cds_ledger_lane *lane, int i)
{
    struct cds_ledger_list *const others[] = {&lane->flying, &lane->parked, NULL};
    return i < CDS_LEDGER_KINDS ? &lane->waiting[i] : others[i - CDS_LEDGER_KINDS];
}

void cds_ledger_forget(struct cds_ledger_lane *lane, const void *user)
{
    struct cds_ledger_list *list;
    for (int i = 0; (list = list_of(lane, i)) != NULL; i++) {
        for (struct cds_ledger_op *op = list->first; op; op = op->next) {
            if (op->user != user)
                continue;
            op->user = NULL;
            op->granted = NULL;
            op->settled = NULL;
        }
    }
}

cds_rc cds_ledger_lane_open(struct cds_meter *meter, struct cds_ledger_lane *lane, const char *conninfo, struct cds_err *reterr)
{
    lane->meter = meter;
    cds_rc rc = cds_timer_add(meter->loop, UINT64_MAX, on_retry, lane, &lane->retry);
    if (rc == CDS_OK)
        rc = cds_timer_add(meter->loop, UINT64_MAX, on_unpark, lane, &lane->unpark);
    if (rc != CDS_OK)
        return cds_fail(reterr, rc, __func__, "There is not enough memory for the ledger.");
    return cds_dbq_open(meter->loop, conninfo, 64, &lane->db, reterr);
}

void cds_ledger_lane_close(struct cds_ledger_lane *lane)
{
    struct cds_ledger_list *list;
    if (lane->db)
        cds_dbq_close(&lane->db);
    cds_timer_remove(&lane->retry);
    cds_timer_remove(&lane->unpark);
    for (int i = 0; (list = list_of(lane, i)) != NULL; i++) {
        for (struct cds_ledger_op *op; (op = take_first(list)) != NULL; free(op))
            if (op->kind == CDS_LEDGER_SETTLE)
                cds_log(CDS_LOG_ERROR,
                        op->place == CDS_JOURNAL_NO_PLACE ? "a settlement could not be booked before the end"
                                                          : "a settlement could not be booked before the end; the next start books it",
                        CDS_LS("request_id", op->request_id), CDS_LS("user_id", op->user_id), CDS_LI("prompt_tokens", op->used.prompt_tokens),
                        CDS_LI("completion_tokens", op->used.completion_tokens));
    }
}
