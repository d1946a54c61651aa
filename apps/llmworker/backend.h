/* apps/llmworker/backend.h: the compute libraries of one folder, the GPU they found, and what of a model goes there; includes ggml's headers.
 *
 * Source:  deps/llama/include/ggml-backend.h. The folder decides the backend: libllama of each is another build (docs/adr/0059).
 * Threads: called before the first step.
 */
#pragma once

#include "apps/llmworker/nodes.h"
#include "apps/llmworker/offload.h"

struct llama_model_params;

struct cds_backend_options {
    enum cds_backend backend;
    const char *lib_dir; /**< absolute */
    const char *offload; /**< text of cds_offload_read, NULL: none */
    const char *denied;  /**< device file that this user may not open, or "" */
};
/** What was loaded. */
struct cds_backend_facts {
    enum cds_backend backend;
    struct cds_offload offload;
    uint32_t layers;     /**< that went to the GPU, known after cds_backend_model */
    uint64_t free_bytes; /**< of its devices, before the load */
};

/** Loads the compute libraries; a GPU backend must bring a device. @return CDS_OK; CDS_SYSTEM: none for this CPU; CDS_UNAVAILABLE: no GPU, naming the
 *  library, driver or permission that is missing; CDS_BAD_PARAM (offload) */
CDS_MUST_USE cds_rc cds_backend_open(const struct cds_backend_options *options, struct cds_backend_facts *ret, struct cds_err *reterr);
/** Says how many layers go to the GPU. @return CDS_OK; CDS_EXHAUSTED: fewer fit than must */
CDS_MUST_USE cds_rc cds_backend_model(struct cds_backend_facts *facts, uint32_t cells, struct llama_model_params *params, struct cds_err *reterr);
/** {"backend", "devices": [names], "layers", "layers_total", "free_bytes"}; owned by the caller. model_layers: of the loaded model. */
cds_json *cds_backend_show(const struct cds_backend_facts *facts, uint32_t model_layers);
