/* apps/llmworker/job.h: inside of the scheduler: requests, and the slots (sequences with their cells) they run in. Included by scheduler.c,
 * job.c and slots.c only.
 *
 * Threads: one owner, that of the scheduler.
 */
#pragma once

#include "apps/llmworker/scheduler.h"

/* One token gives at most a few hundred bytes, plus a held-back stop string. */
enum { CDS_TEXT_OUT_MAX = 8192 };

enum cds_job_state {
    CDS_JOB_PREPARED,   /**< prompt known, not started */
    CDS_JOB_WAITING,    /**< started, needs a slot */
    CDS_JOB_READING,    /**< its prompt is being evaluated */
    CDS_JOB_GENERATING, /**< next_token is known and goes into the next step */
    CDS_JOB_PAUSED,     /**< generated everything it was granted */
};

struct cds_slot;
struct cds_job {
    struct cds_job *next;
    int64_t id;
    uint64_t order, scope;
    enum cds_job_state state;
    int32_t *tokens;
    size_t token_count;
    uint32_t max_tokens, granted, generated, cached;
    unsigned planned; /**< rows of the batch that is being built */
    bool last_grant;
    int32_t next_token;
    struct cds_text text;
    int32_t end_tokens[CDS_END_TOKENS_MAX];
    unsigned end_token_count;
    void *sampler;
    struct cds_slot *slot;
};

/** One sequence. Without a job its cells are kept for a later prompt. */
struct cds_slot {
    struct cds_job *job;
    int32_t *tokens; /**< tokens whose cells are filled */
    size_t filled;
    size_t reserved; /**< cells the job may need in all */
    uint64_t scope, used_at;
};

struct cds_sched {
    struct cds_sched_limits limits;
    const struct cds_engine_ops *ops;
    void *engine, *user;
    struct cds_sched_sink sink;
    struct cds_job *jobs; /**< in order of arrival */
    unsigned job_count;
    uint64_t clock;
    struct cds_slot slots[CDS_SLOTS_MAX];
    struct cds_row *rows;
    unsigned *row_slot; /**< slot of each row */
    struct cds_sched_counters counters;
};

/** Reports the end, frees the slot (its cells stay filled) and the job. */
void cds_job_end(struct cds_sched *sched, struct cds_job *job, enum cds_job_end end);
/** Unlinks and frees without a report. */
void cds_job_remove(struct cds_sched *sched, struct cds_job *job);

/** Gives slots to waiting jobs, oldest first, while there are slots and cells. */
void cds_slots_admit(struct cds_sched *sched);
/** The waiting job that is next, NULL if none waits. */
struct cds_job *cds_slots_first_waiting(const struct cds_sched *sched);
bool cds_slots_could_admit(const struct cds_sched *sched, const struct cds_job *job);
/** Forgets the kept cells of all free slots. @return true if there were any */
bool cds_slots_evict_all(struct cds_sched *sched);
