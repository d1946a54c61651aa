/* sandbox/host.c: see host.h. */
#include "sandbox/host.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/fd.h"
#include "lib/config/config.h"
#include "sandbox/confine/jail.h"
#include "sandbox/confine/seccomp.h"
#include "sandbox/scratch.h"

enum { RETRY_MS = 1000 };

cds_rc sandbox_host_open(struct cds_loop *loop, const struct sandbox_settings *settings, struct sandbox_host **ret, struct cds_err *reterr)
{
    char program[400];
    struct sandbox_host *host = calloc(1, sizeof(*host));
    if (!host)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    host->loop = loop;
    host->slots = settings->slots;
    snprintf(host->root_dir, sizeof(host->root_dir), "%s/root", settings->base_dir);
    snprintf(host->empty_dir, sizeof(host->empty_dir), "%s/empty", settings->base_dir);
    snprintf(host->preload_dir, sizeof(host->preload_dir), "%s/../share/preload", cds_program_dir(program, sizeof(program)));
    snprintf(host->scratch_dir, sizeof(host->scratch_dir), "%s/scratch", settings->base_dir);
    cds_job_identity_find(settings->force_userns, &host->who);
    cds_rc rc = cds_mkdir_p(host->root_dir, 0755, reterr);
    if (rc || (rc = cds_mkdir_p(host->empty_dir, 0755, reterr)) || (rc = cds_jail_open(reterr)) || (rc = cds_seccomp_compile(reterr)) ||
        (rc = cds_cgroups_open(settings->cgroup_key, settings->no_cgroup, &host->cgroups, reterr))) {
        free(host);
        return rc;
    }
    scratch_sweep(host);
    *ret = host;
    return CDS_OK;
}

void sandbox_host_close(struct sandbox_host **host)
{
    if (!*host)
        return;
    cds_cgroups_free(&(*host)->cgroups);
    scratch_sweep(*host);
    free(*host);
    *host = NULL;
}

cds_rc sandbox_host_take(struct sandbox_host *host, struct cds_err *reterr)
{
    if (host->active < host->slots) {
        host->active++;
        return CDS_OK;
    }
    cds_fail(reterr, CDS_BUSY, __func__, "All %u places for runs are taken.", host->slots);
    cds_err_hint(reterr, "Try again when a run has ended.");
    if (reterr)
        reterr->retry_after_ms = RETRY_MS;
    return CDS_BUSY;
}

void sandbox_host_give(struct sandbox_host *host)
{
    host->active--;
}

const char *sandbox_host_limits(const struct sandbox_host *host)
{
    return cds_cgroups_kind(host->cgroups) == CDS_CGROUP_NONE ? "rlimit" : "cgroup";
}
