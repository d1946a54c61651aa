#include "apps/llmserver/once.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/db/db.h"
#include "lib/log/log.h"

enum { BUCKETS = 256, QUEUE_MAX = 4096, CALL_MS = 3000, KEEP_TRIES = 8, RETRY_FIRST_MS = 100, SWEEP_MS = 60000, LEASE_MORE_MS = 120000 };

static const char claim_sql[] =
    "SELECT c.verdict, c.request, c.status, c.content_type, c.answer FROM once_claim($1::uuid, $2::text, $3::uuid, decode($4, 'hex'), $5::uuid,"
    " $6::uuid, make_interval(secs => $7::double precision), make_interval(secs => $8::double precision), $9::int) c";
static const char keep_sql[] = "UPDATE idempotency_keys SET status = $4::smallint, content_type = $5::text, answer = $6::text"
                               " WHERE principal = $1::uuid AND key = $2::text AND request_id = $3::uuid AND status IS NULL";
static const char drop_sql[] =
    "DELETE FROM idempotency_keys WHERE principal = $1::uuid AND key = $2::text AND request_id = $3::uuid AND status IS NULL";
static const char move_sql[] = "UPDATE idempotency_keys SET request_id = $4::uuid"
                               " WHERE principal = $1::uuid AND key = $2::text AND request_id = $3::uuid AND status IS NULL";
static const char sweep_sql[] = "DELETE FROM idempotency_keys WHERE (principal, key) IN (SELECT principal, key FROM idempotency_keys"
                                " WHERE expires_at < now() ORDER BY expires_at LIMIT 500 FOR UPDATE SKIP LOCKED)";

struct cds_onces {
    struct cds_dbq *db;
    struct cds_loop *loop;
    struct cds_timer *sweep;
    char node[CDS_UUID_LEN + 1], valid_s[24], leased_s[24];
    struct cds_once *buckets[BUCKETS];
    unsigned keeping;
    bool closing;
};

struct cds_once {
    struct cds_once *next;
    struct cds_onces *all;
    struct cds_once_name name;
    char user_id[CDS_UUID_LEN + 1], request_id[CDS_UUID_LEN + 1];
    enum cds_once_state state;
    struct cds_buf answer; /**< failed: it is too long to be kept */
    int status;            /**< of the answer */
    const char *type;      /**< static */
    bool lost;             /**< there is no answer */
    void *waiting;         /**< once_route.c: claims that came while this one is being claimed */
    unsigned tries;
    struct cds_timer *retry;
};

static struct cds_once **bucket_of(struct cds_onces *onces, const struct cds_once_name *name)
{
    uint64_t hash = 1469598103934665603ULL;
    for (const char *c = name->principal; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 1099511628211ULL;
    for (const char *c = name->key; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 1099511628211ULL;
    return &onces->buckets[hash % BUCKETS];
}

struct cds_once *cds_once_find(const struct cds_onces *onces, const struct cds_once_name *name)
{
    struct cds_once *once = *bucket_of((struct cds_onces *)onces, name);
    while (once && !(cds_streq(once->name.key, name->key) && cds_streq(once->name.principal, name->principal)))
        once = once->next;
    return once;
}

struct cds_once *cds_once_add_new(struct cds_onces *onces, const struct cds_once_name *name, const char *user_id, const char *request_id)
{
    struct cds_once *once = calloc(1, sizeof(*once));
    if (!once)
        return NULL;
    struct cds_once **bucket = bucket_of(onces, name);
    once->all = onces;
    once->name = *name;
    once->answer = cds_buf_init(CDS_ONCE_ANSWER_MAX);
    cds_strcpy(once->user_id, sizeof(once->user_id), user_id);
    cds_strcpy(once->request_id, sizeof(once->request_id), request_id);
    once->next = *bucket;
    *bucket = once;
    return once;
}

/** It is in no list any more. */
static void once_free(struct cds_once *gone)
{
    if (gone->state == CDS_ONCE_KEEPING)
        gone->all->keeping--;
    cds_timer_remove(&gone->retry);
    cds_buf_free(&gone->answer);
    free(gone);
}

void cds_once_forget(struct cds_once **once)
{
    struct cds_once *gone = *once;
    *once = NULL;
    if (!gone)
        return;
    struct cds_once **link = bucket_of(gone->all, &gone->name);
    while (*link != gone)
        link = &(*link)->next;
    *link = gone->next;
    once_free(gone);
}

enum cds_once_state cds_once_state(const struct cds_once *once)
{
    return once->state;
}

bool cds_once_same_body(const struct cds_once *once, const struct cds_once_name *name)
{
    return cds_streq(once->name.digest, name->digest);
}

void **cds_once_waiting(struct cds_once *once)
{
    return &once->waiting;
}

const char *cds_once_request(const struct cds_once *once)
{
    return once->request_id;
}

const char *cds_once_answer(const struct cds_once *once, size_t *ret_len, int *ret_status, const char **ret_content_type)
{
    *ret_len = once->answer.len;
    *ret_status = once->status;
    *ret_content_type = once->type;
    return once->state == CDS_ONCE_KEEPING && !once->lost ? once->answer.data : NULL;
}

cds_rc cds_once_claim(struct cds_once *once, cds_dbq_done_fn *done, void *user)
{
    const struct cds_onces *all = once->all;
    char most[16];
    snprintf(most, sizeof(most), "%d", CDS_ONCE_KEYS_MAX);
    const char *params[] = {once->name.principal, once->name.key, once->user_id, once->name.digest, once->request_id, all->node,
                            all->valid_s,         all->leased_s,  most};
    return cds_dbq_exec(all->db, claim_sql, 9, params, cds_now_ms() + CALL_MS, done, user);
}

void cds_once_granted(struct cds_once *once)
{
    once->state = CDS_ONCE_RUNNING;
}

void cds_once_add(struct cds_once *once, const void *data, size_t len)
{
    if (once && !once->answer.failed && cds_buf_add(&once->answer, data, len) != CDS_OK) {
        cds_buf_free(&once->answer); /* its memory is of use to others */
        once->answer.failed = true;
    }
}

/* --- the ends ------------------------------------------------------------------------------------------------------------ */

static void send_keep(struct cds_once *once);

static void on_retry(void *user)
{
    send_keep(user);
}

static void try_again(struct cds_once *once)
{
    const struct cds_onces *all = once->all;
    if (++once->tries < KEEP_TRIES && !all->closing &&
        (once->retry || cds_timer_add(all->loop, UINT64_MAX, on_retry, once, &once->retry) == CDS_OK)) {
        cds_timer_set(once->retry, cds_now_ms() + ((uint64_t)RETRY_FIRST_MS << once->tries));
        return;
    }
    /* The row stays without an answer: whoever asks again hears that it was billed. */
    cds_log(CDS_LOG_WARN, "the answer of an idempotent request could not be kept", CDS_LS("request_id", once->request_id));
    cds_once_forget(&once);
}

static void on_kept(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct cds_once *once = user;
    if (err)
        try_again(once);
    else
        cds_once_forget(&once);
}

static void send_keep(struct cds_once *once)
{
    char status[16];
    snprintf(status, sizeof(status), "%d", once->status);
    const char *params[] = {once->name.principal, once->name.key, once->request_id, status, once->type, once->lost ? NULL : once->answer.data};
    if (cds_dbq_exec(once->all->db, keep_sql, 6, params, cds_now_ms() + CALL_MS, on_kept, once) != CDS_OK)
        try_again(once);
}

void cds_once_keep(struct cds_once **once, int status, const char *content_type)
{
    struct cds_once *kept = *once;
    *once = NULL;
    if (!kept)
        return;
    kept->lost = kept->answer.failed || !kept->answer.data;
    kept->status = status;
    kept->type = content_type;
    kept->state = CDS_ONCE_KEEPING;
    kept->all->keeping++;
    send_keep(kept);
}

void cds_once_lose(struct cds_once **once)
{
    if (!*once)
        return;
    cds_buf_free(&(*once)->answer);
    cds_once_keep(once, 200, NULL);
}

static void on_done(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    if (err && err->code != CDS_CANCELLED)
        cds_log_err(CDS_LOG_WARN, "a row of an idempotent request could not be changed", NULL, err);
}

void cds_once_drop(struct cds_once **once)
{
    struct cds_once *gone = *once;
    if (!gone)
        return;
    /* On one connection, so before whatever is asked about this key from now on. One that is lost leaves a row that once_claim() knows to be
     * nobody's. */
    const char *params[] = {gone->name.principal, gone->name.key, gone->request_id};
    if (cds_dbq_exec(gone->all->db, drop_sql, 3, params, cds_now_ms() + CALL_MS, on_done, NULL) != CDS_OK)
        cds_log(CDS_LOG_WARN, "a row of an idempotent request could not be removed", CDS_LS("request_id", gone->request_id));
    cds_once_forget(once);
}

void cds_once_moved(struct cds_once *once, const char *request_id)
{
    if (!once)
        return;
    const char *params[] = {once->name.principal, once->name.key, once->request_id, request_id};
    if (cds_dbq_exec(once->all->db, move_sql, 4, params, cds_now_ms() + CALL_MS, on_done, NULL) == CDS_OK)
        cds_strcpy(once->request_id, sizeof(once->request_id), request_id);
}

/* --- all of them --------------------------------------------------------------------------------------------------------- */

static void on_sweep(void *user)
{
    struct cds_onces *onces = user;
    if (cds_dbq_exec(onces->db, sweep_sql, 0, NULL, cds_now_ms() + CALL_MS, on_done, NULL) != CDS_OK)
        cds_log(CDS_LOG_WARN, "expired idempotency keys could not be removed: the connection is full");
    cds_timer_set(onces->sweep, cds_now_ms() + SWEEP_MS);
}

cds_rc cds_onces_new(struct cds_llm *app, const char *conninfo, const char *node, struct cds_onces **ret, struct cds_err *reterr)
{
    struct cds_onces *onces = calloc(1, sizeof(*onces));
    if (!onces)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for idempotency keys.");
    onces->loop = app->loop;
    cds_strcpy(onces->node, sizeof(onces->node), node);
    snprintf(onces->valid_s, sizeof(onces->valid_s), "%llu", (unsigned long long)(cds_config_u64(app->config, CDS_OPT_LLM_ONCE_MS) / 1000));
    snprintf(onces->leased_s, sizeof(onces->leased_s), "%llu",
             (unsigned long long)((cds_config_u64(app->config, CDS_OPT_LLM_REQUEST_MS) + LEASE_MORE_MS) / 1000));
    cds_rc rc = cds_timer_add(app->loop, cds_now_ms() + SWEEP_MS, on_sweep, onces, &onces->sweep);
    if (rc == CDS_OK)
        rc = cds_dbq_open(app->loop, conninfo, QUEUE_MAX, &onces->db, reterr);
    if (rc != CDS_OK) {
        cds_onces_free(&onces);
        return rc;
    }
    *ret = onces;
    return CDS_OK;
}

void cds_onces_free(struct cds_onces **onces)
{
    struct cds_onces *all = *onces;
    *onces = NULL;
    if (!all)
        return;
    all->closing = true;
    if (all->db)
        cds_dbq_close(&all->db); /* answers what is open, which forgets it */
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct cds_once *once; (once = all->buckets[i]) != NULL;) {
            all->buckets[i] = once->next;
            once_free(once);
        }
    cds_timer_remove(&all->sweep);
    free(all);
}

bool cds_onces_idle(const struct cds_onces *onces)
{
    return !onces || onces->keeping == 0;
}
