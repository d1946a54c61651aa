#include "apps/llmworker/loading.h"

#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ggml-cpu.h>
#include <llama.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

enum { OVERRIDES_MAX = 8 };

struct cds_loading {
    int load_mode, lazy, type_k, type_v, flash, numa;
    bool swa_full, check_tensors;
    uint32_t cells_min;
    uint64_t checkpoint_bytes;
    struct llama_model_kv_override overrides[OVERRIDES_MAX + 1]; /**< the one behind the last has no key */
    unsigned override_count;
};

struct word {
    const char *word;
    int value;
};
static const struct word load_modes[] = {{"auto", LLAMA_LOAD_MODE_AUTO},
                                         {"none", LLAMA_LOAD_MODE_NONE},
                                         {"mmap", LLAMA_LOAD_MODE_MMAP},
                                         {"mlock", LLAMA_LOAD_MODE_MLOCK},
                                         {"mmap_mlock", LLAMA_LOAD_MODE_MMAP_MLOCK},
                                         {"direct_io", LLAMA_LOAD_MODE_DIRECT_IO},
                                         {NULL, 0}};
static const struct word lazies[] = {{"auto", LLAMA_LAZY_MODE_AUTO}, {"off", LLAMA_LAZY_MODE_OFF}, {"on", LLAMA_LAZY_MODE_ON}, {NULL, 0}};
static const struct word types[] = {
    {"f16", GGML_TYPE_F16},   {"f32", GGML_TYPE_F32},   {"bf16", GGML_TYPE_BF16}, {"q8_0", GGML_TYPE_Q8_0},     {"q5_1", GGML_TYPE_Q5_1},
    {"q5_0", GGML_TYPE_Q5_0}, {"q4_1", GGML_TYPE_Q4_1}, {"q4_0", GGML_TYPE_Q4_0}, {"iq4_nl", GGML_TYPE_IQ4_NL}, {NULL, 0}};
static const struct word flashes[] = {
    {"auto", LLAMA_FLASH_ATTN_TYPE_AUTO}, {"on", LLAMA_FLASH_ATTN_TYPE_ENABLED}, {"off", LLAMA_FLASH_ATTN_TYPE_DISABLED}, {NULL, 0}};
static const struct word numas[] = {{"off", GGML_NUMA_STRATEGY_DISABLED},
                                    {"distribute", GGML_NUMA_STRATEGY_DISTRIBUTE},
                                    {"isolate", GGML_NUMA_STRATEGY_ISOLATE},
                                    {"numactl", GGML_NUMA_STRATEGY_NUMACTL},
                                    {NULL, 0}};

/* --- reading ------------------------------------------------------------------------------------------------------------ */

static cds_rc wrong(struct cds_err *reterr, const char *name)
{
    cds_fail(reterr, CDS_BAD_PARAM, __func__, "The setting \"%s\" of the load cannot be read.", name);
    cds_err_pointer(reterr, "/%s", name);
    return CDS_BAD_PARAM;
}

/** A word of the list; the first one when the member is not there. */
static bool read_word(const cds_json *object, const char *name, const struct word *words, int *ret)
{
    const cds_json *value = cds_json_get(object, name);
    size_t i = 0;
    while (value && words[i].word && !cds_streq(cds_json_str(value), words[i].word))
        i++;
    *ret = words[i].value;
    return words[i].word != NULL;
}

/** "key=int:5"; the type decides what the rest must be. */
static bool read_override(const char *text, struct llama_model_kv_override *ret)
{
    const char *equals = text ? strchr(text, '=') : NULL, *colon = equals ? strchr(equals, ':') : NULL;
    char *end = NULL;
    if (!colon || equals == text || (size_t)(equals - text) >= sizeof(ret->key))
        return false;
    *ret = (struct llama_model_kv_override){0};
    memcpy(ret->key, text, (size_t)(equals - text));
    size_t type = (size_t)(colon - equals - 1);
    const char *value = colon + 1;
    if (type == 3 && strncmp(equals + 1, "int", 3) == 0) {
        ret->tag = LLAMA_KV_OVERRIDE_TYPE_INT;
        ret->val_i64 = strtoll(value, &end, 10);
        return end != value && *end == '\0';
    }
    if (type == 5 && strncmp(equals + 1, "float", 5) == 0) {
        ret->tag = LLAMA_KV_OVERRIDE_TYPE_FLOAT;
        ret->val_f64 = strtod(value, &end);
        return end != value && *end == '\0';
    }
    if (type == 4 && strncmp(equals + 1, "bool", 4) == 0) {
        ret->tag = LLAMA_KV_OVERRIDE_TYPE_BOOL;
        ret->val_bool = cds_streq(value, "true");
        return ret->val_bool || cds_streq(value, "false");
    }
    ret->tag = LLAMA_KV_OVERRIDE_TYPE_STR;
    if (type != 3 || strncmp(equals + 1, "str", 3) != 0 || strlen(value) >= sizeof(ret->val_str))
        return false;
    memcpy(ret->val_str, value, strlen(value) + 1);
    return true;
}

static cds_rc read_members(const cds_json *object, struct cds_loading *ret, struct cds_err *reterr)
{
    const struct {
        const char *name;
        const struct word *words;
        int *at;
    } members[] = {
        {"load_mode", load_modes, &ret->load_mode}, {"lazy_rows", lazies, &ret->lazy},         {"cache_type_k", types, &ret->type_k},
        {"cache_type_v", types, &ret->type_v},      {"flash_attention", flashes, &ret->flash}, {"numa", numas, &ret->numa},
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(members); i++)
        if (!read_word(object, members[i].name, members[i].words, members[i].at))
            return wrong(reterr, members[i].name);
    ret->swa_full = cds_json_true(cds_json_get(object, "swa_full"), true);
    ret->check_tensors = cds_json_true(cds_json_get(object, "check_tensors"), false);
    int64_t least = cds_json_get_i64(object, "context_tokens_min", 0);
    if (least < 0 || least > 131072)
        return wrong(reterr, "context_tokens_min");
    ret->cells_min = (uint32_t)least;
    int64_t checkpoints = cds_json_get_i64(object, "checkpoint_mib", 0);
    if (checkpoints < 0 || checkpoints > 65536)
        return wrong(reterr, "checkpoint_mib");
    ret->checkpoint_bytes = (uint64_t)checkpoints << 20;
    const cds_json *list = cds_json_get(object, "metadata");
    if (cds_json_size(list) > OVERRIDES_MAX)
        return wrong(reterr, "metadata");
    for (size_t i = 0; i < cds_json_size(list); i++)
        if (!read_override(cds_json_str(cds_json_at(list, i)), &ret->overrides[ret->override_count++]))
            return wrong(reterr, "metadata");
    return CDS_OK;
}

cds_rc cds_loading_read(const char *text, struct cds_loading **ret, struct cds_err *reterr)
{
    CDS_JSON_AUTO object = NULL;
    cds_rc rc = text ? cds_json_parse(text, strlen(text), &object, reterr) : CDS_OK;
    if (rc != CDS_OK)
        return rc;
    CDS_CLEANUP(cds_loading_free) struct cds_loading *loading = calloc(1, sizeof(*loading));
    if (!loading)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory.");
    rc = read_members(object, loading, reterr);
    if (rc != CDS_OK)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        return rc;
    *ret = loading;
    loading = NULL;
    return CDS_OK;
}

void cds_loading_free(struct cds_loading **loading)
{
    free(*loading);
    *loading = NULL;
}

/* --- using -------------------------------------------------------------------------------------------------------------- */

uint64_t cds_loading_checkpoint_bytes(const struct cds_loading *loading)
{
    return loading ? loading->checkpoint_bytes : 0;
}

void cds_loading_begin(const struct cds_loading *loading)
{
    if (loading && loading->numa != GGML_NUMA_STRATEGY_DISABLED)
        llama_numa_init((enum ggml_numa_strategy)loading->numa);
}

void cds_loading_model(const struct cds_loading *loading, struct llama_model_params *params)
{
    if (!loading)
        return;
    params->load_mode = (enum llama_load_mode)loading->load_mode;
    params->lazy_mode = (enum llama_lazy_mode)loading->lazy;
    params->check_tensors = loading->check_tensors;
    params->kv_overrides = loading->override_count ? loading->overrides : NULL;
}

struct making {
    struct llama_model *model;
    struct llama_context_params *params;
};

static void *make_context(void *user, uint32_t cells)
{
    struct making *making = user;
    making->params->n_ctx = cells;
    return llama_init_from_model(making->model, *making->params);
}

struct llama_context *cds_loading_context(const struct cds_loading *loading, struct llama_model *model, struct llama_context_params *params)
{
    struct making making = {.model = model, .params = params};
    uint32_t wanted = params->n_ctx;
    if (loading) {
        params->type_k = (enum ggml_type)loading->type_k;
        params->type_v = (enum ggml_type)loading->type_v;
        params->flash_attn_type = (enum llama_flash_attn_type)loading->flash;
        params->swa_full = loading->swa_full;
    }
    struct llama_context *context = cds_loading_try(make_context, &making, wanted, loading ? loading->cells_min : 0);
    if (context && params->n_ctx != wanted)
        cds_log(CDS_LOG_WARN, "the context is smaller than its setting", CDS_LI("wanted", wanted), CDS_LI("cells", params->n_ctx));
    return context;
}

/* --- what is there ------------------------------------------------------------------------------------------------------ */

/** "haswell" of ".../libggml-cpu-haswell.so": the loader has chosen it by what this CPU can do. */
static int find_variant(struct dl_phdr_info *info, size_t size, void *user)
{
    static const char before[] = "libggml-cpu-";
    char *ret = user;
    const char *at = info->dlpi_name ? strstr(info->dlpi_name, before) : NULL;
    if (at)
        snprintf(ret, 64, "%.*s", (int)strcspn(at + sizeof(before) - 1, "."), at + sizeof(before) - 1);
    return at != NULL;
}

static cds_json *device_row(ggml_backend_dev_t device)
{
    static const char *const kinds[] = {"cpu", "gpu", "integrated_gpu", "accelerator", "other"};
    struct ggml_backend_dev_props props = {0};
    ggml_backend_dev_get_props(device, &props);
    unsigned kind = (unsigned)props.type < 4 ? (unsigned)props.type : 4;
    return cds_json_pack("{s:s,s:s,s:s,s:s,s:I,s:I}", "name", props.name ? props.name : "", "description", props.description ? props.description : "",
                         "kind", kinds[kind], "backend", ggml_backend_reg_name(ggml_backend_dev_backend_reg(device)), "free_bytes",
                         (long long)props.memory_free, "total_bytes", (long long)props.memory_total);
}

cds_json *cds_loading_system(void)
{
    char variant[64] = "";
    cds_json *devices = cds_json_array();
    for (size_t i = 0; i < ggml_backend_dev_count(); i++)
        cds_json_append(devices, device_row(ggml_backend_dev_get(i)));
    dl_iterate_phdr(find_variant, variant);
    const char *info = llama_print_system_info();
    return cds_json_pack("{s:o,s:s,s:b,s:b,s:b,s:s}", "devices", devices, "cpu_variant", variant, "mmap", llama_supports_mmap(), "mlock",
                         llama_supports_mlock(), "gpu", llama_supports_gpu_offload(), "info", info ? info : "");
}
