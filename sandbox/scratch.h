/* sandbox/scratch.h: throw-away folders for programs that need a disk of their own: below <base>/scratch, owned by the jobs' uid, closed to everybody
 * else, removed with all that is in them, whatever rights that has.
 *
 * Source:  sandbox/fs.h (counting and deleting what a hostile owner has made).
 * Threads: loop thread only.
 * Bounds:  SCRATCH_BYTES and SCRATCH_ENTRIES, kept by whoever looks with scratch_is_over; what is written between two looks is not stopped.
 */
#pragma once

#include "sandbox/host.h"

enum { SCRATCH_PATH_MAX = 600, SCRATCH_BYTES = 128 << 20, SCRATCH_ENTRIES = 4096 };

/** @param ret  its path @return CDS_OK; CDS_SYSTEM; CDS_EXHAUSTED */
CDS_MUST_USE cds_rc scratch_make(const struct sandbox_host *host, char ret[static SCRATCH_PATH_MAX], struct cds_err *reterr);
/** A folder in it, with the same owner. name: one part of a path */
CDS_MUST_USE cds_rc scratch_folder(const struct sandbox_host *host, const char *path, const char *name, struct cds_err *reterr);
/** More is in it than there may be, or a part of it cannot be looked into. */
bool scratch_is_over(const char *path);
/** Nobody writes to it any more. path becomes "". */
void scratch_remove(const struct sandbox_host *host, char *path);
/** Removes all of them: those of a broker that was killed. */
void scratch_sweep(const struct sandbox_host *host);
