/* lib/credential/exchange.c: API keys: cds-auth, which alone has the pepper, changes a key for an access token of a minute; that is kept like any
 * other. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/credential/keys.h"
#include "lib/json/problem.h"

enum { ANSWER_MAX = 8192 };

static void unlink_wait(struct cds_credential_wait *wait)
{
    *wait->back = wait->next;
    if (wait->next)
        wait->next->back = wait->back;
    wait->creds->exchanging--;
}

static void fail(struct cds_credential_wait *wait, const struct cds_err *err)
{
    wait->done(wait->user, NULL, err);
    free(wait);
}

/* The token stands for the key from now on: it is found under the key's hash until it expires. */
static cds_rc keep(struct cds_credential_wait *wait, const cds_json *answer, struct cds_err *err)
{
    struct cds_credentials *creds = wait->creds;
    const char *token = cds_json_get_str(answer, "access_token");
    struct cds_credential found = {.role = CDS_ROLE_NONE};
    if (!token || !creds->keyset) {
        cds_fail(err, CDS_UNAVAILABLE, __func__, "The sign-in service did not answer, so the API key cannot be checked.");
        cds_err_rule(err, "auth.unreachable");
        return CDS_UNAVAILABLE;
    }
    cds_rc rc = cds_jwt_verify(creds->keyset, token, strlen(token), (int64_t)(cds_wall_ms() / 1000), &found.claims, err);
    found.role = rc ? CDS_ROLE_NONE : cds_role_parse(found.claims.role);
    if (!rc && (found.role == CDS_ROLE_NONE || !*found.claims.key_id))
        rc = cds_fail(err, CDS_UNAUTHENTICATED, __func__, "The sign-in service changed the API key for something else than an access token.");
    if (rc)
        return rc;
    unsigned char hash[32];
    cds_sha256(wait->token, wait->len, hash);
    cds_seen_put(creds, hash, &found);
    wait->found = found;
    wait->exchanged = true;
    if (wait->stranger)
        creds->strangers_ms -= CDS_STRANGER_MS; /* it was none */
    return CDS_OK;
}

/* Invented keys cost a question to cds-auth each, and refreshes and sign-ins wait in the same line there. So keys that never worked here are asked
 * for so many at a time only; those that did are not held up by them. */
static cds_rc admit(struct cds_credential_wait *wait, struct cds_err *reterr)
{
    struct cds_credentials *creds = wait->creds;
    unsigned char hash[32];
    uint64_t now_ms = cds_now_ms(), most_ms = now_ms + (uint64_t)(CDS_STRANGERS_MAX - 1) * CDS_STRANGER_MS;
    cds_sha256(wait->token, wait->len, hash);
    wait->stranger = !cds_seen_before(creds, hash);
    if (!wait->stranger)
        return CDS_OK;
    if (creds->strangers_ms > most_ms) {
        cds_fail(reterr, CDS_RATE_LIMITED, __func__, "Too many API keys that are not known are being tried.");
        cds_err_rule(reterr, "key.flood");
        cds_err_hint(reterr, "Try again in a second.");
        if (reterr)
            reterr->retry_after_ms = 1000;
        return CDS_RATE_LIMITED;
    }
    creds->strangers_ms = (creds->strangers_ms > now_ms ? creds->strangers_ms : now_ms) + CDS_STRANGER_MS;
    return CDS_OK;
}

static void on_done(void *user, int status, const char *body, size_t len, const struct cds_err *http_err)
{
    struct cds_credential_wait *wait = user;
    struct cds_err err = {0};
    cds_json *parsed = NULL;
    wait->call = NULL;
    unlink_wait(wait);
    if (http_err || cds_json_parse(body, len, &parsed, &err)) {
        cds_fail(&err, CDS_UNAVAILABLE, __func__, "The sign-in service did not answer, so the API key cannot be checked.");
        cds_err_rule(&err, "auth.unreachable");
        cds_err_hint(&err, "Try again in a moment; \"cyberdevstudio status\" shows whether cds-auth runs.");
        err.retry_after_ms = 1000;
        fail(wait, &err);
        return;
    }
    CDS_JSON_AUTO answer = parsed;
    if (status != 200) {
        cds_rpc_error_parse(cds_json_get(answer, "error"), &err);
        fail(wait, &err);
    } else if (keep(wait, answer, &err)) {
        fail(wait, &err);
    } else {
        cds_credential_resume(wait);
    }
}

cds_rc cds_exchange_start(struct cds_credential_wait *wait, struct cds_err *reterr)
{
    struct cds_credentials *creds = wait->creds;
    char body[CDS_APIKEY_LEN + 32], url[200];
    cds_rc rc = admit(wait, reterr);
    if (rc)
        return rc;
    snprintf(url, sizeof(url), "%s/auth/key", creds->auth_url);
    int len = snprintf(body, sizeof(body), "{\"key\":\"%.*s\"}", (int)wait->len, wait->token);
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    const struct cds_http_call_spec spec = {.method = "POST",
                                            .url = url,
                                            .headers = headers,
                                            .body = body,
                                            .body_len = (size_t)len,
                                            .deadline_ms = wait->deadline_ms,
                                            .body_max_bytes = ANSWER_MAX,
                                            .on_done = on_done,
                                            .user = wait};
    rc = cds_http_call_start(creds->client, &spec, &wait->call, reterr);
    cds_wipe(body, sizeof(body));
    if (rc)
        return rc;
    if ((wait->next = creds->exchanges))
        wait->next->back = &wait->next;
    wait->back = &creds->exchanges;
    creds->exchanges = wait;
    creds->exchanging++;
    return CDS_OK;
}

void cds_exchange_forget(struct cds_credential_wait *wait)
{
    cds_http_call_cancel(&wait->call);
    unlink_wait(wait);
    free(wait);
}

void cds_exchange_cancel_all(struct cds_credentials *creds)
{
    struct cds_err err;
    cds_fail(&err, CDS_CANCELLED, __func__, "The server is going down.");
    for (struct cds_credential_wait *wait; (wait = creds->exchanges);) {
        cds_http_call_cancel(&wait->call);
        if ((creds->exchanges = wait->next))
            wait->next->back = &creds->exchanges;
        creds->exchanging--;
        fail(wait, &err);
    }
}
