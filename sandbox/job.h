/* sandbox/job.h: the life of one program in a jail, the same for every engine that runs processes: pipes, clocks, output, verdict.
 *
 * An engine says what to start (command) and, where it knows more than an exit code, how it ended (verdict).
 *
 * Source:  sandbox/sandbox.h, sandbox/confine/jail.h.
 * Threads: loop thread only.
 */
#pragma once

#include "lib/base/buf.h"
#include "sandbox/confine/jail.h"
#include "sandbox/host.h"
#include "sandbox/sandbox.h"

enum { JAIL_ARGS_MAX = 80, JAIL_ENV_MAX = 80, JAIL_FILES_MAX = 24, JAIL_BINDS_MAX = 4, JAIL_PATH_MAX = 4200, JAIL_SAID_MAX = 4096 };

/** How a job is started; filled by the engine's command hook. Everything it points to lives until exec has returned. */
struct jail_command {
    const char *argv[JAIL_ARGS_MAX + 16]; /**< NULL-terminated */
    size_t program_at;                    /**< where the program begins in argv, behind the interpreter and its options */
    const char *code_name;                /**< file below /tmp that gets spec->code; NULL: none */
    bool big_address_space;               /**< see struct cds_jail_plan */
    const char *preload;                  /**< the program can be started ahead and reads the order itself; NULL: it is executed then */
    const char *preload_argv[8];          /**< how that program is started ahead */
    bool reports;                         /**< the program writes what it found to descriptor 4: at most JAIL_SAID_MAX bytes */
    const char *const *env;               /**< NULL-terminated: these variables and no others; NULL: the usual ones and spec->env */
    bool gives;                           /**< a program that is not started ahead gets give_fds as descriptors 5 and 6 */
    int give_fds[2];                      /**< borrowed */
    const struct cds_buf *order;          /**< what a program that was started ahead reads; NULL: as order.h lays it out; borrowed */
    struct cds_jail_bind binds[JAIL_BINDS_MAX];
    size_t bind_count;
    uint64_t file_bytes;                      /**< largest file that the job may write; 0: that of its /tmp */
    char path[JAIL_PATH_MAX];                 /**< memory for one argument */
    char preload_file[64], preload_host[600]; /**< and for these */
};

/** The job's own variables, except those that the caller has set otherwise, and the caller's; at most JAIL_ENV_MAX of those. Returns how many. */
size_t jail_job_env(const struct cds_job_spec *spec, const char *env[static JAIL_ENV_MAX + 16]);

struct jail_engine;
struct jail_hooks {
    const char *backend, *boundary;
    bool doors; /**< its jobs get a loopback network of their own and the sockets of confine/doors.h */
    /** @return CDS_OK; CDS_NOT_FOUND: the program is not on this machine; CDS_BAD_PARAM; CDS_DENIED */
    cds_rc (*command)(struct jail_engine *engine, const struct cds_job_spec *spec, struct jail_command *ret, struct cds_err *reterr);
    /** May refine a verdict by what the program reported. NULL: exit codes say it all. */
    void (*verdict)(struct jail_engine *engine, const char *said, size_t len, struct cds_job_result *result);
};

/** First member of an engine whose jobs are processes in a jail. */
struct jail_engine {
    struct cds_engine base;
    struct sandbox_host *host; /**< borrowed */
    const struct jail_hooks *hooks;
    struct jail_job *jobs;
    struct jail_pool *pool; /**< jails that are ready; NULL: none are kept */
};

/* What such an engine puts into its ops. */
CDS_MUST_USE cds_rc jail_job_acquire(struct cds_engine *engine, const struct cds_job_spec *spec, struct cds_job **ret, struct cds_err *reterr);
CDS_MUST_USE cds_rc jail_job_exec(struct cds_job *job, const struct cds_job_spec *spec, const struct cds_job_events *events, void *user,
                                  struct cds_err *reterr);
CDS_MUST_USE cds_rc jail_job_write(struct cds_job *job, const char *data, size_t len, struct cds_err *reterr);
CDS_MUST_USE cds_rc jail_job_resize(struct cds_job *job, unsigned rows, unsigned cols, struct cds_err *reterr);
void jail_job_hold(struct cds_job *job, bool hold);
void jail_job_kill(struct cds_job *job, enum cds_run_end reason);
/** The sockets in the job's network; NULL: not there yet, or refused. See struct cds_engine_ops. */
struct cds_jail_doors *jail_job_doors(struct cds_job *job);
pid_t jail_job_network_pid(const struct cds_job *job);
void jail_job_stats(const struct cds_job *job, struct cds_job_stats *ret);
void jail_job_release(struct cds_job *job);
/** Kills and frees all jobs of the engine without telling anybody. */
void jail_jobs_end(struct jail_engine *engine);
