#include <string.h>

#include "apps/llmworker/job.h"

/** Cells that count as taken: what running requests may still need, and what ended ones left. Shared cells count twice: on the safe side. */
static size_t cells_taken(const struct cds_sched *sched, bool with_kept)
{
    size_t taken = 0;
    for (unsigned i = 0; i < sched->limits.slots; i++) {
        const struct cds_slot *slot = &sched->slots[i];
        taken += slot->job ? slot->reserved : with_kept ? slot->filled : 0;
    }
    return taken;
}

static size_t cells_needed(const struct cds_job *job)
{
    return job->token_count + job->max_tokens;
}

bool cds_slots_could_admit(const struct cds_sched *sched, const struct cds_job *job)
{
    bool free_slot = false;
    for (unsigned i = 0; i < sched->limits.slots; i++)
        free_slot = free_slot || !sched->slots[i].job;
    return free_slot && cells_taken(sched, false) + cells_needed(job) <= sched->limits.cells;
}

static void forget(struct cds_sched *sched, struct cds_slot *slot)
{
    sched->ops->drop(sched->engine, (int)(slot - sched->slots), 0);
    slot->filled = 0;
}

bool cds_slots_evict_all(struct cds_sched *sched)
{
    bool any = false;
    for (unsigned i = 0; i < sched->limits.slots; i++) {
        struct cds_slot *slot = &sched->slots[i];
        if (slot->job || slot->filled == 0)
            continue;
        forget(sched, slot);
        any = true;
    }
    return any;
}

/** Tokens the prompt and the slot have in common from the beginning; the last prompt token is always evaluated, it gives the logits. */
static size_t common(const struct cds_slot *slot, const struct cds_job *job)
{
    if (slot->scope != job->scope)
        return 0;
    size_t most = slot->filled < job->token_count - 1 ? slot->filled : job->token_count - 1;
    size_t n = 0;
    while (n < most && slot->tokens[n] == job->tokens[n])
        n++;
    return n;
}

/** The slot, running or not, that shares the longest beginning with the prompt. */
static struct cds_slot *best_source(struct cds_sched *sched, const struct cds_job *job, size_t *ret_common)
{
    struct cds_slot *best = NULL;
    *ret_common = 0;
    for (unsigned i = 0; sched->limits.share && i < sched->limits.slots; i++) {
        size_t n = common(&sched->slots[i], job);
        if (n > *ret_common) {
            best = &sched->slots[i];
            *ret_common = n;
        }
    }
    return best;
}

/** The free slot whose kept cells were used longest ago, empty ones first; never `spare` unless it is the only one. */
static struct cds_slot *oldest_free(struct cds_sched *sched, const struct cds_slot *spare)
{
    struct cds_slot *best = NULL;
    for (unsigned i = 0; i < sched->limits.slots; i++) {
        struct cds_slot *slot = &sched->slots[i];
        if (slot->job || slot == spare)
            continue;
        bool better =
            !best || (slot->filled == 0) > (best->filled == 0) || ((slot->filled == 0) == (best->filled == 0) && slot->used_at < best->used_at);
        if (better)
            best = slot;
    }
    return best;
}

/** Kept cells are given up, oldest first, until the job fits; the source of its prompt goes last. */
static void make_room(struct cds_sched *sched, const struct cds_job *job, const struct cds_slot *source)
{
    while (cells_taken(sched, true) + cells_needed(job) > sched->limits.cells) {
        struct cds_slot *victim = NULL;
        for (unsigned i = 0; i < sched->limits.slots; i++) {
            struct cds_slot *slot = &sched->slots[i];
            if (!slot->job && slot->filled && slot != source && (!victim || slot->used_at < victim->used_at))
                victim = slot;
        }
        if (!victim)
            return;
        forget(sched, victim);
    }
}

/** A kept sequence is taken over when the prompt continues most of it, or when there is no room for both; else it stays for the next one
 *  and only its cells are shared. */
static bool takes_over(struct cds_sched *sched, const struct cds_job *job, const struct cds_slot *source, size_t shared)
{
    return shared * 2 >= source->filled || !oldest_free(sched, source) || cells_taken(sched, true) + cells_needed(job) > sched->limits.cells;
}

static void seat(struct cds_sched *sched, struct cds_job *job)
{
    size_t shared;
    struct cds_slot *source = best_source(sched, job, &shared);
    make_room(sched, job, source);
    struct cds_slot *slot = source;
    if (!source || source->job || !takes_over(sched, job, source, shared)) {
        slot = oldest_free(sched, source);
        if (!slot)
            return;
        forget(sched, slot);
        if (source) {
            sched->ops->share(sched->engine, (int)(source - sched->slots), (int)(slot - sched->slots), (int)shared);
            memcpy(slot->tokens, source->tokens, shared * sizeof(*slot->tokens));
        }
    } else {
        sched->ops->drop(sched->engine, (int)(slot - sched->slots), (int)shared);
    }
    slot->filled = shared;
    slot->reserved = cells_needed(job);
    slot->scope = job->scope;
    slot->job = job;
    job->slot = slot;
    job->cached = (uint32_t)shared;
    job->state = CDS_JOB_READING;
    sched->counters.cached_tokens += shared;
}

struct cds_job *cds_slots_first_waiting(const struct cds_sched *sched)
{
    struct cds_job *first = NULL;
    for (struct cds_job *job = sched->jobs; job; job = job->next) {
        if (job->state == CDS_JOB_WAITING && (!first || job->order < first->order))
            first = job;
    }
    return first;
}

void cds_slots_admit(struct cds_sched *sched)
{
    for (struct cds_job *job; (job = cds_slots_first_waiting(sched)) != NULL && cds_slots_could_admit(sched, job);) {
        seat(sched, job);
        if (!job->slot)
            return;
    }
}
