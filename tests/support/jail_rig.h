/* tests/support/jail_rig.h: a process engine with a project, for tests and yardsticks: opened, one job run to its end, closed without a trace.
 *
 * Threads: one.
 */
#pragma once

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "sandbox/run.h"

enum { JAIL_RIG_WAIT_MS = 60000 };

struct jail_rig {
    char base[40]; /**< <base>/jail is the host's, <base>/project the project */
    struct cds_loop *loop;
    struct sandbox_host *host;
    struct cds_engine *engine;
    int project; /**< O_PATH */
};

/** How a rig differs from what the broker is by default on this machine. */
struct jail_rig_options {
    const char *key; /**< of its control groups */
    unsigned slots, pool;
    bool force_userns, no_cgroup;
};

/** 0, or -1 with a line on stderr. */
static inline int jail_rig_open(struct jail_rig *rig, const struct jail_rig_options *options)
{
    char dir[64];
    struct cds_err err = {0};
    *rig = (struct jail_rig){.base = "/tmp/cds-rig-XXXXXX", .project = -1};
    if (!mkdtemp(rig->base) || chmod(rig->base, 0755))
        return -1;
    snprintf(dir, sizeof(dir), "%s/jail", rig->base);
    const struct sandbox_settings settings = {
        .base_dir = dir, .cgroup_key = options->key, .slots = options->slots, .no_cgroup = options->no_cgroup, .force_userns = options->force_userns};
    if (cds_loop_new(&rig->loop, &err) || sandbox_host_open(rig->loop, &settings, &rig->host, &err) ||
        cds_run_engine_new(rig->host, options->pool, &rig->engine, &err)) {
        fprintf(stderr, "%s %s\n", err.message, err.detail);
        return -1;
    }
    const struct cds_job_identity *who = &rig->host->who;
    snprintf(dir, sizeof(dir), "%s/project", rig->base);
    if (mkdir(dir, 0755) || (who->change && chown(dir, who->uid, who->gid)))
        return -1;
    rig->project = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return rig->project < 0 ? -1 : 0;
}

/** The project must be empty again. */
static inline void jail_rig_close(struct jail_rig *rig)
{
    static const char *const below[] = {"/project", "/jail/empty", "/jail/root", "/jail", ""};
    rig->engine->ops->close(rig->engine);
    sandbox_host_close(&rig->host);
    cds_loop_free(&rig->loop);
    close(rig->project);
    for (size_t i = 0; i < CDS_ARRAY_LEN(below); i++) {
        char dir[64];
        snprintf(dir, sizeof(dir), "%s%s", rig->base, below[i]);
        rmdir(dir);
    }
}

/** Text of a program with limits that hold none of the usual ones up. Change what the case is about. */
static inline struct cds_job_spec jail_rig_spec(const struct jail_rig *rig, const char *language, const char *code)
{
    return (struct cds_job_spec){.language = language,
                                 .code = code,
                                 .code_len = strlen(code),
                                 .project_fd = rig->project,
                                 .limits = {30000, 20000, 256 << 20, 65536, 64, 64 << 20, 0}};
}

/** NULL: it could not be started; err says why. */
static inline struct cds_job *jail_rig_start(struct jail_rig *rig, const struct cds_job_spec *spec, const struct cds_job_events *events, void *user,
                                             struct cds_err *err)
{
    struct cds_job *job = NULL;
    return rig->engine->ops->acquire(rig->engine, spec, &job, err) || rig->engine->ops->exec(job, spec, events, user, err) ? NULL : job;
}

/** Lets the loop go on until *done. False: it took longer than JAIL_RIG_WAIT_MS. */
static inline bool jail_rig_wait(struct jail_rig *rig, const bool *done)
{
    for (uint64_t until = cds_now_ms() + JAIL_RIG_WAIT_MS; !*done && cds_now_ms() < until;)
        cds_loop_once(rig->loop, 20);
    return *done;
}

/** Until the kernel has taken the boxes of all jobs that are over apart. */
static inline bool jail_rig_wait_for_boxes(struct jail_rig *rig)
{
    for (uint64_t until = cds_now_ms() + JAIL_RIG_WAIT_MS; rig->host->ending && cds_now_ms() < until;)
        cds_loop_once(rig->loop, 20);
    return rig->host->ending == 0;
}
