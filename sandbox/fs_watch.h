/* sandbox/fs_watch.h: what changes below a project, told in bundles.
 *
 * Source:  inotify(7); schemas/rpc/fs.watch.json.
 * Threads: loop thread only. Folders are opened beneath the project with the job's rights, so a link leads nowhere.
 * Bounds:  FS_WATCH_DIRS folders are watched and FS_WATCH_PATHS paths are told in one bundle; past either the bundle says overflow, which means
 *          "look for yourself". Names of our own temporary files and names no path can name are left out.
 */
#pragma once

#include "lib/base/loop.h"
#include "sandbox/confine/identity.h"
#include "sandbox/path.h"

enum { FS_WATCH_DIRS = 2048, FS_WATCH_PATHS = 256, FS_WATCH_BUNDLE_MS = 60 };

enum fs_change { FS_CREATED, FS_CHANGED, FS_DELETED };
const char *fs_change_name(enum fs_change change); /**< "created", "changed", "deleted" */

struct fs_watch;
/** A bundle. Each path once, with what happened to it last; valid during the call. */
struct fs_changes {
    struct fs_changed {
        enum fs_change what;
        bool folder;
        char *path;
    } list[FS_WATCH_PATHS];
    size_t count;
    bool overflow;
};
typedef void fs_watch_fn(void *user, const struct fs_changes *changes);

/** @param project_fd  borrowed; a copy is kept @return CDS_OK; CDS_EXHAUSTED (the kernel's watches are used up); CDS_SYSTEM */
CDS_MUST_USE cds_rc fs_watch_start(struct cds_loop *loop, const struct cds_job_identity *who, int project_fd, fs_watch_fn *told, void *user,
                                   struct fs_watch **ret, struct cds_err *reterr);
/** Idempotent on NULL. */
void fs_watch_stop(struct fs_watch **watch);
