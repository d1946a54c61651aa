/* sandbox/path.h: a path inside a project, taken apart before any system call sees it.
 *
 * Threads: safe. No memory is allocated.
 */
#pragma once

#include <stddef.h>

#include "lib/base/err.h"

enum {
    CDS_PATH_MAX = 4096,     /**< bytes of a whole path */
    CDS_PATH_PART_MAX = 255, /**< bytes of one name */
    CDS_PATH_DEPTH_MAX = 64  /**< names in a path */
};
/** Names that begin so belong to the file engine. */
#define CDS_PATH_TEMP_PREFIX ".cds-tmp-"

/** A checked path: "" is the project itself. */
struct cds_path {
    char text[CDS_PATH_MAX + 1];
    size_t parts;
    size_t parent_len; /**< bytes of the parent's path; 0: the parent is the project */
    size_t name_at;    /**< where the last part begins in text */
};
/** The last part. A value may be copied, so this is an offset and no pointer. */
static inline const char *cds_path_name(const struct cds_path *path)
{
    return path->text + path->name_at;
}

/**
 * Refuses what could mean something else than a name below the project: absolute paths and "..", empty parts and ".", control characters,
 * too long or too deep ones, names of our own temporary files.
 * @return CDS_OK; CDS_DENIED with rule fs.outside_root or fs.name
 */
CDS_MUST_USE cds_rc cds_path_parse(const char *text, size_t len, struct cds_path *ret, struct cds_err *reterr);
/** The same for a path that must name something below the project (not ""). */
CDS_MUST_USE cds_rc cds_path_parse_below(const char *text, size_t len, struct cds_path *ret, struct cds_err *reterr);
