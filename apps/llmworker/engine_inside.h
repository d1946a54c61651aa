/* apps/llmworker/engine_inside.h: inside of the engine. Included by its parts only: engine.c (life, facts), engine_step.c (steps, what the scheduler
 * calls), engine_twin.c (a further context of the same model).
 *
 * Threads: one owner, that of the engine.
 */
#pragma once

#include <llama.h>

#include "apps/llmworker/adapters.h"
#include "apps/llmworker/drafter.h"
#include "apps/llmworker/engine.h"
#include "apps/llmworker/forced.h"
#include "apps/llmworker/governor.h"
#include "apps/llmworker/pool.h"
#include "apps/llmworker/split.h"

struct cds_engine {
    struct llama_model *model;
    struct llama_context *context;
    const struct llama_vocab *vocab;
    struct llama_batch batch;
    int32_t *order, *at;  /**< rows of a step as they go into its batches, and where each of them stands in its own */
    double tile;          /**< split.h; 0: steps stay one batch */
    uint64_t split_steps; /**< made in two batches */
    uint32_t batch_max, threads, piece_max;
    struct cds_governor governor;
    bool (*look)(void *user);
    void *look_user;
    unsigned nodes; /**< of the compute graph since the last look at the clock */
    uint64_t looked_ms;
    char description[128], bos[256], eos[256];
    llama_token_data *room;        /**< candidates of the choice that is being made */
    int32_t shown;                 /**< control token that is part of the text it was chosen for; -1: none */
    struct cds_spelling *spelling; /**< for grammars; NULL: nothing is known to be forced */
    const char **controls;         /**< NULL-terminated; texts belong to the vocabulary */
    bool backend_up;
    bool twin;                                                  /**< a further context: model, vocabulary and room are those of another engine */
    bool encodes;                                               /**< it makes vectors; see encoder.h */
    enum cds_pooling pooling;                                   /**< of a model that encodes */
    struct cds_adapter_list adapters;                           /**< LoRA adapters it was loaded with */
    struct llama_adapter_lora *loras[CDS_ADAPTERS_MAX];         /**< go with the model */
    uint64_t spent_us;                                          /**< CPU time of the last step */
    struct cds_drafter *drafter;                                /**< NULL: no draft model */
    char draft_problem[sizeof(((struct cds_err *)0)->message)]; /**< why the one that was named is not used */
};

/** Room for the rows of one step, batch_max of them. @return false: out of memory */
bool cds_engine_make_rows(struct cds_engine *engine);
/** libllama asks after each node of the graph, on the thread that called decode. */
bool cds_engine_on_node(void *engine);
