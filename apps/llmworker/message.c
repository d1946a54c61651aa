#include "apps/llmworker/message.h"

#include <stdlib.h>

#include "apps/llmworker/param.h"
#include "lib/base/str.h"

static cds_rc read_stops(const cds_json *params, struct cds_text *text, struct cds_err *reterr)
{
    const cds_json *stops = cds_json_get(params, "stop");
    cds_text_reset(text);
    if (stops && !cds_json_is(stops, CDS_JSON_ARRAY))
        return cds_param_wrong(reterr, "stop");
    for (size_t i = 0; i < cds_json_size(stops); i++) {
        const cds_json *stop = cds_json_at(stops, i);
        if (!cds_json_str(stop) || cds_text_add_stop(text, cds_json_str(stop), cds_json_str_len(stop)) != CDS_OK)
            return cds_param_wrong(reterr, "stop");
    }
    return CDS_OK;
}

static cds_rc read_end_tokens(const cds_json *params, struct cds_prepare *ret, struct cds_err *reterr)
{
    const cds_json *list = cds_json_get(params, "stop_token_ids");
    if (list && (!cds_json_is(list, CDS_JSON_ARRAY) || cds_json_size(list) > CDS_END_TOKENS_MAX))
        return cds_param_wrong(reterr, "stop_token_ids");
    for (size_t i = 0; i < cds_json_size(list); i++) {
        const cds_json *entry = cds_json_at(list, i);
        bool several = cds_json_is(entry, CDS_JSON_ARRAY);
        struct cds_end_row *row = &ret->end_rows[ret->end_row_count++];
        row->count = several ? (unsigned)cds_json_size(entry) : 1;
        if (row->count < 1 || row->count > CDS_END_TOKENS_MAX)
            return cds_param_wrong(reterr, "stop_token_ids");
        for (unsigned k = 0; k < row->count; k++) {
            int64_t token = cds_json_i64(several ? cds_json_at(entry, k) : entry, -1);
            if (token < 0 || token > INT32_MAX)
                return cds_param_wrong(reterr, "stop_token_ids");
            row->tokens[k] = (int32_t)token;
        }
    }
    return CDS_OK;
}

/** Calls an assistant made earlier: their texts go into the template. */
static bool calls_usable(const cds_json *calls)
{
    if (!calls)
        return true;
    if (!cds_json_is(calls, CDS_JSON_ARRAY) || cds_json_size(calls) > CDS_CALLS_MAX)
        return false;
    for (size_t i = 0; i < cds_json_size(calls); i++) {
        const cds_json *function = cds_json_get(cds_json_at(calls, i), "function");
        if (!cds_json_get_str(function, "name") || !cds_json_get_str(function, "arguments"))
            return false;
    }
    return true;
}

static cds_rc check_messages(const cds_json *messages, struct cds_err *reterr)
{
    size_t count = cds_json_size(messages);
    if (!cds_json_is(messages, CDS_JSON_ARRAY) || count < 1 || count > CDS_MESSAGES_MAX)
        return cds_param_wrong(reterr, "messages");
    for (size_t i = 0; i < count; i++) {
        const cds_json *message = cds_json_at(messages, i);
        const char *role = cds_json_get_str(message, "role");
        bool assistant = cds_streq(role, "assistant");
        bool known = cds_streq(role, "system") || cds_streq(role, "user") || cds_streq(role, "tool") || assistant;
        if (!known || !cds_json_get_str(message, "content") || !calls_usable(assistant ? cds_json_get(message, "tool_calls") : NULL))
            return cds_param_wrong(reterr, "messages");
    }
    return CDS_OK;
}

static cds_rc read_tools(const cds_json *params, struct cds_prepare *ret, struct cds_err *reterr)
{
    ret->tools = cds_json_get(params, "tools");
    ret->tool_choice = cds_json_get_str(params, "tool_choice");
    ret->parallel = cds_json_true(cds_json_get(params, "parallel_tool_calls"), true);
    int64_t calls = cds_json_get_i64(params, "max_tool_calls", CDS_CALLS_MAX);
    if (calls < 1 || calls > CDS_CALLS_MAX)
        return cds_param_wrong(reterr, "max_tool_calls");
    ret->max_calls = ret->parallel ? (uint32_t)calls : 1;
    if (!ret->tools)
        return CDS_OK;
    bool known = cds_streq(ret->tool_choice, "auto") || cds_streq(ret->tool_choice, "required") || cds_streq(ret->tool_choice, "none");
    if (!cds_json_is(ret->tools, CDS_JSON_ARRAY) || cds_json_size(ret->tools) < 1 || cds_json_size(ret->tools) > CDS_TOOLS_MAX || !known)
        return cds_param_wrong(reterr, "tools");
    for (size_t i = 0; i < cds_json_size(ret->tools); i++)
        if (!cds_json_get_str(cds_json_get(cds_json_at(ret->tools, i), "function"), "name"))
            return cds_param_wrong(reterr, "tools");
    return CDS_OK;
}

static cds_rc read_chat(const cds_json *params, struct cds_prepare *ret, struct cds_err *reterr)
{
    ret->prompt_count = 1;
    ret->kwargs = cds_json_get(params, "kwargs");
    ret->chat_template = cds_json_get_str(params, "chat_template");
    ret->continues = cds_json_true(cds_json_get(params, "continue"), false);
    if (ret->kwargs && !cds_json_is(ret->kwargs, CDS_JSON_OBJECT))
        return cds_param_wrong(reterr, "kwargs");
    cds_rc rc = check_messages(ret->messages, reterr);
    return rc == CDS_OK ? read_tools(params, ret, reterr) : rc;
}

static cds_rc read_infill(const cds_json *params, struct cds_prepare *ret, struct cds_err *reterr)
{
    const cds_json *files = cds_json_get(ret->infill, "files");
    ret->prompt_count = 1;
    if (!cds_json_is(ret->infill, CDS_JSON_OBJECT) || (files && !cds_json_is(files, CDS_JSON_ARRAY)))
        return cds_param_wrong(reterr, "infill");
    return CDS_OK;
}

static cds_rc read_prompts(const cds_json *params, struct cds_prepare *ret, struct cds_err *reterr)
{
    ret->infill = cds_json_get(params, "infill");
    if (ret->infill)
        return read_infill(params, ret, reterr);
    ret->prompts = cds_json_get(params, "prompts");
    ret->prompt_count = cds_json_size(ret->prompts);
    if (!cds_json_is(ret->prompts, CDS_JSON_ARRAY) || ret->prompt_count < 1 || ret->prompt_count > CDS_PROMPTS_MAX)
        return cds_param_wrong(reterr, "prompts");
    for (size_t i = 0; i < ret->prompt_count; i++)
        if (!cds_param_is_prompt(cds_json_at(ret->prompts, i)))
            return cds_param_wrong(reterr, "prompts");
    return CDS_OK;
}

cds_rc cds_message_prepare(const cds_json *params, struct cds_prepare *ret, struct cds_err *reterr)
{
    *ret = (struct cds_prepare){.id = cds_json_get_i64(params, "job", 0)};
    if (ret->id <= 0 || ret->id > INT64_MAX / CDS_CHOICES_MAX - 1)
        return cds_param_wrong(reterr, "job");
    int64_t max_tokens = cds_json_get_i64(params, "max_tokens", 0), choices = cds_json_get_i64(params, "choices", 1);
    if (max_tokens < 1 || max_tokens > INT32_MAX)
        return cds_param_wrong(reterr, "max_tokens");
    ret->max_tokens = (uint32_t)max_tokens;
    ret->scope = (uint64_t)cds_json_get_i64(params, "scope", 0);
    ret->thinking = cds_json_true(cds_json_get(params, "thinking"), true);
    ret->raw = cds_json_true(cds_json_get(params, "raw"), false);
    ret->schema = cds_json_get(params, "schema");
    ret->tell = cds_json_get(params, "tell");
    ret->lora = cds_json_get(params, "lora");
    ret->preload = cds_json_true(cds_json_get(params, "preload"), false);
    ret->alone = cds_json_true(cds_json_get(params, "alone"), false);
    ret->half = cds_json_true(cds_json_get(params, "half"), false);
    ret->tells_tokens = cds_json_true(cds_json_get(params, "tell_tokens"), false);
    ret->documents = cds_json_true(cds_json_get(params, "document_parameters"), true);
    ret->shift = cds_json_true(cds_json_get(params, "shift"), false);
    if (ret->lora && (!cds_json_is(ret->lora, CDS_JSON_ARRAY) || cds_json_size(ret->lora) > CDS_ADAPTERS_MAX))
        return cds_param_wrong(reterr, "lora");
    int64_t keep = cds_json_get_i64(params, "keep", 0);
    if (keep < 0 || keep > INT32_MAX)
        return cds_param_wrong(reterr, "keep");
    ret->keep = (uint32_t)keep;
    ret->key = (uint64_t)cds_json_get_i64(params, "key", 0);
    int64_t priority = cds_json_get_i64(params, "priority", CDS_CLASS_NORMAL);
    if (priority < CDS_CLASS_LOW || priority > CDS_CLASS_HIGH)
        return cds_param_wrong(reterr, "priority");
    ret->priority = (enum cds_job_class)priority;
    ret->messages = cds_json_get(params, "messages");
    cds_rc rc = ret->messages ? read_chat(params, ret, reterr) : read_prompts(params, ret, reterr);
    if (rc == CDS_OK && (choices < 1 || choices > CDS_CHOICES_MAX || (size_t)choices * ret->prompt_count > CDS_CHOICES_MAX))
        rc = cds_param_wrong(reterr, "choices");
    ret->choices = (uint32_t)choices;
    if (rc == CDS_OK)
        rc = read_stops(params, &ret->text, reterr);
    if (rc == CDS_OK)
        rc = read_end_tokens(params, ret, reterr);
    if (rc == CDS_OK)
        rc = cds_speculation_read(params, &ret->speculation, reterr);
    return rc == CDS_OK ? cds_sampling_read(params, &ret->sampling, &ret->bias, reterr) : rc;
}

void cds_prepare_clear(struct cds_prepare *prepare)
{
    free(prepare->bias);
    prepare->bias = NULL;
    free(prepare->grammar);
    prepare->grammar = NULL;
    cds_json_unref(prepare->form);
    prepare->form = NULL;
    cds_json_unref(prepare->shifted);
    prepare->shifted = NULL;
}
