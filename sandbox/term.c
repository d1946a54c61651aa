/* sandbox/term.c: the life of a terminal. See term.h; who reads it is in term_reader.c. */
#include "sandbox/term.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/log/log.h"
#include "sandbox/preview.h"
#include "sandbox/run.h"

enum { RETRY_MS = 5000, TMP_BYTES = 128 << 20 };

const char *term_end_name(const struct term *term)
{
    return term->job ? "running" : term->why ? term->why : cds_run_end_name(term->result.end);
}

unsigned term_count(const struct broker *broker)
{
    unsigned n = 0;
    for (const struct term *term = broker->terms; term; term = term->next)
        n += term->job != NULL;
    return n;
}

struct term *term_find(const struct broker *broker, const char *project, const char *user, const char *id)
{
    for (struct term *term = broker->terms; term; term = term->next)
        if (cds_streq(term->id, id) && cds_streq(term->project, project) && cds_streq(term->user, user))
            return term;
    return NULL;
}

static void term_free(struct term *term)
{
    while (term->readers)
        term_reader_detach(term->readers, false);
    *term->prev = term->next;
    if (term->next)
        term->next->prev = term->prev;
    disk_watch_stop(&term->disk);
    cds_timer_remove(&term->clock);
    term_ring_free(&term->ring);
    free(term);
}

void terms_free(struct broker *broker)
{
    while (broker->terms)
        term_free(broker->terms);
}

/* ---- the project's disk: looked at once for all its terminals ---- */
static void end_all_of(const struct broker *broker, const char *project)
{
    for (struct term *term = broker->terms; term; term = term->next)
        if (term->job && cds_streq(term->project, project))
            term->ops->kill(term->job, CDS_END_DISK);
}

static void on_disk_full(void *user)
{
    const struct term *term = user;
    end_all_of(term->broker, term->project);
}

static cds_rc watch_disk(struct term *term, int project_fd, struct cds_err *reterr)
{
    struct broker *broker = term->broker;
    for (const struct term *other = broker->terms; other; other = other->next)
        if (other->disk && cds_streq(other->project, term->project))
            return CDS_OK;
    return disk_watch_start(broker->loop, broker->readers, &broker->host->who, project_fd, on_disk_full, term, &term->disk, reterr);
}

/* The terminal that watched has ended: another one does it from now on. Without a watch none goes on. */
static void hand_over_disk(struct term *term)
{
    struct cds_err err;
    if (!term->disk)
        return;
    disk_watch_stop(&term->disk);
    for (struct term *other = term->broker->terms; other; other = other->next)
        if (other->job && cds_streq(other->project, term->project)) {
            CDS_CLEANUP(cds_close_fd) int project = -1;
            if (broker_project_open(term->broker, term->project, &project, &err) || watch_disk(other, project, &err))
                end_all_of(term->broker, term->project);
            return;
        }
}

/* ---- events of the job ---- */
static void pump_all(struct term *term)
{
    for (struct term_reader *reader = term->readers, *next; reader; reader = next) {
        next = reader->next;
        term_reader_pump(reader);
    }
}

static void on_output(void *user, int stream, const char *data, size_t len)
{
    struct term *term = user;
    (void)stream; /* a terminal has one */
    term_ring_add(&term->ring, data, len);
    pump_all(term);
    term_look_at_readers(term);
}

static void on_end(void *user, const struct cds_job_result *result)
{
    struct term *term = user;
    preview_job_gone(term->broker, term->job);
    term->job = NULL;
    term->result = *result;
    term->ended_ms = cds_now_ms();
    term->held_ms = 0;
    hand_over_disk(term);
    cds_log(result->end == CDS_END_ENGINE_FAILED ? CDS_LOG_ERROR : CDS_LOG_INFO, "terminal ended", CDS_LS("term_id", term->id),
            CDS_LS("user_id", term->user), CDS_LS("end", term_end_name(term)), CDS_LI("wall_ms", result->wall_ms), CDS_LI("cpu_ms", result->cpu_ms),
            CDS_LS("error", result->reason[0] ? result->reason : NULL));
    pump_all(term);
    term_readers_changed(term);
}

/* ---- clock: held for too long, detached for too long, ended and not told ---- */
static void on_clock(void *user)
{
    struct term *term = user;
    uint64_t now = cds_now_ms(), idle_ms = cds_config_u64(term->broker->config, CDS_OPT_TERM_DETACHED_MS);
    if (!term->job && term->detached_ms && (term->told || now >= term->ended_ms + TERM_TOLD_MS)) {
        term_free(term);
        return;
    }
    if (term->job && term->detached_ms && now >= term->detached_ms + idle_ms)
        term_end(term, "idle");
    else if (term->held_ms)
        term_look_at_readers(term);
    term_readers_changed(term);
}

void term_readers_changed(struct term *term)
{
    uint64_t now = cds_now_ms(), next = UINT64_MAX;
    if (term->readers)
        term->detached_ms = 0;
    else if (!term->detached_ms)
        term->detached_ms = now;
    if (!term->job && !term->readers)
        next = term->told ? now : term->ended_ms + TERM_TOLD_MS;
    else if (term->job && term->held_ms)
        next = term->held_ms + TERM_STALL_MS;
    else if (term->job && term->detached_ms && !term->why)
        next = term->detached_ms + cds_config_u64(term->broker->config, CDS_OPT_TERM_DETACHED_MS);
    cds_timer_set(term->clock, next);
}

void term_end(struct term *term, const char *why)
{
    if (!term->job) {
        term->told = true;
        while (term->readers)
            term_reader_detach(term->readers, true);
        term_readers_changed(term);
        return;
    }
    if (!term->why)
        term->why = why;
    term->ops->kill(term->job, CDS_END_CANCELLED);
}

void terms_end_all(struct broker *broker, const char *user, const char *session)
{
    for (struct term *term = broker->terms, *next; term; term = next) {
        next = term->next;
        if (term->job && cds_streq(term->user, user) && (!session || !*session || cds_streq(term->session, session)))
            term_end(term, "revoked");
    }
}

bool term_is_busy(const struct term *term)
{
    struct cds_job_stats stats;
    if (!term->job)
        return false;
    term->ops->stats(term->job, &stats);
    return stats.in_front || !cds_streq(term->program, "shell");
}

cds_rc term_resize(struct term *term, unsigned rows, unsigned cols, struct cds_err *reterr)
{
    if (!term->job)
        return cds_fail(reterr, CDS_CONFLICT, __func__, "This terminal has ended.");
    cds_rc rc = term->ops->resize(term->job, rows, cols, reterr);
    if (rc)
        return rc;
    term->rows = rows;
    term->cols = cols;
    term_readers_tell_size(term);
    return CDS_OK;
}

/* ---- open ---- */
static cds_rc full(struct cds_err *reterr, unsigned places, const char *where)
{
    cds_fail(reterr, CDS_BUSY, "term_open", "All %u places for terminals%s are taken.", places, where);
    cds_err_hint(reterr, "End a terminal that is no longer needed.");
    if (reterr)
        reterr->retry_after_ms = RETRY_MS;
    return CDS_BUSY;
}

/* Terminals that have ended make room, the oldest first; new ones stand at the head of the list. */
static bool make_room(struct broker *broker, const char *project)
{
    struct term *oldest = NULL;
    for (struct term *term = broker->terms; term; term = term->next)
        if (!term->job && !term->readers && (!project || cds_streq(term->project, project)))
            oldest = term;
    if (oldest)
        term_free(oldest);
    return oldest != NULL;
}

static cds_rc check_places(struct broker *broker, const char *project, struct cds_err *reterr)
{
    unsigned all = 0, here = 0;
    unsigned slots = (unsigned)cds_config_u64(broker->config, CDS_OPT_TERM_SLOTS);
    unsigned per_project = (unsigned)cds_config_u64(broker->config, CDS_OPT_TERM_PER_PROJECT);
    for (const struct term *term = broker->terms; term; term = term->next) {
        all++;
        here += cds_streq(term->project, project) && !(term->job && term->why); /* one that is just being ended leaves its place at once */
    }
    if (here >= per_project && !make_room(broker, project))
        return full(reterr, per_project, " of this project");
    if (here < per_project && all >= slots && !make_room(broker, NULL))
        return full(reterr, slots, "");
    return CDS_OK;
}

static cds_rc start(struct term *term, const struct term_wish *wish, struct cds_err *reterr)
{
    static const struct cds_job_events events = {on_output, on_end};
    static const char *const env[] = {"TERM=xterm-256color", "COLORTERM=truecolor", "HISTFILE=/tmp/.history",
                                      "NODE_REPL_HISTORY=", "PS1=\\[\\e[36m\\]\\w\\[\\e[0m\\] \\$ "};
    static const char *const plain[] = {"TERM=xterm-256color", "COLORTERM=truecolor", "NODE_REPL_HISTORY=", "PS1=$ "};
    const struct cds_config *c = term->broker->config;
    struct cds_engine *engine = broker_engine(term->broker, "run");
    CDS_CLEANUP(cds_close_fd) int project = -1;
    cds_rc rc = broker_project_open(term->broker, wish->project, &project, reterr);
    if (rc || (rc = watch_disk(term, project, reterr)))
        return rc;
    const bool bash = strstr(run_shell(), "bash") != NULL;
    const struct cds_job_spec spec = {.language = wish->program,
                                      .env = bash ? env : plain,
                                      .env_count = bash ? CDS_ARRAY_LEN(env) : CDS_ARRAY_LEN(plain),
                                      .rows = wish->rows,
                                      .cols = wish->cols,
                                      .project_fd = project,
                                      .network = wish->network,
                                      .limits = {.wall_ms = (uint32_t)cds_config_u64(c, CDS_OPT_TERM_WALL_MS),
                                                 .cpu_ms = (uint32_t)cds_config_u64(c, CDS_OPT_TERM_CPU_MS),
                                                 .memory_bytes = cds_config_u64(c, CDS_OPT_RUN_MEMORY_BYTES),
                                                 .output_bytes = UINT64_MAX, /* the ring bounds it */
                                                 .max_tasks = (uint32_t)cds_config_u64(c, CDS_OPT_RUN_TASKS),
                                                 .tmp_bytes = TMP_BYTES}};
    struct cds_job *job = NULL;
    term->ops = engine->ops;
    rc = engine->ops->acquire(engine, &spec, &job, reterr);
    if (!rc)
        rc = engine->ops->exec(job, &spec, &events, term, reterr);
    if (!rc)
        term->job = job;
    return rc;
}

cds_rc term_open(struct broker *broker, const struct term_wish *wish, struct term **ret, struct cds_err *reterr)
{
    cds_rc rc = check_places(broker, wish->project, reterr);
    if (rc)
        return rc;
    struct term *term = calloc(1, sizeof(*term));
    if (!term)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    *term = (struct term){.broker = broker, .rows = wish->rows, .cols = wish->cols, .opened_ms = cds_now_ms()};
    cds_strcpy(term->project, sizeof(term->project), wish->project);
    cds_strcpy(term->user, sizeof(term->user), wish->user);
    cds_strcpy(term->session, sizeof(term->session), wish->session);
    cds_strcpy(term->program, sizeof(term->program), wish->program);
    cds_uuid7(term->id);
    if ((term->next = broker->terms))
        term->next->prev = &term->next;
    term->prev = &broker->terms;
    broker->terms = term;
    if ((rc = term_ring_open(&term->ring, TERM_RING_BYTES, reterr))) {
        term_free(term);
        return rc;
    }
    if (cds_timer_add(broker->loop, UINT64_MAX, on_clock, term, &term->clock))
        rc = cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    if (rc || (rc = start(term, wish, reterr))) {
        term_free(term);
        return rc;
    }
    cds_log(CDS_LOG_INFO, "terminal opened", CDS_LS("term_id", term->id), CDS_LS("user_id", term->user), CDS_LS("project", term->project),
            CDS_LS("program", term->program));
    term_readers_changed(term);
    *ret = term;
    return CDS_OK;
}
