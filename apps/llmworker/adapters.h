/* apps/llmworker/adapters.h: LoRA adapters of the model: their names, and which of them a request has with which scale.
 *
 * The same adapters with the same scales are one set. Requests of different sets share no cells and are never computed in one batch (turn.h).
 * Threads: values; pure functions.
 * Source:  setting "adapters" (apps/llmserver/adapters.h); member "lora" of a request (llama.cpp tools/server/README.md).
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/json/json.h"

enum { CDS_ADAPTERS_MAX = 8, CDS_ADAPTER_ID_MAX = 64, CDS_ADAPTER_SCALE_MAX = 100 };

/** What a request has. Scales are never 0, and indexes ascend: two sets that do the same are equal. */
struct cds_adapter_set {
    uint32_t count;
    struct {
        uint32_t index; /**< in the list of the model */
        float scale;    /**< -CDS_ADAPTER_SCALE_MAX..CDS_ADAPTER_SCALE_MAX */
    } use[CDS_ADAPTERS_MAX];
};
bool cds_adapter_sets_equal(const struct cds_adapter_set *a, const struct cds_adapter_set *b);

/** Those of the model, in the order they were registered. */
struct cds_adapter_list {
    unsigned count;
    struct {
        char id[CDS_ADAPTER_ID_MAX + 1];
        char path[PATH_MAX]; /**< GGUF file */
        float scale;         /**< for requests that say nothing; 0: they do not have it */
    } one[CDS_ADAPTERS_MAX];
};
/** Member "adapters" of the settings of the load: ["id=file.gguf", "id=file.gguf:scale"], files in that folder. @return CDS_OK; CDS_BAD_PARAM */
CDS_MUST_USE cds_rc cds_adapters_read(const char *load, const char *dir, struct cds_adapter_list *ret, struct cds_err *reterr);
/** The set of a request. lora: [{"id", "scale"?}], NULL: what holds without it. @return CDS_OK; CDS_BAD_PARAM naming those there are */
CDS_MUST_USE cds_rc cds_adapters_choose(const struct cds_adapter_list *list, const cds_json *lora, struct cds_adapter_set *ret,
                                        struct cds_err *reterr);

struct llama_model;
struct llama_context;
struct llama_adapter_lora;
/** adapters_load.c: reads the files into memory; they go with the model. why: what the library said last about one that does not fit.
 *  @return CDS_OK; CDS_BAD_PARAM naming the adapter */
CDS_MUST_USE cds_rc cds_adapters_load(const struct cds_adapter_list *list, struct llama_model *model, const char *why,
                                      struct llama_adapter_lora *ret[static CDS_ADAPTERS_MAX], struct cds_err *reterr);
/** adapters_load.c: the set holds for the next steps of this context. */
void cds_adapters_apply(const struct cds_adapter_set *set, struct llama_adapter_lora *const loaded[static CDS_ADAPTERS_MAX],
                        struct llama_context *context);
