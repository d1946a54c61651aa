#include "apps/cyberdevstudio/wire.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/http/client.h"
#include "lib/json/problem.h"

enum { TOKEN_MAX = 4096, PASSWORD_MAX = 256, URL_MAX = 512 };

struct cds_wire {
    struct cds_loop *loop;
    struct cds_http_client *client;
    char token[TOKEN_MAX], llm_url[64], auth_url[64];
    /* Of the running call: */
    struct cds_buf answer; /**< what came and was not yet used */
    void (*on_event)(void *user, const cds_json *event);
    void *event_user;
    bool over, events; /**< events: the answer is a stream of them */
    int status;
    struct cds_err err, told; /**< of the connection; in an event */
};

/* --- one call ----------------------------------------------------------------------------------------------------------- */

static void on_head(void *user, int status, const char *content_type)
{
    struct cds_wire *wire = user;
    wire->status = status;
    wire->events = wire->on_event && content_type && cds_starts_with(content_type, "text/event-stream");
}

/** One "data: ..." of a stream. */
static void take_event(struct cds_wire *wire, const char *text, size_t len)
{
    static const char data[] = "data: ";
    CDS_JSON_AUTO event = NULL;
    if (len < sizeof(data) - 1 || strncmp(text, data, sizeof(data) - 1) != 0 ||
        cds_json_parse(text + sizeof(data) - 1, len - (sizeof(data) - 1), &event, NULL) != CDS_OK)
        return; /* a comment that keeps the line open, or [DONE] */
    if (cds_json_get(event, "error"))
        cds_openai_error_parse(event, CDS_INTERNAL, &wire->told);
    else
        wire->on_event(wire->event_user, event);
}

static bool on_data(void *user, const char *data, size_t len)
{
    struct cds_wire *wire = user;
    if (cds_buf_add(&wire->answer, data, len) != CDS_OK) {
        cds_fail(&wire->err, CDS_TOO_LARGE, __func__, "The answer of the studio is longer than this program reads.");
        return true;
    }
    const char *end;
    while (wire->events && wire->answer.len && (end = memmem(wire->answer.data, wire->answer.len, "\n\n", 2))) {
        take_event(wire, wire->answer.data, (size_t)(end - wire->answer.data));
        cds_buf_consume(&wire->answer, (size_t)(end - wire->answer.data) + 2);
    }
    return true;
}

static void on_done(void *user, int status, const char *body, size_t len, const struct cds_err *err)
{
    struct cds_wire *wire = user;
    wire->over = true;
    if (err && wire->err.code == CDS_OK)
        wire->err = *err;
}

static cds_rc run(struct cds_wire *wire, const char *method, const char *url, const cds_json *body, uint64_t ms, struct cds_err *reterr)
{
    char auth[TOKEN_MAX + 32];
    size_t len = 0;
    CDS_CLEANUP(cds_free_ptr) char *text = body ? cds_json_dumps(body, &len) : NULL;
    snprintf(auth, sizeof(auth), "Authorization: Bearer %s", wire->token);
    const char *headers[] = {"Content-Type: application/json", *wire->token ? auth : NULL, NULL};
    struct cds_http_call_spec spec = {.method = method,
                                      .url = url,
                                      .headers = headers,
                                      .body = text,
                                      .body_len = len,
                                      .deadline_ms = cds_now_ms() + ms,
                                      .on_head = on_head,
                                      .on_data = on_data,
                                      .on_done = on_done,
                                      .user = wire};
    struct cds_http_call *call = NULL;
    cds_buf_free(&wire->answer);
    wire->answer = cds_buf_init(CDS_WIRE_ANSWER_MAX);
    wire->over = wire->events = false;
    wire->status = 0;
    wire->err = wire->told = (struct cds_err){0};
    cds_rc rc = cds_http_call_start(wire->client, &spec, &call, reterr);
    while (rc == CDS_OK && !wire->over)
        cds_loop_once(wire->loop, 1000);
    if (rc != CDS_OK)
        return rc;
    if (wire->err.code != CDS_OK) {
        cds_fail(reterr, CDS_UNAVAILABLE, __func__, "The studio does not answer at %s.", url);
        return cds_err_hint(reterr, "Start it with \"cyberdevstudio up\".");
    }
    return CDS_OK;
}

/** What came, as a value; an error object, or a status that tells a failure, is our error. */
static cds_rc answer_of(struct cds_wire *wire, cds_json **ret, struct cds_err *reterr)
{
    CDS_JSON_AUTO answer = NULL;
    cds_rc rc = cds_json_parse(wire->answer.data ? wire->answer.data : "", wire->answer.len, &answer, NULL);
    if (wire->status / 100 == 2 && rc == CDS_OK) {
        *ret = cds_json_ref(answer);
        return CDS_OK;
    }
    cds_openai_error_parse(answer, CDS_INTERNAL, reterr);
    if (!*reterr->message)
        cds_fail(reterr, CDS_INTERNAL, __func__, "The studio answered with status %d and no reason.", wire->status);
    return reterr->code ? reterr->code : CDS_INTERNAL;
}

cds_rc cds_wire_call(struct cds_wire *wire, const char *method, const char *path, const cds_json *body, cds_json **ret, struct cds_err *reterr)
{
    char url[URL_MAX];
    snprintf(url, sizeof(url), "%s%s", wire->llm_url, path);
    wire->on_event = NULL;
    cds_rc rc = run(wire, method, url, body, CDS_WIRE_CALL_MS, reterr);
    return rc == CDS_OK ? answer_of(wire, ret, reterr) : rc;
}

cds_rc cds_wire_stream(struct cds_wire *wire, const char *path, const cds_json *body, void (*on_event)(void *user, const cds_json *event), void *user,
                       struct cds_err *reterr)
{
    char url[URL_MAX];
    CDS_JSON_AUTO answer = NULL;
    snprintf(url, sizeof(url), "%s%s", wire->llm_url, path);
    wire->on_event = on_event;
    wire->event_user = user;
    cds_rc rc = run(wire, "POST", url, body, CDS_WIRE_STREAM_MS, reterr);
    if (rc == CDS_OK && !wire->events)
        rc = answer_of(wire, &answer, reterr);
    if (rc == CDS_OK && wire->told.code != CDS_OK) {
        *reterr = wire->told;
        rc = reterr->code;
    }
    return rc;
}

/* --- who asks ----------------------------------------------------------------------------------------------------------- */

static cds_rc sign_in(struct cds_wire *wire, const char *email, struct cds_err *reterr)
{
    char password[PASSWORD_MAX + 1], url[URL_MAX];
    CDS_JSON_AUTO answer = NULL;
    if (!cds_read_password(password, sizeof(password)))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "A password is needed: at the terminal, or as the first line of stdin.");
    CDS_JSON_AUTO body = cds_json_pack("{s:s,s:s}", "email", email, "password", password);
    explicit_bzero(password, sizeof(password));
    snprintf(url, sizeof(url), "%s/auth/login", wire->auth_url);
    cds_rc rc = run(wire, "POST", url, body, CDS_WIRE_CALL_MS, reterr);
    if (rc == CDS_OK)
        rc = answer_of(wire, &answer, reterr);
    const char *token = cds_json_get_str(answer, "access_token");
    if (rc == CDS_OK && (!token || strlen(token) >= sizeof(wire->token)))
        rc = cds_fail(reterr, CDS_INTERNAL, __func__, "The studio gave no access token.");
    if (rc == CDS_OK)
        cds_strcpy(wire->token, sizeof(wire->token), token);
    return rc;
}

void cds_wire_close(struct cds_wire **wire)
{
    struct cds_wire *w = *wire;
    if (!w)
        return;
    cds_http_client_free(&w->client);
    cds_loop_free(&w->loop);
    cds_buf_free(&w->answer);
    explicit_bzero(w->token, sizeof(w->token));
    free(w);
    *wire = NULL;
}

cds_rc cds_wire_open(struct cds_command *cmd, struct cds_wire **ret, struct cds_err *reterr)
{
    const char *email = NULL, *token = getenv("CDS_ACCESS_TOKEN");
    if (!cds_take_value(cmd, "--email", &email))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "--email needs the address of a user.");
    if (!email && (!token || !*token || strlen(token) >= TOKEN_MAX))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "Say who asks: --email with the password, or an access token in CDS_ACCESS_TOKEN.");
    CDS_CLEANUP(cds_wire_close) struct cds_wire *wire = calloc(1, sizeof(*wire));
    if (!wire)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory.");
    snprintf(wire->llm_url, sizeof(wire->llm_url), "http://127.0.0.1:%llu", (unsigned long long)cds_config_u64(cmd->config, CDS_OPT_LLM_PORT));
    snprintf(wire->auth_url, sizeof(wire->auth_url), "http://127.0.0.1:%llu", (unsigned long long)cds_config_u64(cmd->config, CDS_OPT_AUTH_PORT));
    cds_rc rc = cds_loop_new(&wire->loop, reterr);
    if (rc == CDS_OK)
        rc = cds_http_client_new(wire->loop, &wire->client, reterr);
    if (rc == CDS_OK && email)
        rc = sign_in(wire, email, reterr);
    else if (rc == CDS_OK)
        cds_strcpy(wire->token, sizeof(wire->token), token);
    if (rc != CDS_OK)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        return rc;
    *ret = wire;
    wire = NULL;
    return CDS_OK;
}
