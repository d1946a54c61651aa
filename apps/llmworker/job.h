/* apps/llmworker/job.h: inside of the scheduler: requests, and the slots (sequences with their cells) they run in. Included by its parts only:
 * scheduler.c, job.c, slots.c, turn.c, together.c, results.c, speculate.c.
 *
 * Threads: one owner, that of the scheduler.
 */
#pragma once

#include "apps/llmworker/adapters.h"
#include "apps/llmworker/cells.h"
#include "apps/llmworker/checkpoints.h"
#include "apps/llmworker/cost.h"
#include "apps/llmworker/lookup.h"
#include "apps/llmworker/scheduler.h"

/* One token gives at most a few hundred bytes, plus a held-back stop string. A shorter beginning is not worth waiting for. */
enum { CDS_TEXT_OUT_MAX = 8192, CDS_FOLLOW_MIN = 32 };

enum cds_job_state {
    CDS_JOB_PREPARED,   /**< prompt known, not started */
    CDS_JOB_WAITING,    /**< started or put back, needs a slot */
    CDS_JOB_READING,    /**< what it knows is being evaluated */
    CDS_JOB_GENERATING, /**< its last token goes into the next step */
    CDS_JOB_PAUSED,     /**< generated everything it was granted; without a slot when it was put back */
};

struct cds_slot;
struct cds_job {
    struct cds_job *next;
    int64_t id, fork_of;
    uint64_t order, scope, key;
    enum cds_job_class priority;
    enum cds_job_state state;
    int32_t *tokens; /**< prompt, then what was generated */
    size_t token_count, token_room, prompt_count;
    uint32_t max_tokens, granted, generated;
    uint32_t reached; /**< tokens of the list that were evaluated at least once, cached included */
    uint32_t cached, computed, recomputed;
    uint32_t reserve;                       /**< cells it may fill before it counts as growing */
    unsigned planned;                       /**< rows of the batch that is being built */
    uint64_t rows_at_start, steps_at_start; /**< prompt rows and steps of all when it started */
    uint32_t foreign, steps_to_first;
    uint64_t cancel_step; /**< steps at its cancel */
    uint64_t cancel_ns;
    bool last_grant, put_back, cancelled;
    struct cds_job *follow; /**< reads the beginning this one waits for */
    uint32_t follow_until;  /**< tokens of that beginning */
    struct cds_text text;
    struct cds_end_row end_rows[CDS_END_TOKENS_MAX];
    unsigned end_row_count;
    bool preload;
    uint8_t *told;      /**< see cds_job_spec; owned */
    uint32_t told_from; /**< first token of it: from there on nothing is taken over from others, because its chances are with nobody */
    void *sampler;
    struct cds_slot *slot;
    struct cds_speculation speculation;
    struct cds_lookup lookup;
    int32_t draft[CDS_DRAFT_MAX]; /**< guess at the next tokens, computed with the step that is being built */
    unsigned draft_count;
    enum { CDS_DRAFT_LOOKUP, CDS_DRAFT_GRAMMAR, CDS_DRAFT_MODEL } draft_by;
    uint32_t forced, unsampled;     /**< tokens a grammar left no choice about: computed together with others; taken without sampling */
    uint32_t window, keep, shifted; /**< as in its spec; tokens dropped so far */
    uint32_t prompt_told;           /**< tokens of its prompt when it came */
    uint32_t validated, refuted;    /**< guessed tokens that came true, and that did not */
    struct cds_adapter_set adapters;
    uint64_t turn_at; /**< steps when its set was computed last, or when it got its slot */
};

/** One sequence. Without a job its cells are kept for a later prompt. */
struct cds_slot {
    struct cds_job *job;
    struct cds_branch branch;
    uint64_t scope, used_at;
    struct cds_adapter_set adapters; /**< its cells were computed with */
};

/** Set of adapters of the step, and what it has computed since its turn began (turn.h). */
struct cds_turn {
    struct cds_adapter_set adapters;
    unsigned steps, rows;
};

/** What guesses have cost so far, in the unit of the costs. */
struct cds_stake {
    double spent;                   /**< by all steps of answers */
    double lost;                    /**< for guesses, less what they saved; never below 0 */
    double plain;                   /**< what the running step would cost without them */
    double step;                    /**< what it did cost */
    bool forced;                    /**< a request insisted on its guess: not counted as lost */
    double run_right;               /**< share of tokens of forced texts that came true; 0: none was tried */
    double draft_each, draft_right; /**< of a draft model: cost of a token; share of its tokens that came true */
};

struct cds_sched {
    struct cds_sched_limits limits;
    const struct cds_engine_ops *ops;
    void *engine, *user;
    struct cds_sched_sink sink;
    struct cds_job *jobs; /**< in order of arrival */
    unsigned job_count;
    uint64_t clock;
    unsigned slot_count, active;
    struct cds_slot slots[CDS_SEQUENCES_MAX];
    struct cds_cells cells;
    struct cds_row *rows;
    unsigned *row_slot; /**< slot of each row */
    unsigned row_count; /**< of the running step */
    bool computing;     /**< inside decode: nothing may be ended now */
    bool late;          /**< something was asked meanwhile */
    struct cds_costs costs;
    struct cds_stake stake;
    struct cds_turn turn;
    uint64_t together_since; /**< prompt rows of all when the first of those that wait for their equals began to (together.h) */
    struct cds_checkpoints checkpoints;
    struct cds_sched_counters counters;
};

struct cds_job *cds_job_find(const struct cds_sched *sched, int64_t id);
/** Reports the end, frees the slot (its cells stay filled) and the job. */
void cds_job_end(struct cds_sched *sched, struct cds_job *job, enum cds_job_end end);
/** Unlinks and frees without a report. */
void cds_job_remove(struct cds_sched *sched, struct cds_job *job);
/** One more token in its list. @return false: memory is out */
bool cds_job_remember(struct cds_job *job, int32_t token);
/** Drops the older half of what it has behind the kept beginning, when its window is full. */
void cds_job_shift(struct cds_sched *sched, struct cds_job *job);
/** State of a job that may generate: its last token may lack its cell, more than that must be read. */
enum cds_job_state cds_job_next_state(const struct cds_job *job);
/** A paused job goes on, or ends when there will be no more tokens. */
void cds_job_after_grant(struct cds_sched *sched, struct cds_job *job);

/** Tokens of its list that are evaluated now. */
static inline uint32_t cds_job_filled(const struct cds_job *job)
{
    return job->slot ? job->slot->branch.filled : 0;
}

/** Tokens of its list that are neither evaluated nor in the batch that is being built. */
static inline uint32_t cds_job_remaining(const struct cds_job *job)
{
    return (uint32_t)job->token_count - cds_job_filled(job) - job->planned;
}

/** Jobs of a key that have a slot. */
unsigned cds_slots_active_of(const struct cds_sched *sched, uint64_t key);
/** Gives slots to waiting jobs while there are slots and cells. */
void cds_slots_admit(struct cds_sched *sched);
/** True if a step would give some waiting job a slot. */
bool cds_slots_could_admit(const struct cds_sched *sched);
/** Seats a fork beside its parent, whose prompt was evaluated just now. @return false: no room; it waits like any other */
bool cds_slots_fork(struct cds_sched *sched, struct cds_job *parent, struct cds_job *job);
/** Makes at least `cells` cells unused by giving up kept tails, oldest first. @return false: running requests hold too many */
bool cds_slots_make_room(struct cds_sched *sched, uint32_t cells);
/** Takes the slot of the newest job of the lowest class. @return false: only one job has a slot */
bool cds_slots_put_back_newest(struct cds_sched *sched);
/** Forgets the kept cells of all free slots. @return true if there were any */
bool cds_slots_evict_all(struct cds_sched *sched);
/** Forgets what a job has evaluated behind so many tokens. */
void cds_slots_shorten(struct cds_sched *sched, struct cds_job *job, uint32_t length);
/** Frees the slot of a job; its cells stay as kept ones if they may. */
void cds_slots_leave(struct cds_sched *sched, struct cds_job *job, bool keep);

/** After a batch: what was evaluated counts, and rows with logits give the next tokens. */
void cds_results_take(struct cds_sched *sched, unsigned generating);

/** Guesses for the requests that generate, as far as they pay. */
void cds_speculate_plan(struct cds_sched *sched, unsigned generating);
/** A step was made: what it cost. */
void cds_speculate_learn(struct cds_sched *sched, unsigned generating);
/** So many tokens of a guess came true. job NULL: the request ended with them. */
void cds_speculate_judge(struct cds_sched *sched, struct cds_job *job, unsigned right, unsigned guesses);
