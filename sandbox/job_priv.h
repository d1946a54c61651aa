/* sandbox/job_priv.h: what the halves of a job's life share. Threads: loop thread only. */
#pragma once

#include <sys/epoll.h>

#include "lib/base/buf.h"
#include "sandbox/egress_link.h"
#include "sandbox/job.h"

enum {
    JOB_STREAMS = 2,
    JOB_PIECE = 64 * 1024,
    JOB_POLL_MS = 50,
    JOB_TERMINAL_POLL_MS = 500,
    JOB_INPUT_MAX = 64 * 1024,
    JOB_ENDING_MAX = 32,
    TERMINAL_NAME_MAX = 64
};

struct job_stream {
    int fd;
    struct cds_watch *watch;
    uint64_t bytes;
};

struct jail_job {
    struct cds_job base;
    struct jail_job *next, **prev;
    struct cds_cgroup *group;
    pid_t pid;
    int pidfd, report_fd;
    int doors_fd; /**< where the sockets of its network come from, until they came; -1 */
    struct cds_watch *doors_watch;
    struct cds_jail_doors doors;
    struct egress_door *door; /**< of a job with a network policy; NULL */
    int said_fd;              /**< what the program reports; -1: nothing */
    struct cds_watch *ended, *said;
    struct cds_jail_report report; /**< what init said; kind 0: nothing */
    bool over;                     /**< on_end was called; what is left is its box */
    struct cds_timer *clock;
    struct job_stream out[JOB_STREAMS]; /**< of a terminal: its master, and nothing */
    bool terminal, held;
    int slave_fd;         /**< our end of its terminal, so that it is never without one; -1 */
    struct cds_buf input; /**< typed and not yet taken by the terminal */
    struct cds_run_limits limits;
    struct cds_job_events events;
    void *user;
    const char *origin;
    /* A jail of the pool, until its order comes; see confine/order.h. */
    bool waits, counted;              /**< counted: it has one of the places for jobs */
    int order_fd, start_fd, stdin_fd; /**< our ends; -1 otherwise */
    /* For the pool: what to expect next. project_fd is owned. */
    struct cds_job_spec like;
    char language[16];
    struct cds_job_phases phases;
    uint64_t went_ns; /**< when the jail was let go */
    uint64_t started_ms, deadline_ms, passed_on, dropped;
    bool killed;
    enum cds_run_end reason; /**< why it was killed */
};

static inline struct jail_engine *job_engine(const struct jail_job *job)
{
    return (struct jail_engine *)job->base.engine;
}

/** A jail in which everything is ready but the job; it waits for jail_job_order. @param ret  in no list of the caller yet */
CDS_MUST_USE cds_rc jail_job_wait_for_order(struct jail_engine *engine, const struct cds_job_spec *spec, struct jail_job **ret,
                                            struct cds_err *reterr);

void job_on_stream(void *user, int fd, uint32_t events);
void job_on_ended(void *user, int fd, uint32_t events);
void job_on_report(void *user, int fd, uint32_t events);
void job_on_clock(void *user);
static inline uint64_t job_poll_ms(const struct jail_job *job)
{
    return job->terminal ? JOB_TERMINAL_POLL_MS : JOB_POLL_MS;
}
/* job_doors.c */
/** Stands for "one that is told with the order" in what a jail is made ready for. */
extern const struct cds_job_network job_any_network;
/** The channel for the sockets of a jail's network, and what its plan says of it. @param ret_theirs  owned */
CDS_MUST_USE cds_rc job_doors_open(struct jail_job *job, int *ret_theirs, struct cds_err *reterr);
/** Takes them if they are there. */
void job_doors_take(struct jail_job *job);
/** The rules that hold for this job; before it starts. */
CDS_MUST_USE cds_rc job_doors_rules(struct jail_job *job, const struct cds_job_network *network, struct cds_err *reterr);
void job_doors_close(struct jail_job *job);
/* job_terminal.c */
CDS_MUST_USE cds_rc job_terminal_open(struct jail_job *job, const struct cds_job_spec *spec, char ret_name[static TERMINAL_NAME_MAX],
                                      struct cds_err *reterr);
/** Types what waits, and waits for what it can do next. False: the terminal is gone. */
bool job_terminal_flush(struct jail_job *job);
bool job_terminal_in_front(const struct jail_job *job);
