/* apps/llmserver/access.c: what ends here when a credential no longer holds. What was generated until then is booked. */
#include <stdlib.h>

#include "apps/llmserver/app.h"
#include "apps/llmserver/events.h"
#include "apps/llmserver/flow.h"
#include "apps/llmserver/generation.h"
#include "apps/llmserver/tasks.h"
#include "lib/base/str.h"
#include "lib/metrics/metrics.h"

/** The client hears why, at once; its connection goes on without the request, which still has to be booked. */
static void tell_client(struct cds_gen *gen, const struct cds_err *err)
{
    gen->failure = *err;
    if (gen->dialect->own_names)
        gen->dialect->own_names(&gen->failure);
    if (cds_gen_has_reader(gen))
        cds_gen_write_error(gen, &gen->failure);
    struct cds_http_req *req = gen->req;
    gen->req = NULL;
    if (!req)
        return;
    cds_http_set_user(req, NULL, NULL, NULL);
    if (gen->out.len)
        cds_http_stream_finish(req, true); /* it does not read: it sees a broken stream */
}

static void cut_off(struct cds_gen *gen, const struct cds_err *err)
{
    if (gen->stage >= CDS_GEN_STOPPING)
        return; /* its end is on the way */
    cds_metric_add(CDS_M_ACCESS_ENDED, "stream", 1);
    if (gen->stage < CDS_GEN_RUNNING) {
        cds_flow_fail(gen, err, "revoked");
        return;
    }
    cds_flow_stop(gen, "revoked");
    tell_client(gen, err);
}

static cds_rc still_may(const struct cds_llm *app, struct cds_gen *gen, bool unknown, struct cds_err *err)
{
    if (unknown)
        return cds_standing_unknown(err);
    cds_rc rc = cds_standing_check(app->standing, &gen->who, err);
    return rc != CDS_OK ? rc : cds_credential_need(&gen->who, CDS_ROLE_DEVELOPER, cds_task_what(gen->ask.task), err);
}

void cds_access_changed(void *user, const struct cds_standing_change *change)
{
    struct cds_llm *app = user;
    struct cds_err err = {0};
    size_t count = 0;
    int64_t *jobs = calloc((size_t)cds_gen_count(app) + 1, sizeof(*jobs));
    if (!jobs)
        abort(); /* rights that go on for want of memory are worse than a restart */
    for (size_t i = 0; i < CDS_GEN_BUCKETS; i++)
        for (const struct cds_gen *gen = app->gens[i]; gen; gen = gen->next)
            if (gen->stage != CDS_GEN_OVER && (!change || cds_streq(gen->user_id, change->user_id)))
                jobs[count++] = gen->job;
    for (size_t i = 0; i < count; i++) {
        struct cds_gen *gen = cds_gen_find(app, jobs[i]);
        if (gen && still_may(app, gen, !change, &err) != CDS_OK)
            cut_off(gen, &err);
    }
    free(jobs);
    cds_events_recheck(app->events, app->standing, !change);
}

void cds_access_adopt(struct cds_llm *app, const struct cds_replay *replay, const struct cds_credential *credential)
{
    for (size_t i = 0; i < CDS_GEN_BUCKETS; i++)
        for (struct cds_gen *gen = app->gens[i]; gen; gen = gen->next)
            if (gen->replay == replay)
                gen->who = *credential;
}
