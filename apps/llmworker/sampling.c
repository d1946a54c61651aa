#include "apps/llmworker/sampling.h"

#include <math.h>
#include <stdlib.h>

#include "apps/llmworker/param.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"

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

struct rule {
    const char *name;
    double min, max, otherwise;
    size_t at; /**< of the member in struct cds_sampling */
    enum { FLOAT, INT, UINT } kind;
};
#define RULE(name, min, max, otherwise, kind)                                                                                                        \
    {                                                                                                                                                \
#name, min, max, otherwise, offsetof(struct cds_sampling, name), kind                                                                        \
    }
static const struct rule rules[] = {
    RULE(temperature, 0, 100, 0.8, FLOAT),
    RULE(dynatemp_range, 0, 100, 0, FLOAT),
    RULE(dynatemp_exponent, 0, 100, 1, FLOAT),
    RULE(top_p, 0, 1, 0.95, FLOAT),
    RULE(min_p, 0, 1, 0.05, FLOAT),
    RULE(typical_p, 0, 1, 1, FLOAT),
    RULE(top_n_sigma, -1, 1000, -1, FLOAT),
    RULE(xtc_probability, 0, 1, 0, FLOAT),
    RULE(xtc_threshold, 0, 1, 0.1, FLOAT),
    RULE(top_k, 0, 1000000, 40, INT),
    RULE(min_keep, 0, 1000000, 0, UINT),
    RULE(presence_penalty, -2, 2, 0, FLOAT),
    RULE(frequency_penalty, -2, 2, 0, FLOAT),
    RULE(repeat_penalty, 0.01, 10, 1, FLOAT),
    RULE(repeat_last_n, -1, 1000000, 64, INT),
    RULE(dry_multiplier, 0, 100, 0, FLOAT),
    RULE(dry_base, 1, 100, 1.75, FLOAT),
    RULE(dry_allowed_length, 0, 1000000, 2, INT),
    {"dry_penalty_last_n", -1, 1000000, -1, offsetof(struct cds_sampling, dry_last_n), INT},
    RULE(mirostat, 0, 2, 0, INT),
    RULE(mirostat_tau, 0, 100, 5, FLOAT),
    RULE(mirostat_eta, 0, 100, 0.1, FLOAT),
    RULE(seed, 0, 4294967295.0, 0, UINT),
    RULE(thinking_budget, -1, 1073741824, -1, INT),
};

static cds_rc read_numbers(const cds_json *params, struct cds_sampling *ret, struct cds_err *reterr)
{
    for (size_t i = 0; i < CDS_ARRAY_LEN(rules); i++) {
        double value;
        char *place = (char *)ret + rules[i].at;
        if (!number(params, rules[i].name, rules[i].min, rules[i].max, rules[i].otherwise, &value))
            return cds_param_wrong(reterr, rules[i].name);
        if (rules[i].kind == FLOAT)
            *(float *)(void *)place = (float)value;
        else if (rules[i].kind == INT)
            *(int32_t *)(void *)place = (int32_t)value;
        else
            *(uint32_t *)(void *)place = (uint32_t)value;
    }
    return CDS_OK;
}

static cds_rc read_order(const cds_json *params, struct cds_sampling *ret, struct cds_err *reterr)
{
    static const char *const names[CDS_STEPS] = {"penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"};
    const cds_json *order = cds_json_get(params, "samplers");
    if (!order) {
        for (unsigned i = 0; i < CDS_STEPS; i++)
            ret->order[i] = (enum cds_sampler_step)i;
        ret->order_count = CDS_STEPS;
        return CDS_OK;
    }
    if (!cds_json_is(order, CDS_JSON_ARRAY) || cds_json_size(order) > CDS_ORDER_MAX)
        return cds_param_wrong(reterr, "samplers");
    for (size_t i = 0; i < cds_json_size(order); i++) {
        unsigned step = 0;
        while (step < CDS_STEPS && !cds_streq(cds_json_str(cds_json_at(order, i)), names[step]))
            step++;
        if (step == CDS_STEPS)
            return cds_param_wrong(reterr, "samplers");
        ret->order[ret->order_count++] = (enum cds_sampler_step)step;
    }
    return CDS_OK;
}

static cds_rc read_exempt(const cds_json *params, struct cds_sampling *ret, struct cds_err *reterr)
{
    const cds_json *list = cds_json_get(params, "penalty_exempt");
    ret->spares_newline = !cds_json_true(cds_json_get(params, "penalize_newline"), true);
    if (list && (!cds_json_is(list, CDS_JSON_ARRAY) || cds_json_size(list) > CDS_EXEMPT_MAX))
        return cds_param_wrong(reterr, "penalty_exempt");
    for (size_t i = 0; i < cds_json_size(list); i++) {
        int64_t token = cds_json_i64(cds_json_at(list, i), -1);
        if (token < 0 || token > INT32_MAX)
            return cds_param_wrong(reterr, "penalty_exempt");
        ret->exempt[ret->exempt_count++] = (int32_t)token;
    }
    return CDS_OK;
}

static cds_rc read_breakers(const cds_json *params, struct cds_sampling *ret, struct cds_err *reterr)
{
    static const char *const usual[] = {"\n", ":", "\"", "*"};
    const cds_json *list = cds_json_get(params, "dry_sequence_breakers");
    size_t count = list ? cds_json_size(list) : CDS_ARRAY_LEN(usual);
    if ((list && !cds_json_is(list, CDS_JSON_ARRAY)) || count > CDS_BREAKERS_MAX)
        return cds_param_wrong(reterr, "dry_sequence_breakers");
    for (size_t i = 0; i < count; i++) {
        ret->dry_breakers[i] = list ? cds_json_str(cds_json_at(list, i)) : usual[i];
        if (!ret->dry_breakers[i])
            return cds_param_wrong(reterr, "dry_sequence_breakers");
    }
    ret->dry_breaker_count = (unsigned)count;
    return CDS_OK;
}

/** [[token, number added to the logit, or null for never], ...] */
static cds_rc read_bias(const cds_json *params, struct cds_sampling *ret, struct cds_bias **ret_bias, struct cds_err *reterr)
{
    const cds_json *list = cds_json_get(params, "logit_bias");
    size_t count = cds_json_size(list);
    if (list && (!cds_json_is(list, CDS_JSON_ARRAY) || count > CDS_BIAS_MAX))
        return cds_param_wrong(reterr, "logit_bias");
    if (count == 0)
        return CDS_OK;
    CDS_CLEANUP(cds_free_ptr) struct cds_bias *bias = calloc(count, sizeof(*bias));
    if (!bias)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the request.");
    for (size_t i = 0; i < count; i++) {
        const cds_json *pair = cds_json_at(list, i), *amount = cds_json_at(pair, 1);
        int64_t token = cds_json_i64(cds_json_at(pair, 0), -1);
        double value = cds_json_num(amount, -INFINITY);
        if (token < 0 || token > INT32_MAX || (value != -INFINITY && fabs(value) > 1000))
            // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
            return cds_param_wrong(reterr, "logit_bias");
        bias[i] = (struct cds_bias){(int32_t)token, (float)value};
    }
    ret->bias = *ret_bias = bias;
    ret->bias_count = (unsigned)count;
    bias = NULL;
    return CDS_OK;
}

/** List of texts into a fixed array. */
static bool texts(const cds_json *list, const char **ret, unsigned most, unsigned *ret_count)
{
    *ret_count = 0;
    if (!list)
        return true;
    if (!cds_json_is(list, CDS_JSON_ARRAY) || cds_json_size(list) > most)
        return false;
    for (size_t i = 0; i < cds_json_size(list); i++) {
        ret[i] = cds_json_str(cds_json_at(list, i));
        if (!ret[i])
            return false;
    }
    *ret_count = (unsigned)cds_json_size(list);
    return true;
}

static cds_rc read_grammar(const cds_json *params, struct cds_sampling *ret, struct cds_err *reterr)
{
    const cds_json *grammar = cds_json_get(params, "grammar");
    if (grammar && !cds_json_str(grammar))
        return cds_param_wrong(reterr, "grammar");
    ret->grammar = cds_json_str(grammar);
    ret->grammar_lazy = cds_json_true(cds_json_get(params, "grammar_lazy"), false);
    if (!texts(cds_json_get(params, "triggers"), ret->triggers, CDS_TRIGGERS_MAX, &ret->trigger_count))
        return cds_param_wrong(reterr, "triggers");
    return CDS_OK;
}

cds_rc cds_sampling_read(const cds_json *params, struct cds_sampling *ret, struct cds_bias **ret_bias, struct cds_err *reterr)
{
    *ret = (struct cds_sampling){0};
    *ret_bias = NULL;
    cds_rc rc = read_numbers(params, ret, reterr);
    if (rc == CDS_OK)
        rc = read_order(params, ret, reterr);
    if (rc == CDS_OK)
        rc = read_breakers(params, ret, reterr);
    if (rc == CDS_OK)
        rc = read_exempt(params, ret, reterr);
    if (rc == CDS_OK)
        rc = read_grammar(params, ret, reterr);
    ret->ignore_eos = cds_json_true(cds_json_get(params, "ignore_eos"), false);
    int64_t logprobs = cds_json_get_i64(params, "logprobs", -1);
    if (rc == CDS_OK && logprobs > CDS_LOGPROBS_MAX)
        rc = cds_param_wrong(reterr, "logprobs");
    ret->wants_chance = logprobs >= 0 || cds_json_true(cds_json_get(params, "score"), false);
    ret->logprobs = logprobs > 0 ? (uint32_t)logprobs : 0;
    return rc == CDS_OK ? read_bias(params, ret, ret_bias, reterr) : rc;
}
