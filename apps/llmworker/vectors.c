#include "apps/llmworker/vectors.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"

struct job {
    struct job *next;
    struct cds_vectors_spec spec;
    bool started, cancelled, failed;
    size_t done;      /**< texts that were evaluated */
    unsigned planned; /**< texts of the step that is being built */
    uint32_t prompt_tokens, evaluated_tokens;
    float *query, *scores; /**< of a ranking; owned */
};
/** One text of the running step. */
struct planned {
    struct job *job;
    uint32_t first_row;
};
struct cds_vectors {
    const struct cds_encoder_ops *ops;
    void *engine, *user;
    struct cds_vectors_sink sink;
    struct job *jobs, *turn; /**< in order of arrival; who gave the last text */
    unsigned job_count, jobs_max, text_count, row_count;
    uint32_t width, rows_max;
    struct cds_row *rows;
    struct planned plan[CDS_ENCODER_TEXTS];
    float *room; /**< one pooled vector */
    bool computing;
    struct cds_vectors_counters counters;
};

void cds_vectors_spec_clear(struct cds_vectors_spec *spec)
{
    for (size_t i = 0; i < spec->text_count; i++)
        free(spec->texts[i].tokens);
    free(spec->texts);
    spec->texts = NULL;
    spec->text_count = 0;
}

cds_rc cds_vectors_new(const struct cds_encoder_ops *ops, void *engine, uint32_t width, uint32_t rows, unsigned jobs,
                       const struct cds_vectors_sink *sink, void *user, struct cds_vectors **ret, struct cds_err *reterr)
{
    if (width < 1 || width > CDS_VECTOR_WIDTH_MAX || rows < 1 || jobs < 1 || jobs > CDS_VECTORS_JOBS_MAX)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The limits of a model that encodes are out of range.");
    CDS_CLEANUP(cds_vectors_free) struct cds_vectors *vectors = calloc(1, sizeof(*vectors));
    if (vectors) {
        vectors->rows = calloc(rows, sizeof(*vectors->rows));
        vectors->room = calloc(width, sizeof(*vectors->room));
    }
    if (!vectors || !vectors->rows || !vectors->room)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory.");
    vectors->ops = ops;
    vectors->engine = engine;
    vectors->width = width;
    vectors->rows_max = rows;
    vectors->jobs_max = jobs;
    vectors->sink = *sink;
    vectors->user = user;
    *ret = vectors;
    vectors = NULL;
    return CDS_OK;
}

/* --- requests ------------------------------------------------------------------------------------------------------------ */

static struct job *find(const struct cds_vectors *vectors, int64_t id)
{
    struct job *job = vectors->jobs;
    while (job && job->spec.id != id)
        job = job->next;
    return job;
}

static void job_free(struct job *job)
{
    cds_vectors_spec_clear(&job->spec);
    free(job->query);
    free(job->scores);
    free(job);
}

static void unlink_job(struct cds_vectors *vectors, struct job *job)
{
    struct job **link = &vectors->jobs;
    while (*link && *link != job)
        link = &(*link)->next;
    if (*link)
        *link = job->next;
    if (vectors->turn == job)
        vectors->turn = NULL;
    vectors->job_count--;
}

static void end_job(struct cds_vectors *vectors, struct job *job, enum cds_vectors_end end)
{
    struct cds_vectors_report report = {
        .id = job->spec.id,
        .end = end,
        .prompt_tokens = job->prompt_tokens,
        .evaluated_tokens = job->evaluated_tokens,
        .scores = end == CDS_VECTORS_DONE ? job->scores : NULL,
        .owners = job->spec.owners,
    };
    unlink_job(vectors, job);
    vectors->counters.cancelled += end == CDS_VECTORS_CANCELLED && job->started;
    vectors->sink.on_end(vectors->user, &report);
    job_free(job);
}

void cds_vectors_free(struct cds_vectors **vectors)
{
    if (!vectors || !*vectors)
        return;
    while ((*vectors)->jobs) {
        struct job *job = (*vectors)->jobs;
        unlink_job(*vectors, job);
        job_free(job);
    }
    free((*vectors)->rows);
    free((*vectors)->room);
    free(*vectors);
    *vectors = NULL;
}

cds_rc cds_vectors_add(struct cds_vectors *vectors, struct cds_vectors_spec *spec, struct cds_err *reterr)
{
    if (find(vectors, spec->id))
        return cds_fail(reterr, CDS_CONFLICT, __func__, "The request number is taken.");
    if (vectors->job_count >= vectors->jobs_max)
        return cds_fail(reterr, CDS_BUSY, __func__, "The model process knows %u requests already.", vectors->job_count);
    if (spec->text_count < 1 || spec->width < 1 || spec->width > vectors->width || (spec->kind != CDS_VECTORS_EMBED && spec->owners < 1))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The request has no texts, or asks for more numbers than a vector has.");
    struct job *job = calloc(1, sizeof(*job));
    if (job && spec->kind == CDS_VECTORS_COSINE)
        job->query = calloc(spec->width, sizeof(*job->query));
    if (job && spec->kind != CDS_VECTORS_EMBED)
        job->scores = calloc(spec->owners, sizeof(*job->scores));
    if (!job || (spec->kind == CDS_VECTORS_COSINE && !job->query) || (spec->kind != CDS_VECTORS_EMBED && !job->scores)) {
        if (job)
            free(job->query);
        free(job);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the request.");
    }
    for (uint32_t i = 0; job->scores && i < spec->owners; i++)
        job->scores[i] = -__FLT_MAX__;
    for (size_t i = 0; i < spec->text_count; i++)
        job->prompt_tokens += spec->texts[i].count;
    job->spec = *spec;
    spec->texts = NULL;
    spec->text_count = 0;
    struct job **link = &vectors->jobs;
    while (*link)
        link = &(*link)->next;
    *link = job;
    vectors->job_count++;
    return CDS_OK;
}

void cds_vectors_start(struct cds_vectors *vectors, int64_t id)
{
    struct job *job = find(vectors, id);
    if (job)
        job->started = true;
}

void cds_vectors_cancel(struct cds_vectors *vectors, int64_t id)
{
    struct job *job = find(vectors, id);
    if (job && vectors->computing)
        job->cancelled = true;
    else if (job)
        end_job(vectors, job, CDS_VECTORS_CANCELLED);
}

/* --- building a step ------------------------------------------------------------------------------------------------------ */

static bool has_text(const struct job *job)
{
    return job->started && !job->cancelled && !job->failed && job->done + job->planned < job->spec.text_count;
}

bool cds_vectors_runnable(const struct cds_vectors *vectors)
{
    for (const struct job *job = vectors->jobs; job; job = job->next)
        if (has_text(job))
            return true;
    return false;
}

/** The next request in turn whose next text has room in the step. */
static struct job *next_in_turn(struct cds_vectors *vectors)
{
    struct job *job = vectors->turn && vectors->turn->next ? vectors->turn->next : vectors->jobs;
    for (unsigned i = 0; i < vectors->job_count; i++, job = job->next ? job->next : vectors->jobs) {
        if (!has_text(job))
            continue;
        uint32_t tokens = job->spec.texts[job->done + job->planned].count, most = vectors->row_count ? CDS_VECTORS_ROWS : vectors->rows_max;
        if (vectors->row_count + tokens <= most && vectors->row_count + tokens <= vectors->rows_max)
            return job;
    }
    return NULL;
}

static void plan_text(struct cds_vectors *vectors, struct job *job)
{
    const struct cds_vectors_text *text = &job->spec.texts[job->done + job->planned];
    bool rank = job->spec.kind == CDS_VECTORS_RANK;
    vectors->plan[vectors->text_count] = (struct planned){.job = job, .first_row = vectors->row_count};
    for (uint32_t i = 0; i < text->count; i++)
        vectors->rows[vectors->row_count++] = (struct cds_row){
            .token = text->tokens[i], .position = (int32_t)i, .sequence = (int32_t)vectors->text_count, .sample = !rank || i + 1 == text->count};
    vectors->text_count++;
    job->planned++;
    vectors->turn = job;
}

/* --- results -------------------------------------------------------------------------------------------------------------- */

/** Where a text of the step begins. */
struct place {
    const struct cds_vectors *vectors;
    uint32_t first_row;
    bool missing; /**< the model gave no vector */
};

static const float *row_of(void *user, uint32_t token)
{
    struct place *place = user;
    const float *row = place->vectors->ops->token(place->vectors->engine, (int)(place->first_row + token));
    place->missing = place->missing || !row;
    return row ? row : place->vectors->room;
}

static bool each_token(struct cds_vectors *vectors, const struct job *job, struct place *place, uint32_t tokens)
{
    const struct cds_vectors_spec *spec = &job->spec;
    CDS_CLEANUP(cds_free_ptr) float *values = malloc((size_t)tokens * spec->width * sizeof(*values));
    for (uint32_t t = 0; values && t < tokens; t++) {
        memcpy(values + (size_t)t * spec->width, row_of(place, t), spec->width * sizeof(*values));
        cds_vector_normalize(values + (size_t)t * spec->width, spec->width, spec->norm);
    }
    if (!values || place->missing)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        return false;
    vectors->sink.on_vectors(vectors->user, spec->id, values, tokens, spec->width);
    return true;
}

static void keep_best(struct job *job, uint32_t owner, float score)
{
    if (owner < job->spec.owners && score > job->scores[owner])
        job->scores[owner] = score;
}

/** What one text of the step gives. @return false: the model gave nothing */
static bool take_text(struct cds_vectors *vectors, unsigned index)
{
    struct job *job = vectors->plan[index].job;
    const struct cds_vectors_spec *spec = &job->spec;
    const struct cds_vectors_text *text = &spec->texts[job->done];
    struct place place = {.vectors = vectors, .first_row = vectors->plan[index].first_row};
    job->evaluated_tokens += text->count;
    if (spec->kind == CDS_VECTORS_RANK) {
        const float *score = vectors->ops->score(vectors->engine, (int)index);
        if (score)
            keep_best(job, text->owner, score[0]);
        return score != NULL;
    }
    if (spec->each_token)
        return each_token(vectors, job, &place, text->count);
    cds_pool_tokens(spec->pooling, row_of, &place, text->count, vectors->width, vectors->room);
    cds_vector_normalize(vectors->room, spec->width, spec->norm);
    if (place.missing)
        return false;
    if (spec->kind == CDS_VECTORS_EMBED)
        vectors->sink.on_vectors(vectors->user, spec->id, vectors->room, 1, spec->width);
    else if (job->done == 0)
        memcpy(job->query, vectors->room, spec->width * sizeof(*job->query));
    else
        keep_best(job, text->owner, (float)cds_vector_dot(job->query, vectors->room, spec->width));
    return true;
}

static void take_results(struct cds_vectors *vectors)
{
    vectors->counters.steps++;
    vectors->counters.rows += vectors->row_count;
    vectors->counters.texts += vectors->text_count;
    if (vectors->text_count > vectors->counters.most_texts)
        vectors->counters.most_texts = vectors->text_count;
    for (unsigned i = 0; i < vectors->text_count; i++) {
        struct job *job = vectors->plan[i].job;
        job->planned--;
        if (job->cancelled || job->failed) {
            /* Evaluated all the same: whoever left pays for what was computed. */
            job->evaluated_tokens += job->spec.texts[job->done].count;
        } else if (!take_text(vectors, i)) {
            job->failed = true;
        }
        job->done++;
    }
}

static void end_ready(struct cds_vectors *vectors)
{
    for (struct job *job = vectors->jobs, *next; job; job = next) {
        next = job->next;
        if (job->failed)
            end_job(vectors, job, CDS_VECTORS_FAILED);
        else if (job->cancelled)
            end_job(vectors, job, CDS_VECTORS_CANCELLED);
        else if (job->started && job->done == job->spec.text_count)
            end_job(vectors, job, CDS_VECTORS_DONE);
    }
}

void cds_vectors_step(struct cds_vectors *vectors)
{
    vectors->text_count = vectors->row_count = 0;
    for (struct job *job; vectors->text_count < CDS_ENCODER_TEXTS && (job = next_in_turn(vectors)) != NULL;)
        plan_text(vectors, job);
    if (vectors->text_count == 0)
        return;
    vectors->computing = true;
    int rc = vectors->ops->encode(vectors->engine, vectors->rows, (int)vectors->row_count);
    vectors->computing = false;
    if (rc == 0) {
        take_results(vectors);
    } else {
        for (unsigned i = 0; i < vectors->text_count; i++)
            vectors->plan[i].job->planned = 0;
        if (rc == 2)
            vectors->counters.aborted_steps++; /* as we asked: nobody wants it any more */
        else
            vectors->plan[0].job->failed = true;
    }
    end_ready(vectors);
}

bool cds_vectors_step_is_dead(const struct cds_vectors *vectors)
{
    for (unsigned i = 0; vectors->computing && i < vectors->text_count; i++)
        if (!vectors->plan[i].job->cancelled)
            return false;
    return vectors->computing;
}

struct cds_vectors_counters cds_vectors_counters(const struct cds_vectors *vectors)
{
    struct cds_vectors_counters counters = vectors->counters;
    for (const struct job *job = vectors->jobs; job; job = job->next) {
        counters.active += job->started;
        counters.waiting += !job->started;
    }
    return counters;
}
