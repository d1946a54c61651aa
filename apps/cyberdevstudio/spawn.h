/* apps/cyberdevstudio/spawn.h: start one program as a child that cannot outlive us.
 *
 * Source:  prctl(2) PR_SET_PDEATHSIG, close_range(2), execve(2).
 * Threads: main thread only: the parent-death signal fires when the forking thread ends.
 */
#pragma once

#include <sys/types.h>

#include "apps/cyberdevstudio/runas.h"
#include "lib/base/err.h"

enum { CDS_SPAWN_READY_FD = 3 /**< number of the readiness pipe in the child */ };

/** What to start. Everything is borrowed. */
struct cds_spawn {
    const char *program;           /**< absolute path */
    const char *const *argv;       /**< NULL-terminated, argv[0] included */
    char *const *envp;             /**< NULL-terminated */
    const struct cds_identity *as; /**< NULL: same user */
    int log_fd;                    /**< becomes stdout and stderr; -1: inherited */
    int ready_fd;                  /**< becomes CDS_SPAWN_READY_FD; -1: none */
    int input_fd;                  /**< becomes stdin; -1: /dev/null */
    int death_signal;              /**< sent to it when the supervisor dies; 0: SIGKILL */
};

/**
 * Forks and executes. The child has its own process group, an empty signal mask, no descriptor but 0 to 3, gets its death signal when the
 * supervisor dies, and cannot gain rights by a set-uid program unless it stays root.
 * @return CDS_OK; CDS_NOT_FOUND (no such program); CDS_SYSTEM, CDS_EXHAUSTED, with a sentence that names program and step
 */
CDS_MUST_USE cds_rc cds_spawn_start(const struct cds_spawn *what, pid_t *ret_pid, struct cds_err *reterr);
