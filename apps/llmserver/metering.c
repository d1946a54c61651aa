#include "apps/llmserver/metering.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "apps/llmserver/ledger.h"
#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

/* Prices are configured per token and kept per million of them. */
#define PER_MILLION INT64_C(1000000)
enum {
    BEAT_MS = 20000,
    RECOVER_RETRY_MS = 500,
    REPLAY_LOOK_MS = 50,
    BEAT_DEADLINE_MS = 5000,
    PROLONG_MAX_BYTES = CDS_METER_BATCH * (CDS_UUID_LEN + 1) + 2
};

/* --- ops ---------------------------------------------------------------------------------------------------------------- */

void cds_meter_now(char ret[static CDS_METER_TIME_LEN + 1])
{
    uint64_t ms = cds_wall_ms();
    time_t now = (time_t)(ms / 1000);
    struct tm utc;
    gmtime_r(&now, &utc);
    size_t n = strftime(ret, CDS_METER_TIME_LEN + 1, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(ret + n, CDS_METER_TIME_LEN + 1 - n, ".%03uZ", (unsigned)(ms % 1000));
}

static struct cds_ledger_op *op_new(const struct cds_meter *meter, enum cds_ledger_kind kind, const struct cds_meter_request *request, void *user)
{
    struct cds_ledger_op *op = calloc(1, sizeof(*op));
    if (!op)
        return NULL;
    op->kind = kind;
    op->user = user;
    op->place = CDS_JOURNAL_NO_PLACE;
    op->deadline_ms = kind == CDS_LEDGER_SETTLE ? UINT64_MAX : cds_now_ms() + CDS_METER_WAIT_MS;
    cds_strcpy(op->node, sizeof(op->node), meter->node);
    cds_strcpy(op->user_id, sizeof(op->user_id), request->user_id);
    cds_strcpy(op->request_id, sizeof(op->request_id), request->request_id);
    cds_strcpy(op->model, sizeof(op->model), request->model);
    cds_strcpy(op->key_id, sizeof(op->key_id), request->key_id);
    cds_strcpy(op->admitted, sizeof(op->admitted), request->admitted);
    op->prompt_tokens = request->prompt_tokens;
    return op;
}

static cds_rc no_memory(struct cds_err *reterr)
{
    return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory to reserve tokens.");
}

/** Checks that a call may wait, and makes its op. */
static cds_rc ask(struct cds_meter *meter, enum cds_ledger_kind kind, const struct cds_meter_request *request, uint32_t tokens, void *user,
                  struct cds_ledger_op **ret, struct cds_err *reterr)
{
    const struct cds_ledger_lane *lane = &meter->reserve;
    cds_rc rc = CDS_OK;
    if (lane->waiting[CDS_LEDGER_RESERVE].count + lane->waiting[CDS_LEDGER_EXTEND].count >= CDS_METER_QUEUE)
        rc = cds_fail(reterr, CDS_BUSY, __func__, "Too many requests wait for the token ledger.");
    else if (!meter->recovered)
        rc = cds_fail(reterr, CDS_UNAVAILABLE, __func__, "The token ledger is not reachable yet, so no tokens can be reserved.");
    if (rc != CDS_OK) {
        cds_err_hint(reterr, "Try again in a few seconds.");
        if (reterr)
            reterr->retry_after_ms = 2000;
        return rc;
    }
    *ret = op_new(meter, kind, request, user);
    if (!*ret)
        return no_memory(reterr);
    (*ret)->tokens = (*ret)->total_tokens = tokens;
    return CDS_OK;
}

cds_rc cds_meter_reserve(struct cds_meter *meter, const struct cds_meter_request *request, uint32_t tokens, cds_meter_granted_fn *done, void *user,
                         struct cds_err *reterr)
{
    struct cds_ledger_op *op = NULL;
    cds_rc rc = cds_disk_room(meter->disk, reterr);
    if (rc == CDS_OK)
        rc = cds_journal_room(meter->journal, meter->live.count, reterr);
    if (rc == CDS_OK && cds_live_find(&meter->live, request->user_id, request->request_id))
        rc = cds_fail(reterr, CDS_CONFLICT, __func__, "A request with this id is not settled yet.");
    if (rc == CDS_OK)
        rc = ask(meter, CDS_LEDGER_RESERVE, request, tokens, user, &op, reterr);
    if (rc != CDS_OK)
        return rc;
    if (!cds_live_add(&meter->live, request->user_id, request->request_id, tokens)) {
        free(op);
        return no_memory(reterr);
    }
    op->granted = done;
    cds_ledger_put(&meter->reserve, op);
    return CDS_OK;
}

cds_rc cds_meter_extend(struct cds_meter *meter, const struct cds_meter_request *request, uint32_t more_tokens, const struct cds_meter_used *so_far,
                        cds_meter_granted_fn *done, void *user, struct cds_err *reterr)
{
    struct cds_ledger_op *op = NULL;
    const struct cds_live *live = cds_live_find(&meter->live, request->user_id, request->request_id);
    if (!live || !live->granted)
        return cds_fail(reterr, CDS_CONFLICT, __func__, "No tokens are reserved for this request.");
    cds_rc rc = ask(meter, CDS_LEDGER_EXTEND, request, more_tokens, user, &op, reterr);
    if (rc != CDS_OK)
        return rc;
    op->total_tokens = live->held_tokens + more_tokens;
    op->used = *so_far;
    op->granted = done;
    cds_ledger_put(&meter->reserve, op);
    return CDS_OK;
}

static struct cds_meter_used sane(const struct cds_meter_used *used)
{
    struct cds_meter_used sane = *used;
    if (sane.cached_tokens > sane.prompt_tokens)
        sane.cached_tokens = sane.prompt_tokens;
    return sane;
}

/** Writes an end down: from here on it survives this process. @return its place */
static int note(struct cds_meter *meter, int place, const struct cds_meter_request *request, const struct cds_meter_used *used, const char *outcome)
{
    struct cds_journal_entry entry = {.used = sane(used), .outcome = outcome};
    cds_strcpy(entry.node, sizeof(entry.node), meter->node);
    cds_strcpy(entry.user_id, sizeof(entry.user_id), request->user_id);
    cds_strcpy(entry.request_id, sizeof(entry.request_id), request->request_id);
    cds_strcpy(entry.key_id, sizeof(entry.key_id), request->key_id);
    cds_strcpy(entry.model, sizeof(entry.model), request->model);
    cds_strcpy(entry.admitted, sizeof(entry.admitted), request->admitted);
    return cds_journal_put(meter->journal, place, &entry);
}

void cds_meter_ended(struct cds_meter *meter, const struct cds_meter_request *request, const struct cds_meter_used *used, const char *outcome)
{
    struct cds_live *live = cds_live_find(&meter->live, request->user_id, request->request_id);
    if (!live || live->place != CDS_JOURNAL_NO_PLACE)
        return;
    live->place = note(meter, CDS_JOURNAL_NO_PLACE, request, used, outcome);
    if (live->place == CDS_JOURNAL_NO_PLACE)
        cds_journal_drop(meter->journal, CDS_JOURNAL_NO_PLACE); /* its settlement tries again */
}

void cds_meter_settle(struct cds_meter *meter, const struct cds_meter_request *request, const struct cds_meter_used *used, const char *outcome,
                      cds_meter_settled_fn *done, void *user)
{
    struct cds_ledger_op *op = op_new(meter, CDS_LEDGER_SETTLE, request, user);
    struct cds_live *live = cds_live_find(&meter->live, request->user_id, request->request_id);
    /* Without these few bytes a request would go unbilled in silence. */
    if (!op)
        abort();
    op->used = sane(used);
    op->outcome = outcome;
    op->settled = done;
    op->place = note(meter, live ? live->place : CDS_JOURNAL_NO_PLACE, request, used, outcome);
    if (live)
        live->place = CDS_JOURNAL_NO_PLACE; /* it is the settlement's now */
    cds_ledger_put(&meter->settle, op);
}

/** A settlement of an earlier run goes the same way again; one that was booked already is told so. */
static void on_found(void *user, const struct cds_journal_entry *entry, int place)
{
    struct cds_meter *meter = user;
    const struct cds_meter_request request = {
        .user_id = entry->user_id, .request_id = entry->request_id, .model = entry->model, .key_id = entry->key_id, .admitted = entry->admitted};
    struct cds_ledger_op *op = op_new(meter, CDS_LEDGER_SETTLE, &request, NULL);
    if (!op)
        abort();
    cds_strcpy(op->node, sizeof(op->node), entry->node);
    op->alone = !cds_streq(entry->node, meter->node);
    op->used = entry->used;
    op->outcome = entry->outcome;
    op->place = place;
    cds_ledger_put(&meter->settle, op);
}

void cds_meter_forget(struct cds_meter *meter, void *user)
{
    cds_ledger_forget(&meter->reserve, user);
    cds_ledger_forget(&meter->settle, user);
}

/* --- life --------------------------------------------------------------------------------------------------------------- */

static void on_recovered(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct cds_meter *meter = user;
    if (err && err->code == CDS_CANCELLED)
        return;
    if (err) {
        cds_timer_set(meter->beat, cds_now_ms() + RECOVER_RETRY_MS);
        return;
    }
    meter->recovered = true;
    int64_t released = cds_rows_i64(rows, 0, 0, 0);
    if (released > 0)
        cds_log(CDS_LOG_WARN, "reservations of an earlier run were given back", CDS_LI("requests", released));
    cds_timer_set(meter->beat, cds_now_ms() + BEAT_MS);
}

static void on_beat_done(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    if (err && err->code != CDS_CANCELLED)
        cds_log_err(CDS_LOG_WARN, "open reservations could not be looked after", NULL, err);
}

/** Calls that keep what this server runs from expiring, and nothing else: a hold that only the database knows of must not live for ever. */
struct prolonging {
    struct cds_meter *meter;
    struct cds_buf users, requests;
    unsigned count;
    uint64_t deadline_ms;
    cds_rc rc;
};

static void prolong_send(struct prolonging *p)
{
    struct cds_meter *meter = p->meter;
    if (p->count == 0)
        return;
    (void)cds_buf_add_str(&p->users, "}");
    (void)cds_buf_add_str(&p->requests, "}");
    const char *params[] = {p->users.data, p->requests.data, meter->node, cds_ledger_ttl};
    cds_rc rc = p->users.failed || p->requests.failed
                    ? CDS_EXHAUSTED
                    : cds_dbq_exec(meter->settle.db, cds_ledger_sql_prolong, 4, params, p->deadline_ms, on_beat_done, meter);
    if (p->rc == CDS_OK)
        p->rc = rc;
    cds_buf_clear(&p->users);
    cds_buf_clear(&p->requests);
    p->count = 0;
}

static void prolong_one(void *user, const struct cds_live *live)
{
    struct prolonging *p = user;
    (void)cds_buf_addf(&p->users, "%c%s", p->count ? ',' : '{', live->user_id);
    (void)cds_buf_addf(&p->requests, "%c%s", p->count ? ',' : '{', live->request_id);
    if (++p->count == CDS_METER_BATCH)
        prolong_send(p);
}

cds_rc cds_ledger_prolong(struct cds_meter *meter, uint64_t deadline_ms)
{
    struct prolonging p = {
        .meter = meter, .users = cds_buf_init(PROLONG_MAX_BYTES), .requests = cds_buf_init(PROLONG_MAX_BYTES), .deadline_ms = deadline_ms};
    cds_live_each_granted(&meter->live, prolong_one, &p);
    prolong_send(&p);
    cds_buf_free(&p.users);
    cds_buf_free(&p.requests);
    return p.rc;
}

/** Keeps ours alive, and gives up what other servers left behind. */
static void on_beat(void *user)
{
    struct cds_meter *meter = user;
    uint64_t deadline = cds_now_ms() + BEAT_DEADLINE_MS;
    if (!meter->recovered && !cds_meter_idle(meter)) {
        /* What the journal knows is booked first: the ledger has noted less of it, and whoever books first wins. */
        cds_timer_set(meter->beat, cds_now_ms() + REPLAY_LOOK_MS);
        return;
    }
    if (!meter->recovered) {
        const char *params[] = {meter->node};
        if (cds_dbq_exec(meter->settle.db, cds_ledger_sql_recover, 1, params, deadline, on_recovered, meter) != CDS_OK)
            cds_timer_set(meter->beat, cds_now_ms() + RECOVER_RETRY_MS);
        return;
    }
    cds_rc rc = cds_ledger_prolong(meter, deadline);
    if (rc == CDS_OK)
        rc = cds_dbq_exec(meter->settle.db, cds_ledger_sql_reap, 0, NULL, deadline, on_beat_done, meter);
    if (rc != CDS_OK)
        cds_log(CDS_LOG_WARN, "open reservations could not be looked after: the connection is full");
    cds_timer_set(meter->beat, cds_now_ms() + BEAT_MS);
}

cds_rc cds_meter_new(const struct cds_meter_options *options, struct cds_meter **ret, struct cds_err *reterr)
{
    struct cds_meter *meter = calloc(1, sizeof(*meter));
    if (!meter)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the ledger.");
    meter->loop = options->loop;
    cds_strcpy(meter->node, sizeof(meter->node), options->node);
    snprintf(meter->price_input, sizeof(meter->price_input), "%" PRId64, options->price_in * PER_MILLION);
    snprintf(meter->price_output, sizeof(meter->price_output), "%" PRId64, options->price_out * PER_MILLION);
    cds_rc rc = cds_timer_add(meter->loop, cds_now_ms(), on_beat, meter, &meter->beat);
    if (rc == CDS_OK)
        rc = cds_ledger_lane_open(meter, &meter->reserve, options->conninfo, reterr);
    if (rc == CDS_OK)
        rc = cds_ledger_lane_open(meter, &meter->settle, options->conninfo, reterr);
    const struct cds_journal_options journal = {.loop = meter->loop, .path = options->journal_path, .found = on_found, .user = meter};
    if (rc == CDS_OK && options->journal_path)
        rc = cds_journal_open(&journal, &meter->journal, reterr);
    const struct cds_disk_options disk = {.loop = meter->loop, .path = options->disk_path, .min_bytes = options->disk_min_bytes};
    if (rc == CDS_OK && options->disk_path)
        rc = cds_disk_new(&disk, &meter->disk, reterr);
    if (rc != CDS_OK) {
        cds_meter_free(&meter);
        return rc;
    }
    *ret = meter;
    return CDS_OK;
}

void cds_meter_free(struct cds_meter **meter)
{
    if (!meter || !*meter)
        return;
    cds_ledger_lane_close(&(*meter)->reserve);
    cds_ledger_lane_close(&(*meter)->settle);
    cds_timer_remove(&(*meter)->beat);
    cds_journal_close(&(*meter)->journal);
    cds_disk_free(&(*meter)->disk);
    cds_live_clear(&(*meter)->live);
    free(*meter);
    *meter = NULL;
}

static void on_model_added(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    if (err && err->code != CDS_CANCELLED)
        cds_log_err(CDS_LOG_WARN, "the price of a model could not be made", NULL, err);
}

void cds_meter_add_model(struct cds_meter *meter, const char *model)
{
    const char *params[] = {model, meter->price_input, meter->price_output};
    if (cds_dbq_exec(meter->settle.db, cds_ledger_sql_add_model, 3, params, cds_now_ms() + 60000, on_model_added, meter) != CDS_OK)
        cds_log(CDS_LOG_WARN, "the price of a model could not be made: the connection is full", CDS_LS("model", model));
}

cds_rc cds_meter_ready(const struct cds_meter *meter, struct cds_err *reterr)
{
    if (meter->recovered && cds_dbq_ready(meter->reserve.db) && cds_dbq_ready(meter->settle.db))
        return CDS_OK;
    return cds_fail(reterr, CDS_UNAVAILABLE, __func__, "The token ledger is not reachable.");
}

bool cds_meter_idle(const struct cds_meter *meter)
{
    const struct cds_ledger_lane *lane = &meter->settle;
    return lane->waiting[CDS_LEDGER_SETTLE].count == 0 && lane->parked.count == 0 && !lane->busy;
}
