/* apps/fetch/part.h: a file that is not whole yet, and the journal of its verified pieces.
 *
 * Files:   <name>.part, <name>.journal beside the model; <name>.origin once it is whole: where it came from and its SHA-256.
 *          The journal's first line is JSON, then one line per piece: number and SHA-256. It may end anywhere: a line that is not whole, and
 *          a piece that does not have the hash of its line, are as if they were not there.
 * Memory:  one piece for a part whose bytes come, or that is read again; none for one that rests.
 * Threads: a part belongs to one thread at a time. One process at a time holds the journal (flock).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "apps/fetch/digest.h"
#include "apps/fetch/source.h"

enum { CDS_PIECE_BYTES = 8 << 20 };

struct cds_part {
    char dir[3000], name[CDS_FILE_NAME_MAX + 1];
    int fd, journal;
    uint64_t size;                   /**< of the whole file; 0: not known yet */
    uint64_t done;                   /**< bytes on disk that were verified: whole pieces, and the last one */
    char etag[256];                  /**< the server's name for this state of the file, or "" */
    char sha256[CDS_SHA256_HEX + 1]; /**< that it must have, or "" */
    struct cds_digest *hash;         /**< of the first `done` bytes */
    bool there;                      /**< it is whole and has its name already; fd is for reading */
    char *piece;                     /**< the running piece; NULL while nothing comes */
    size_t piece_len;
};

/** Opens or makes both files and reads what is there again. size 0, sha256 "": not known.
 *  @return CDS_OK; CDS_CONFLICT: another process downloads this file */
CDS_MUST_USE cds_rc cds_part_open(struct cds_part *part, const char *dir, const char *name, const char *source, uint64_t size, const char *sha256,
                                  struct cds_err *reterr);
/** A file that has its name already, read whole: nothing of it is asked for, written or removed any more. sha256: that it must have.
 *  @return CDS_OK; CDS_CONFLICT: it was changed; CDS_SYSTEM */
CDS_MUST_USE cds_rc cds_part_take(struct cds_part *part, const char *dir, const char *name, const char *sha256, struct cds_err *reterr);
void cds_part_close(struct cds_part *part);
/** Throws away what is there; the file begins anew with this size and name of its state. */
CDS_MUST_USE cds_rc cds_part_begin(struct cds_part *part, const char *source, uint64_t size, const char *etag, struct cds_err *reterr);
/** Where the next byte belongs. */
uint64_t cds_part_position(const struct cds_part *part);
/** Takes bytes at that place; whole pieces reach the disk before their line reaches the journal. @return CDS_OK; CDS_EXHAUSTED (disk full);
 *  CDS_SYSTEM; CDS_TOO_LARGE: more than the file has */
CDS_MUST_USE cds_rc cds_part_add(struct cds_part *part, const void *data, size_t len, struct cds_err *reterr);
/** Gives the memory of the running piece back; bytes of it that have not reached the disk are asked for again. */
void cds_part_rest(struct cds_part *part);
/** Compares with the SHA-256 it must have. @return CDS_OK; CDS_BAD_PARAM: it is another file (rule llm.sha256) */
CDS_MUST_USE cds_rc cds_part_verify(const struct cds_part *part, struct cds_err *reterr);
/** Gives the whole file its name and writes its origin. */
CDS_MUST_USE cds_rc cds_part_finish(struct cds_part *part, const char *source, struct cds_err *reterr);
/** Removes both files. */
void cds_part_remove(struct cds_part *part);
