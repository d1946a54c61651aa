/* apps/llmserver/tasks.h: what a request asks of a model: which models can do it, and which one does when none is named.
 *
 * Threads: loop thread only.
 */
#pragma once

#include "apps/llmserver/dialect.h"
#include "apps/llmserver/model.h"
#include "apps/llmserver/request.h"

/** Kind of a model, by the header of its file. */
enum cds_model_kind { CDS_KIND_CHAT, CDS_KIND_EMBEDDING, CDS_KIND_RERANK };
enum cds_model_kind cds_model_kind(const struct cds_model *model);
/** "chat", "embedding", "rerank". */
const char *cds_model_kind_name(enum cds_model_kind kind);

/** What a task is called in a refusal. */
const char *cds_task_what(enum cds_task task);
/** The dialect behind a path, of the tasks beside chat and completion; NULL: none of them. */
const struct cds_dialect *cds_task_dialect(const char *path);

/** The model of a request that names none: for vectors that of llm.embedding_model, for ranks a model with a head for them, else the chat model.
 *  NULL: there is none. */
struct cds_model *cds_task_model(struct cds_llm *app, const struct cds_ask *ask);
/** It asks for tokens, vocabulary or template, which every model has, also without its weights. */
bool cds_task_has_words_only(enum cds_task task);
/** Can it? A file that was not read yet counts as able; the model process refuses it then. @return CDS_OK; CDS_BAD_PARAM naming what can instead */
CDS_MUST_USE cds_rc cds_task_allows(struct cds_llm *app, const struct cds_model *model, const struct cds_ask *ask, struct cds_err *reterr);
/** Is it loaded by its first use, also where models are loaded by administrators only? The embedding model is. */
bool cds_task_on_first_use(const struct cds_model *model);
