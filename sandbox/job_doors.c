/* sandbox/job_doors.c: the sockets in a job's network, from the moment its jail has made them to its end. See confine/doors.h. */
#include "lib/base/cleanup.h"
#include "lib/log/log.h"
#include "sandbox/job_priv.h"

const struct cds_job_network job_any_network = {"", "", "[]"};

/* Whichever comes last, the socket or the rules. */
static void hand_over(struct jail_job *job)
{
    if (!job->door || job->doors.egress < 0)
        return;
    egress_door_give(job->door, job->doors.egress);
    job->doors.egress = -1;
}

static void on_doors(void *user, int fd, uint32_t events)
{
    job_doors_take(user);
}

cds_rc job_doors_open(struct jail_job *job, int *ret_theirs, struct cds_err *reterr)
{
    cds_rc rc = cds_doors_pair(&job->doors_fd, ret_theirs, reterr);
    return rc ? rc : cds_watch_add(job_engine(job)->host->loop, job->doors_fd, EPOLLIN, on_doors, job, &job->doors_watch, reterr);
}

void job_doors_take(struct jail_job *job)
{
    struct cds_err err;
    cds_rc rc = job->doors_fd < 0 ? CDS_BUSY : cds_doors_take(job->doors_fd, &job->doors, &err);
    if (rc == CDS_BUSY)
        return;
    cds_watch_remove(&job->doors_watch);
    cds_close_fd(&job->doors_fd);
    job->doors_fd = -1;
    if (!rc)
        hand_over(job);
    else if (!job->killed) /* the job runs, without anything that needs them */
        cds_log_err(CDS_LOG_WARN, "a run has no loopback network", NULL, &err);
}

cds_rc job_doors_rules(struct jail_job *job, const struct cds_job_network *network, struct cds_err *reterr)
{
    if (!network || !job_engine(job)->hooks->doors)
        return CDS_OK;
    cds_rc rc = egress_door_new(job_engine(job)->host->egress, network, &job->door, reterr);
    if (!rc)
        hand_over(job);
    return rc;
}

void job_doors_close(struct jail_job *job)
{
    egress_door_close(&job->door);
    cds_watch_remove(&job->doors_watch);
    cds_close_fd(&job->doors_fd);
    job->doors_fd = -1;
    cds_doors_close(&job->doors);
}

struct cds_jail_doors *jail_job_doors(struct cds_job *base)
{
    struct jail_job *job = (struct jail_job *)base;
    job_doors_take(job);
    return job->doors.preview_count ? &job->doors : NULL;
}

pid_t jail_job_network_pid(const struct cds_job *base)
{
    return ((const struct jail_job *)base)->pid;
}
