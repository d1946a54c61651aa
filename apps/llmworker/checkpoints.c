#include "apps/llmworker/checkpoints.h"

#include <stdlib.h>
#include <string.h>

#include "apps/llmworker/job.h"

static size_t size_of(size_t count, size_t bytes)
{
    return bytes + count * sizeof(int32_t);
}

static void forget(struct cds_checkpoints *all, unsigned at)
{
    struct cds_checkpoint *one = &all->list[at];
    all->bytes -= size_of(one->count, one->bytes);
    free(one->tokens);
    free(one->state);
    *one = all->list[--all->count];
}

void cds_checkpoints_clear(struct cds_checkpoints *checkpoints)
{
    while (checkpoints->count)
        forget(checkpoints, 0);
}

bool cds_checkpoints_used(const struct cds_sched *sched)
{
    return !sched->limits.share && sched->limits.checkpoint_bytes && sched->ops->state_size;
}

/** Room for one more, before it is allocated. @return false: it would not even fit alone */
static bool make_room(struct cds_sched *sched, size_t size)
{
    struct cds_checkpoints *all = &sched->checkpoints;
    if (size > sched->limits.checkpoint_bytes)
        return false;
    while (all->count && (all->count == CDS_CHECKPOINTS_MAX || all->bytes + size > sched->limits.checkpoint_bytes)) {
        unsigned oldest = 0;
        for (unsigned i = 1; i < all->count; i++)
            if (all->list[i].used_at < all->list[oldest].used_at)
                oldest = i;
        forget(all, oldest);
    }
    return true;
}

static struct cds_checkpoint *same(struct cds_sched *sched, uint64_t scope, const struct cds_adapter_set *adapters, const int32_t *tokens,
                                   size_t count)
{
    for (unsigned i = 0; i < sched->checkpoints.count; i++) {
        struct cds_checkpoint *one = &sched->checkpoints.list[i];
        if (one->scope == scope && one->count == count && cds_adapter_sets_equal(&one->adapters, adapters) &&
            memcmp(one->tokens, tokens, count * sizeof(*tokens)) == 0)
            return one;
    }
    return NULL;
}

/** A place with its tokens and room for the state; NULL: there is none, or it is kept already. */
static struct cds_checkpoint *place(struct cds_sched *sched, uint64_t scope, const struct cds_adapter_set *adapters, const int32_t *tokens,
                                    size_t count, size_t bytes)
{
    struct cds_checkpoints *all = &sched->checkpoints;
    struct cds_checkpoint *known = same(sched, scope, adapters, tokens, count);
    if (known)
        known->used_at = ++sched->clock;
    if (known || !bytes || !make_room(sched, size_of(count, bytes)))
        return NULL;
    struct cds_checkpoint one = {.scope = scope, .adapters = *adapters, .count = count, .bytes = bytes, .used_at = ++sched->clock};
    one.tokens = malloc(count * sizeof(*one.tokens));
    one.state = malloc(bytes);
    if (!one.tokens || !one.state) {
        free(one.tokens);
        free(one.state);
        return NULL;
    }
    memcpy(one.tokens, tokens, count * sizeof(*tokens));
    all->bytes += size_of(count, bytes);
    all->list[all->count] = one;
    return &all->list[all->count++];
}

void cds_checkpoints_take(struct cds_sched *sched, const struct cds_job *job)
{
    uint32_t filled = job->slot ? cds_job_filled(job) : 0;
    if (!cds_checkpoints_used(sched) || filled < CDS_CHECKPOINT_MIN || filled > job->token_count)
        return;
    int sequence = (int)(job->slot - sched->slots);
    size_t bytes = sched->ops->state_size(sched->engine, sequence);
    struct cds_checkpoint *one = place(sched, job->scope, &job->adapters, job->tokens, filled, bytes);
    if (one && sched->ops->state_get(sched->engine, sequence, one->state, bytes) != bytes)
        forget(&sched->checkpoints, (unsigned)(one - sched->checkpoints.list));
    else if (one)
        sched->counters.checkpoints++;
}

bool cds_checkpoints_add(struct cds_sched *sched, uint64_t scope, const struct cds_adapter_set *adapters, const int32_t *tokens, size_t count,
                         const uint8_t *state, size_t bytes)
{
    struct cds_checkpoint *one = place(sched, scope, adapters, tokens, count, bytes);
    if (one)
        memcpy(one->state, state, bytes);
    return one || same(sched, scope, adapters, tokens, count);
}

uint32_t cds_checkpoints_put(struct cds_sched *sched, const struct cds_job *job, struct cds_slot *slot)
{
    struct cds_checkpoint *best = NULL;
    size_t most = job->told ? job->told_from : job->token_count - 1;
    for (unsigned i = 0; cds_checkpoints_used(sched) && i < sched->checkpoints.count; i++) {
        struct cds_checkpoint *one = &sched->checkpoints.list[i];
        if (one->scope == job->scope && one->count <= most && (!best || one->count > best->count) &&
            cds_adapter_sets_equal(&one->adapters, &job->adapters) && memcmp(one->tokens, job->tokens, one->count * sizeof(*one->tokens)) == 0)
            best = one;
    }
    if (!best || !cds_slots_make_room(sched, (uint32_t)best->count) ||
        !sched->ops->state_set(sched->engine, (int)(slot - sched->slots), best->state, best->bytes))
        return 0;
    for (size_t i = 0; i < best->count; i++)
        cds_branch_append(&sched->cells, &slot->branch, best->tokens[i]);
    best->used_at = ++sched->clock;
    return (uint32_t)best->count;
}

unsigned cds_checkpoints_piece(const struct cds_sched *sched, const struct cds_job *job, unsigned rows)
{
    size_t at = cds_job_filled(job) + job->planned, last = job->prompt_count - 1;
    return cds_checkpoints_used(sched) && at < last && at + rows > last ? (unsigned)(last - at) : rows;
}
