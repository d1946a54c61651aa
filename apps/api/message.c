/* apps/api/message.c: see message.h. */
#include "apps/api/message.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/random.h"
#include "lib/metrics/metrics.h"

static void link_in(struct message *message)
{
    struct message **head = message->spec.siblings;
    if (!head)
        return;
    message->next = *head;
    if (message->next)
        message->next->prev = &message->next;
    message->prev = head;
    *head = message;
}

static void link_out(struct message *message)
{
    if (!message->prev)
        return;
    *message->prev = message->next;
    if (message->next)
        message->next->prev = message->prev;
    message->prev = NULL;
}

static void message_free(struct message *message)
{
    link_out(message);
    cds_json_unref(message->answers);
    free(message);
}

static void finish(struct message *message)
{
    cds_json *answer = message->batch ? message->answers : cds_json_at(message->answers, 0);
    if (message->batch && cds_json_size(message->answers) == 0)
        answer = NULL;
    int status = !answer ? 204 : message->batch ? 200 : message->status;
    link_out(message); /* the list may lie in what on_done frees */
    message->spec.on_done(message->spec.user, answer, status);
    message_free(message);
}

static void done_one(struct message *message)
{
    if (--message->pending == 0)
        finish(message);
}

void message_answer(struct message *message, cds_json *answer, cds_rc rc)
{
    message->status = cds_rc_http(rc);
    if (answer)
        cds_json_append(message->answers, answer);
    done_one(message);
}

/* An element that is no request at all: its error has a null id. */
static void refuse(struct message *message, const struct cds_err *err, const char *request_id)
{
    message->status = cds_rc_http(err->code);
    cds_json_append(message->answers, cds_rpc_error(NULL, err, request_id));
    cds_metric_add(CDS_M_RPC_ERRORS, cds_rc_name(err->code), 1);
}

static void start_one(struct message *message, const cds_json *element)
{
    struct cds_rpc_request request = {.method = ""};
    struct cds_err err = {.code = CDS_INTERNAL};
    char own[CDS_UUID_LEN + 1];
    const char *request_id = message->batch ? NULL : message->spec.request_id;
    if (!request_id) {
        cds_uuid7(own);
        request_id = own;
    }
    if (cds_rpc_parse_request(element, &request, &err)) {
        refuse(message, &err, request_id);
        return;
    }
    if (message->spec.method && strcmp(message->spec.method, request.method) != 0) {
        cds_fail(&err, CDS_BAD_REQUEST, __func__, "The address names the method %.64s and the body %.64s; name the same one.", message->spec.method,
                 request.method);
        refuse(message, &err, request_id);
        return;
    }
    message->pending++;
    call_start(message, &request, request_id);
}

/* POST /rpc/<method> with bare params: made into a call whose id is the request id. */
static cds_json *wrap(const struct message_spec *spec, const char *body, size_t len, struct cds_err *err)
{
    cds_json *value = NULL;
    if (len == 0)
        value = cds_json_object();
    else if (cds_json_parse(body, len, &value, err))
        return NULL;
    bool bare = spec->method && cds_json_is(value, CDS_JSON_OBJECT) && !cds_json_get(value, "jsonrpc");
    if (!bare)
        return value;
    cds_json *call = cds_json_pack("{s:s,s:s,s:s,s:o}", "jsonrpc", "2.0", "id", spec->request_id ? spec->request_id : "1", "method", spec->method,
                                   "params", value);
    if (!call)
        cds_fail(err, CDS_EXHAUSTED, __func__, "Out of memory.");
    return call;
}

static void start_all(struct message *message, const cds_json *value)
{
    struct cds_err err = {.code = CDS_INTERNAL};
    size_t n = cds_json_size(value);
    if (!message->batch) {
        start_one(message, value);
    } else if (n == 0 || n > CDS_RPC_BATCH_MAX) {
        message->batch = false; /* one error object, not an array of one */
        cds_fail(&err, CDS_BAD_REQUEST, __func__, "A batch holds 1 to %d calls; this one has %zu.", CDS_RPC_BATCH_MAX, n);
        refuse(message, &err, message->spec.request_id);
    } else {
        for (size_t i = 0; i < n; i++)
            start_one(message, cds_json_at(value, i));
    }
}

void message_start(const struct message_spec *spec, const char *body, size_t len)
{
    struct cds_err err = {.code = CDS_INTERNAL};
    struct message *message = calloc(1, sizeof(*message));
    if (!message)
        abort(); /* one small block; without memory the supervisor starts us afresh */
    message->spec = *spec;
    message->known = spec->who != NULL;
    if (spec->who)
        message->who = *spec->who;
    if (spec->auth_err)
        message->auth_err = *spec->auth_err;
    message->answers = cds_json_array();
    message->status = 200;
    message->pending = 1; /* held while elements are started, so that a quick answer does not end the message */
    link_in(message);
    CDS_JSON_AUTO value = wrap(spec, body, len, &err);
    if (!value) {
        refuse(message, &err, spec->request_id);
    } else {
        message->batch = cds_json_is(value, CDS_JSON_ARRAY);
        start_all(message, value);
    }
    done_one(message);
}

unsigned message_open_calls(const struct message *message)
{
    unsigned count = 0;
    for (const struct message *m = message->spec.siblings ? *message->spec.siblings : message; m; m = m->next)
        for (const struct call *call = m->calls; call; call = call->next)
            count++;
    return count;
}

void message_expire(struct message *message)
{
    for (struct call *call = message->calls, *next; call; call = next) {
        next = call->next;
        if (call->ends_with_token)
            call_cancel(call);
    }
}

void message_abort(struct message *message, const struct cds_err *err)
{
    message->pending++; /* its last answer does not free it under this loop */
    while (message->calls)
        call_abort(message->calls, err);
    done_one(message);
}

void message_set_role(struct message *message, enum cds_role role)
{
    struct cds_err err;
    message->who.role = role;
    message->pending++;
    for (struct call *call = message->calls, *next; call; call = next) {
        next = call->next;
        if (call->method && call->method->least_role > role && cds_credential_need(&message->who, call->method->least_role, call->method->name, &err))
            call_abort(call, &err);
    }
    done_one(message);
}

void message_drop(struct message *message)
{
    while (message->calls)
        call_drop(message->calls);
    message_free(message);
}
