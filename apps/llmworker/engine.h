/* apps/llmworker/engine.h: one model and one context of libllama; engine_inside.h says which files see llama.h.
 *
 * Threads: one thread owns the engine.
 * The scheduler sees the model through struct cds_engine_ops only, so that its tests run without weights.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apps/llmworker/adapters.h"
#include "apps/llmworker/sampler.h"
#include "lib/base/err.h"

/** One token of a step. */
struct cds_row {
    int32_t token, position, sequence;
    bool sample; /**< logits are needed */
    bool tell;   /**< logits are needed for the chance of the next token of a prompt */
};

/** What the scheduler needs of a model; `engine` is handed through. */
struct cds_engine_ops {
    /** Evaluates one batch. @return 0; 1: no free cells (nothing was changed); 2: given up as cds_engine_watch asked; below 0: the model failed */
    int (*decode)(void *engine, const struct cds_row *rows, int count);
    /** Rows of prompts that are best beside these rows of answers, at most `most`. NULL: `most` */
    unsigned (*beside)(void *engine, const struct cds_row *answers, int count, unsigned most);
    void *(*sampler_new)(void *engine, const struct cds_sampling *sampling); /**< NULL: out of memory */
    void (*sampler_free)(void *sampler);
    int32_t (*sample)(void *engine, void *sampler, int row); /**< token chosen from the logits of that row */
    void (*tell)(void *engine, void *sampler, int row,
                 int32_t token); /**< the chance of that token at that row becomes what the sampler chose last */
    /** Tokens that the grammar of a request leaves no choice about: a guess that does not fail. @return how many; NULL: there are never any */
    unsigned (*forced)(void *sampler, int32_t *ret, unsigned most);
    bool (*had_no_choice)(void *sampler);                           /**< the last token was forced by its grammar; NULL: never */
    int (*piece)(void *engine, int32_t token, char *buf, int size); /**< bytes written, at most size */
    bool (*is_end)(void *engine, int32_t token);
    void (*drop)(void *engine, int sequence, int from);             /**< forgets positions from..end of a sequence */
    void (*share)(void *engine, int from, int to, int count);       /**< positions 0..count-1 of `from` also belong to `to` */
    void (*adapt)(void *engine, const struct cds_adapter_set *set); /**< adapters of the steps that follow; NULL: the model has none */
    /* State of one sequence as bytes; NULL: the model has none that can be kept. */
    size_t (*state_size)(void *engine, int sequence);
    size_t (*state_get)(void *engine, int sequence, uint8_t *ret, size_t size);       /**< bytes written, 0: it failed */
    bool (*state_set)(void *engine, int sequence, const uint8_t *state, size_t size); /**< the sequence is empty; false: nothing was changed */
    uint64_t (*spent)(void *engine);                                                  /**< what the last decode cost, in any unit; NULL: its rows */
    /** Guess of a draft model at what follows the tokens of a sequence. @return tokens written, at most `most`; NULL: there is no draft model */
    unsigned (*draft)(void *engine, int sequence, const int32_t *tokens, size_t count, float confidence, int32_t *ret, unsigned most);
    uint64_t (*draft_spent)(void *engine); /**< what the last guess cost, in the same unit; NULL with draft */
};
extern const struct cds_engine_ops cds_engine_llama;

struct cds_backend_facts;
struct cds_engine_options {
    const char *model_path;
    const char *draft_path;                       /**< model of the same vocabulary that guesses (drafter.h); NULL: none */
    const struct cds_adapter_list *adapters;      /**< NULL: none */
    const struct cds_loading *loading;            /**< settings of the load (loading.h); NULL: as the library does it */
    bool vocabulary_only;                         /**< no weights, no context */
    struct cds_backend_facts *compute;            /**< of cds_backend_open (backend.h), which comes before; it learns the layers on the GPU */
    uint32_t cells, sequences, batch;             /**< context cells, sequences in it, most rows of one batch */
    uint32_t text_tokens;                         /**< most tokens of one text, for a model that makes vectors */
    uint32_t threads;                             /**< 0: one per core this process may use */
    bool (*on_progress)(void *user, float share); /**< while loading; false gives up. May be NULL */
    void *user;
};

/** Facts of a loaded model. Texts are borrowed from the engine. */
struct cds_engine_facts {
    const char *description, *chat_template, *bos, *eos; /**< chat_template NULL: the file has none */
    uint64_t parameters, size_bytes;
    uint32_t cells, train_context, vocabulary, threads, layers;
    uint32_t piece_max; /**< longest text of one token, bytes */
    bool add_bos, add_eos;
    bool drafts;               /**< there is a draft model */
    const char *draft_problem; /**< why the one that was named is not used; "": it is, or none was named */
    bool can_share;            /**< sequences may share cells and be cut anywhere (false for recurrent and windowed models) */
    bool encodes;              /**< it makes vectors of texts (encoder.h) and generates nothing */
    int pooling;               /**< of a model that encodes, enum cds_pooling */
    uint32_t width;            /**< numbers of a vector */
    uint32_t batch;            /**< rows of one batch: the longest text of a model that encodes, tokens */
    bool can_infill;           /**< it has tokens for text before and behind a gap */
    const char *rank_template; /**< how its ranking head wants query and document; NULL: the usual way */
};

struct cds_engine;
struct llama_context;
struct llama_model;
/** For the files beside engine.c that include llama.h. */
struct llama_context *cds_engine_context(const struct cds_engine *engine);
const struct llama_model *cds_engine_model(const struct cds_engine *engine);
/** Refuses a libllama other than the one this program was built for. Safe before cds_engine_open. */
CDS_MUST_USE cds_rc cds_engine_check(struct cds_err *reterr);
/** "0.5.0-dev" and so on, as the library says it. */
const char *cds_engine_version(void);
/** Loads the model. @return CDS_OK; CDS_BAD_PARAM (not a usable model), CDS_EXHAUSTED */
CDS_MUST_USE cds_rc cds_engine_open(const struct cds_engine_options *options, struct cds_engine **ret, struct cds_err *reterr);
void cds_engine_close(struct cds_engine **engine);
/** engine_twin.c: another context of the same model, for one sequence of so many cells, with a number of threads that never changes; what it shows is
 * that of the model, which must outlive it. cds_engine_close closes it. @return CDS_OK; CDS_EXHAUSTED */
CDS_MUST_USE cds_rc cds_engine_twin(const struct cds_engine *engine, const struct cds_loading *loading, uint32_t cells, uint32_t batch,
                                    struct cds_engine **ret, struct cds_err *reterr);
/** look is called on the owner's thread every few milliseconds of a step; when it returns true, the step is given up. */
void cds_engine_watch(struct cds_engine *engine, bool (*look)(void *user), void *user);
/** Compute threads it may use from the next step on, 1..its number at start; it may use fewer while others want the cores. */
void cds_engine_set_threads(struct cds_engine *engine, uint32_t threads);
uint32_t cds_engine_threads(const struct cds_engine *engine);     /**< of the next step */
uint64_t cds_engine_split_steps(const struct cds_engine *engine); /**< steps made in two batches (split.h) */
void cds_engine_facts(const struct cds_engine *engine, struct cds_engine_facts *ret);
/**
 * Text to tokens.
 * @param add_special    BOS (and EOS) as the model wants them
 * @param parse_special  texts of control tokens become these tokens
 * @param ret_tokens     malloc'ed
 */
CDS_MUST_USE cds_rc cds_engine_tokenize(const struct cds_engine *engine, const char *text, size_t len, bool add_special, bool parse_special,
                                        int32_t **ret_tokens, size_t *ret_count, struct cds_err *reterr);
/** Can this request be sampled as it asks? Tries it without keeping anything. @return CDS_OK; CDS_BAD_PARAM naming the member; CDS_EXHAUSTED */
CDS_MUST_USE cds_rc cds_engine_check_sampling(const struct cds_engine *engine, const struct cds_sampling *sampling, struct cds_err *reterr);
/** What a sampler chose last; NULL when its request asked for no chances. Borrowed until its next choice. */
const struct cds_picked *cds_engine_picked(const void *sampler);
/** Adapters of the model; borrowed. */
const struct cds_adapter_list *cds_engine_adapters(const struct cds_engine *engine);
/** Bytes of one token, control tokens by name; returns how many, at most size. */
int cds_engine_token_bytes(const struct cds_engine *engine, int32_t token, char *buf, int size);
/** Texts of the control tokens, NULL-terminated; borrowed from the engine. */
const char *const *cds_engine_controls(const struct cds_engine *engine);
