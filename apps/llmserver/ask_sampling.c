#include <math.h>
#include <stdlib.h>

#include "apps/llmserver/ask.h"
#include "lib/base/str.h"

enum { POSITIONS_MAX = 4096 };

/* --- numbers ------------------------------------------------------------------------------------------------------------ */

static cds_rc read_numbers(const cds_json *body, cds_json *prompt, struct cds_err *reterr)
{
    static const struct {
        const char *name;
        double min, max;
        bool whole;
        const char *expected;
    } rules[] = {
        {"temperature", 0, 2, false, "a number from 0 to 2"},
        {"dynatemp_range", 0, 2, false, "a number from 0 to 2"},
        {"dynatemp_exponent", 0, 100, false, "a number from 0 to 100"},
        {"top_p", 0, 1, false, "a number from 0 to 1"},
        {"min_p", 0, 1, false, "a number from 0 to 1"},
        {"typical_p", 0, 1, false, "a number from 0 to 1"},
        {"top_n_sigma", -1, 1000, false, "a number from -1 to 1000"},
        {"xtc_probability", 0, 1, false, "a number from 0 to 1"},
        {"xtc_threshold", 0, 1, false, "a number from 0 to 1"},
        {"top_k", 0, 1000000, true, "an integer from 0 to 1000000"},
        {"min_keep", 0, 1000000, true, "an integer from 0 to 1000000"},
        {"presence_penalty", -2, 2, false, "a number from -2 to 2"},
        {"frequency_penalty", -2, 2, false, "a number from -2 to 2"},
        {"repeat_penalty", 0.01, 10, false, "a number from 0.01 to 10"},
        {"repeat_last_n", -1, 1000000, true, "an integer from -1 to 1000000"},
        {"dry_multiplier", 0, 100, false, "a number from 0 to 100"},
        {"dry_base", 1, 100, false, "a number from 1 to 100"},
        {"dry_allowed_length", 0, 1000000, true, "an integer from 0 to 1000000"},
        {"dry_penalty_last_n", -1, 1000000, true, "an integer from -1 to 1000000"},
        {"mirostat", 0, 2, true, "0, 1 or 2"},
        {"mirostat_tau", 0, 100, false, "a number from 0 to 100"},
        {"mirostat_eta", 0, 100, false, "a number from 0 to 100"},
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(rules); i++) {
        cds_json *value = cds_ask_member(body, rules[i].name);
        if (!value)
            continue;
        double number = cds_json_num(value, 0);
        if (!cds_ask_is_number(value) || (rules[i].whole && !cds_json_is(value, CDS_JSON_INTEGER)) || number < rules[i].min || number > rules[i].max)
            return cds_ask_wrong(reterr, rules[i].name, rules[i].expected);
        cds_json_set(prompt, rules[i].name, cds_json_ref(value));
    }
    const cds_json *seed = cds_ask_member(body, "seed");
    if (seed && !cds_json_is(seed, CDS_JSON_INTEGER))
        return cds_ask_wrong(reterr, "seed", "an integer");
    if (seed)
        cds_json_set(prompt, "seed", cds_json_int((int64_t)((uint64_t)cds_json_i64(seed, 0) & UINT32_MAX)));
    bool ignore_eos;
    cds_rc rc = cds_ask_bool(body, "ignore_eos", false, &ignore_eos, reterr);
    if (rc == CDS_OK && ignore_eos)
        cds_json_set(prompt, "ignore_eos", cds_json_bool(true));
    return rc;
}

/* --- order, breakers ---------------------------------------------------------------------------------------------------- */

static cds_rc read_order(const cds_json *body, cds_json *prompt, struct cds_err *reterr)
{
    static const struct {
        const char *said, *meant;
    } names[] = {
        {"penalties", "penalties"},
        {"dry", "dry"},
        {"top_n_sigma", "top_n_sigma"},
        {"top_k", "top_k"},
        {"typ_p", "typ_p"},
        {"typical_p", "typ_p"},
        {"top_p", "top_p"},
        {"min_p", "min_p"},
        {"xtc", "xtc"},
        {"temperature", "temperature"},
    };
    static const char expected[] = "a list of penalties, dry, top_n_sigma, top_k, typ_p, top_p, min_p, xtc and temperature, each at most once";
    const cds_json *order = cds_ask_member(body, "samplers");
    if (!order)
        return CDS_OK;
    if (!cds_json_is(order, CDS_JSON_ARRAY) || cds_json_size(order) > 9)
        return cds_ask_wrong(reterr, "samplers", expected);
    cds_json *list = cds_json_array();
    cds_json_set(prompt, "samplers", list);
    for (size_t i = 0; i < cds_json_size(order); i++) {
        const char *said = cds_json_str(cds_json_at(order, i));
        size_t n = 0;
        while (n < CDS_ARRAY_LEN(names) && !cds_streq(said, names[n].said))
            n++;
        bool again = false;
        for (size_t k = 0; n < CDS_ARRAY_LEN(names) && k < cds_json_size(list); k++)
            again = again || cds_streq(cds_json_str(cds_json_at(list, k)), names[n].meant);
        if (n == CDS_ARRAY_LEN(names) || again) {
            cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"samplers\" must be %s; \"%.64s\" is not one.", expected, said ? said : "?");
            cds_err_pointer(reterr, "/samplers/%zu", i);
            return CDS_BAD_PARAM;
        }
        cds_json_append(list, cds_json_string(names[n].meant));
    }
    return CDS_OK;
}

static cds_rc read_breakers(const cds_json *body, cds_json *prompt, struct cds_err *reterr)
{
    static const char expected[] = "a list of at most 16 strings, each of 1 to 64 bytes";
    cds_json *list = cds_ask_member(body, "dry_sequence_breakers");
    if (!list)
        return CDS_OK;
    if (!cds_json_is(list, CDS_JSON_ARRAY) || cds_json_size(list) > 16)
        return cds_ask_wrong(reterr, "dry_sequence_breakers", expected);
    for (size_t i = 0; i < cds_json_size(list); i++)
        if (cds_json_str_len(cds_json_at(list, i)) < 1 || cds_json_str_len(cds_json_at(list, i)) > 64)
            return cds_ask_wrong(reterr, "dry_sequence_breakers", expected);
    cds_json_set(prompt, "dry_sequence_breakers", cds_json_ref(list));
    return CDS_OK;
}

/* --- bias --------------------------------------------------------------------------------------------------------------- */

/** A number added to the logit; "+50%" makes a token so much likelier, "-50%" less likely; false, "never" and -100 rule it out (JSON null for the
 *  worker). @return NULL: not a bias */
static cds_json *bias_value(const cds_json *given)
{
    if (cds_json_is(given, CDS_JSON_FALSE) || cds_streq(cds_json_str(given), "never"))
        return cds_json_null();
    const char *text = cds_json_str(given);
    if (!text) {
        double number = cds_json_num(given, NAN);
        if (!cds_ask_is_number(given) || number < -1000 || number > 1000)
            return NULL;
        return number <= -100 ? cds_json_null() : cds_json_real(number);
    }
    char *end;
    double percent = strtod(text, &end);
    if (end == text || !cds_streq(end, "%") || !(percent >= -100 && percent <= 1000000))
        return NULL;
    return percent == -100 ? cds_json_null() : cds_json_real(log1p(percent / 100));
}

static bool add_bias(cds_json *list, int64_t token, const cds_json *given)
{
    cds_json *value = bias_value(given);
    if (!value || token < 0 || token > INT32_MAX || cds_json_size(list) >= CDS_ASK_BIAS_MAX) {
        cds_json_unref(value);
        return false;
    }
    cds_json_append(list, cds_json_pack("[I,o]", (long long)token, value));
    return true;
}

static cds_rc read_bias(const cds_json *body, cds_json *prompt, struct cds_err *reterr)
{
    static const char expected[] =
        "{\"<token id>\": bias} or [[token id, bias], ...] with at most 1024 entries; a bias is a number from -1000 to 1000, "
        "a text like \"+50%\", or \"never\"";
    const cds_json *given = cds_ask_member(body, "logit_bias");
    void *iter = NULL;
    const char *key;
    cds_json *value;
    if (!given)
        return CDS_OK;
    cds_json *list = cds_json_array();
    cds_json_set(prompt, "logit_bias", list);
    bool object = cds_json_is(given, CDS_JSON_OBJECT), good = object || cds_json_is(given, CDS_JSON_ARRAY);
    while (object && good && cds_json_next(given, &iter, &key, &value)) {
        uint64_t token;
        good = cds_parse_u64(key, 0, INT32_MAX, &token) == CDS_OK && add_bias(list, (int64_t)token, value);
    }
    for (size_t i = 0; !object && good && i < cds_json_size(given); i++) {
        const cds_json *pair = cds_json_at(given, i), *token = cds_json_at(pair, 0);
        good = cds_json_size(pair) == 2 && cds_json_is(token, CDS_JSON_INTEGER) && add_bias(list, cds_json_i64(token, -1), cds_json_at(pair, 1));
    }
    return good ? CDS_OK : cds_ask_wrong(reterr, "logit_bias", expected);
}

/* --- where it ends ------------------------------------------------------------------------------------------------------ */

static cds_rc read_stop(const cds_json *body, cds_json *prompt, struct cds_err *reterr)
{
    static const char expected[] = "a string or a list of at most 4 strings, each of 1 to 256 bytes";
    cds_json *stop = cds_ask_member(body, "stop");
    if (!stop)
        return CDS_OK;
    cds_json *list = cds_json_array();
    cds_json_set(prompt, "stop", list);
    bool one = cds_json_is(stop, CDS_JSON_STRING);
    size_t count = one ? 1 : cds_json_size(stop);
    if ((!one && !cds_json_is(stop, CDS_JSON_ARRAY)) || count > CDS_ASK_STOP_MAX)
        return cds_ask_wrong(reterr, "stop", expected);
    for (size_t i = 0; i < count; i++) {
        cds_json *text = one ? stop : cds_json_at(stop, i);
        size_t len = cds_json_str_len(text);
        if (!cds_json_str(text) || len == 0 || len > CDS_ASK_STOP_BYTES)
            return cds_ask_wrong(reterr, "stop", expected);
        cds_json_append(list, cds_json_ref(text));
    }
    return CDS_OK;
}

static cds_rc read_stop_tokens(const cds_json *body, cds_json *prompt, struct cds_err *reterr)
{
    static const char expected[] = "a list of at most 16 token ids, or lists of at most 16 of them that end the answer as a row";
    cds_json *list = cds_ask_member(body, "stop_token_ids");
    if (!list)
        return CDS_OK;
    if (!cds_json_is(list, CDS_JSON_ARRAY) || cds_json_size(list) > 16)
        return cds_ask_wrong(reterr, "stop_token_ids", expected);
    for (size_t i = 0; i < cds_json_size(list); i++) {
        const cds_json *token = cds_json_at(list, i);
        bool row = cds_json_is(token, CDS_JSON_ARRAY);
        size_t count = row ? cds_json_size(token) : 1;
        bool good = count >= 1 && count <= 16;
        for (size_t k = 0; good && k < count; k++) {
            const cds_json *id = row ? cds_json_at(token, k) : token;
            good = cds_json_is(id, CDS_JSON_INTEGER) && cds_json_i64(id, -1) >= 0 && cds_json_i64(id, -1) <= INT32_MAX;
        }
        if (!good)
            return cds_ask_wrong(reterr, "stop_token_ids", expected);
    }
    cds_json_set(prompt, "stop_token_ids", cds_json_ref(list));
    return CDS_OK;
}

/* --- how many, and how likely ------------------------------------------------------------------------------------------- */

static cds_rc read_count(const cds_json *body, const char *name, int64_t otherwise, unsigned *ret, struct cds_err *reterr)
{
    const cds_json *value = cds_ask_member(body, name);
    int64_t count = cds_json_i64(value, otherwise);
    *ret = (unsigned)count;
    if (value && (!cds_json_is(value, CDS_JSON_INTEGER) || count < 1 || count > CDS_ASK_CHOICES_MAX))
        return cds_ask_wrong(reterr, name, "an integer from 1 to 32");
    return CDS_OK;
}

static cds_rc read_choices(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    cds_rc rc = read_count(body, "n", 1, &ask->shown, reterr);
    ask->per_prompt = ask->shown;
    if (rc == CDS_OK && !ask->chat)
        rc = read_count(body, "best_of", ask->shown, &ask->per_prompt, reterr);
    if (rc != CDS_OK)
        return rc;
    if (ask->per_prompt < ask->shown)
        return cds_ask_wrong(reterr, "best_of", "at least \"n\"");
    if (ask->per_prompt > ask->shown && ask->stream)
        return cds_ask_wrong(reterr, "best_of", "left out of a stream: the best answer is known at the end only");
    if (ask->per_prompt * ask->prompts > CDS_ASK_CHOICES_MAX)
        return cds_ask_wrong(reterr, "n", "so small that all prompts together have at most 32 answers");
    if (ask->per_prompt > 1)
        cds_json_set(prompt, "choices", cds_json_int(ask->per_prompt));
    if (ask->per_prompt > ask->shown)
        cds_json_set(prompt, "score", cds_json_bool(true));
    return CDS_OK;
}

/** Chat: logprobs true, top_logprobs 0..20. Text: logprobs 0..20. */
static cds_rc read_logprobs(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    const cds_json *top = cds_ask_member(body, ask->chat ? "top_logprobs" : "logprobs");
    const char *name = ask->chat ? "top_logprobs" : "logprobs";
    const cds_json *probs = cds_ask_member(body, "n_probs"); /* llama.cpp's name for both */
    bool asks_probs = !top && cds_json_i64(probs, 0) > 0;
    if (!top && probs) {
        top = probs;
        name = "n_probs";
    }
    int64_t count = cds_json_i64(top, 0);
    /* Zero candidates and no candidates are not the same in the text form: 0 still tells the chosen token's chance. */
    bool off = !ask->chat && cds_json_is(top, CDS_JSON_FALSE);
    if (top && !off && (!cds_json_is(top, CDS_JSON_INTEGER) || count < 0 || count > CDS_ASK_TOP_LOGPROBS_MAX))
        return cds_ask_wrong(reterr, name, "an integer from 0 to 20");
    ask->logprobs = !ask->chat && top && !off && (top != probs || asks_probs);
    if (ask->chat) {
        cds_rc rc = cds_ask_bool(body, "logprobs", asks_probs, &ask->logprobs, reterr);
        if (rc != CDS_OK)
            return rc;
        if (count > 0 && !ask->logprobs)
            return cds_ask_wrong(reterr, "top_logprobs", "left out unless \"logprobs\" is true");
    }
    if (ask->logprobs)
        cds_json_set(prompt, "logprobs", cds_json_int(count));
    return CDS_OK;
}

/** With echo and logprobs the chances of the prompt's tokens are told too, all of them or those at the places that are named. */
static cds_rc read_prompt_chances(const cds_json *body, const struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    static const char expected[] = "a list of at most 4096 places of tokens of the prompt, together with \"echo\" and \"logprobs\"";
    cds_json *places = cds_ask_member(body, "logprob_positions");
    bool tells = ask->echo && ask->logprobs;
    if (places && (!tells || cds_json_size(places) > POSITIONS_MAX || (cds_json_size(places) > 0 && !cds_ask_is_tokens(places)) ||
                   !cds_json_is(places, CDS_JSON_ARRAY)))
        return cds_ask_wrong(reterr, "logprob_positions", expected);
    if (!tells)
        return CDS_OK;
    if (ask->stream || ask->per_prompt > 1)
        return cds_ask_wrong(reterr, "echo",
                             "false with \"logprobs\" in a stream or with several answers: the chances of a prompt are told at the end, once");
    if (cds_json_get(prompt, "infill") || cds_json_true(cds_json_get(body, "context_shift"), false))
        return cds_ask_wrong(reterr, "echo", "false with \"logprobs\" and a \"suffix\" or \"context_shift\": the prompt is another one then");
    cds_json_set(prompt, "tell", places ? cds_json_ref(places) : cds_json_bool(true));
    return CDS_OK;
}

static cds_rc read_echo(const cds_json *body, struct cds_ask *ask, const cds_json *prompt, struct cds_err *reterr)
{
    cds_rc rc = ask->chat ? CDS_OK : cds_ask_bool(body, "echo", false, &ask->echo, reterr);
    if (rc != CDS_OK || !ask->echo)
        return rc;
    const cds_json *prompts = cds_json_get(prompt, "prompts");
    for (size_t i = 0; i < cds_json_size(prompts); i++)
        if (!cds_json_str(cds_json_at(prompts, i)))
            return cds_ask_wrong(reterr, "echo", "false for prompts that are token ids");
    return CDS_OK;
}

cds_rc cds_ask_sampling(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    cds_rc rc = read_numbers(body, prompt, reterr);
    if (rc == CDS_OK)
        rc = read_order(body, prompt, reterr);
    if (rc == CDS_OK)
        rc = read_breakers(body, prompt, reterr);
    if (rc == CDS_OK)
        rc = read_bias(body, prompt, reterr);
    if (rc == CDS_OK)
        rc = read_stop(body, prompt, reterr);
    if (rc == CDS_OK)
        rc = read_stop_tokens(body, prompt, reterr);
    if (rc == CDS_OK)
        rc = read_choices(body, ask, prompt, reterr);
    if (rc == CDS_OK)
        rc = read_logprobs(body, ask, prompt, reterr);
    if (rc == CDS_OK && ask->evaluates && ask->per_prompt > 1)
        return cds_ask_wrong(reterr, "n", "1 together with \"max_tokens\": 0");
    if (rc == CDS_OK && ask->evaluates)
        cds_json_set(prompt, "preload", cds_json_bool(true));
    if (rc == CDS_OK)
        rc = read_echo(body, ask, prompt, reterr);
    return rc == CDS_OK ? read_prompt_chances(body, ask, prompt, reterr) : rc;
}
