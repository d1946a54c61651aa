#include "apps/llmserver/backend.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "apps/llmserver/app.h"
#include "apps/llmserver/draft.h"
#include "apps/llmserver/settings.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

static const char *const names[] = {"cuda", "vulkan", "cpu"};
enum { NAMES = 3, CPU = 2 };

static unsigned index_of(const char *name)
{
    unsigned i = 0;
    while (i < NAMES && !cds_streq(names[i], name))
        i++;
    return i;
}

void cds_backend_folder(const struct cds_llm *app, const char *backend, char *buf, size_t size)
{
    /* The folder of the CPU's build may be reached by a link; the others lie beside the link. */
    bool cpu = cds_streq(backend, "cpu");
    snprintf(buf, size, "%.4000s%s%s", cpu ? app->models.lib_dir : app->models.lib_base, cpu ? "" : "-", cpu ? "" : backend);
}

static bool installed(const struct cds_llm *app, const char *backend)
{
    char folder[PATH_MAX + 16], file[PATH_MAX + 64];
    cds_backend_folder(app, backend, folder, sizeof(folder));
    snprintf(file, sizeof(file), "%s/libllama-common.so", folder);
    return access(file, R_OK) == 0;
}

static cds_rc check_devices(const struct cds_llm *app, struct cds_err *reterr)
{
    const char *devices = cds_config_str(app->config, CDS_OPT_LLM_GPU_DEVICES);
    if (strspn(devices, "0123456789,") == strlen(devices) && strlen(devices) < 64)
        return CDS_OK;
    return cds_fail(reterr, CDS_BAD_PARAM, __func__, "llm.gpu_devices must be numbers with commas such as 0,1, not \"%.64s\".", devices);
}

cds_rc cds_backend_begin(struct cds_model *model, struct cds_err *reterr)
{
    const struct cds_llm *app = model->app;
    char folder[PATH_MAX + 16];
    CDS_JSON_AUTO value = cds_settings_value(model, "backend", NULL);
    const char *wish = cds_json_str(value);
    unsigned at = index_of(wish);
    cds_json_unref(model->skipped);
    model->skipped = cds_json_array();
    cds_json_unref(model->compute);
    model->compute = NULL;
    model->backend_set = !cds_streq(wish, "auto");
    if (model->backend_set && at == NAMES)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "llm.backend must be auto, cuda, vulkan or cpu, not \"%.64s\".", wish ? wish : "");
    for (at = model->backend_set ? at : 0; !model->backend_set && at < CPU && !installed(app, names[at]);)
        at++;
    model->backend = names[at];
    if (at == CPU)
        return CDS_OK;
    if (installed(app, names[at]))
        return check_devices(app, reterr);
    cds_backend_folder(app, names[at], folder, sizeof(folder));
    cds_fail(reterr, CDS_UNAVAILABLE, __func__, "The backend %s is not installed here: there is no libllama in %.200s.", names[at], folder);
    cds_err_rule(reterr, "llm.backend");
    return cds_err_hint(reterr, "Install it with CDS_BACKENDS=%s make setup, or choose auto or cpu.", names[at]);
}

bool cds_backend_next(struct cds_model *model, const char *why)
{
    unsigned at = index_of(model->backend);
    if (model->backend_set || at >= CPU)
        return false;
    cds_json_append(model->skipped, cds_json_pack("{s:s,s:s}", "backend", model->backend, "reason", why));
    do
        at++;
    while (at < CPU && !installed(model->app, names[at]));
    cds_log(CDS_LOG_WARN, "a backend is not used", CDS_LS("model", model->id), CDS_LS("backend", model->backend), CDS_LS("reason", why),
            CDS_LS("next", names[at]));
    model->backend = names[at];
    return true;
}

bool cds_backend_is_gpu(const struct cds_model *model)
{
    return model->backend && !cds_streq(model->backend, "cpu");
}

/** A device that the last process told of, of this backend, whose memory is that of this machine. */
static bool shares_memory(const struct cds_llm *app, const char *backend)
{
    const cds_json *devices = cds_json_get(app->models.system, "devices");
    bool shares = false;
    for (size_t i = 0; i < cds_json_size(devices); i++) {
        const cds_json *device = cds_json_at(devices, i);
        const char *its = cds_json_get_str(device, "backend");
        shares = shares || (its && strcasecmp(its, backend) == 0 && cds_streq(cds_json_get_str(device, "kind"), "integrated_gpu"));
    }
    return shares;
}

bool cds_backend_would_be_gpu(const struct cds_model *model)
{
    CDS_JSON_AUTO value = cds_settings_value(model, "backend", NULL);
    const char *wish = cds_json_str(value);
    bool chosen = model->backend && (model->state == CDS_MODEL_LOADING || model->state == CDS_MODEL_LOADED);
    unsigned at = chosen ? index_of(model->backend) : cds_streq(wish, "auto") ? 0 : index_of(wish);
    while (!chosen && at < CPU && !installed(model->app, names[at]) && cds_streq(wish, "auto"))
        at++;
    return at < CPU && installed(model->app, names[at]) && !shares_memory(model->app, names[at]);
}

void cds_backend_offload(const struct cds_model *model, uint64_t cells, uint64_t batch, char *buf, size_t size)
{
    const cds_json *facts = model->file.facts;
    struct cds_memory_need need = cds_settings_need(model, cells, batch);
    int64_t layers = cds_json_get_i64(facts, "layers", 0), cell = cells ? (int64_t)(need.cache_bytes / cells) : 0;
    uint64_t each, output;
    cds_memory_layers(facts, need.weights_bytes, &each, &output);
    int64_t buffers = (int64_t)(need.buffers_bytes + cds_draft_bytes(model, cells, batch));
    int64_t reserve = (int64_t)cds_config_u64(model->app->config, CDS_OPT_LLM_GPU_RESERVE);
    CDS_JSON_AUTO value = cds_json_pack("{s:o,s:I,s:I,s:I,s:I,s:I,s:I}", "layers", cds_settings_value(model, "gpu_layers", NULL), "count",
                                        (long long)layers, "layer_bytes", (long long)each, "output_bytes", (long long)output, "cell_bytes",
                                        (long long)cell, "buffer_bytes", (long long)buffers, "reserve_bytes", (long long)reserve);
    CDS_CLEANUP(cds_free_ptr) char *text = cds_json_dumps(value, NULL);
    cds_strcpy(buf, size, text ? text : "{}");
}

cds_json *cds_backend_list(const struct cds_llm *app)
{
    cds_json *all = cds_json_array();
    for (size_t i = 0; i < NAMES; i++) {
        char folder[PATH_MAX + 16];
        cds_backend_folder(app, names[i], folder, sizeof(folder));
        cds_json_append(all, cds_json_pack("{s:s,s:b,s:s}", "name", names[i], "installed", installed(app, names[i]), "folder", folder));
    }
    return all;
}

cds_json *cds_backend_show(const struct cds_model *model)
{
    cds_json *shown = model->compute ? cds_json_copy(model->compute) : cds_json_object();
    cds_json_set(shown, "backend", model->backend ? cds_json_string(model->backend) : cds_json_null());
    cds_json_set(shown, "skipped", model->skipped ? cds_json_ref(model->skipped) : cds_json_array());
    return shown;
}
