/* apps/llmserver/once_route.c: a request with an Idempotency-Key comes in: it is carried out, or answered from what is known. See once.h. */
#include <stdlib.h>
#include <string.h>

#include "apps/llmserver/generation.h"
#include "apps/llmserver/once.h"
#include "apps/llmserver/tasks.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

enum { RUNNING_RETRY_MS = 1000, AGAIN_MAX = 5 };

/** One that waits for the database: its own answer, or that of an earlier one with the same key. */
struct claim {
    struct claim *next; /**< of those who wait for an earlier one */
    struct cds_llm *app;
    struct cds_http_req *req; /**< NULL: the client left meanwhile */
    const struct cds_dialect *dialect;
    struct cds_credential who;
    struct cds_once_name name;
    struct cds_once *once; /**< NULL: it waits for another */
    unsigned asked;
};

/* --- refusals ------------------------------------------------------------------------------------------------------------ */

static void refuse(struct cds_http_req *req, const struct cds_credential *who, struct cds_err *err, const char *rule, const char *hint)
{
    cds_err_rule(err, rule);
    cds_err_hint(err, "%s", hint);
    cds_routes_fail(req, who->claims.user_id, err);
}

static void is_running(struct cds_http_req *req, const struct cds_credential *who, const char *request_id)
{
    struct cds_err err = {0};
    cds_fail(&err, CDS_CONFLICT, __func__, "The request of this Idempotency-Key is being carried out, as %s; nothing is billed for asking again.",
             request_id ? request_id : "another one");
    err.retry_after_ms = RUNNING_RETRY_MS;
    refuse(req, who, &err, "idempotency.running",
           "Ask again in a moment: its answer is kept. usage.track tells how far it is; POST /v1/requests/{id}/cancel ends it.");
}

static void is_other(struct cds_http_req *req, const struct cds_credential *who, const char *request_id)
{
    struct cds_err err = {0};
    cds_fail(&err, CDS_KEY_REUSED, __func__,
             "This Idempotency-Key stands for another request, %s: address or body differ from what was sent with it first.",
             request_id ? request_id : "");
    refuse(req, who, &err, "idempotency.other_body", "Send a new key with a new request, and the same bytes again with a key that was used.");
}

static void is_lost(struct cds_http_req *req, const struct cds_credential *who, const char *request_id)
{
    struct cds_err err = {0};
    cds_fail(&err, CDS_CONFLICT, __func__,
             "The request of this Idempotency-Key was carried out and billed once, as %s, but its answer is not kept: it was too long, or its server "
             "was lost.",
             request_id ? request_id : "");
    refuse(req, who, &err, "idempotency.lost",
           "It is not billed again under this key. Send a new key if the answer is still needed; that is billed.");
}

static void is_full(struct cds_http_req *req, const struct cds_credential *who)
{
    struct cds_err err = {0};
    cds_fail(&err, CDS_RATE_LIMITED, __func__, "%d idempotency keys of this caller are valid, the most there may be.", CDS_ONCE_KEYS_MAX);
    err.retry_after_ms = 60000;
    refuse(req, who, &err, "idempotency.full", "Keys expire by themselves; send requests that need not be repeated without one.");
}

static void is_unknown(struct cds_http_req *req, const struct cds_credential *who, const struct cds_err *why)
{
    struct cds_err err = {0};
    cds_fail(&err, CDS_UNAVAILABLE, __func__, "What is known of this Idempotency-Key cannot be read now, so nothing was carried out.");
    err.retry_after_ms = 2000;
    if (why)
        cds_err_detail(&err, "%s %s", why->message, why->detail);
    refuse(req, who, &err, "idempotency.unavailable", "Try again in a few seconds, with the same key.");
}

static void replay(struct cds_http_req *req, const struct cds_credential *who, int status, const char *content_type, const char *answer, size_t len)
{
    cds_http_add_header(req, "Idempotency-Replayed", "true");
    cds_routes_log(req, who->claims.user_id, status);
    cds_http_reply(req, status, content_type, answer, len);
}

/* --- the claim ----------------------------------------------------------------------------------------------------------- */

static void on_gone(void *user)
{
    struct claim *claim = user;
    claim->req = NULL;
}

/** The rights of a moment ago, as of now: a change that came while the database was asked met no generation to end. */
static cds_rc still_may(const struct claim *claim, struct cds_credential *who, struct cds_err *err)
{
    cds_rc rc = cds_standing_check(claim->app->standing, who, err);
    return rc == CDS_OK ? cds_credential_need(who, CDS_ROLE_DEVELOPER, cds_task_what(claim->dialect->task), err) : rc;
}

static void carry_out(struct claim *claim)
{
    struct cds_err err = {0};
    cds_once_granted(claim->once);
    if (!claim->req) {
        cds_once_drop(&claim->once);
    } else if (still_may(claim, &claim->who, &err) != CDS_OK) {
        cds_once_drop(&claim->once);
        cds_routes_fail(claim->req, claim->who.claims.user_id, &err);
    } else {
        cds_gen_begin(claim->app, claim->req, &claim->who, claim->dialect, false, claim->once);
    }
}

static void ask(struct claim *claim);

/** What the database said about a key, but for "run". */
static void tell(struct claim *claim, const struct cds_rows *rows, const struct cds_err *err)
{
    const char *verdict = err ? "" : cds_rows_str(rows, 0, 0), *request_id = err ? NULL : cds_rows_str(rows, 0, 1);
    struct cds_err refused = {0};
    if (still_may(claim, &claim->who, &refused) != CDS_OK)
        cds_routes_fail(claim->req, claim->who.claims.user_id, &refused);
    else if (cds_streq(verdict, "answer"))
        replay(claim->req, &claim->who, (int)cds_rows_i64(rows, 0, 2, 200), cds_rows_str(rows, 0, 3), cds_rows_str(rows, 0, 4),
               strlen(cds_rows_str(rows, 0, 4)));
    else if (cds_streq(verdict, "running"))
        is_running(claim->req, &claim->who, request_id);
    else if (cds_streq(verdict, "other"))
        is_other(claim->req, &claim->who, request_id);
    else if (cds_streq(verdict, "lost"))
        is_lost(claim->req, &claim->who, request_id);
    else if (cds_streq(verdict, "full"))
        is_full(claim->req, &claim->who);
    else
        is_unknown(claim->req, &claim->who, err);
}

/** Those who came meanwhile. The same body: what was said holds for them; another one, or nothing was said that does: they come in again. */
static void answer_waiting(struct claim *list, const struct claim *first, bool run, const struct cds_rows *rows, const struct cds_err *err)
{
    for (struct claim *claim = list, *next; claim; claim = next) {
        next = claim->next;
        if (claim->req) {
            cds_http_set_user(claim->req, NULL, NULL, NULL);
            if (run || !cds_streq(claim->name.digest, first->name.digest))
                (void)cds_once_route(claim->app, claim->req, &claim->who, claim->dialect);
            else
                tell(claim, rows, err);
        }
        free(claim);
    }
}

static void on_claimed(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct claim *claim = user;
    const char *verdict = err ? "" : cds_rows_str(rows, 0, 0);
    if (cds_streq(verdict, "again") && ++claim->asked < AGAIN_MAX) {
        ask(claim);
        return;
    }
    struct claim *waiting = *cds_once_waiting(claim->once);
    *cds_once_waiting(claim->once) = NULL;
    if (claim->req)
        cds_http_set_user(claim->req, NULL, NULL, NULL);
    bool run = cds_streq(verdict, "run");
    if (run) {
        carry_out(claim);
    } else {
        cds_once_forget(&claim->once);
        if (claim->req)
            tell(claim, rows, err);
    }
    answer_waiting(waiting, claim, run, rows, err);
    free(claim);
}

static void ask(struct claim *claim)
{
    struct cds_err full = {0};
    if (cds_once_claim(claim->once, on_claimed, claim) == CDS_OK)
        return;
    cds_fail(&full, CDS_BUSY, __func__, "Too many statements wait for the database.");
    on_claimed(claim, NULL, &full);
}

/* --- coming in ----------------------------------------------------------------------------------------------------------- */

static cds_rc read_key(const char *key, struct cds_err *err)
{
    size_t len = strlen(key);
    bool plain = len >= 1 && len <= CDS_ONCE_KEY_MAX;
    for (const char *c = key; *c && plain; c++)
        plain = *c >= 0x20 && *c < 0x7F;
    if (plain)
        return CDS_OK;
    cds_fail(err, CDS_BAD_PARAM, __func__, "An Idempotency-Key has 1 to %d printable ASCII characters.", CDS_ONCE_KEY_MAX);
    cds_err_rule(err, "idempotency.key");
    cds_err_hint(err, "A random UUID is a good one.");
    return CDS_BAD_PARAM;
}

static void name_of(const struct cds_http_req *req, const struct cds_credential *who, const char *key, struct cds_once_name *ret)
{
    char text[512], digest[65];
    size_t len;
    const char *body = cds_http_body(req, &len);
    cds_sha256_hex(body, len, digest);
    snprintf(text, sizeof(text), "%.300s\n%s", cds_routes_path(req), digest);
    cds_sha256_hex(text, strlen(text), ret->digest);
    cds_strcpy(ret->principal, sizeof(ret->principal), *who->claims.key_id ? who->claims.key_id : who->claims.user_id);
    cds_strcpy(ret->key, sizeof(ret->key), key);
}

/** What this server knows without asking. @return false: nothing */
static bool known(const struct cds_once *once, const struct cds_once_name *name, struct cds_http_req *req, const struct cds_credential *who)
{
    size_t len;
    int status;
    const char *type;
    if (!once)
        return false;
    const char *answer = cds_once_answer(once, &len, &status, &type);
    if (!cds_once_same_body(once, name))
        is_other(req, who, cds_once_request(once));
    else if (cds_once_state(once) != CDS_ONCE_KEEPING)
        is_running(req, who, cds_once_request(once));
    else if (answer)
        replay(req, who, status, type, answer, len);
    else
        is_lost(req, who, cds_once_request(once));
    return true;
}

bool cds_once_route(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential, const struct cds_dialect *dialect)
{
    const char *key = cds_http_header(req, "Idempotency-Key"), *user_id = credential->claims.user_id;
    bool costs = cds_task_generates(dialect->task) || dialect->task == CDS_TASK_EMBED || dialect->task == CDS_TASK_RANK;
    struct cds_err err = {0};
    struct cds_once_name name = {0};
    if (!key || !costs)
        return false;
    cds_rc rc = cds_credential_need(credential, CDS_ROLE_DEVELOPER, cds_task_what(dialect->task), &err);
    if (rc == CDS_OK)
        rc = read_key(key, &err);
    if (rc == CDS_OK)
        name_of(req, credential, key, &name);
    struct cds_once *here = rc == CDS_OK ? cds_once_find(app->onces, &name) : NULL;
    bool waits = here && cds_once_state(here) == CDS_ONCE_CLAIMING;
    if (!waits && known(here, &name, req, credential))
        return true;
    struct claim *claim = rc == CDS_OK ? calloc(1, sizeof(*claim)) : NULL;
    if (claim && !waits)
        claim->once = cds_once_add_new(app->onces, &name, user_id, cds_http_request_id(req));
    if (rc == CDS_OK && (!claim || (!waits && !claim->once)))
        rc = cds_fail(&err, CDS_EXHAUSTED, __func__, "There is not enough memory for the request.");
    if (rc != CDS_OK || !claim) {
        free(claim);
        cds_routes_fail(req, user_id, &err);
        return true;
    }
    claim->app = app;
    claim->req = req;
    claim->dialect = dialect;
    claim->who = *credential;
    claim->name = name;
    cds_http_set_user(req, claim, on_gone, NULL);
    if (waits) {
        claim->next = *cds_once_waiting(here);
        *cds_once_waiting(here) = claim;
    } else {
        ask(claim);
    }
    return true;
}
