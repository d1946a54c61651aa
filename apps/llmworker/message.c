#include "apps/llmworker/message.h"

#include "lib/base/str.h"

static cds_rc wrong(struct cds_err *reterr, const char *name)
{
    cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"%s\" is missing or out of range.", name);
    cds_err_pointer(reterr, "/%s", name);
    return CDS_BAD_PARAM;
}

/** Number within min..max; absent gives otherwise. */
static bool number(const cds_json *params, const char *name, double min, double max, double otherwise, double *ret)
{
    const cds_json *value = cds_json_get(params, name);
    *ret = otherwise;
    if (!value)
        return true;
    if (!cds_json_is(value, CDS_JSON_INTEGER) && !cds_json_is(value, CDS_JSON_REAL))
        return false;
    *ret = cds_json_num(value, otherwise);
    return *ret >= min && *ret <= max;
}

static cds_rc read_sampling(const cds_json *params, struct cds_sampling *ret, struct cds_err *reterr)
{
    static const struct {
        const char *name;
        double min, max, otherwise;
    } rules[] = {
        {"temperature", 0, 100, 0.8},   {"top_p", 0, 1, 0.95},           {"min_p", 0, 1, 0.05},           {"top_k", 0, 1000000, 40},
        {"presence_penalty", -2, 2, 0}, {"frequency_penalty", -2, 2, 0}, {"repeat_penalty", 0.01, 10, 1}, {"seed", 0, 4294967295.0, 0},
    };
    double value[CDS_ARRAY_LEN(rules)];
    for (size_t i = 0; i < CDS_ARRAY_LEN(rules); i++)
        if (!number(params, rules[i].name, rules[i].min, rules[i].max, rules[i].otherwise, &value[i]))
            return wrong(reterr, rules[i].name);
    *ret = (struct cds_sampling){
        .temperature = (float)value[0],
        .top_p = (float)value[1],
        .min_p = (float)value[2],
        .top_k = (int32_t)value[3],
        .presence_penalty = (float)value[4],
        .frequency_penalty = (float)value[5],
        .repeat_penalty = (float)value[6],
        .seed = (uint32_t)value[7],
    };
    return CDS_OK;
}

static cds_rc read_stops(const cds_json *params, struct cds_text *text, struct cds_err *reterr)
{
    const cds_json *stops = cds_json_get(params, "stop");
    cds_text_reset(text);
    if (stops && !cds_json_is(stops, CDS_JSON_ARRAY))
        return wrong(reterr, "stop");
    for (size_t i = 0; i < cds_json_size(stops); i++) {
        const cds_json *stop = cds_json_at(stops, i);
        if (!cds_json_str(stop) || cds_text_add_stop(text, cds_json_str(stop), cds_json_str_len(stop)) != CDS_OK)
            return wrong(reterr, "stop");
    }
    return CDS_OK;
}

static cds_rc check_messages(const cds_json *messages, struct cds_err *reterr)
{
    size_t count = cds_json_size(messages);
    if (!cds_json_is(messages, CDS_JSON_ARRAY) || count < 1 || count > CDS_MESSAGES_MAX)
        return wrong(reterr, "messages");
    for (size_t i = 0; i < count; i++) {
        const char *role = cds_json_get_str(cds_json_at(messages, i), "role");
        bool known = cds_streq(role, "system") || cds_streq(role, "user") || cds_streq(role, "assistant");
        if (!known || !cds_json_get_str(cds_json_at(messages, i), "content"))
            return wrong(reterr, "messages");
    }
    return CDS_OK;
}

cds_rc cds_message_prepare(const cds_json *params, struct cds_prepare *ret, struct cds_err *reterr)
{
    *ret = (struct cds_prepare){.id = cds_json_get_i64(params, "job", 0)};
    if (ret->id <= 0)
        return wrong(reterr, "job");
    int64_t max_tokens = cds_json_get_i64(params, "max_tokens", 0);
    if (max_tokens < 1 || max_tokens > INT32_MAX)
        return wrong(reterr, "max_tokens");
    ret->max_tokens = (uint32_t)max_tokens;
    ret->scope = (uint64_t)cds_json_get_i64(params, "scope", 0);
    ret->key = (uint64_t)cds_json_get_i64(params, "key", 0);
    int64_t priority = cds_json_get_i64(params, "priority", CDS_CLASS_NORMAL);
    if (priority < CDS_CLASS_LOW || priority > CDS_CLASS_HIGH)
        return wrong(reterr, "priority");
    ret->priority = (enum cds_job_class)priority;
    ret->messages = cds_json_get(params, "messages");
    cds_rc rc = CDS_OK;
    if (ret->messages) {
        rc = check_messages(ret->messages, reterr);
    } else {
        const cds_json *prompt = cds_json_get(params, "prompt");
        ret->prompt = cds_json_str(prompt);
        ret->prompt_len = cds_json_str_len(prompt);
        if (!ret->prompt || ret->prompt_len == 0 || ret->prompt_len > CDS_PROMPT_BYTES_MAX)
            rc = wrong(reterr, "prompt");
    }
    if (rc == CDS_OK)
        rc = read_sampling(params, &ret->sampling, reterr);
    if (rc == CDS_OK)
        rc = read_stops(params, &ret->text, reterr);
    return rc;
}
