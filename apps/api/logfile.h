/* apps/api/logfile.h: follows a file of lines that one writer appends to and rotates by renaming (path -> path.1 -> path.2 ...).
 *
 * Source:  apps/cyberdevstudio/studiolog.c (the writer); docs/adr/0014-log-sequence-numbers.md.
 * Threads: one owner.
 * Rule:    a reader that has its file open reads it to its end, whatever its name has become, and only then the next one: no line is lost or
 *          told twice as long as the next file is still kept.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    LOGFILE_PIECE = 64 * 1024,   /**< most bytes read at once: one reader cannot hold the loop; longer lines are skipped */
    LOGFILE_BACKLOG = 64 * 1024, /**< most bytes of the past that a new reader is shown */
    LOGFILE_KEPT_MAX = 9         /**< highest number of a rotated file that is looked for */
};

struct logfile {
    char path[512]; /**< of the newest file */
    int fd;         /**< of the file being read; -1: none yet */
    off_t offset;   /**< of the next unread byte */
};

/**
 * One whole line without its newline, borrowed. Return false to stop: the line counts as unread.
 * @param seq  names the line's end (file and place); below 2^53, not in order across files
 */
typedef bool logfile_line_fn(void *user, const char *line, size_t len, int64_t seq);

/** @param after  decimal seq of the last line that was read, to go on behind it; NULL, unreadable or not there any more: a little before the
 *                end of the newest file */
void logfile_open(struct logfile *file, const char *path, const char *after);
void logfile_close(struct logfile *file);
/** Tells the lines that came, at most one piece; goes on to the next file at the end of one that was rotated away. */
void logfile_read(struct logfile *file, logfile_line_fn *fn, void *user);
