#include "apps/llmworker/turn.h"

#include <string.h>

/* All guesses together may lose this share of what answers cost, and before anything was earned the cost of so many steps of one row. */
static const double share_lost = 0.02, steps_at_first = 32;
/* Of a draft model nothing is known at first but that somebody chose it. */
static const double run_right_at_first = 0.95, run_right_enough = 0.6, right_at_first = 0.8, weight = 0.1, forgives = 0.0003;

enum { READ_FOR_ONE = 8 };

static bool anybody_reads(const struct cds_sched *sched)
{
    for (unsigned i = 0; i < sched->slot_count; i++)
        if (sched->slots[i].job && sched->slots[i].job->state == CDS_JOB_READING)
            return true;
    return false;
}

/** Most tokens that a guess of this job may have: the sampler adds one, and together they stay within what was granted. */
static unsigned longest(const struct cds_job *job, unsigned room)
{
    uint32_t granted = job->granted < job->max_tokens ? job->granted : job->max_tokens, left = granted - job->generated;
    uint32_t most = job->speculation.most ? job->speculation.most : CDS_DRAFT_MAX;
    if (left < 2)
        return 0;
    if (most > left - 1)
        most = left - 1;
    /* A text that is about to outgrow its window is read anew then. */
    if (job->window && most > job->window - 1 - job->token_count)
        most = (unsigned)(job->window - 1 - job->token_count);
    return most < room ? most : room;
}

/** May a guess be lost that costs so much? */
static bool affordable(const struct cds_sched *sched, double extra)
{
    const struct cds_stake *stake = &sched->stake;
    return stake->lost + extra <= share_lost * stake->spent + steps_at_first * cds_costs_of(&sched->costs, 1);
}

static unsigned length_that_pays(const struct cds_sched *sched, const struct cds_job *job, unsigned rows, double chance, double each, unsigned most)
{
    if (job->speculation.always)
        return most;
    unsigned length = cds_costs_draft(&sched->costs, rows, chance, each, most);
    double extra = cds_costs_of(&sched->costs, rows + length) - cds_costs_of(&sched->costs, rows) + each * length;
    return length && affordable(sched, extra) ? length : 0;
}

static void guess_by_lookup(struct cds_sched *sched, struct cds_job *job, unsigned rows, unsigned most)
{
    unsigned length = length_that_pays(sched, job, rows, cds_lookup_chance(&job->lookup), 0, most);
    job->draft_count = cds_lookup_draft(&job->lookup, job->tokens, job->token_count, job->draft, length);
    job->draft_by = CDS_DRAFT_LOOKUP;
}

/** What the grammar forces: the sampler takes it too, unless the request rules a token out or the answer ends. Rows of one step cost less than as
 * many steps on every machine, so as long as the guesses come true nobody has to calculate. */
static void guess_by_grammar(struct cds_sched *sched, struct cds_job *job, unsigned rows, unsigned most)
{
    struct cds_stake *stake = &sched->stake;
    unsigned known = sched->ops->forced(job->sampler, job->draft, most);
    double right = stake->run_right > 0 ? stake->run_right : run_right_at_first;
    unsigned length = right >= run_right_enough ? known : known ? length_that_pays(sched, job, rows, right, 0, known) : 0;
    if (known && !length && stake->run_right > 0)
        stake->run_right += forgives * (run_right_at_first - stake->run_right); /* it is tried again some day */
    job->draft_count = length;
    job->draft_by = CDS_DRAFT_GRAMMAR;
}

static void guess_by_model(struct cds_sched *sched, struct cds_job *job, unsigned rows, unsigned most)
{
    struct cds_stake *stake = &sched->stake;
    double right = stake->draft_right > 0 ? stake->draft_right : right_at_first;
    unsigned length = length_that_pays(sched, job, rows, right, stake->draft_each, most);
    uint32_t left = job->max_tokens - job->generated;
    /* It has to read the text first: not worth it for the last few words. */
    if (!length && stake->draft_right > 0)
        stake->draft_right += forgives * (right_at_first - stake->draft_right); /* it is tried again some day */
    if (!length || length < job->speculation.min || job->token_count > (size_t)READ_FOR_ONE * left)
        return;
    job->draft_count = sched->ops->draft(sched->engine, (int)(job->slot - sched->slots), job->tokens, job->token_count, job->speculation.confidence,
                                         job->draft, length);
    job->draft_by = CDS_DRAFT_MODEL;
    double spent = sched->ops->draft_spent ? (double)sched->ops->draft_spent(sched->engine) : 0;
    if (!job->speculation.always)
        stake->lost += spent;
    stake->spent += spent;
    if (job->draft_count)
        stake->draft_each += (stake->draft_each > 0 ? weight : 1) * (spent / job->draft_count - stake->draft_each);
}

void cds_speculate_plan(struct cds_sched *sched, unsigned generating)
{
    unsigned rows = generating, room = sched->limits.drafts;
    sched->stake.forced = false;
    sched->stake.plain = generating ? cds_costs_of(&sched->costs, generating) : 0;
    bool quiet = room && generating && sched->limits.share && !anybody_reads(sched);
    for (unsigned i = 0; quiet && room && i < sched->slot_count; i++) {
        struct cds_job *job = sched->slots[i].job;
        if (!job || job->state != CDS_JOB_GENERATING || !cds_turn_has(sched, job))
            continue;
        unsigned most = longest(job, room);
        /* Cells that ended requests left may go for it, those of running ones may not. */
        while (most && !cds_slots_make_room(sched, rows + most))
            most /= 2;
        if (!most)
            continue;
        if (job->speculation.grammar && sched->ops->forced)
            guess_by_grammar(sched, job, rows, most);
        if (!job->draft_count && job->speculation.lookup)
            guess_by_lookup(sched, job, rows, most);
        if (!job->draft_count && job->speculation.draft && sched->ops->draft)
            guess_by_model(sched, job, rows, most);
        if (job->draft_count < job->speculation.min)
            job->draft_count = 0;
        sched->stake.forced = sched->stake.forced || (job->draft_count && job->speculation.always);
        rows += job->draft_count;
        room -= job->draft_count;
    }
}

void cds_speculate_learn(struct cds_sched *sched, unsigned generating)
{
    unsigned answers = 0;
    for (unsigned i = 0; i < sched->row_count; i++)
        answers += sched->rows[i].sample;
    double spent = sched->ops->spent ? (double)sched->ops->spent(sched->engine) : sched->row_count;
    sched->stake.step = spent;
    if (answers == sched->row_count && generating) {
        cds_cost_learn(&sched->costs.answers, sched->row_count, spent);
        sched->stake.spent += spent;
        if (sched->row_count > generating && !sched->stake.forced)
            sched->stake.lost += spent - sched->stake.plain;
    } else if (!generating) {
        cds_cost_learn(&sched->costs.prompts, sched->row_count, spent);
    }
}

void cds_speculate_judge(struct cds_sched *sched, struct cds_job *job, unsigned right, unsigned guesses)
{
    struct cds_stake *stake = &sched->stake;
    sched->counters.guesses++;
    sched->counters.validated_tokens += right;
    sched->counters.refuted_tokens += guesses - right;
    unsigned generating = 0;
    for (unsigned i = 0; i < sched->row_count; i++)
        generating += sched->rows[i].sample && (i == 0 || sched->row_slot[i] != sched->row_slot[i - 1]);
    stake->lost -= generating && !stake->forced ? right * stake->plain / generating : 0;
    if (stake->lost < 0)
        stake->lost = 0;
    if (!job)
        return;
    if (job->draft_by == CDS_DRAFT_GRAMMAR) {
        double seen = right < guesses ? right + 1 : right, before = stake->run_right > 0 ? stake->run_right : run_right_at_first;
        stake->run_right = before + weight * (right / seen - before);
    }
    if (job->draft_by == CDS_DRAFT_MODEL) {
        /* Each token before the first wrong one was right; what stands behind it tells nothing. */
        double seen = right < guesses ? right + 1 : right;
        double before = stake->draft_right > 0 ? stake->draft_right : right_at_first;
        stake->draft_right = before + weight * seen * (right / seen - before);
    }
}
