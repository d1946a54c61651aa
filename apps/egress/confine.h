/* apps/egress/confine.h: what the process that has the network gives up: files, programs, other processes.
 *
 * Source:  landlock(7), prctl(2).
 * Threads: call once, before any other thread exists.
 */
#pragma once

#include <stdbool.h>

#include "lib/base/err.h"

/**
 * No new privileges, no core file, not dumpable; and, where the kernel has Landlock, no file but what the resolver and the C library read (/etc,
 * /usr, /lib, /run, /dev): nothing of the data folder, no project, no key. It is then also unable to look into processes outside.
 * @param ret_files_closed  false: this kernel has no Landlock
 */
CDS_MUST_USE cds_rc egress_confine(bool *ret_files_closed, struct cds_err *reterr);
