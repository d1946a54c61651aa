/* sandbox/confine/jail.h: from a fresh process to a confined program, one named step after the other. A step that is refused ends the attempt:
 * the program does not start.
 *
 * Order:   parent-death signal → control groups → session → sockets of its network → private mounts → tmpfs root → read-only system → proc →
 *          devices → tmp → project → pivot_root → host name → rlimits → descriptors → capabilities and ids → no_new_privs → init forks the
 *          payload → controlling terminal → landlock → seccomp → exec.
 * Source:  clone(2), mount(2), pivot_root(2), capabilities(7), landlock(7), seccomp(2).
 * Threads: cds_jail_start from the loop thread. The child makes system calls only: it comes from a process with threads, so no lock and no
 *          allocator of the C library may be touched.
 */
#pragma once

#include <sys/types.h>

#include "sandbox/confine/cgroup.h"
#include "sandbox/confine/doors.h"
#include "sandbox/confine/identity.h"
#include "sandbox/sandbox.h"

enum {
    CDS_JAIL_PASS_FIRST = 5, /**< number of the first descriptor of a plan's pass list in the job */
    CDS_JAIL_PASS_MAX = 10,
    CDS_JAIL_FD_LOWEST = 20 /**< of the descriptors of a plan, so that no number that is given away is still needed */
};

enum cds_jail_step {
    CDS_STEP_SYNC,
    CDS_STEP_DEATH_SIGNAL,
    CDS_STEP_GROUPS,
    CDS_STEP_MOUNTS,
    CDS_STEP_ROOT,
    CDS_STEP_SYSTEM,
    CDS_STEP_PROC,
    CDS_STEP_DEVICES,
    CDS_STEP_TMP,
    CDS_STEP_PROJECT,
    CDS_STEP_PIVOT,
    CDS_STEP_HOST_NAME,
    CDS_STEP_LIMITS,
    CDS_STEP_IDS,
    CDS_STEP_PRIVILEGES,
    CDS_STEP_INIT,
    CDS_STEP_ORDER,
    CDS_STEP_TERMINAL,
    CDS_STEP_LANDLOCK,
    CDS_STEP_SECCOMP,
    CDS_STEP_EXEC,
    CDS_STEP_COUNT
};
/** "mounts", "seccomp", ...; static. */
const char *cds_jail_step_name(enum cds_jail_step step);

/** What the jail tells over its report pipe: a step that failed, or how the payload ended. */
struct cds_jail_report {
    enum { CDS_REPORT_FAILED = 1, CDS_REPORT_ENDED = 2 } kind;
    int step;                    /**< FAILED */
    int sys_errno;               /**< FAILED */
    int status;                  /**< ENDED: as waitpid gives it; no process of the job is left but init, which has nothing to do any more */
    uint64_t cpu_us, peak_bytes; /**< ENDED: CPU time of init and all that was waited for; the largest of them */
};

/** A file or folder of the host that the job sees read-only at another place. */
struct cds_jail_bind {
    const char *from; /**< absolute path on the host */
    const char *to;   /**< below the job's /opt: one name */
    int of;           /**< a descriptor of what from must be, else the jail fails; 0: whatever is there. For paths that others may swap */
};

/** All of it is borrowed until cds_jail_start returns. */
struct cds_jail_plan {
    const struct cds_job_identity *who;
    const struct cds_run_limits *limits;
    const struct cds_cgroup *group; /**< what its init joins before anything else; NULL: none */
    bool cgroup;                    /**< memory and tasks are held by a cgroup; else by rlimits */
    uint64_t file_bytes;            /**< largest file that it may write; 0: that of its /tmp */
    bool big_address_space;         /**< the program reserves more memory than it uses (node: stacks of threads): RLIMIT_DATA is at least 96 MiB */
    const char *base;               /**< empty folder the new root is mounted on */
    int project_fd;                 /**< becomes /work */
    const char *project_path; /**< where project_fd is: a mount is only taken from the child's own namespace, so it opens the path and compares */
    enum cds_project_access access;
    const struct cds_jail_bind *binds;
    size_t bind_count;
    const struct cds_job_file *files; /**< written below /tmp, owned by the job */
    size_t file_count;
    const char *const *argv, *const *env; /**< NULL-terminated */
    int stdin_fd, stdout_fd, stderr_fd;   /**< all descriptors: at least CDS_JAIL_FD_LOWEST */
    const char *terminal; /**< path of the terminal that the three are, e.g. /dev/pts/3: its /dev/console, in a session of its own; NULL */
    int said_fd;          /**< becomes descriptor 4, for what the program reports; -1: none */
    /* A jail that is made before its job is known waits at the very end of all steps. */
    int order_fd;      /**< memory file that will hold what to run (order.h), becomes descriptor 5; -1: argv, env and files above are all */
    int start_fd;      /**< one byte on it: the order is there; becomes descriptor 6 */
    bool preloaded;    /**< argv is started at once and reads the order itself, or whatever the two descriptors are to it */
    const int *pass;   /**< instead of these two: become CDS_JAIL_PASS_FIRST and up (-1: none there); for programs of ours */
    size_t pass_count; /**< at most CDS_JAIL_PASS_MAX */
    bool vmm;          /**< the program is a virtual machine monitor: it may add a system call filter of its own */
    bool kvm;          /**< and gets /dev/kvm */
    bool vmm_folders;  /**< and shows its guest folders: it may set attributes of files, and its /proc tells of the machine, not of its tasks only */
    int clone_cgroup_fd;                /**< for CLONE_INTO_CGROUP; -1 */
    const struct cds_doors_plan *doors; /**< NULL: no sockets, loopback stays down */
};

/** Looks once at what of the system a job sees. */
CDS_MUST_USE cds_rc cds_jail_open(struct cds_err *reterr);

/**
 * Starts the jail's init. It waits for cds_jail_go, so that the caller can map its ids and watch it first.
 * @param ret_pid     init of the job; its end ends the job
 * @param ret_pidfd   readable when it has ended; owned by the caller
 * @param ret_report  pipe with one struct cds_jail_report, or end of file; owned
 * @param ret_go      owned; one byte lets the child go, closing it ends it
 */
CDS_MUST_USE cds_rc cds_jail_start(const struct cds_jail_plan *plan, pid_t *ret_pid, int *ret_pidfd, int *ret_report, int *ret_go,
                                   struct cds_err *reterr);
/** Maps the ids of a job in its own user namespace and lets it go. Closes *go. */
CDS_MUST_USE cds_rc cds_jail_go(const struct cds_job_identity *who, pid_t pid, int *go, struct cds_err *reterr);
