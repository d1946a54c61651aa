#include "apps/llmserver/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/llmserver/app.h"
#include "apps/llmserver/backend.h"
#include "apps/llmserver/draft.h"
#include "apps/llmserver/settings.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"

enum { KIB = 1024, FILE_MAX = 16384, BASE_BYTES = 24 << 20 };

struct cds_memory_need cds_memory_need(const cds_json *facts, uint64_t cells, uint64_t batch)
{
    uint64_t embedding = (uint64_t)cds_json_get_i64(facts, "embedding", 0), forward = (uint64_t)cds_json_get_i64(facts, "feed_forward", 0);
    uint64_t vocabulary = (uint64_t)cds_json_get_i64(facts, "vocabulary", 0), header = (uint64_t)cds_json_get_i64(facts, "data_offset", 0);
    struct cds_memory_need need = {
        .weights_bytes = (uint64_t)cds_json_get_i64(facts, "tensor_bytes", 0),
        .cache_bytes = (uint64_t)cds_json_get_i64(facts, "kv_values", 0) * 2 * cells,
        /* As floats: logits (few rows of a batch want them), what one layer keeps of a batch; the mask of the attention over all cells. */
        .buffers_bytes = batch * 4 * (vocabulary / 2 + embedding * 6 + forward * 2) + batch * cells * 6,
        /* Libraries, stacks, the vocabulary with its lookup tables (a few times its size in the header). */
        .base_bytes = BASE_BYTES + header * 4,
    };
    need.total_bytes = need.weights_bytes + need.cache_bytes + need.buffers_bytes + need.base_bytes;
    return need;
}

void cds_memory_layers(const cds_json *facts, uint64_t weights_bytes, uint64_t *ret_layer_bytes, uint64_t *ret_output_bytes)
{
    int64_t layers = cds_json_get_i64(facts, "layers", 0);
    double parameters = (double)cds_json_get_i64(facts, "parameters", 0), weights = (double)weights_bytes;
    double output = (double)cds_json_get_i64(facts, "vocabulary", 0) * (double)cds_json_get_i64(facts, "embedding", 0);
    output = parameters > 0 && output < parameters ? weights * output / parameters : 0;
    *ret_output_bytes = (uint64_t)output;
    *ret_layer_bytes = layers > 0 ? (uint64_t)((weights - output) / (double)layers) : 0;
}

uint64_t cds_memory_on_gpu(const cds_json *facts, const struct cds_memory_need *need, uint32_t layers)
{
    uint64_t all = (uint64_t)cds_json_get_i64(facts, "layers", 0), each, output;
    if (!all || !layers)
        return 0; /* of a model whose layers are not known all may lie here */
    cds_memory_layers(facts, need->weights_bytes, &each, &output);
    uint64_t there = layers < all ? layers : all;
    return each * there + need->cache_bytes / all * there + (layers > all ? output : 0);
}

uint32_t cds_memory_sure_layers(const cds_json *wish)
{
    if (cds_streq(cds_json_str(wish), "max"))
        return UINT32_MAX;
    int64_t sure = cds_json_is(wish, CDS_JSON_INTEGER) ? cds_json_i64(wish, 0) : cds_json_get_i64(wish, "min", 0);
    return sure > 0 && sure < UINT32_MAX ? (uint32_t)sure : 0;
}

struct cds_memory_need cds_memory_of(const struct cds_model *model, uint64_t cells, uint64_t batch)
{
    struct cds_memory_need need = cds_settings_need(model, cells, batch);
    CDS_JSON_AUTO wish = cds_settings_value(model, "gpu_layers", NULL);
    uint64_t draft = cds_draft_bytes(model, cells, batch);
    if (cds_backend_would_be_gpu(model))
        need.gpu_bytes = cds_memory_on_gpu(model->file.facts, &need, cds_memory_sure_layers(wish));
    need.weights_bytes += draft;
    need.total_bytes += draft;
    return need;
}

uint64_t cds_memory_available(const char *meminfo)
{
    unsigned long long kib;
    const char *line = strstr(meminfo, "MemAvailable:");
    return line && sscanf(line, "MemAvailable: %llu kB", &kib) == 1 ? kib * KIB : UINT64_MAX;
}

/** A number in a small file; UINT64_MAX: none ("max" too). */
static uint64_t number_in(const char *path)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(FILE_MAX);
    uint64_t value;
    if (cds_read_file(path, &text, NULL) != CDS_OK || !text.len)
        return UINT64_MAX;
    text.data[strcspn(text.data, "\n")] = '\0';
    return cds_parse_u64(text.data, 0, UINT64_MAX, &value) == CDS_OK ? value : UINT64_MAX;
}

/** Room of the control group we are in (version 2), and of those above it. */
static uint64_t group_free(void)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(FILE_MAX);
    char path[4200], file[4300];
    uint64_t least = UINT64_MAX;
    const char *line = cds_read_file("/proc/self/cgroup", &text, NULL) == CDS_OK && text.len ? strstr(text.data, "0::/") : NULL;
    if (!line)
        return UINT64_MAX;
    snprintf(path, sizeof(path), "/sys/fs/cgroup%.*s", (int)strcspn(line + 3, "\n"), line + 3);
    for (char *slash; strlen(path) >= strlen("/sys/fs/cgroup"); *slash = '\0') {
        snprintf(file, sizeof(file), "%s/memory.max", path);
        uint64_t max = number_in(file);
        snprintf(file, sizeof(file), "%s/memory.current", path);
        uint64_t now = number_in(file);
        if (max != UINT64_MAX && now != UINT64_MAX)
            least = now >= max ? 0 : max - now < least ? max - now : least;
        slash = strrchr(path, '/');
    }
    return least;
}

uint64_t cds_memory_free(void)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(FILE_MAX);
    uint64_t group = group_free();
    uint64_t machine = cds_read_file("/proc/meminfo", &text, NULL) == CDS_OK && text.len ? cds_memory_available(text.data) : UINT64_MAX;
    return group < machine ? group : machine;
}

/** Memory for one more model, or for more of one: what is free, and what is left of llm.memory_bytes. but: its own part does not count; NULL: all do.
 */
static uint64_t room_for(const struct cds_llm *app, const struct cds_model *but)
{
    uint64_t budget = cds_config_u64(app->config, CDS_OPT_LLM_MEMORY), reserve = cds_config_u64(app->config, CDS_OPT_LLM_MEMORY_RESERVE);
    uint64_t have = cds_memory_free(), used = 0;
    for (const struct cds_model *other = app->models.first; other; other = other->next)
        if (other != but && other->proc)
            used += other->need_bytes;
    have = have == UINT64_MAX ? have : have > reserve ? have - reserve : 0;
    if (budget && (budget > used ? budget - used : 0) < have)
        have = budget > used ? budget - used : 0;
    return have;
}

cds_rc cds_memory_more(const struct cds_model *model, uint64_t bytes, const char *what, struct cds_err *reterr)
{
    uint64_t have = room_for(model->app, NULL);
    if (bytes <= have)
        return CDS_OK;
    cds_fail(reterr, CDS_EXHAUSTED, __func__, "The model %s needs about %llu MiB more memory for %s, and there are %llu MiB for it.", model->id,
             (unsigned long long)(bytes >> 20), what, (unsigned long long)(have >> 20));
    cds_err_rule(reterr, "llm.memory");
    return cds_err_hint(reterr, "Unload another model, or lower the setting \"request_tokens\" of this one.");
}

cds_rc cds_memory_allows(const struct cds_model *model, uint64_t cells, uint64_t batch, uint64_t *ret_limit_bytes, struct cds_err *reterr)
{
    struct cds_memory_need need = cds_memory_of(model, cells, batch);
    uint64_t have = room_for(model->app, model), here = need.total_bytes - need.gpu_bytes;
    char there[64] = "";
    *ret_limit_bytes = need.total_bytes + need.total_bytes / 2 + ((uint64_t)1 << 30);
    if (here <= have)
        return CDS_OK;
    if (need.gpu_bytes)
        snprintf(there, sizeof(there), ", beside %llu MiB on the GPU,", (unsigned long long)(need.gpu_bytes >> 20));
    cds_fail(reterr, CDS_EXHAUSTED, __func__,
             "The model %s needs about %llu MiB of memory%s (weights %llu, cache of %llu tokens %llu, buffers %llu) and there are %llu MiB for it.",
             model->id, (unsigned long long)(here >> 20), there, (unsigned long long)(need.weights_bytes >> 20), (unsigned long long)cells,
             (unsigned long long)(need.cache_bytes >> 20), (unsigned long long)((need.buffers_bytes + need.base_bytes) >> 20),
             (unsigned long long)(have >> 20));
    cds_err_rule(reterr, "llm.memory");
    return cds_err_hint(reterr, "Unload another model, choose a smaller one, or lower llm.context_tokens.");
}
