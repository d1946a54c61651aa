#include "apps/llmworker/backend.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include <llama.h>

#include "lib/base/str.h"
#include "lib/log/log.h"

static bool is_gpu(ggml_backend_dev_t device)
{
    enum ggml_backend_dev_type type = ggml_backend_dev_type(device);
    return type == GGML_BACKEND_DEVICE_TYPE_GPU || type == GGML_BACKEND_DEVICE_TYPE_IGPU;
}

static unsigned gpus(uint64_t *ret_free)
{
    unsigned count = 0;
    *ret_free = 0;
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        ggml_backend_dev_t device = ggml_backend_dev_get(i);
        size_t free_bytes = 0, total_bytes = 0;
        if (!is_gpu(device))
            continue;
        ggml_backend_dev_memory(device, &free_bytes, &total_bytes);
        *ret_free += free_bytes;
        count++;
    }
    return count;
}

/** Why the library of a GPU brought no device. */
static cds_rc explain(const struct cds_backend_options *o, struct cds_err *reterr)
{
    bool cuda = o->backend == CDS_BACKEND_CUDA;
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%.4000s/libggml-%s.so", o->lib_dir, cds_backend_name(o->backend));
    void *library = access(path, R_OK) == 0 ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    const char *why = library ? "" : access(path, R_OK) == 0 ? dlerror() : "it is not in the folder of the backend";
    if (!library) {
        cds_fail(reterr, CDS_UNAVAILABLE, "backend", "The backend %s did not load: %.200s.", cds_backend_name(o->backend), why ? why : "");
        return cds_err_hint(reterr, cuda ? "Install NVIDIA's driver and the CUDA runtime with cuBLAS, or choose another backend."
                                         : "Install libvulkan1 and the Vulkan driver of the GPU, or choose another backend.");
    }
    if (*o->denied) {
        cds_fail(reterr, CDS_UNAVAILABLE, "backend", "The backend %s found no GPU: %s may not be opened by the user of the services.",
                 cds_backend_name(o->backend), o->denied);
        return cds_err_hint(reterr, "Add the user to the group of that file (render or video) and start the studio again.");
    }
    cds_fail(reterr, CDS_UNAVAILABLE, "backend", "The backend %s found no GPU that it can compute with.", cds_backend_name(o->backend));
    return cds_err_hint(reterr,
                        cuda ? "nvidia-smi must list the GPU for the user of the services."
                             : "vulkaninfo must list the GPU for the user of the services; a device of software must be named in llm.gpu_devices.");
}

cds_rc cds_backend_open(const struct cds_backend_options *options, struct cds_backend_facts *ret, struct cds_err *reterr)
{
    char other[PATH_MAX];
    uint64_t free_bytes = 0;
    *ret = (struct cds_backend_facts){.backend = options->backend};
    cds_rc rc = cds_offload_read(options->offload, &ret->offload, reterr);
    if (rc != CDS_OK)
        return rc;
    ggml_backend_load_all_from_path(options->lib_dir);
    if (!ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU))
        return cds_fail(reterr, CDS_SYSTEM, __func__, "No compute library for this CPU was found in %.200s.", options->lib_dir);
    if (options->backend == CDS_BACKEND_CPU)
        return CDS_OK;
    /* The build for an older CUDA runtime lies in a folder of its own. */
    snprintf(other, sizeof(other), "%.4000s/fallback/libggml-%s.so", options->lib_dir, cds_backend_name(options->backend));
    if (!gpus(&free_bytes) && access(other, R_OK) == 0)
        ggml_backend_load(other);
    if (!gpus(&free_bytes))
        return explain(options, reterr);
    ret->free_bytes = free_bytes;
    return CDS_OK;
}

cds_rc cds_backend_model(struct cds_backend_facts *facts, uint32_t cells, struct llama_model_params *params, struct cds_err *reterr)
{
    if (facts->backend == CDS_BACKEND_CPU)
        return CDS_OK;
    cds_rc rc = cds_offload_choose(&facts->offload, cells, facts->free_bytes, &facts->layers, reterr);
    if (rc != CDS_OK)
        return rc;
    params->n_gpu_layers = (int32_t)facts->layers;
    cds_log(CDS_LOG_INFO, "layers for the GPU", CDS_LS("backend", cds_backend_name(facts->backend)), CDS_LI("layers", facts->layers),
            CDS_LI("free_mib", (int64_t)(facts->free_bytes >> 20)));
    return CDS_OK;
}

cds_json *cds_backend_show(const struct cds_backend_facts *facts, uint32_t model_layers)
{
    uint32_t total = model_layers + 1;
    cds_json *devices = cds_json_array();
    for (size_t i = 0; i < ggml_backend_dev_count() && facts->backend != CDS_BACKEND_CPU; i++)
        if (is_gpu(ggml_backend_dev_get(i)))
            cds_json_append(devices, cds_json_string(ggml_backend_dev_name(ggml_backend_dev_get(i))));
    return cds_json_pack("{s:s,s:o,s:I,s:I,s:I}", "backend", cds_backend_name(facts->backend), "devices", devices, "layers",
                         (long long)(facts->layers < total ? facts->layers : total), "layers_total", (long long)total, "free_bytes",
                         (long long)facts->free_bytes);
}
