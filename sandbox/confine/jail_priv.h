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
/** Child, with the uid of all jobs: a user namespace of its own, so that its tasks are counted apart; it has all rights there, the caller drops them,
 *  and is dumpable. 0; 1: the kernel does not give one; -1 with errno. System calls only. */
int jail_own_tasks(const struct cds_job_identity *who);
/** Child: second wall around the file system. 0 also where the kernel has no landlock. */
int jail_landlock(const struct cds_jail_plan *plan);
