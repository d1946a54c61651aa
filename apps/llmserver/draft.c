#include "apps/llmserver/draft.h"

#include <stdio.h>
#include <string.h>

#include "apps/llmserver/app.h"
#include "apps/llmserver/memory.h"
#include "lib/base/str.h"

/** Id of the draft model that a list "model=draft, model=draft" names. @return false: the model is not in it */
static bool named(const char *list, const struct cds_model *model, char *ret, size_t size)
{
    for (const char *entry = list; *entry;) {
        entry += strspn(entry, ", ");
        size_t len = strcspn(entry, ", "), left = strcspn(entry, "=, ");
        bool same = left < len && ((strlen(model->id) == left && strncmp(entry, model->id, left) == 0) ||
                                   (strlen(model->alias) == left && strncmp(entry, model->alias, left) == 0));
        if (same) {
            snprintf(ret, size, "%.*s", (int)(len - left - 1), entry + left + 1);
            return true;
        }
        entry += len;
    }
    return false;
}

const struct cds_model *cds_draft_of(const struct cds_model *model, char *why, size_t why_size)
{
    char id[CDS_MODEL_ID_MAX + 1];
    cds_strcpy(why, why_size, "");
    if (!named(cds_config_str(model->app->config, CDS_OPT_LLM_DRAFT_MODELS), model, id, sizeof(id)))
        return NULL;
    for (const struct cds_model *other = model->app->models.first; other; other = other->next) {
        if (other == model || (!cds_streq(other->id, id) && !cds_streq(other->alias, id)))
            continue;
        if (other->file.state != CDS_FILE_CORRUPT)
            return other;
        snprintf(why, why_size, "the file of %s is damaged", id);
        return NULL;
    }
    snprintf(why, why_size, "there is no model %s beside it", id);
    return NULL;
}

uint64_t cds_draft_bytes(const struct cds_model *model, uint64_t cells, uint64_t batch)
{
    char why[64];
    const struct cds_model *draft = cds_draft_of(model, why, sizeof(why));
    if (!draft)
        return 0;
    struct cds_memory_need need = cds_memory_need(draft->file.facts, cells, batch);
    return (need.weights_bytes ? need.weights_bytes : draft->file_bytes) + need.cache_bytes + need.buffers_bytes;
}
