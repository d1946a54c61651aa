/* apps/llmserver/backend.h: which build of libllama a model process takes: CUDA, then Vulkan, then the CPU's, or the one that is set.
 *
 * Each lies in a folder of its own: that of llm.lib_dir (or beside the program) is the CPU's, with "-vulkan" and "-cuda" behind its name the others.
 * Whether a backend works is found out by the process of the model itself: where it fails before the model is up, the next one is tried, and why is
 * logged and told in /admin/status. A backend that is set is tried alone.
 * Source:  docs/adr/0059; apps/llmworker/backend.h, offload.h.
 * Threads: loop thread only.
 */
#pragma once

#include "apps/llmserver/model.h"

enum { CDS_OFFLOAD_TEXT_MAX = 1024 };

/** The first choice of a load. @return CDS_OK: model->backend is set; CDS_BAD_PARAM: llm.backend or llm.gpu_devices cannot be read;
 *  CDS_UNAVAILABLE: the one that is set is not installed */
CDS_MUST_USE cds_rc cds_backend_begin(struct cds_model *model, struct cds_err *reterr);
/** The process ended before the model was up. @return true: model->backend is the next choice; false: there is none */
bool cds_backend_next(struct cds_model *model, const char *why);
bool cds_backend_is_gpu(const struct cds_model *model);
/** Is the backend of its load, or the first that a load would try, a GPU with memory of its own? */
bool cds_backend_would_be_gpu(const struct cds_model *model);
/** Folder of libllama of the choice. */
void cds_backend_folder(const struct cds_llm *app, const char *backend, char *buf, size_t size);
/** What the model process is told about the GPU (text of apps/llmworker/offload.h). */
void cds_backend_offload(const struct cds_model *model, uint64_t cells, uint64_t batch, char *buf, size_t size);
/** [{"name", "installed", "folder"}], in the order of choice; owned by the caller. */
cds_json *cds_backend_list(const struct cds_llm *app);
/** {"backend", "devices", "layers", "layers_total", "free_bytes", "skipped": [{"backend", "reason"}]}: null members until the model is up; owned. */
cds_json *cds_backend_show(const struct cds_model *model);
