/* apps/cyberdevstudio/studiolog.h: the one log of a studio, <home>/logs/studio.jsonl: one JSON object per line.
 *
 * What a child writes on stdout and stderr comes through a pipe, line by line. A line that is a JSON object is kept as it is; any other text
 * (a library, a crash report, PostgreSQL) is wrapped into {"ts","level","proc","msg"}.
 * Limits:  a line has at most CDS_LOGLINE_MAX bytes, longer ones are cut and marked "cut":true; the file is renamed to .1, .2, ... when it
 *          reaches rotate_bytes, and keep old ones stay.
 * Threads: loop thread only.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "lib/base/err.h"
#include "lib/base/loop.h"

enum { CDS_LOGLINE_MAX = 16384 };

struct cds_studiolog;
/** @param gid group that may read the file, (gid_t)-1: none @return CDS_OK; CDS_SYSTEM with the path */
CDS_MUST_USE cds_rc cds_studiolog_open(const char *folder, gid_t gid, uint64_t rotate_bytes, int keep, struct cds_studiolog **ret,
                                       struct cds_err *reterr);
void cds_studiolog_close(struct cds_studiolog **log);
/** From now on descriptor 2 of this process is the file, also after it was rotated: lib/log of the supervisor writes into it. */
CDS_MUST_USE cds_rc cds_studiolog_take_stderr(struct cds_studiolog *log, struct cds_err *reterr);
/** One line without its newline. cut: text was longer. A line that cannot be written (disk full) is counted and reported with the next one that can.
 */
void cds_studiolog_line(struct cds_studiolog *log, const char *proc, const char *text, size_t len, bool cut);
const char *cds_studiolog_path(const struct cds_studiolog *log);

/** The output of one child. */
struct cds_logsource;
/** @param ret_fd write end for the child; the caller closes its copy after the spawn */
CDS_MUST_USE cds_rc cds_logsource_open(struct cds_studiolog *log, struct cds_loop *loop, const char *proc, struct cds_logsource **ret, int *ret_fd,
                                       struct cds_err *reterr);
/** Takes what is in the pipe now. NULL is fine. */
void cds_logsource_drain(struct cds_logsource *source);
/** Takes what is still in the pipe, then closes it. */
void cds_logsource_close(struct cds_logsource **source);
/** Last message seen (the msg member of a JSON line, else the text), "" before the first; borrowed, at most 255 bytes. */
const char *cds_logsource_last(const struct cds_logsource *source);
