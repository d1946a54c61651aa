/* apps/llmworker/checkpoints.h: states of sequences on the host, for models whose sequences cannot be shared or cut: recurrent, hybrid, and with a
 * window.
 *
 * Of every request the state before the last token of its prompt is kept, and the one at its end. A later request that begins as one of them gets
 * that state instead of reading what led to it: the chat that goes on computes what is new. All together have a ceiling in bytes; those used longest
 * ago go. Threads: one owner, that of the scheduler. Not while the engine computes. Source:  docs/adr/0058-alone-forced-and-kept.md
 */
#pragma once

#include "apps/llmworker/adapters.h"
#include "lib/base/err.h"

struct cds_sched;
struct cds_job;
struct cds_slot;
enum { CDS_CHECKPOINTS_MAX = 128, CDS_CHECKPOINT_MIN = 16 };

struct cds_checkpoint {
    uint64_t scope, used_at;
    struct cds_adapter_set adapters;
    int32_t *tokens; /**< owned */
    uint8_t *state;  /**< owned */
    size_t count, bytes;
};
struct cds_checkpoints {
    struct cds_checkpoint list[CDS_CHECKPOINTS_MAX];
    unsigned count;
    uint64_t bytes; /**< of all states and their tokens */
};
void cds_checkpoints_clear(struct cds_checkpoints *checkpoints);
/** Are there any for this model? */
bool cds_checkpoints_used(const struct cds_sched *sched);
/** Keeps what the job has evaluated, unless it is too short or there is no room for it at all. */
void cds_checkpoints_take(struct cds_sched *sched, const struct cds_job *job);
/** Keeps a state that comes from elsewhere. @return false: it is too large, or memory is out */
bool cds_checkpoints_add(struct cds_sched *sched, uint64_t scope, const struct cds_adapter_set *adapters, const int32_t *tokens, size_t count,
                         const uint8_t *state, size_t bytes);
/** Puts the longest one that the job begins with into an empty sequence. @return its tokens; 0: there is none */
uint32_t cds_checkpoints_put(struct cds_sched *sched, const struct cds_job *job, struct cds_slot *slot);
/** The prompt's last token is read in a step of its own, so that there is a state before it: most rows of this job that may follow. */
unsigned cds_checkpoints_piece(const struct cds_sched *sched, const struct cds_job *job, unsigned rows);
