/* apps/llmworker/tasks.h: what the server may ask beside text generation: questions answered at once (words.h) and, of a model that encodes,
 * vectors and ranks. README.md lists the frames.
 *
 * Threads: one owner, that of the engine.
 */
#pragma once

#include "apps/llmworker/inputs.h"

struct cds_tasks {
    const struct cds_prompter *prompter;
    const struct cds_engine_facts *facts;
    const struct cds_engine *engine; /**< set with vectors; borrowed */
    struct cds_vectors *vectors;     /**< NULL: the model generates text */
    /** Sends a frame; steals params. */
    void (*send)(void *user, const char *method, cds_json *params);
    void *user;
    cds_json *ready; /**< vectors of the running step, sent together; owned */
};
/** Makes tasks->vectors when the model encodes; prompter, facts, send and user are set. @param jobs  requests known at once */
CDS_MUST_USE cds_rc cds_tasks_open(struct cds_tasks *tasks, struct cds_engine *engine, unsigned jobs, struct cds_err *reterr);
void cds_tasks_close(struct cds_tasks *tasks);
/** Is this "prepare" one of these, or for a model that can do nothing else? */
bool cds_tasks_meant(const struct cds_tasks *tasks, const cds_json *params);
/** Sends "prepared" or "told". @return CDS_OK; else why it is refused, with *ret_job of the frame */
CDS_MUST_USE cds_rc cds_tasks_prepare(struct cds_tasks *tasks, const cds_json *params, int64_t *ret_job, struct cds_err *reterr);
/** One batch, and its vectors on their way. */
void cds_tasks_step(struct cds_tasks *tasks);
/** Counters for "work" of a model that encodes; owned by the caller. */
cds_json *cds_tasks_work(const struct cds_tasks *tasks);
