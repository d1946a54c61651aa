/* apps/llmworker/solo.h: answers that are the same bit by bit whatever runs beside them: each alone in a context of its own.
 *
 * In the context that all requests share, the order of the cells, the number of rows and the number of threads change the last bit of a sum. Here
 * there is one sequence in empty cells, prompts are read in pieces of CDS_SOLO_PIECE tokens from the first one on, each answer token is a step, and
 * the number of threads stays. Nothing is kept and nothing shared, and nobody is put back for a request of a higher class. Answers run one after
 * the other; steps take turns with those of the other requests. The context is made for the first such request: its memory is nobody's before.
 *
 * Source:  docs/adr/0058-alone-forced-and-kept.md
 *
 * Threads: one owner, that of the scheduler.
 */
#pragma once

#include "apps/llmworker/scheduler.h"

enum { CDS_SOLO_PIECE = 64 };

struct cds_loading;
struct cds_solo {
    struct cds_engine *engine; /**< of the model; borrowed */
    const struct cds_loading *loading;
    uint32_t cells; /**< tokens of one request */
    unsigned jobs;
    const struct cds_sched_sink *sink;
    void *user;
    bool (*look)(void *user); /**< as in cds_engine_watch */
    /* Made by the first request: */
    struct cds_engine *twin;
    struct cds_sched *sched;
};
/** Makes the context unless it is there. @return CDS_OK; CDS_EXHAUSTED */
CDS_MUST_USE cds_rc cds_solo_open(struct cds_solo *solo, struct cds_err *reterr);
void cds_solo_close(struct cds_solo *solo);
bool cds_solo_runnable(const struct cds_solo *solo);
/** As cds_sched_step_is_dead. */
bool cds_solo_step_is_dead(const struct cds_solo *solo);
void cds_solo_step(struct cds_solo *solo);
