/* lib/credential/keys.c: fetches auth's key set and keeps it fresh. */
#include "lib/credential/keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"

static void fetch(struct cds_credentials *creds);

static uint64_t earliest_fetch_ms(const struct cds_credentials *creds)
{
    return creds->started_ms + (creds->keyset ? CDS_KEYS_RETRY_MS : CDS_KEYS_FIRST_MS);
}

void cds_keys_want(struct cds_credentials *creds)
{
    creds->keys_wanted = true;
    if (creds->call)
        return;
    if (cds_now_ms() >= earliest_fetch_ms(creds))
        fetch(creds);
    else
        cds_timer_set(creds->timer, earliest_fetch_ms(creds));
}

void cds_keys_waiting(struct cds_credentials *creds)
{
    cds_timer_set(creds->deadline, creds->waits ? creds->waits->deadline_ms : UINT64_MAX);
}

static void on_timer(void *user)
{
    fetch(user);
}

static void on_deadline(void *user)
{
    struct cds_credentials *creds = user;
    cds_credential_expire(creds, cds_now_ms());
    cds_keys_waiting(creds);
}

static cds_rc adopt(struct cds_credentials *creds, int status, const char *body, size_t len, struct cds_err *reterr)
{
    cds_json *parsed = NULL;
    struct cds_keyset *fresh = NULL;
    if (status != 200)
        return cds_fail(reterr, CDS_UNAVAILABLE, __func__, "The sign-in service answered %d instead of its key set.", status);
    cds_rc rc = cds_json_parse(body, len, &parsed, reterr);
    if (rc)
        return rc;
    CDS_JSON_AUTO jwks = parsed;
    rc = cds_keyset_parse(jwks, &fresh, reterr);
    if (rc)
        return rc;
    cds_keyset_free(&creds->keyset);
    creds->keyset = fresh;
    creds->era++; /* what the old set vouched for counts no longer */
    return CDS_OK;
}

static void on_done(void *user, int status, const char *body, size_t len, const struct cds_err *err)
{
    struct cds_credentials *creds = user;
    struct cds_err trouble = {0};
    creds->call = NULL;
    if (err)
        trouble = *err;
    cds_rc rc = err ? err->code : adopt(creds, status, body, len, &trouble);
    creds->trouble = trouble;
    creds->trouble.code = rc;
    cds_timer_set(creds->timer, rc ? earliest_fetch_ms(creds) : cds_now_ms() + CDS_KEYS_REFRESH_MS);
    /* While auth is away the waiting checks keep waiting, each until its own deadline: the next try may answer them. */
    creds->keys_wanted = creds->keys_wanted && rc;
    if (!rc)
        cds_credential_settle_all(creds);
    cds_keys_waiting(creds);
}

static void fetch(struct cds_credentials *creds)
{
    uint64_t now_ms = cds_now_ms();
    const struct cds_http_call_spec spec = {
        .method = "GET",
        .url = creds->url,
        .deadline_ms = now_ms + CDS_KEYS_FETCH_MS,
        .body_max_bytes = CDS_KEYS_BODY_MAX,
        .on_done = on_done,
        .user = creds,
    };
    struct cds_err trouble = {0};
    if (creds->call)
        return;
    creds->started_ms = now_ms;
    cds_timer_set(creds->timer, UINT64_MAX);
    cds_rc rc = cds_http_call_start(creds->client, &spec, &creds->call, &trouble);
    if (rc) {
        creds->call = NULL;
        creds->trouble = trouble;
        creds->trouble.code = rc;
        cds_timer_set(creds->timer, now_ms + CDS_KEYS_RETRY_MS);
    }
}

cds_rc cds_credentials_new(struct cds_loop *loop, struct cds_http_client *client, const char *auth_url, struct cds_credentials **ret,
                           struct cds_err *reterr)
{
    struct cds_credentials *creds = calloc(1, sizeof(*creds));
    if (!creds)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory while preparing the credential check.");
    creds->loop = loop;
    creds->client = client;
    creds->tail = &creds->waits;
    creds->auth_url = strdup(auth_url);
    if (!cds_seen_alloc(creds) || !creds->auth_url || asprintf(&creds->url, "%s/.well-known/jwks.json", auth_url) < 0) {
        cds_credentials_free(&creds);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory while preparing the credential check.");
    }
    if (cds_timer_add(loop, UINT64_MAX, on_timer, creds, &creds->timer) || cds_timer_add(loop, UINT64_MAX, on_deadline, creds, &creds->deadline)) {
        cds_credentials_free(&creds);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "No timer could be made for the credential check.");
    }
    cds_fail(&creds->trouble, CDS_UNAVAILABLE, __func__, "The key set of the sign-in service has not been fetched yet.");
    fetch(creds);
    *ret = creds;
    return CDS_OK;
}

void cds_credentials_free(struct cds_credentials **creds)
{
    struct cds_credentials *c = *creds;
    *creds = NULL;
    if (!c)
        return;
    if (c->call)
        cds_http_call_cancel(&c->call);
    cds_credential_cancel_all(c);
    cds_exchange_cancel_all(c);
    cds_standing_unwait(&c->look);
    if (c->timer)
        cds_timer_remove(&c->timer);
    if (c->deadline)
        cds_timer_remove(&c->deadline);
    cds_keyset_free(&c->keyset);
    free(c->url);
    free(c->auth_url);
    free(c->seen);
    free(c);
}

cds_rc cds_credentials_ready(const struct cds_credentials *creds, struct cds_err *reterr)
{
    if (creds->keyset)
        return CDS_OK;
    cds_fail(reterr, CDS_UNAVAILABLE, __func__, "No key set of the sign-in service: %s", creds->trouble.message);
    cds_err_rule(reterr, "auth.unreachable");
    return CDS_UNAVAILABLE;
}
