#include "apps/llmserver/tasks.h"

#include <ctype.h>

#include "apps/llmserver/adapters.h"
#include "apps/llmserver/app.h"
#include "apps/llmserver/inspection.h"
#include "lib/base/str.h"

static const char default_embedder[] = "all-minilm-l6-v2.q8_0";
enum { POOLED_TO_RANK = 4 };

/* They have no events: their answers go out whole (results.c). */
static const struct cds_dialect dialects[] = {
    {.path = "/v1/embeddings", .task = CDS_TASK_EMBED},      {.path = "/v1/rerank", .task = CDS_TASK_RANK},
    {.path = "/v1/tokenize", .task = CDS_TASK_TOKENIZE},     {.path = "/v1/detokenize", .task = CDS_TASK_DETOKENIZE},
    {.path = "/v1/vocabulary", .task = CDS_TASK_VOCABULARY}, {.path = "/v1/apply-template", .task = CDS_TASK_TEMPLATE},
};

const char *cds_task_what(enum cds_task task)
{
    static const char *const names[] = {
        [CDS_TASK_TEXT] = "text generation",
        [CDS_TASK_CHAT] = "text generation",
        [CDS_TASK_INFILL] = "text generation",
        [CDS_TASK_EMBED] = "embeddings",
        [CDS_TASK_RANK] = "ranking",
        [CDS_TASK_TOKENIZE] = "tokens of a text",
        [CDS_TASK_DETOKENIZE] = "text of tokens",
        [CDS_TASK_VOCABULARY] = "the vocabulary of a model",
        [CDS_TASK_TEMPLATE] = "the template of a model",
    };
    return names[task];
}

const struct cds_dialect *cds_task_dialect(const char *path)
{
    if (cds_streq(path, cds_dialect_infill.path))
        return &cds_dialect_infill;
    for (size_t i = 0; i < CDS_ARRAY_LEN(dialects); i++)
        if (cds_streq(path, dialects[i].path))
            return &dialects[i];
    return NULL;
}

enum cds_model_kind cds_model_kind(const struct cds_model *model)
{
    int64_t pooling = cds_inspection_count(model, "pooling");
    if (pooling == POOLED_TO_RANK)
        return CDS_KIND_RERANK;
    return pooling > 0 || !cds_json_true(cds_json_get(model->file.facts, "causal"), true) ? CDS_KIND_EMBEDDING : CDS_KIND_CHAT;
}

const char *cds_model_kind_name(enum cds_model_kind kind)
{
    static const char *const names[] = {"chat", "embedding", "rerank"};
    return names[kind];
}

/** What the task needs; a model of any kind has words. */
static enum cds_model_kind kind_of(const struct cds_ask *ask)
{
    if (ask->task == CDS_TASK_EMBED || (ask->task == CDS_TASK_RANK && ask->cosine))
        return CDS_KIND_EMBEDDING;
    return ask->task == CDS_TASK_RANK ? CDS_KIND_RERANK : CDS_KIND_CHAT;
}

static const char *embedder(const struct cds_llm *app)
{
    const char *named = cds_config_str(app->config, CDS_OPT_LLM_EMBEDDING_MODEL);
    return *named ? named : default_embedder;
}

static bool is_named(const struct cds_model *model, const char *name)
{
    char id[CDS_MODEL_ID_MAX + 1];
    cds_strcpy(id, sizeof(id), name);
    for (char *c = id; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return cds_streq(model->id, id) || cds_streq(model->alias, id);
}

bool cds_task_on_first_use(const struct cds_model *model)
{
    return is_named(model, embedder(model->app));
}

/** The best of a kind: one that is loaded, one that loads, the first. */
static struct cds_model *best_of(struct cds_llm *app, enum cds_model_kind kind)
{
    struct cds_model *best = NULL;
    for (struct cds_model *model = app->models.first; model; model = model->next)
        if (model->file.state == CDS_FILE_FINE && cds_adapters_is_model(model) && cds_model_kind(model) == kind &&
            (!best || model->state == CDS_MODEL_LOADED) && !(best && best->state == CDS_MODEL_LOADED))
            best = model;
    return best;
}

struct cds_model *cds_task_model(struct cds_llm *app, const struct cds_ask *ask)
{
    if (*ask->model)
        return cds_models_find(app, ask->model);
    enum cds_model_kind kind = kind_of(ask);
    if (kind == CDS_KIND_CHAT)
        return cds_models_find(app, "");
    cds_models_scan(app);
    for (struct cds_model *model = app->models.first; model && kind == CDS_KIND_EMBEDDING; model = model->next)
        if (cds_task_on_first_use(model))
            return model;
    return best_of(app, kind);
}

bool cds_task_has_words_only(enum cds_task task)
{
    return task == CDS_TASK_TOKENIZE || task == CDS_TASK_DETOKENIZE || task == CDS_TASK_VOCABULARY || task == CDS_TASK_TEMPLATE;
}

cds_rc cds_task_allows(struct cds_llm *app, const struct cds_model *model, const struct cds_ask *ask, struct cds_err *reterr)
{
    static const char *const does[] = {"generates text", "makes vectors of texts", "ranks documents"};
    enum cds_model_kind is = cds_model_kind(model), needed = kind_of(ask);
    if (cds_task_has_words_only(ask->task) || model->file.state != CDS_FILE_FINE || is == needed)
        return CDS_OK;
    const struct cds_model *other = best_of(app, needed);
    cds_fail(reterr, CDS_BAD_PARAM, __func__, "The model %s %s; it cannot be used for %s.", model->id, does[is], cds_task_what(ask->task));
    cds_err_pointer(reterr, "/model");
    if (ask->task == CDS_TASK_RANK && is == CDS_KIND_EMBEDDING)
        cds_err_hint(reterr, "It has no head for ranking. Ask with \"method\": \"cosine\" to rank by its vectors, or name a model for reranking.");
    else if (other)
        cds_err_hint(reterr, "Name a model that can, such as %s.", other->id);
    else
        cds_err_hint(reterr, "There is no model for it here; an administrator can download one.");
    return CDS_BAD_PARAM;
}
