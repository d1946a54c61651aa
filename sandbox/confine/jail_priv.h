/* sandbox/confine/jail_priv.h: what the halves of the jail share. */
#pragma once

#include "sandbox/confine/jail.h"

/** Child: builds the job's file system and moves into it. 0, or -1 with errno and the step in *ret_step. System calls only. */
int jail_root(const struct cds_jail_plan *plan, enum cds_jail_step *ret_step);
/** Child: second wall around the file system. 0 also where the kernel has no landlock. */
int jail_landlock(const struct cds_jail_plan *plan);
