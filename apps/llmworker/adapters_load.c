#include "apps/llmworker/adapters.h"

#include <string.h>

#include <llama.h>

cds_rc cds_adapters_load(const struct cds_adapter_list *list, struct llama_model *model, const char *why,
                         struct llama_adapter_lora *ret[static CDS_ADAPTERS_MAX], struct cds_err *reterr)
{
    for (unsigned i = 0; i < list->count; i++) {
        const char *file = strrchr(list->one[i].path, '/');
        ret[i] = llama_adapter_lora_init(model, list->one[i].path);
        if (!ret[i]) {
            cds_fail(reterr, CDS_BAD_PARAM, __func__,
                     "The adapter \"%s\" (%.120s) cannot be used with this model: it was made for another one, or is damaged.", list->one[i].id,
                     file ? file + 1 : "");
            return cds_err_detail(reterr, "%s", why), cds_err_hint(reterr, "Take it out of the setting \"adapters\" of the model.");
        }
        if (llama_adapter_get_alora_n_invocation_tokens(ret[i]) > 0)
            return cds_fail(
                reterr, CDS_BAD_PARAM, __func__,
                "The adapter \"%s\" is one that begins in the middle of a prompt (aLoRA); only those that hold for all of it can be used.",
                list->one[i].id);
    }
    return CDS_OK;
}

void cds_adapters_apply(const struct cds_adapter_set *set, struct llama_adapter_lora *const loaded[static CDS_ADAPTERS_MAX],
                        struct llama_context *context)
{
    struct llama_adapter_lora *adapters[CDS_ADAPTERS_MAX] = {0};
    float scales[CDS_ADAPTERS_MAX] = {0};
    for (uint32_t i = 0; i < set->count; i++) {
        adapters[i] = loaded[set->use[i].index];
        scales[i] = set->use[i].scale;
    }
    (void)llama_set_adapters_lora(context, adapters, set->count, scales);
}
