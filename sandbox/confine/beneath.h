/* sandbox/confine/beneath.h: open a path so that it cannot leave a directory, whatever anyone renames or links meanwhile.
 *
 * Source:  openat2(2). Where the kernel or an outer filter has no openat2, each part is opened by itself without following links.
 * Threads: safe. Returned descriptors belong to the caller and are CLOEXEC.
 */
#pragma once

#include <sys/types.h>

#include "lib/base/err.h"

/**
 * @param root   directory (may be O_PATH); borrowed
 * @param path   checked by sandbox/path.h; "" opens the root itself
 * @param len    bytes of path to use
 * @param flags  of open(2); O_NOFOLLOW and O_CLOEXEC are added
 * @return CDS_OK; CDS_NOT_FOUND; CDS_DENIED with rule fs.symlink, fs.outside_root or fs.rights; CDS_BUSY (renamed under us 8 times); CDS_SYSTEM
 */
CDS_MUST_USE cds_rc cds_beneath_open(int root, const char *path, size_t len, int flags, int *ret_fd, struct cds_err *reterr);

/**
 * Enters one folder of a walk: what name is now, not through a link, not onto another mount (EXDEV), also not one of the same file system.
 * @param name   one part, or "."
 * @param flags  O_RDONLY or O_PATH; O_DIRECTORY, O_NOFOLLOW and O_CLOEXEC are added
 * @return descriptor, or -1 with errno
 */
int cds_beneath_enter(int parent, const char *name, int flags);
