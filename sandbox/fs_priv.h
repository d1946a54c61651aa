/* sandbox/fs_priv.h: what the files of the file engine share.
 *
 * Threads: as fs.h.
 */
#pragma once

#include <sys/stat.h>

#include "sandbox/fs.h"

void fs_info_of(const struct stat *st, struct cds_fs_info *ret);
cds_rc fs_refuse(struct cds_err *reterr, const char *rule, const char *message, const char *path);
cds_rc fs_open_parent(int project, const struct cds_path *path, int *ret_fd, struct cds_err *reterr);
