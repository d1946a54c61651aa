/* sandbox/confine/jail_priv.h: what the halves of the jail share.
 *
 * Threads: the child of jail.c, which has one thread and may not touch the C library's locks.
 */
#pragma once

#include "sandbox/confine/jail.h"

/** Child: builds the job's file system and moves into it. 0, or -1 with errno and the step in *ret_step. System calls only. */
int jail_root(const struct cds_jail_plan *plan, enum cds_jail_step *ret_step);
/** Payload: waits for the order, writes its files and returns its arguments and variables. 0, or -1 with errno. System calls only. */
int jail_order_wait(int order_fd, int start_fd, const char *const **ret_argv, const char *const **ret_env);
/** Child: second wall around the file system. 0 also where the kernel has no landlock. */
int jail_landlock(void);
