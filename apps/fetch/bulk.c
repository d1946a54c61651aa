#include "apps/fetch/pulling.h"

/** What the threads of one download share. */
struct bulk {
    struct cds_pulling *pulling;
    struct cds_web *webs[CDS_PULL_PARALLEL_MAX];
    pthread_mutex_t lock;
    unsigned next; /**< part that nobody has yet; under lock, like the rest */
    cds_rc rc;     /**< of the first failure */
    struct cds_err err;
};
struct runner {
    struct bulk *bulk;
    struct cds_web *web;
    pthread_t thread;
};

/** @return false: there is none, or it is over */
static bool take_part(struct bulk *bulk, unsigned *ret)
{
    pthread_mutex_lock(&bulk->lock);
    bool more = bulk->rc == CDS_OK && bulk->next < bulk->pulling->reach.remote.count;
    *ret = more ? bulk->next++ : 0;
    pthread_mutex_unlock(&bulk->lock);
    return more;
}

/** The first failure is the one that is told: the others only follow from it. */
static void note_failure(struct bulk *bulk, cds_rc rc, const struct cds_err *err)
{
    pthread_mutex_lock(&bulk->lock);
    if (bulk->rc == CDS_OK) {
        bulk->rc = rc;
        bulk->err = *err;
    }
    pthread_mutex_unlock(&bulk->lock);
    atomic_store(&bulk->pulling->stop, true);
}

static void *run(void *user)
{
    const struct runner *runner = user;
    struct bulk *bulk = runner->bulk;
    for (unsigned index = 0; take_part(bulk, &index);) {
        struct cds_err err = {0};
        cds_rc rc = cds_get_until(bulk->pulling, runner->web, index, UINT64_MAX, &err);
        if (rc != CDS_OK)
            note_failure(bulk, rc, &err);
    }
    return NULL;
}

cds_rc cds_bulk_get(struct cds_pulling *pulling, struct cds_web *web, struct cds_err *reterr)
{
    struct bulk bulk = {.pulling = pulling, .lock = PTHREAD_MUTEX_INITIALIZER, .webs = {web}};
    struct runner runners[CDS_PULL_PARALLEL_MAX] = {{.bulk = &bulk, .web = web}};
    unsigned count = pulling->options->parallel < pulling->reach.remote.count ? pulling->options->parallel : pulling->reach.remote.count, started = 1;
    for (unsigned i = 1; i < count && bulk.rc == CDS_OK; i++)
        bulk.rc = cds_reach_web(&pulling->reach, &pulling->stop, &bulk.webs[i], &bulk.err);
    for (unsigned i = 1; i < count; i++)
        runners[i] = (struct runner){.bulk = &bulk, .web = bulk.webs[i]};
    /* Fewer threads than wanted are slower, no failure. */
    while (bulk.rc == CDS_OK && started < count && pthread_create(&runners[started].thread, NULL, run, &runners[started]) == 0)
        started++;
    run(&runners[0]);
    for (unsigned i = 1; i < started; i++)
        pthread_join(runners[i].thread, NULL);
    for (unsigned i = 1; i < count; i++)
        cds_web_free(&bulk.webs[i]);
    if (bulk.rc != CDS_OK)
        *reterr = bulk.err;
    return bulk.rc;
}
