#include "apps/llmserver/request.h"

#include <ctype.h>

#include "apps/llmserver/ask.h"
#include "lib/base/str.h"

cds_rc cds_ask_wrong(struct cds_err *reterr, const char *name, const char *expected)
{
    cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"%s\" must be %s.", name, expected);
    cds_err_pointer(reterr, "/%s", name);
    return CDS_BAD_PARAM;
}

cds_json *cds_ask_member(const cds_json *body, const char *name)
{
    cds_json *value = cds_json_get(body, name);
    return cds_json_is(value, CDS_JSON_NULL) ? NULL : value;
}

bool cds_ask_is_number(const cds_json *value)
{
    return cds_json_is(value, CDS_JSON_INTEGER) || cds_json_is(value, CDS_JSON_REAL);
}

bool cds_ask_is_bool(const cds_json *value)
{
    return cds_json_is(value, CDS_JSON_TRUE) || cds_json_is(value, CDS_JSON_FALSE);
}

cds_rc cds_ask_bool(const cds_json *body, const char *name, bool otherwise, bool *ret, struct cds_err *reterr)
{
    const cds_json *value = cds_ask_member(body, name);
    if (value && !cds_ask_is_bool(value))
        return cds_ask_wrong(reterr, name, "true or false");
    *ret = cds_json_true(value, otherwise);
    return CDS_OK;
}

/** true when a member asks for nothing: absent, null, false, empty. */
static bool asks_nothing(const cds_json *value)
{
    return !value || cds_json_is(value, CDS_JSON_NULL) || cds_json_is(value, CDS_JSON_FALSE) ||
           (!cds_ask_is_bool(value) && !cds_ask_is_number(value) && cds_json_size(value) == 0 && cds_json_str_len(value) == 0);
}

static cds_rc refuse_unoffered(const cds_json *body, struct cds_err *reterr)
{
    static const struct {
        const char *name, *instead;
    } members[] = {
        {"functions", "left out: this server takes \"tools\""},
        {"function_call", "left out: this server takes \"tool_choice\""},
        {"audio", "left out: this server answers in text"},
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(members); i++)
        if (!asks_nothing(cds_json_get(body, members[i].name)))
            return cds_ask_wrong(reterr, members[i].name, members[i].instead);
    const cds_json *modalities = cds_ask_member(body, "modalities");
    for (size_t i = 0; i < cds_json_size(modalities); i++)
        if (!cds_streq(cds_json_str(cds_json_at(modalities, i)), "text"))
            return cds_ask_wrong(reterr, "modalities", "[\"text\"]: this server answers in text");
    return CDS_OK;
}

static cds_rc read_limit(const cds_json *body, struct cds_ask *ask, struct cds_err *reterr)
{
    static const char *const names[] = {"max_tokens", "max_completion_tokens"}; /* the latter wins */
    for (size_t i = 0; i < CDS_ARRAY_LEN(names); i++) {
        const cds_json *value = cds_ask_member(body, names[i]);
        if (!value)
            continue;
        int64_t tokens = cds_json_i64(value, 0);
        bool may_be_none = ask->task == CDS_TASK_TEXT;
        if (!cds_json_is(value, CDS_JSON_INTEGER) || tokens < (may_be_none ? 0 : 1))
            return cds_ask_wrong(reterr, names[i], may_be_none ? "an integer of 0 or more" : "an integer of 1 or more");
        ask->evaluates = tokens == 0; /* as with "preload" */
        ask->max_tokens = tokens == 0 ? 1 : tokens > CDS_ASK_TOKENS_MAX ? CDS_ASK_TOKENS_MAX : (uint32_t)tokens;
    }
    const cds_json *time = cds_ask_member(body, "t_max_predict_ms");
    if (!time)
        return CDS_OK;
    int64_t ms = cds_json_i64(time, -2);
    if (!cds_json_is(time, CDS_JSON_INTEGER) || ms < -1 || ms > 86400000)
        return cds_ask_wrong(reterr, "t_max_predict_ms", "an integer from 1 to 86400000 (0 or -1: no limit)");
    ask->time_ms = ms > 0 ? (uint32_t)ms : 0;
    return CDS_OK;
}

static cds_rc read_stream(const cds_json *body, struct cds_ask *ask, struct cds_err *reterr)
{
    cds_rc rc = cds_ask_bool(body, "stream", false, &ask->stream, reterr);
    if (rc == CDS_OK)
        rc = cds_ask_bool(body, "resumable", false, &ask->resumable, reterr);
    if (rc == CDS_OK && ask->resumable && !ask->stream)
        return cds_ask_wrong(reterr, "resumable", "false without \"stream\": true: only the events of a stream are kept");
    const cds_json *options = cds_ask_member(body, "stream_options");
    if (rc != CDS_OK || !options)
        return rc;
    if (!cds_json_is(options, CDS_JSON_OBJECT))
        return cds_ask_wrong(reterr, "stream_options", "an object");
    const cds_json *usage = cds_ask_member(options, "include_usage");
    if (usage && !cds_ask_is_bool(usage)) {
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"stream_options.include_usage\" must be true or false.");
        cds_err_pointer(reterr, "/stream_options/include_usage");
        return CDS_BAD_PARAM;
    }
    ask->include_usage = cds_json_true(usage, false);
    return CDS_OK;
}

static cds_rc read_model(const cds_json *body, struct cds_ask *ask, struct cds_err *reterr)
{
    const cds_json *model = cds_ask_member(body, "model");
    size_t len = cds_json_str_len(model);
    if (model && (!cds_json_str(model) || len > CDS_ASK_MODEL_MAX))
        return cds_ask_wrong(reterr, "model", "a string of at most 128 bytes");
    for (size_t i = 0; i <= len && model; i++)
        ask->model[i] = (char)tolower((unsigned char)cds_json_str(model)[i]);
    return CDS_OK;
}

static cds_rc read_text(const cds_json *json, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    if (ask->task == CDS_TASK_INFILL)
        return cds_ask_infill(json, prompt, reterr);
    if (ask->chat)
        return cds_ask_messages(json, prompt, reterr);
    cds_rc rc = cds_ask_prompts(json, ask, prompt, reterr);
    return rc == CDS_OK ? cds_ask_suffix(json, ask, prompt, reterr) : rc;
}

static cds_rc read_body(const cds_json *json, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    cds_rc rc = read_model(json, ask, reterr);
    if (rc == CDS_OK && ask->task == CDS_TASK_EMBED)
        return cds_ask_embed(json, ask, prompt, reterr);
    if (rc == CDS_OK && ask->task == CDS_TASK_RANK)
        return cds_ask_rank(json, ask, prompt, reterr);
    if (rc == CDS_OK && !cds_task_generates(ask->task) && ask->task != CDS_TASK_TEMPLATE)
        return cds_ask_words(json, ask, prompt, reterr);
    if (rc == CDS_OK)
        rc = read_text(json, ask, prompt, reterr);
    if (rc == CDS_OK)
        rc = read_stream(json, ask, reterr);
    if (rc == CDS_OK)
        rc = read_limit(json, ask, reterr);
    if (rc == CDS_OK)
        rc = cds_ask_sampling(json, ask, prompt, reterr);
    if (rc == CDS_OK)
        rc = cds_ask_extras(json, ask, prompt, reterr);
    if (rc == CDS_OK)
        rc = cds_ask_context(json, ask, prompt, reterr);
    if (rc == CDS_OK)
        rc = cds_ask_lora(json, prompt, reterr);
    if (rc == CDS_OK)
        rc = cds_ask_speculation(json, ask, prompt, reterr);
    if (rc == CDS_OK)
        rc = cds_ask_format(json, ask, prompt, reterr);
    if (rc == CDS_OK && ask->chat)
        rc = cds_ask_tools(json, ask, prompt, reterr);
    if (rc == CDS_OK && ask->chat)
        rc = cds_ask_reasoning(json, ask, prompt, reterr);
    return rc == CDS_OK ? refuse_unoffered(json, reterr) : rc;
}

cds_rc cds_ask_read(const cds_json *json, enum cds_task task, struct cds_ask *ret, struct cds_err *reterr)
{
    bool chat = task == CDS_TASK_CHAT || task == CDS_TASK_TEMPLATE;
    if (!cds_json_is(json, CDS_JSON_OBJECT))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The request body must be a JSON object.");
    struct cds_ask ask = {.task = task, .chat = chat, .prompts = 1, .per_prompt = 1, .shown = 1, .prompt = cds_json_object()};
    const char *tier = cds_json_get_str(json, "service_tier");
    ask.priority = cds_streq(tier, "flex") ? 0 : cds_streq(tier, "priority") ? 2 : 1;
    cds_rc rc = read_body(json, &ask, ask.prompt, reterr);
    if (rc == CDS_OK && task == CDS_TASK_TEMPLATE) {
        cds_json_set(ask.prompt, "task", cds_json_string("template"));
        ask.stream = false;
        ask.max_tokens = 1; /* nothing is generated, but a prompt is prepared for an answer */
    }
    if (rc != CDS_OK)
        cds_ask_clear(&ask);
    else
        *ret = ask;
    return rc;
}

cds_rc cds_ask_parse(const char *body, size_t len, enum cds_task task, struct cds_ask *ret, struct cds_err *reterr)
{
    CDS_JSON_AUTO json = NULL;
    cds_rc rc = cds_json_parse(body, len, &json, reterr);
    return rc == CDS_OK ? cds_ask_read(json, task, ret, reterr) : rc;
}

void cds_ask_clear(struct cds_ask *ask)
{
    cds_json_unref(ask->prompt);
    ask->prompt = NULL;
    cds_schema_free(&ask->schema);
}
