/* sandbox/run_return.c: see run_return.h. */
#include "sandbox/run_return.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/str.h"

enum { TRY_MS = 50, TRIES = 400, ID_TAIL = 12 };

struct run_return {
    struct broker *broker;
    struct returned *files;
    int project_fd;
    char suffix[CDS_FS_SUFFIX_MAX];
    struct cds_timer *again;
    unsigned tries; /* for a place in the queue of changes */
    bool more;
    char failed[160];
    run_return_done *done;
    void *user;
};

static void submit(void *user);

/* Writer thread. */
static void work(void *user)
{
    struct run_return *r = user;
    const struct cds_job_identity *who = &r->broker->host->who;
    struct cds_err err;
    if (cds_fs_identity_enter(who, &err)) {
        cds_strcpy(r->failed, sizeof(r->failed), err.message);
        return;
    }
    r->more = returned_apply(r->files, r->project_fd, r->suffix);
    cds_fs_identity_leave(who);
}

static void finish(struct run_return *r, const char *reason)
{
    run_return_done *done = r->done;
    void *user = r->user;
    char text[sizeof(r->failed)];
    cds_strcpy(text, sizeof(text), reason ? reason : "");
    cds_timer_remove(&r->again);
    free(r);
    done(user, reason ? text : NULL);
}

static void worked(void *user)
{
    struct run_return *r = user;
    if (r->failed[0])
        finish(r, r->failed);
    else if (r->more)
        submit(r);
    else
        finish(r, NULL);
}

static void submit(void *user)
{
    struct run_return *r = user;
    cds_timer_set(r->again, UINT64_MAX);
    if (!cds_pool_submit(r->broker->writer, work, worked, r))
        r->tries = 0;
    else if (++r->tries < TRIES)
        cds_timer_set(r->again, cds_now_ms() + TRY_MS);
    else
        finish(r, "Too many file calls wait: the files of the run could not be taken back, or not all of them.");
}

void run_return_start(struct broker *broker, struct returned *files, int project_fd, const char *run_id, run_return_done *done, void *user)
{
    struct run_return *r = calloc(1, sizeof(*r));
    if (!r)
        abort(); /* the supervisor starts us afresh */
    *r = (struct run_return){.broker = broker, .files = files, .project_fd = project_fd, .done = done, .user = user};
    snprintf(r->suffix, sizeof(r->suffix), "run-%.12s", run_id + (strlen(run_id) > ID_TAIL ? strlen(run_id) - ID_TAIL : 0));
    if (cds_timer_add(broker->loop, cds_now_ms(), submit, r, &r->again))
        abort();
}
