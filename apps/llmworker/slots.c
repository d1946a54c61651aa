#include "apps/llmworker/job.h"

/* --- giving up kept cells ------------------------------------------------------------------------------------------------ */

static void cut(struct cds_sched *sched, struct cds_slot *slot, uint32_t length)
{
    sched->ops->drop(sched->engine, (int)(slot - sched->slots), (int)length);
    cds_branch_cut(&sched->cells, &slot->branch, length);
}

void cds_slots_shorten(struct cds_sched *sched, struct cds_job *job, uint32_t length)
{
    if (job->slot)
        cut(sched, job->slot, sched->limits.share ? length : 0);
}

bool cds_slots_evict_all(struct cds_sched *sched)
{
    bool any = false;
    for (unsigned i = 0; i < sched->slot_count; i++) {
        struct cds_slot *slot = &sched->slots[i];
        if (slot->job || slot->branch.filled == 0)
            continue;
        cut(sched, slot, 0);
        any = true;
    }
    return any;
}

/** The kept sequence that was used longest ago. */
static struct cds_slot *oldest_kept(struct cds_sched *sched, const struct cds_slot *spare)
{
    struct cds_slot *best = NULL;
    for (unsigned i = 0; i < sched->slot_count; i++) {
        struct cds_slot *slot = &sched->slots[i];
        if (!slot->job && slot->branch.filled && slot != spare && (!best || slot->used_at < best->used_at))
            best = slot;
    }
    return best;
}

bool cds_slots_make_room(struct cds_sched *sched, uint32_t cells)
{
    while (sched->cells.unused_count < cells) {
        struct cds_slot *victim = oldest_kept(sched, NULL);
        if (!victim)
            return false;
        /* Only its tail: the beginning may be what the next prompt begins with. What others hold too costs nothing. */
        uint32_t lacking = cells - sched->cells.unused_count, tail = cds_branch_own_tail(&sched->cells, &victim->branch);
        cut(sched, victim, tail > lacking ? victim->branch.filled - lacking : victim->branch.filled - tail);
        if (tail <= lacking && victim->branch.filled)
            cut(sched, victim, 0);
    }
    return true;
}

/* --- leaving ------------------------------------------------------------------------------------------------------------- */

void cds_slots_leave(struct cds_sched *sched, struct cds_job *job, bool keep)
{
    struct cds_slot *slot = job->slot;
    job->slot = NULL;
    job->planned = 0;
    slot->job = NULL;
    slot->used_at = ++sched->clock;
    sched->active--;
    cds_branch_set_live(&sched->cells, &slot->branch, false);
    if (!keep || !sched->limits.share)
        cut(sched, slot, 0);
}

static void put_back(struct cds_sched *sched, struct cds_job *job)
{
    cds_slots_leave(sched, job, true);
    job->put_back = true;
    if (job->state != CDS_JOB_PAUSED)
        job->state = CDS_JOB_WAITING;
    sched->counters.put_back++;
}

bool cds_slots_put_back_newest(struct cds_sched *sched)
{
    struct cds_job *victim = NULL;
    if (sched->active < 2)
        return false;
    for (unsigned i = 0; i < sched->slot_count; i++) {
        struct cds_job *job = sched->slots[i].job;
        if (job && (!victim || job->priority < victim->priority || (job->priority == victim->priority && job->order > victim->order)))
            victim = job;
    }
    if (victim)
        put_back(sched, victim);
    return victim != NULL;
}

/* --- finding a beginning ------------------------------------------------------------------------------------------------- */

/** Only what one user asked with the same adapters is shared. */
static bool may_share(const struct cds_job *a, uint64_t scope, const struct cds_adapter_set *adapters)
{
    return a->scope == scope && cds_adapter_sets_equal(&a->adapters, adapters);
}

/** The sequence, running or not, that shares the longest beginning with what the job knows. The last token is always evaluated: it gives the
 *  logits. */
static struct cds_slot *best_source(struct cds_sched *sched, const struct cds_job *job, uint32_t *ret_common)
{
    struct cds_slot *best = NULL;
    *ret_common = 0;
    for (unsigned i = 0; sched->limits.share && i < sched->slot_count; i++) {
        struct cds_slot *slot = &sched->slots[i];
        if (slot->branch.filled <= *ret_common || !may_share(job, slot->scope, &slot->adapters))
            continue;
        uint32_t most = job->told ? job->told_from : (uint32_t)job->token_count - 1;
        uint32_t n = cds_branch_common(&sched->cells, &slot->branch, job->tokens, most);
        if (n > *ret_common) {
            best = slot;
            *ret_common = n;
        }
    }
    return best;
}

/** The job that is reading a longer beginning of this one's prompt than there is already; NULL if none. */
static struct cds_job *reader_ahead(struct cds_sched *sched, const struct cds_job *job, uint32_t there, uint32_t *ret_until)
{
    struct cds_job *best = NULL;
    uint32_t longest = there + CDS_FOLLOW_MIN - 1;
    for (unsigned i = 0; sched->limits.share && i < sched->slot_count; i++) {
        struct cds_job *other = sched->slots[i].job;
        if (!other || other->cancelled || other->state != CDS_JOB_READING || other->token_count <= longest)
            continue;
        if (!may_share(job, other->scope, &other->adapters))
            continue;
        uint32_t n = 0, most = (uint32_t)(other->token_count < job->token_count ? other->token_count : job->token_count) - 1;
        while (n < most && other->tokens[n] == job->tokens[n])
            n++;
        if (n > longest) {
            best = other;
            longest = n;
        }
    }
    *ret_until = longest;
    return best;
}

/** A job that waits for another one's work: the beginning of its prompt, or all of it. It holds up nobody else. */
static bool waits_for_another(struct cds_sched *sched, struct cds_job *job)
{
    if (job->fork_of) {
        const struct cds_job *parent = cds_job_find(sched, job->fork_of);
        if (parent && parent->generated == 0 && !parent->cancelled)
            return true;
        job->fork_of = 0;
    }
    /* Comparing prompts is work; while the other one reads towards the place where they part, the answer stays the same. */
    if (job->follow && job->follow->state == CDS_JOB_READING && !job->follow->cancelled && cds_job_filled(job->follow) < job->follow_until)
        return true;
    uint32_t there;
    best_source(sched, job, &there);
    job->follow = reader_ahead(sched, job, there, &job->follow_until);
    return job->follow != NULL;
}

/* --- admission ----------------------------------------------------------------------------------------------------------- */

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/** Cells it should have before it begins: for all it knows, and for a part of its answer. */
static uint32_t wanted(const struct cds_sched *sched, const struct cds_job *job)
{
    uint32_t rest = job->max_tokens - job->generated;
    uint32_t cells = (uint32_t)job->token_count + (sched->limits.answer_reserve ? least(sched->limits.answer_reserve, rest) : rest);
    return job->window ? least(cells, job->window) : cells;
}

/** Cells that running requests hold or were promised. For one that was put back they count as if they began now: else it would be put back
 *  again after a few tokens. */
static uint32_t promised(const struct cds_sched *sched, const struct cds_job *candidate)
{
    uint64_t cells = sched->cells.live_count;
    for (unsigned i = 0; i < sched->slot_count; i++) {
        const struct cds_job *job = sched->slots[i].job;
        if (!job)
            continue;
        uint32_t target = job->reserve;
        if (candidate->put_back && wanted(sched, job) > target)
            target = wanted(sched, job);
        cells += target > cds_job_filled(job) ? target - cds_job_filled(job) : 0;
    }
    return (uint32_t)(cells < UINT32_MAX ? cells : UINT32_MAX);
}

static bool fits(struct cds_sched *sched, const struct cds_job *job)
{
    uint32_t common;
    const struct cds_slot *source = best_source(sched, job, &common);
    uint32_t shared = source ? cds_branch_live_part(&sched->cells, &source->branch, common) : 0;
    return (uint64_t)promised(sched, job) + wanted(sched, job) - shared <= sched->limits.cells;
}

unsigned cds_slots_active_of(const struct cds_sched *sched, uint64_t key)
{
    unsigned count = 0;
    for (unsigned i = 0; i < sched->slot_count; i++)
        count += sched->slots[i].job && sched->slots[i].job->key == key;
    return count;
}

/** Higher class first, then the key with the least running, then arrival. */
static bool goes_before(const struct cds_sched *sched, const struct cds_job *a, const struct cds_job *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority;
    unsigned of_a = a->key == b->key ? 0 : cds_slots_active_of(sched, a->key), of_b = a->key == b->key ? 0 : cds_slots_active_of(sched, b->key);
    return of_a != of_b ? of_a < of_b : a->order < b->order;
}

static struct cds_job *next_waiting(struct cds_sched *sched)
{
    struct cds_job *first = NULL;
    for (struct cds_job *job = sched->jobs; job; job = job->next) {
        if (job->state == CDS_JOB_WAITING && (!first || goes_before(sched, job, first)) && !waits_for_another(sched, job))
            first = job;
    }
    return first;
}

/** Whose place the job may take: of a lower class, or of a key that has two more than its own. The newest of those. */
static struct cds_job *replaceable(struct cds_sched *sched, const struct cds_job *job)
{
    struct cds_job *victim = NULL;
    if (sched->limits.nobody_put_back)
        return NULL;
    unsigned mine = cds_slots_active_of(sched, job->key);
    for (unsigned i = 0; i < sched->slot_count; i++) {
        struct cds_job *other = sched->slots[i].job;
        if (!other || other->cancelled)
            continue;
        bool greedy = other->priority == job->priority && other->key != job->key && cds_slots_active_of(sched, other->key) >= mine + 2;
        if (!greedy && other->priority >= job->priority)
            continue;
        if (!victim || other->priority < victim->priority || (other->priority == victim->priority && other->order > victim->order))
            victim = other;
    }
    return victim;
}

/* --- seating ------------------------------------------------------------------------------------------------------------- */

/** An empty sequence, or the one whose kept cells were used longest ago; never `spare`. NULL if every other one has a job. */
static struct cds_slot *empty_slot(struct cds_sched *sched, const struct cds_slot *spare)
{
    for (unsigned i = 0; i < sched->slot_count; i++)
        if (!sched->slots[i].job && sched->slots[i].branch.filled == 0)
            return &sched->slots[i];
    struct cds_slot *slot = oldest_kept(sched, spare);
    if (slot)
        cut(sched, slot, 0);
    return slot;
}

static void sit(struct cds_sched *sched, struct cds_slot *slot, struct cds_job *job, const struct cds_slot *source, uint32_t shared)
{
    slot->scope = job->scope;
    slot->adapters = job->adapters;
    slot->job = job;
    job->slot = slot;
    sched->active++;
    if (source && source != slot) {
        sched->ops->share(sched->engine, (int)(source - sched->slots), (int)(slot - sched->slots), (int)shared);
        cds_branch_share(&sched->cells, &source->branch, &slot->branch, shared);
    }
    cds_branch_set_live(&sched->cells, &slot->branch, true);
    job->reserve = wanted(sched, job);
    job->turn_at = sched->counters.steps;
    if (shared > job->reached) {
        uint32_t prompt = (uint32_t)job->prompt_count, end = least(shared, prompt);
        job->cached += end > job->reached ? end - job->reached : 0;
        sched->counters.cached_tokens += end > job->reached ? end - job->reached : 0;
        job->reached = shared;
    }
}

/** A kept sequence is taken over when the prompt continues most of it; else it stays for the next one and only its cells are shared. */
static bool seat(struct cds_sched *sched, struct cds_job *job)
{
    uint32_t shared;
    struct cds_slot *source = best_source(sched, job, &shared);
    struct cds_slot *slot = source;
    if (!source || source->job || shared < source->branch.filled / 2 + 1) {
        slot = empty_slot(sched, source);
        if (!slot && source && !source->job)
            slot = source;
    }
    if (!slot)
        return false;
    if (slot == source)
        cut(sched, slot, shared);
    if (!sched->limits.share)
        shared = cds_checkpoints_put(sched, job, slot);
    sit(sched, slot, job, source, shared);
    job->state = CDS_JOB_READING;
    return true;
}

bool cds_slots_fork(struct cds_sched *sched, struct cds_job *parent, struct cds_job *job)
{
    uint32_t prompt = (uint32_t)parent->prompt_count;
    bool same = sched->limits.share && job->token_count == prompt && may_share(job, parent->scope, &parent->adapters) &&
                cds_job_filled(parent) == prompt && cds_branch_common(&sched->cells, &parent->slot->branch, job->tokens, prompt) == prompt;
    bool room = sched->active < sched->limits.slots && (uint64_t)promised(sched, job) + wanted(sched, job) - prompt <= sched->limits.cells;
    struct cds_slot *slot = same && room ? empty_slot(sched, parent->slot) : NULL;
    if (slot)
        sit(sched, slot, job, parent->slot, prompt);
    return slot != NULL;
}

bool cds_slots_could_admit(const struct cds_sched *sched)
{
    /* The answer is worked out on the same lists; nothing is changed but what each job follows. */
    struct cds_sched *s = (struct cds_sched *)(uintptr_t)sched;
    const struct cds_job *job = next_waiting(s);
    return job && ((sched->active < sched->limits.slots && fits(s, job)) || replaceable(s, job));
}

void cds_slots_admit(struct cds_sched *sched)
{
    bool replaced = false;
    for (struct cds_job *job; (job = next_waiting(sched)) != NULL;) {
        if (sched->active >= sched->limits.slots || !fits(sched, job)) {
            /* One in a step: a request that needs much room takes it little by little. */
            struct cds_job *victim = replaced ? NULL : replaceable(sched, job);
            if (!victim)
                return;
            put_back(sched, victim);
            replaced = true;
            continue;
        }
        if (!seat(sched, job))
            return;
    }
}

/* --- from elsewhere ------------------------------------------------------------------------------------------------------ */

cds_rc cds_sched_restore(struct cds_sched *sched, uint64_t scope, const struct cds_adapter_set *adapters, const int32_t *tokens, size_t count,
                         const uint8_t *state, size_t state_bytes, struct cds_err *reterr)
{
    if (count >= sched->limits.cells)
        return cds_fail(reterr, CDS_CONTEXT_LENGTH, __func__, "The state has %zu tokens, but the model holds %u in all.", count, sched->limits.cells);
    if (!sched->limits.share) {
        if (!cds_checkpoints_used(sched) || !cds_checkpoints_add(sched, scope, adapters, tokens, count, state, state_bytes))
            return cds_fail(reterr, CDS_EXHAUSTED, __func__, "The state does not fit into the setting \"checkpoint_mib\" of the model.");
        sched->counters.restored_tokens += count;
        return CDS_OK;
    }
    for (unsigned i = 0; i < sched->slot_count; i++) {
        struct cds_slot *there = &sched->slots[i];
        if (there->scope == scope && cds_adapter_sets_equal(&there->adapters, adapters) &&
            cds_branch_common(&sched->cells, &there->branch, tokens, count) == count) {
            there->used_at = ++sched->clock;
            return CDS_OK;
        }
    }
    /* What others left goes only if it is enough. */
    bool room = sched->cells.live_count + count <= sched->limits.cells;
    struct cds_slot *slot = room && cds_slots_make_room(sched, (uint32_t)count) ? empty_slot(sched, NULL) : NULL;
    if (!slot) {
        cds_fail(reterr, CDS_BUSY, __func__, "Running requests hold the context; there is no room for the state now.");
        if (reterr)
            reterr->retry_after_ms = 1000;
        return CDS_BUSY;
    }
    if (!sched->ops->state_set || !sched->ops->state_set(sched->engine, (int)(slot - sched->slots), state, state_bytes))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The library does not take the state: it was made with another model or other settings.");
    for (size_t i = 0; i < count; i++)
        cds_branch_append(&sched->cells, &slot->branch, tokens[i]);
    slot->scope = scope;
    slot->adapters = *adapters;
    slot->used_at = ++sched->clock;
    sched->counters.restored_tokens += count;
    return CDS_OK;
}
