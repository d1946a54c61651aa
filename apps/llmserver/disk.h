/* apps/llmserver/disk.h: is there room on the disk of the private database? A timer looks, a request only reads what it saw.
 *
 * Source:  statvfs(3); docs/adr/0013-limits-and-room.md. A disk that fills up while PostgreSQL writes its log stops the database for everybody.
 * Threads: loop thread only.
 */
#pragma once

#include "lib/base/loop.h"

enum { CDS_DISK_LOOK_MS = 1000 };

/** Free bytes on the disk of a folder; UINT64_MAX: not known. */
typedef uint64_t cds_disk_free_fn(const char *path);
struct cds_disk_options {
    struct cds_loop *loop;
    const char *path;             /**< folder of the database; copied */
    uint64_t min_bytes;           /**< free bytes from which there is room */
    cds_disk_free_fn *free_bytes; /**< NULL: statvfs */
};
struct cds_disk;
/** Looks once, then every CDS_DISK_LOOK_MS. */
CDS_MUST_USE cds_rc cds_disk_new(const struct cds_disk_options *options, struct cds_disk **ret, struct cds_err *reterr);
void cds_disk_free(struct cds_disk **disk);
/** disk NULL (the database is elsewhere) has room; so has one whose free bytes are not known. @return CDS_OK; CDS_EXHAUSTED */
CDS_MUST_USE cds_rc cds_disk_room(const struct cds_disk *disk, struct cds_err *reterr);
