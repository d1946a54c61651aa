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
/** What stands at the name now: *ret_there, its data, and whether it may be replaced. if_version as in cds_fs_write. */
cds_rc fs_check_target(int parent, const struct cds_path *path, const char *if_version, bool *ret_there, struct stat *ret, struct cds_err *reterr);
/** Whether so much more fits beside what is used. */
cds_rc fs_check_room(const struct cds_fs_usage *used, uint64_t more_bytes, uint64_t more_entries, const char *path, struct cds_err *reterr);
/** Whether so much more fits into the project, which is counted now. */
cds_rc fs_check_quota(int project, uint64_t more_bytes, uint64_t more_entries, const char *path, struct cds_err *reterr);
