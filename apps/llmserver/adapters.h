/* apps/llmserver/adapters.h: LoRA adapters that an administrator registered for a model: the setting "adapters".
 *
 * A list of texts, "id=file.gguf" or "id=file.gguf:scale". The file lies in <home>/models beside the model; the id is what requests name; the scale
 * holds for requests that name no adapters (without one: 0). They are read with the model, so a change holds from the next load on.
 * Threads: loop thread only.
 */
#pragma once

#include "apps/llmserver/model.h"

enum { CDS_ADAPTERS_MAX = 8, CDS_ADAPTER_ID_MAX = 64, CDS_ADAPTER_SCALE_MAX = 100 };

struct cds_adapter {
    char id[CDS_ADAPTER_ID_MAX + 1];
    char file[CDS_MODEL_ID_MAX + 8];
    double scale; /**< for requests that name none */
};
/** One text of the list. @return false: it is none */
bool cds_adapter_parse(const char *text, struct cds_adapter *ret);
/** May the whole list be kept? Its forms, and no id twice. */
bool cds_adapters_are(const cds_json *list);
/** Do the files fit the model? Those that were not read yet are left to the model process. @return CDS_OK; CDS_BAD_PARAM naming the adapter and why
 */
CDS_MUST_USE cds_rc cds_adapters_check(const struct cds_model *model, const cds_json *list, struct cds_err *reterr);
/** Memory they take beside the weights. */
uint64_t cds_adapters_bytes(const struct cds_model *model);
/** Those of the loaded model, else those of its next load: [{"id", "file", "scale", "size_bytes"}]; owned by the caller. */
cds_json *cds_adapters_show(const struct cds_model *model);
/** Is this file of the folder a model, and not an adapter or another part of one? What was not read yet may be one. */
bool cds_adapters_is_model(const struct cds_model *model);
