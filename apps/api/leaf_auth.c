/* apps/api/leaf_auth.c: the methods that need a password or make a secret, as calls to cds-auth, with the caller's own credential.
 *
 * cds-auth checks credential, role and parameters itself. What passes here is neither looked at nor kept; the buffer it is sent from is wiped. */
#include <stdio.h>
#include <stdlib.h>

#include "apps/api/message.h"
#include "lib/base/str.h"
#include "lib/http/client.h"

enum { ANSWER_MAX = 64 * 1024 };

struct asked {
    struct call *call;
    struct cds_http_call *http;
};

static void drop(struct call *call)
{
    struct asked *asked = call->leaf;
    cds_http_call_cancel(&asked->http);
    free(asked);
    call->leaf = NULL;
}

static void on_done(void *user, int status, const char *body, size_t len, const struct cds_err *http_err)
{
    struct asked *asked = user;
    struct call *call = asked->call;
    struct cds_err err;
    CDS_JSON_AUTO answer = NULL;
    free(asked);
    call->leaf = NULL;
    call->leaf_drop = NULL;
    if (!http_err && !cds_json_parse(body, len, &answer, &err)) {
        cds_json *result = cds_json_get(answer, "result"), *error = cds_json_get(answer, "error");
        if (result) {
            call_succeed(call, cds_json_ref(result));
            return;
        }
        cds_rpc_error_parse(error, &err);
        call_fail(call, &err);
        return;
    }
    cds_fail(&err, CDS_UNAVAILABLE, __func__, "The sign-in service is not reachable at the moment; it is being started again.");
    cds_err_hint(&err, "Try again in a few seconds.");
    cds_err_detail(&err, "status %d %s", status, http_err ? http_err->message : "");
    err.retry_after_ms = 1000;
    call_fail(call, &err);
}

static cds_rc post(struct call *call, struct asked *asked, struct cds_err *err)
{
    char url[160], auth[CDS_JWT_MAX + 32], id[80], from[80];
    struct cds_buf text CDS_CLEANUP(cds_buf_free) = cds_buf_init(ANSWER_MAX);
    CDS_JSON_AUTO request = cds_json_pack("{s:s,s:i,s:s,s:O}", "jsonrpc", "2.0", "id", 1, "method", call->method->name, "params", call->params);
    if (!request || cds_json_dump(request, &text))
        return cds_fail(err, CDS_EXHAUSTED, __func__, "Out of memory.");
    snprintf(url, sizeof(url), "%s/auth/rpc", call->api->auth_url);
    snprintf(auth, sizeof(auth), "Authorization: %s", call_authorization(call) ? call_authorization(call) : "");
    snprintf(id, sizeof(id), "x-request-id: %s", call->request_id);
    snprintf(from, sizeof(from), "X-Forwarded-For: %s", call->message->spec.client_ip);
    const char *headers[] = {"Content-Type: application/json", "User-Agent: JSON-RPC", id, from, call_who(call) ? auth : NULL, NULL};
    const struct cds_http_call_spec spec = {.method = "POST",
                                            .url = url,
                                            .headers = headers,
                                            .body = text.data,
                                            .body_len = text.len,
                                            .deadline_ms = call->deadline_ms,
                                            .body_max_bytes = ANSWER_MAX,
                                            .on_done = on_done,
                                            .user = asked};
    cds_rc rc = cds_http_call_start(call->api->client, &spec, &asked->http, err);
    cds_wipe(text.data, text.len);
    return rc;
}

void auth_start(struct call *call)
{
    struct cds_err err;
    struct asked *asked = calloc(1, sizeof(*asked));
    if (!asked)
        abort();
    asked->call = call;
    call->leaf = asked;
    call->leaf_drop = drop;
    if (post(call, asked, &err)) {
        free(asked);
        call->leaf = NULL;
        call->leaf_drop = NULL;
        call_fail(call, &err);
    }
}
