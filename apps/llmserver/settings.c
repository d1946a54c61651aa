#include "apps/llmserver/settings.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "apps/llmserver/adapters.h"
#include "apps/llmserver/app.h"
#include "apps/llmserver/draft.h"
#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

/* --- values ------------------------------------------------------------------------------------------------------------- */

static cds_json *otherwise_of(const struct cds_setting *setting)
{
    switch (setting->kind) {
    case CDS_SETTING_NUMBER:
        return cds_json_real(setting->otherwise);
    case CDS_SETTING_WHOLE:
        return cds_json_int((int64_t)setting->otherwise);
    case CDS_SETTING_SWITCH:
        return cds_json_bool(setting->otherwise != 0);
    case CDS_SETTING_CHOICE:
        return cds_json_stringn(setting->choices, strcspn(setting->choices, " "));
    case CDS_SETTING_LAYERS:
        return cds_json_string("auto");
    case CDS_SETTING_OVERRIDES:
    case CDS_SETTING_ADAPTERS:
        break;
    }
    return cds_json_array();
}

static cds_json *value_of(const struct cds_model *model, const struct cds_setting *setting, const char **ret_origin)
{
    const struct cds_config *config = model->app->config;
    cds_json *own = cds_json_get(model->settings, setting->name);
    *ret_origin = "model";
    if (own)
        return cds_json_ref(own);
    *ret_origin = "default";
    if (setting->option == CDS_OPT_COUNT)
        return otherwise_of(setting);
    if (cds_config_given(config, setting->option))
        *ret_origin = "server";
    return setting->kind == CDS_SETTING_CHOICE ? cds_json_string(cds_config_str(config, setting->option))
                                               : cds_json_int((int64_t)cds_config_u64(config, setting->option));
}

cds_json *cds_settings_value(const struct cds_model *model, const char *name, const char **ret_origin)
{
    const struct cds_setting *setting = cds_settings_find(name);
    const char *origin;
    return setting ? value_of(model, setting, ret_origin ? ret_origin : &origin) : NULL;
}

uint64_t cds_settings_u64(const struct cds_model *model, const char *name)
{
    CDS_JSON_AUTO value = cds_settings_value(model, name, NULL);
    int64_t number = cds_json_i64(value, 0);
    return number > 0 ? (uint64_t)number : 0;
}

static bool is_word(const struct cds_model *model, const char *name, const char *word)
{
    CDS_JSON_AUTO value = cds_settings_value(model, name, NULL);
    return cds_streq(cds_json_str(value), word);
}

/* --- what the parts of the server make of them --------------------------------------------------------------------------- */

/** Bytes of a number of the cache. Source: block sizes of ggml.h. */
static double cell_bytes(const struct cds_model *model, const char *name)
{
    static const struct {
        const char *type;
        double bytes;
    } types[] = {{"f32", 4},          {"f16", 2},          {"bf16", 2},         {"q8_0", 34.0 / 32},  {"q5_1", 24.0 / 32},
                 {"q5_0", 22.0 / 32}, {"q4_1", 20.0 / 32}, {"q4_0", 18.0 / 32}, {"iq4_nl", 18.0 / 32}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(types); i++)
        if (is_word(model, name, types[i].type))
            return types[i].bytes;
    return 2;
}

struct cds_memory_need cds_settings_need(const struct cds_model *model, uint64_t cells, uint64_t batch)
{
    struct cds_memory_need need = cds_memory_need(model->file.facts, cells, batch);
    uint64_t adapters = cds_adapters_bytes(model);
    if (cds_json_true(cds_json_get(model->file.facts, "stateful"), false)) {
        uint64_t checkpoints = cds_settings_u64(model, "checkpoint_mib") << 20;
        need.cache_bytes += checkpoints;
        need.total_bytes += checkpoints;
    }
    need.weights_bytes += adapters;
    need.total_bytes += adapters;
    /* As many keys as values; the estimate counts two bytes for each. */
    uint64_t cache = (uint64_t)((double)need.cache_bytes * (cell_bytes(model, "cache_type_k") + cell_bytes(model, "cache_type_v")) / 4);
    need.total_bytes = need.total_bytes - need.cache_bytes + cache;
    need.cache_bytes = cache;
    return need;
}

void cds_settings_apply(const struct cds_model *model, struct cds_ask *ask)
{
    if (!cds_task_generates(ask->task))
        return;
    size_t count;
    const struct cds_setting *table = cds_settings_table(&count);
    for (size_t i = 0; i < count; i++) {
        bool sampler = !table[i].reload && table[i].option == CDS_OPT_COUNT && !cds_streq(table[i].name, "answer_tokens_max") &&
                       !cds_streq(table[i].name, "t_max_predict_ms");
        cds_json *own = sampler ? cds_json_get(model->settings, table[i].name) : NULL;
        if (own && !cds_json_get(ask->prompt, table[i].name))
            cds_json_set(ask->prompt, table[i].name, cds_json_ref(own));
    }
    uint64_t most = cds_settings_u64(model, "answer_tokens_max");
    if (!ask->max_tokens)
        ask->max_tokens = (uint32_t)cds_settings_u64(model, "max_tokens");
    if (most && ask->max_tokens > most)
        ask->max_tokens = (uint32_t)most;
    if (!ask->time_ms)
        ask->time_ms = (uint32_t)cds_settings_u64(model, "t_max_predict_ms");
    /* A seed promises the same text; how far guesses pay depends on the clock, and with it the last bit of a sum. */
    if (!cds_json_get(ask->prompt, "speculation") && !cds_json_get(ask->prompt, "seed")) {
        CDS_JSON_AUTO type = cds_settings_value(model, "speculation", NULL);
        cds_json_set(ask->prompt, "speculation", cds_ask_speculation_of(cds_json_str(type)));
    }
}

/** Those of the load that are not told on the command line, as they hold now. */
static cds_json *load_values(const struct cds_model *model)
{
    size_t count;
    const struct cds_setting *table = cds_settings_table(&count);
    cds_json *values = cds_json_object();
    for (size_t i = 0; i < count; i++)
        if (table[i].reload)
            cds_json_set(values, table[i].name, cds_settings_value(model, table[i].name, NULL));
    return values;
}

void cds_settings_for_load(struct cds_model *model, char *buf, size_t size)
{
    cds_json_unref(model->loaded_with);
    model->loaded_with = load_values(model);
    CDS_CLEANUP(cds_free_ptr) char *text = cds_json_dumps(model->loaded_with, NULL);
    cds_strcpy(buf, size, text ? text : "{}");
}

/* --- what administrators see ---------------------------------------------------------------------------------------------- */

static cds_json *row_of(const struct cds_model *model, const struct cds_setting *setting, bool *ret_pending)
{
    const char *origin;
    cds_json *value = value_of(model, setting, &origin);
    bool used = model->state == CDS_MODEL_LOADED || model->state == CDS_MODEL_LOADING;
    bool pending = setting->reload && used && model->loaded_with && !cds_json_equal(cds_json_get(model->loaded_with, setting->name), value);
    *ret_pending = *ret_pending || pending;
    cds_json *row = cds_json_pack("{s:s,s:o,s:s,s:b,s:b,s:s}", "name", setting->name, "value", value, "origin", origin, "reload", setting->reload,
                                  "pending", pending, "description", setting->description);
    bool number = setting->kind == CDS_SETTING_NUMBER || setting->kind == CDS_SETTING_WHOLE;
    cds_json_set(row, "min", number ? cds_json_real(setting->min) : cds_json_null());
    cds_json_set(row, "max", number ? cds_json_real(setting->max) : cds_json_null());
    cds_json_set(row, "choices", setting->choices ? cds_json_string(setting->choices) : cds_json_null());
    return row;
}

cds_json *cds_settings_show(const struct cds_model *model)
{
    size_t count;
    const struct cds_setting *table = cds_settings_table(&count);
    cds_json *rows = cds_json_array();
    bool pending = false;
    for (size_t i = 0; i < count; i++)
        cds_json_append(rows, row_of(model, &table[i], &pending));
    enum { BATCH_ROWS = 256 }; /* as in model.c */
    uint64_t cells = cds_settings_u64(model, "context_tokens");
    struct cds_memory_need need = cds_memory_of(model, cells, BATCH_ROWS);
    bool known = model->file.facts != NULL;
    return cds_json_pack("{s:s,s:s,s:b,s:o,s:o,s:o}", "model", model->id, "state", cds_model_state_name(model->state), "reload_needed", pending,
                         "need_bytes", known ? cds_json_int((int64_t)(need.total_bytes - need.gpu_bytes)) : cds_json_null(), "gpu_bytes",
                         known ? cds_json_int((int64_t)need.gpu_bytes) : cds_json_null(), "settings", rows);
}

/* --- changing and keeping ------------------------------------------------------------------------------------------------- */

static cds_rc file_of(const struct cds_model *model, char path[static PATH_MAX], struct cds_err *reterr)
{
    int n = snprintf(path, PATH_MAX, "%.3800s/%s.settings.json", model->app->models.dirs[0], model->alias);
    return n > 0 && n < PATH_MAX ? CDS_OK : cds_fail(reterr, CDS_BAD_PARAM, __func__, "The folder of the models has too long a path.");
}

static cds_rc keep(const struct cds_model *model, const cds_json *settings, struct cds_err *reterr)
{
    char path[PATH_MAX];
    size_t len = 0;
    cds_rc rc = file_of(model, path, reterr);
    if (rc == CDS_OK)
        rc = cds_mkdir_p(model->app->models.dirs[0], 0700, reterr);
    if (rc != CDS_OK)
        return rc;
    CDS_CLEANUP(cds_free_ptr) char *text = cds_json_dumps(settings, &len);
    if (!text)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the settings.");
    return cds_write_file_atomic(path, text, len, 0600, reterr);
}

/** What holds only together. */
static cds_rc check_together(const struct cds_model *model, struct cds_err *reterr)
{
    if (cds_settings_u64(model, "context_tokens_min") > cds_settings_u64(model, "context_tokens")) {
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"context_tokens_min\" (%llu) must be at most \"context_tokens\" (%llu).",
                 (unsigned long long)cds_settings_u64(model, "context_tokens_min"), (unsigned long long)cds_settings_u64(model, "context_tokens"));
        cds_err_pointer(reterr, "/context_tokens_min");
        return CDS_BAD_PARAM;
    }
    bool plain = is_word(model, "cache_type_v", "f16") || is_word(model, "cache_type_v", "f32") || is_word(model, "cache_type_v", "bf16");
    if (plain || !is_word(model, "flash_attention", "off"))
        return CDS_OK;
    cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"cache_type_v\" must be f16, f32 or bf16 while \"flash_attention\" is off.");
    cds_err_pointer(reterr, "/cache_type_v");
    return CDS_BAD_PARAM;
}

cds_rc cds_settings_change(struct cds_model *model, const cds_json *changes, struct cds_err *reterr)
{
    void *iter = NULL;
    const char *name;
    cds_json *value;
    if (!cds_json_is(changes, CDS_JSON_OBJECT))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The settings must be a JSON object: names with their new values.");
    CDS_JSON_AUTO fresh = model->settings ? cds_json_copy(model->settings) : cds_json_object();
    while (cds_json_next(changes, &iter, &name, &value)) {
        const struct cds_setting *setting = cds_settings_find(name);
        if (!setting) {
            cds_fail(reterr, CDS_BAD_PARAM, __func__, "There is no setting \"%.64s\".", name);
            cds_err_pointer(reterr, "/%.64s", name);
            return cds_err_hint(reterr, "GET on the same address lists them all.");
        }
        if (cds_json_is(value, CDS_JSON_NULL)) {
            cds_json_del(fresh, name);
            continue;
        }
        cds_rc rc = cds_settings_check(setting, value, reterr);
        if (rc != CDS_OK)
            return rc;
        if (cds_json_set(fresh, name, cds_json_copy(value)) != 0)
            return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the settings.");
    }
    cds_json *before = model->settings;
    model->settings = fresh; /* to see whether they hold together */
    cds_rc rc = check_together(model, reterr);
    if (rc == CDS_OK)
        rc = cds_adapters_check(model, cds_json_get(fresh, "adapters"), reterr);
    if (rc == CDS_OK)
        rc = keep(model, fresh, reterr);
    model->settings = before;
    if (rc != CDS_OK)
        return rc;
    model->settings = fresh;
    fresh = NULL;
    cds_json_unref(before);
    return CDS_OK;
}

void cds_settings_read(struct cds_model *model)
{
    char path[PATH_MAX];
    struct cds_err err = {0};
    void *iter = NULL;
    const char *name;
    cds_json *value;
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(CDS_SETTINGS_FILE_MAX);
    CDS_JSON_AUTO stored = NULL;
    if (file_of(model, path, &err) != CDS_OK || access(path, F_OK) != 0)
        return;
    if (cds_read_file(path, &text, &err) != CDS_OK || cds_json_parse(text.data ? text.data : "", text.len, &stored, &err) != CDS_OK) {
        cds_log(CDS_LOG_WARN, "the settings of a model cannot be read", CDS_LS("model", model->id), CDS_LS("reason", err.message));
        return;
    }
    model->settings = cds_json_object();
    while (cds_json_next(stored, &iter, &name, &value)) {
        const struct cds_setting *setting = cds_settings_find(name);
        if (setting && cds_settings_check(setting, value, &err) == CDS_OK)
            cds_json_set(model->settings, name, cds_json_ref(value));
        else
            cds_log(CDS_LOG_WARN, "a stored setting is left out", CDS_LS("model", model->id), CDS_LS("setting", name));
    }
    if (check_together(model, &err) == CDS_OK)
        return;
    cds_log(CDS_LOG_WARN, "stored settings that do not hold together are left out", CDS_LS("model", model->id), CDS_LS("reason", err.message));
    cds_json_unref(model->settings);
    model->settings = NULL;
}

void cds_settings_forget(struct cds_model *model)
{
    cds_json_unref(model->settings);
    cds_json_unref(model->loaded_with);
    model->settings = model->loaded_with = NULL;
}
