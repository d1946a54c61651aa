/* apps/llmworker/scheduler.h: many requests, one model: which tokens go into the next step.
 *
 * A step is one batch: first one token of every request that generates, then pieces of prompts, at most prefill_busy (prefill_idle when
 * nobody generates) tokens of them together, or what the model takes best beside those answers (ops.beside), so that a long prompt never holds up
 * running answers for more than one small step. The oldest waiting prompt gets a quarter of that share, so that nobody starves; the one with the
 * least left gets the rest. Short prompts of equals that come at once begin to be answered together (together.h).
 *
 * Sharing: a prompt that begins as another one of its scope takes over the cells of that beginning, whether the other request has ended,
 * generates, or still reads. If the beginning is just being computed, the request waits for it instead of computing it again. Ended requests
 * leave their cells behind; the tails of those used longest ago are given up as soon as cells or sequences are needed (cells.h).
 *
 * Admission: a request gets a sequence when there are cells for all it knows and for answer_reserve tokens more. If running answers grow
 * beyond that until the context is full, the newest request of the lowest class is put back: its tokens stay known, its cells are kept as
 * long as there is room, and what has to be computed again is counted apart. Requests of one key do not hold all sequences while another key
 * waits: whoever has two more than the waiting one gives one back in the same way.
 *
 * Adapters: a step is computed with one set of adapters. Requests of other sets wait for their turn (turn.h), and no cells are shared between sets.
 *
 * Tokens: a request generates only what was granted to it; at the end of the grant it waits without being computed.
 *
 * Guesses (speculation.h): while nobody reads, an answer may have a guess at its next tokens computed in the same step, if that is likely to
 * save more than it costs. Guessed rows have cells only as long as the step lasts, unless the sampler chose them too.
 * Source:  docs/adr/0040-one-scheduler-many-prefixes.md, docs/adr/0052-guesses-that-pay.md,
 *          docs/adr/0080-equals-begin-together.md
 * Threads: one owner. Events are delivered inside the calls, but never while the engine computes: add, start, grant and cancel may be
 *          called from there (the engine looks at its socket during a long step) and take effect when the step is over.
 */
#pragma once

#include "apps/llmworker/adapters.h"
#include "apps/llmworker/engine.h"
#include "apps/llmworker/speculation.h"
#include "apps/llmworker/text.h"

enum { CDS_SLOTS_MAX = 64, CDS_SEQUENCES_MAX = 128, CDS_JOBS_MAX = 8192, CDS_END_TOKENS_MAX = 16 };

/** Classes of requests: a higher one goes first and may take the place of a lower one. */
enum cds_job_class { CDS_CLASS_LOW, CDS_CLASS_NORMAL, CDS_CLASS_HIGH };

struct cds_sched_limits {
    unsigned slots;                      /**< requests in one batch, 1..CDS_SLOTS_MAX */
    unsigned kept;                       /**< sequences beside them for what ended requests left; together at most CDS_SEQUENCES_MAX */
    unsigned cells;                      /**< tokens the context holds */
    unsigned prefill_busy, prefill_idle; /**< prompt tokens of one step */
    unsigned drafts;                     /**< guessed tokens of one step, all requests together; 0: none are guessed */
    unsigned jobs;                       /**< requests known at once, at most CDS_JOBS_MAX */
    unsigned answer_reserve;             /**< answer tokens set aside at admission; 0: all a request may generate, so nobody is ever put back */
    bool share;                          /**< the model can share and cut sequences */
    uint64_t checkpoint_bytes;           /**< for states of sequences that cannot be shared (checkpoints.h); 0: none are kept */
    bool nobody_put_back;                /**< whoever has a sequence keeps it until its end, whatever class waits */
    bool fifo; /**< prompts strictly in order of arrival, and none waits for its equals; to measure what the order is worth */
};

/** Tokens that end an answer when they come in a row. */
struct cds_end_row {
    int32_t tokens[CDS_END_TOKENS_MAX];
    unsigned count; /**< 1..CDS_END_TOKENS_MAX */
};
/** A request whose prompt is known. */
struct cds_job_spec {
    int64_t id;
    int32_t *tokens; /**< malloc'ed; owned by the scheduler after a successful add */
    size_t token_count;
    uint8_t *told;       /**< as long as tokens, malloc'ed and taken with them: 1 where the chance of the next token is told; NULL: nowhere */
    uint32_t max_tokens; /**< most tokens it may generate, >= 1 */
    uint64_t scope;      /**< prompts are shared inside one scope only */
    uint64_t key;        /**< whose request it is, for fair shares; 0: the scope */
    enum cds_job_class priority;
    int64_t fork_of; /**< another request with the same prompt: this one begins where that one's prompt ends, and computes none of it; 0: none */
    struct cds_sampling sampling;
    struct cds_text text; /**< with its stop strings */
    struct cds_end_row end_rows[CDS_END_TOKENS_MAX];
    unsigned end_row_count; /**< rows of tokens that end it like an end token of the model */
    bool preload;           /**< ends when its prompt is read */
    struct cds_speculation speculation;
    struct cds_adapter_set adapters;
    uint32_t window; /**< most tokens it has in the context: beyond them the older half behind `keep` is dropped and the rest read anew; 0: it ends */
    uint32_t keep;   /**< tokens at its beginning that stay, less than half of the window */
};

enum cds_job_end { CDS_JOB_STOP, CDS_JOB_LENGTH, CDS_JOB_CANCELLED, CDS_JOB_FAILED };

/** What a request used. evaluated = cached + computed - recomputed; in the end, unless it was cancelled before, evaluated = prompt. */
struct cds_job_report {
    int64_t id;
    enum cds_job_end end;
    uint32_t prompt_tokens;     /**< of the rendered prompt */
    uint32_t cached_tokens;     /**< part of it that was there already */
    uint32_t evaluated_tokens;  /**< part of the prompt that was reached, cached included */
    uint32_t computed_tokens;   /**< evaluated for it, but for the tokens it generated the first time */
    uint32_t recomputed_tokens; /**< part of these that had been evaluated for it before (it was put back); never billed */
    uint32_t completion_tokens;
    uint32_t foreign_tokens;                   /**< prompt tokens of others that were evaluated between its start and its first token */
    uint32_t steps_to_first;                   /**< steps that ended between the two, that of its first token included */
    uint32_t shifted_tokens;                   /**< dropped because the answer outgrew its window */
    uint32_t forced_tokens;                    /**< part of the validated ones: a grammar left no choice about them */
    uint32_t validated_tokens, refuted_tokens; /**< guessed ones that the sampler chose too (part of completion_tokens), and that it did not */
    int stop;                                  /**< number of the stop string that ended it, from 0 on; -1: none did */
};

struct cds_sched_sink {
    /** New text (may be empty) after completion_tokens tokens. */
    void (*on_text)(void *user, int64_t id, const char *text, size_t len, uint32_t completion_tokens);
    void (*on_end)(void *user, const struct cds_job_report *report); /**< last event of a request */
    /** A token was chosen; its on_text follows. May be NULL. */
    void (*on_token)(void *user, int64_t id, int32_t token, const void *sampler);
    /** The prompt of a request that only reads it is there, in this sequence; on_end follows. May be NULL. */
    void (*on_read)(void *user, int64_t id, int sequence, const int32_t *tokens, size_t count);
    /** The chance of a token of the prompt is known; told again when it was computed again. May be NULL when no job asks for it. */
    void (*on_told)(void *user, int64_t id, uint32_t position, int32_t token, const void *sampler);
};

/** Work done since the start, for proofs. */
struct cds_sched_counters {
    uint64_t steps, rows, prompt_rows, cached_tokens;
    uint64_t recomputed_tokens; /**< part of prompt_rows that had been computed before */
    uint64_t restored_tokens;   /**< put in from files */
    uint64_t checkpoints;       /**< states kept of sequences that cannot be shared */
    uint64_t put_back;          /**< times a request gave up its sequence */
    uint64_t cancelled;         /**< requests that were cancelled after they had a sequence */
    uint64_t validated_tokens, refuted_tokens, guesses;
    uint64_t forced_tokens;    /**< part of the validated ones: text that a grammar forces */
    uint64_t unsampled_tokens; /**< taken without sampling: a grammar left no choice */
    uint64_t turns;            /**< times another set of adapters got the model */
    uint64_t aborted_steps;    /**< steps given up in the middle: all their requests were cancelled */
    uint64_t cancel_us;        /**< longest time between a cancel and the end of its request */
    uint64_t step_us;          /**< longest step */
    uint32_t cancel_steps;     /**< most steps that ended between a cancel and the end of its request */
    uint32_t most_between;     /**< most prompt tokens evaluated between two tokens of one answer */
    uint32_t most_generating;  /**< requests in one step */
    uint32_t active, waiting;
    uint64_t checkpoint_bytes;       /**< that they take now */
    uint32_t cells_live, cells_kept; /**< cells of running requests, and what ended ones left */
};

struct cds_sched;
CDS_MUST_USE cds_rc cds_sched_new(const struct cds_sched_limits *limits, const struct cds_engine_ops *ops, void *engine,
                                  const struct cds_sched_sink *sink, void *user, struct cds_sched **ret, struct cds_err *reterr);
void cds_sched_free(struct cds_sched **sched);
/** Remembers a request; nothing is computed before start. @return CDS_OK; CDS_CONFLICT (id known), CDS_BUSY, CDS_CONTEXT_LENGTH */
CDS_MUST_USE cds_rc cds_sched_add(struct cds_sched *sched, const struct cds_job_spec *spec, struct cds_err *reterr);
/** Lets it run for `granted` tokens. Unknown ids are ignored: the request may just have ended. */
void cds_sched_start(struct cds_sched *sched, int64_t id, uint32_t granted);
/** Raises the number of tokens it may generate in all; last: there will be no more. */
void cds_sched_grant(struct cds_sched *sched, int64_t id, uint32_t granted, bool last);
/** Ends it before the next step; on_end is called inside, or after the running step. */
void cds_sched_cancel(struct cds_sched *sched, int64_t id);
/** Puts a sequence that was computed before (its state as engine ops wrote it) beside the kept ones. Not while a step runs.
 *  @return CDS_OK; CDS_CONTEXT_LENGTH; CDS_BUSY: running requests hold all cells or sequences; CDS_BAD_PARAM: the library does not take it */
CDS_MUST_USE cds_rc cds_sched_restore(struct cds_sched *sched, uint64_t scope, const struct cds_adapter_set *adapters, const int32_t *tokens,
                                      size_t count, const uint8_t *state, size_t state_bytes, struct cds_err *reterr);
/** True while a step would compute something. */
bool cds_sched_runnable(const struct cds_sched *sched);
/** One batch. */
void cds_sched_step(struct cds_sched *sched);
/** While the engine computes: every request of this step was cancelled, so it may as well stop (its decode then returns 2). */
bool cds_sched_step_is_dead(const struct cds_sched *sched);
struct cds_sched_counters cds_sched_counters(const struct cds_sched *sched);
