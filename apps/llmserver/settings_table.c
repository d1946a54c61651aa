#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/llmserver/adapters.h"
#include "apps/llmserver/settings.h"
#include "lib/base/str.h"

#define SWITCH(name, otherwise, description)                                                                                                         \
    {                                                                                                                                                \
        name, CDS_SETTING_SWITCH, 0, 0, otherwise, NULL, CDS_OPT_COUNT, true, description                                                            \
    }
#define NUMBER(name, min, max, otherwise, description)                                                                                               \
    {                                                                                                                                                \
        name, CDS_SETTING_NUMBER, min, max, otherwise, NULL, CDS_OPT_COUNT, false, description                                                       \
    }
#define WHOLE(name, min, max, otherwise, description)                                                                                                \
    {                                                                                                                                                \
        name, CDS_SETTING_WHOLE, min, max, otherwise, NULL, CDS_OPT_COUNT, false, description                                                        \
    }
#define CHOICE(name, choices, option, reload, description)                                                                                           \
    {                                                                                                                                                \
        name, CDS_SETTING_CHOICE, 0, 0, 0, choices, option, reload, description                                                                      \
    }
#define LOAD(name, min, max, option, description)                                                                                                    \
    {                                                                                                                                                \
        name, CDS_SETTING_WHOLE, min, max, 0, NULL, option, true, description                                                                        \
    }
#define CACHE_TYPES "f16 f32 bf16 q8_0 q5_1 q5_0 q4_1 q4_0 iq4_nl"

static const struct cds_setting table[] = {
    /* Answers. */
    {"max_tokens", CDS_SETTING_WHOLE, 1, 131072, 0, NULL, CDS_OPT_LLM_MAX_TOKENS, false, "Tokens of an answer when the request names no number."},
    WHOLE("answer_tokens_max", 0, 131072, 0, "Most tokens of one answer, whatever the request asks for; 0: what the context holds."),
    WHOLE("t_max_predict_ms", 0, 86400000, 0, "Longest time of an answer from its first token on; 0: no limit of its own."),
    CHOICE("speculation", "lookup off grammar draft auto", CDS_OPT_LLM_SPECULATION, false, "Tokens computed ahead for requests without a seed."),
    NUMBER("temperature", 0, 2, 0.8, "0: always the likeliest token."),
    NUMBER("dynatemp_range", 0, 2, 0, "How far the temperature follows the certainty of the model."),
    NUMBER("dynatemp_exponent", 0, 100, 1, "How it follows."),
    WHOLE("top_k", 0, 1000000, 40, "Likeliest tokens to choose from; 0: all."),
    NUMBER("top_p", 0, 1, 0.95, "Likeliest tokens that make up this share; 1: all."),
    NUMBER("min_p", 0, 1, 0.05, "Least chance, as a share of the likeliest token's."),
    NUMBER("typical_p", 0, 1, 1, "Share of tokens with the typical surprise; 1: all."),
    NUMBER("top_n_sigma", -1, 1000, -1, "Standard deviations below the best; -1: off."),
    NUMBER("xtc_probability", 0, 1, 0, "How often the likeliest tokens are left out."),
    NUMBER("xtc_threshold", 0, 1, 0.1, "From which chance on they are."),
    WHOLE("min_keep", 0, 1000000, 0, "Tokens that stay whatever the samplers say."),
    NUMBER("repeat_penalty", 0.01, 10, 1, "Divides the logit of a token that was there; 1: off."),
    WHOLE("repeat_last_n", -1, 1000000, 64, "Tokens that are looked at for it; -1: all."),
    NUMBER("presence_penalty", -2, 2, 0, "Taken off a token that was there."),
    NUMBER("frequency_penalty", -2, 2, 0, "Taken off for each time it was there."),
    NUMBER("dry_multiplier", 0, 100, 0, "Against repeating whole passages; 0: off."),
    NUMBER("dry_base", 1, 100, 1.75, "How fast that grows with the passage."),
    WHOLE("dry_allowed_length", 0, 1000000, 2, "Tokens that may be repeated freely."),
    WHOLE("dry_penalty_last_n", -1, 1000000, -1, "Tokens that are looked at for it; -1: all."),
    WHOLE("mirostat", 0, 2, 0, "Version of the sampler that aims at a surprise; 0: off."),
    NUMBER("mirostat_tau", 0, 100, 5, "That surprise."),
    NUMBER("mirostat_eta", 0, 100, 0.1, "How fast it gets there."),
    /* Loads. */
    LOAD("context_tokens", 256, 131072, CDS_OPT_LLM_CONTEXT, "KV cells of the model, shared by its requests."),
    LOAD("context_tokens_min", 0, 131072, CDS_OPT_COUNT, "Down to so many cells are tried when there is no memory for all; 0: no fewer than all."),
    LOAD("request_tokens", 128, 131072, CDS_OPT_LLM_SEQ_CONTEXT, "Most tokens of one request, prompt and answer."),
    CHOICE("backend", "auto cuda vulkan cpu", CDS_OPT_LLM_BACKEND, true, "What the model computes with; auto: the first of them that works here."),
    {"gpu_layers", CDS_SETTING_LAYERS, 0, 1024, 0, NULL, CDS_OPT_COUNT, true,
     "Layers on the GPU: \"auto\" as many as fit, \"max\", a number, {\"min\", \"max\"} of those that fit, {\"fit_context\"} beside so many tokens."},
    LOAD("threads", 0, 256, CDS_OPT_LLM_THREADS, "Most compute threads of the model; 0: one per core."),
    CHOICE("load_mode", "auto none mmap mlock mmap_mlock direct_io", CDS_OPT_COUNT, true, "How the weights come into memory."),
    CHOICE("lazy_rows", "auto off on", CDS_OPT_COUNT, true, "Rows of large tables are read when they are needed (with mmap)."),
    CHOICE("cache_type_k", CACHE_TYPES, CDS_OPT_COUNT, true, "Numbers of the keys in the cache."),
    CHOICE("cache_type_v", CACHE_TYPES, CDS_OPT_COUNT, true, "Numbers of the values in the cache; quantized ones need flash attention."),
    CHOICE("flash_attention", "auto on off", CDS_OPT_COUNT, true, "The faster way through the attention."),
    {"checkpoint_mib", CDS_SETTING_WHOLE, 0, 65536, 64, NULL, CDS_OPT_COUNT, true,
     "MiB for states of prompts, for models whose sequences cannot be shared (recurrent, windowed); 0: none are kept."},
    SWITCH("swa_full", 1, "The whole cache for layers with windowed attention, not only the window."),
    SWITCH("check_tensors", 0, "All weights are checked while they are loaded."),
    CHOICE("numa", "off distribute isolate numactl", CDS_OPT_COUNT, true, "Where threads run on a machine with several memory nodes."),
    CHOICE("log_level", "info debug warn error", CDS_OPT_LOG_LEVEL, true, "What its process writes into the log."),
    {"adapters", CDS_SETTING_ADAPTERS, 0, 0, 0, NULL, CDS_OPT_COUNT, true,
     "LoRA adapters that requests may name: id=file.gguf, or id=file.gguf:scale for those that name none."},
    {"metadata", CDS_SETTING_OVERRIDES, 0, 0, 0, NULL, CDS_OPT_COUNT, true,
     "Keys of the file that are read as something else: key=int|float|bool|str:value."},
};

const struct cds_setting *cds_settings_table(size_t *ret_count)
{
    *ret_count = CDS_ARRAY_LEN(table);
    return table;
}

const struct cds_setting *cds_settings_find(const char *name)
{
    for (size_t i = 0; i < CDS_ARRAY_LEN(table); i++)
        if (cds_streq(table[i].name, name))
            return &table[i];
    return NULL;
}

static cds_rc wrong(struct cds_err *reterr, const char *name, const char *expected)
{
    cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"%s\" must be %s, or null for the value of the server.", name, expected);
    cds_err_pointer(reterr, "/%s", name);
    return CDS_BAD_PARAM;
}

/** One of words with single spaces between them? */
static bool is_choice(const char *words, const char *text)
{
    size_t len = text && !strchr(text, ' ') ? strlen(text) : 0;
    for (const char *at = words; len && at; at = strchr(at, ' ') ? strchr(at, ' ') + 1 : NULL)
        if (strncmp(at, text, len) == 0 && (at[len] == ' ' || at[len] == '\0'))
            return true;
    return false;
}

/** "key=int:5", "key=bool:true" and so on; the same rules as in apps/llmworker/loading.c. */
static bool is_override(const cds_json *value)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    const char *text = cds_json_str(value), *equals = text ? strchr(text, '=') : NULL, *colon = equals ? strchr(equals, ':') : NULL;
    char number[64], *end = NULL;
    if (!colon || cds_json_str_len(value) > CDS_SETTINGS_OVERRIDE_BYTES || equals == text || equals - text > 127 ||
        strspn(text, letters) != (size_t)(equals - text))
        return false;
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c < ' ')
            return false; /* it goes on a command line of bounded length */
    size_t type = (size_t)(colon - equals - 1);
    if (type == 3 && strncmp(equals + 1, "str", 3) == 0)
        return strlen(colon + 1) <= 127;
    if (type == 4 && strncmp(equals + 1, "bool", 4) == 0)
        return cds_streq(colon + 1, "true") || cds_streq(colon + 1, "false");
    bool whole = type == 3 && strncmp(equals + 1, "int", 3) == 0;
    if ((!whole && !(type == 5 && strncmp(equals + 1, "float", 5) == 0)) || strlen(colon + 1) >= sizeof(number) || !colon[1] || colon[1] == ' ')
        return false;
    cds_strcpy(number, sizeof(number), colon + 1);
    if (whole)
        (void)strtoll(number, &end, 10);
    else
        (void)strtod(number, &end);
    return *end == '\0';
}

static bool is_count(const cds_json *value, int64_t least, int64_t most)
{
    return cds_json_is(value, CDS_JSON_INTEGER) && cds_json_i64(value, -1) >= least && cds_json_i64(value, -1) <= most;
}

/** The same rules as in apps/llmworker/offload.c. */
static bool is_layers(const cds_json *value)
{
    enum { LAYERS_MAX = 1024, CELLS_MAX = 131072 };
    const char *word = cds_json_str(value);
    if (!cds_json_is(value, CDS_JSON_OBJECT))
        return cds_streq(word, "auto") || cds_streq(word, "max") || is_count(value, 0, LAYERS_MAX);
    const cds_json *fit = cds_json_get(value, "fit_context"), *least = cds_json_get(value, "min"), *most = cds_json_get(value, "max");
    size_t known = (fit != NULL) + (least != NULL) + (most != NULL);
    if (known == 0 || known != cds_json_size(value) || (fit && known > 1))
        return false;
    if (fit)
        return is_count(fit, 256, CELLS_MAX);
    return (!least || is_count(least, 0, LAYERS_MAX)) && (!most || is_count(most, 0, LAYERS_MAX)) &&
           (!least || !most || cds_json_i64(least, 0) <= cds_json_i64(most, 0));
}

cds_rc cds_settings_check(const struct cds_setting *setting, const cds_json *value, struct cds_err *reterr)
{
    char expected[320];
    double number = cds_json_num(value, 0);
    bool is_whole = cds_json_is(value, CDS_JSON_INTEGER), is_number = is_whole || cds_json_is(value, CDS_JSON_REAL);
    switch (setting->kind) {
    case CDS_SETTING_NUMBER:
    case CDS_SETTING_WHOLE:
        if (is_number && (is_whole || setting->kind == CDS_SETTING_NUMBER) && number >= setting->min && number <= setting->max)
            return CDS_OK;
        snprintf(expected, sizeof(expected), "%s from %g to %.0f", setting->kind == CDS_SETTING_WHOLE ? "an integer" : "a number", setting->min,
                 setting->max);
        return wrong(reterr, setting->name, expected);
    case CDS_SETTING_CHOICE:
        snprintf(expected, sizeof(expected), "one of %s", setting->choices);
        return is_choice(setting->choices, cds_json_str(value)) ? CDS_OK : wrong(reterr, setting->name, expected);
    case CDS_SETTING_SWITCH:
        return cds_json_is(value, CDS_JSON_TRUE) || cds_json_is(value, CDS_JSON_FALSE) ? CDS_OK : wrong(reterr, setting->name, "true or false");
    case CDS_SETTING_LAYERS:
        return is_layers(value) ? CDS_OK
                                : wrong(reterr, setting->name,
                                        "\"auto\", \"max\", a number from 0 to 1024, {\"min\": n, \"max\": n} or {\"fit_context\": tokens}");
    case CDS_SETTING_ADAPTERS:
        if (cds_adapters_are(value))
            return CDS_OK;
        return wrong(reterr, setting->name,
                     "a list of at most 8 texts such as \"pirate=pirate.gguf\" or \"pirate=pirate.gguf:0.5\" with different ids");
    case CDS_SETTING_OVERRIDES:
        break;
    }
    bool good = cds_json_is(value, CDS_JSON_ARRAY) && cds_json_size(value) <= CDS_SETTINGS_OVERRIDES_MAX;
    for (size_t i = 0; good && i < cds_json_size(value); i++)
        good = is_override(cds_json_at(value, i));
    return good ? CDS_OK
                : wrong(reterr, setting->name,
                        "a list of at most 8 texts such as \"tokenizer.ggml.add_bos_token=bool:false\" (int, float, bool, str)");
}
