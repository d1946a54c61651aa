/* sandbox/fs.h: the file engine: list, read, write, create, rename, delete, stat below one project.
 *
 * Source:  schemas/rpc/fs.*.json, openat2(2), rename(2).
 * Threads: safe for different projects; changes to one project come from one thread (the broker's writer), so writes of a path are ordered.
 * Rights:  the caller has entered the job's identity (sandbox/confine/identity.h), so a mistake here can reach no more than a job could.
 * Rules:   a refusal is CDS_DENIED with its rule: fs.outside_root, fs.symlink, fs.too_big, fs.special, fs.hardlink, fs.name, fs.rights, fs.quota.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "sandbox/path.h"

enum {
    CDS_FS_FILE_MAX = 524288,   /**< bytes of one file, inclusive */
    CDS_FS_LIST_MAX = 4096,     /**< entries of one listing */
    CDS_FS_DELETE_MAX = 20000,  /**< entries one recursive delete removes */
    CDS_FS_QUOTA_FILES = 20000, /**< files and folders of a project */
    CDS_FS_VERSION_LEN = 16,
    CDS_FS_TEMP_LEN = 25, /**< name of a temporary file */
    CDS_FS_BATCH_MAX = 64 /**< writes made durable together */
};
#define CDS_FS_QUOTA_BYTES (256ULL << 20) /**< bytes of a project */

enum cds_fs_type { CDS_FS_FILE, CDS_FS_DIR, CDS_FS_OTHER };
const char *cds_fs_type_name(enum cds_fs_type type); /**< "file", "dir", "other" */

struct cds_fs_info {
    enum cds_fs_type type;
    uint64_t size_bytes;
    int64_t modified_ms;                  /**< since 1970 UTC */
    char version[CDS_FS_VERSION_LEN + 1]; /**< changes with every change of the file; "" for folders */
};
struct cds_fs_entry {
    char name[CDS_PATH_PART_MAX + 1];
    struct cds_fs_info info;
};
/** Sorted: folders first, then by name. Free with cds_fs_list_free. */
struct cds_fs_list {
    struct cds_fs_entry *entries;
    size_t count;
};

CDS_MUST_USE cds_rc cds_fs_stat(int project, const struct cds_path *path, struct cds_fs_info *ret, struct cds_err *reterr);
/** @return also CDS_TOO_LARGE: more than CDS_FS_LIST_MAX entries */
CDS_MUST_USE cds_rc cds_fs_list(int project, const struct cds_path *path, struct cds_fs_list *ret, struct cds_err *reterr);
void cds_fs_list_free(struct cds_fs_list *list);
/** Content is appended to buf, whose ceiling is at least CDS_FS_FILE_MAX. */
CDS_MUST_USE cds_rc cds_fs_read(int project, const struct cds_path *path, struct cds_buf *buf, struct cds_fs_info *ret, struct cds_err *reterr);
/**
 * Replaces the file as a whole: temporary file, fsync, rename, fsync of the folder.
 * @param if_version  NULL: whatever is there; "": nothing may be there; else that version must be there
 * @return also CDS_CONFLICT when if_version does not fit
 */
CDS_MUST_USE cds_rc cds_fs_write(int project, const struct cds_path *path, const void *data, size_t len, const char *if_version,
                                 struct cds_fs_info *ret, struct cds_err *reterr);
struct cds_fs_usage {
    uint64_t bytes, entries;
    bool hidden; /**< a folder could not be entered, or lies deeper than 128: bytes and entries are less than what is there */
};

/** One of several writes that are made durable together. */
struct cds_fs_write {
    const struct cds_path *path;
    const void *data;
    size_t len;
    const char *if_version;    /**< as in cds_fs_write */
    struct cds_fs_usage *used; /**< what the project holds, measured by the caller; what is written is added. NULL: it is measured here */
    struct cds_fs_info info;   /**< out: without rc */
    int project;
    cds_rc rc;          /**< out: its own fate; those of the others do not touch it */
    int parent, fd;     /**< used on the way */
    int old;            /**< what it replaced */
    struct cds_err err; /**< out: with rc */
    char temp[CDS_FS_TEMP_LEN + 1];
};
/**
 * The same as cds_fs_write one after the other, except that the disk is asked once for all of them. Of two writes of one path the later one
 * stays; with if_version it is CDS_CONFLICT. When it returns, all is on the disk, and the files that were replaced are still held.
 */
void cds_fs_write_many(struct cds_fs_write *writes, size_t count);
/** Lets go of what writes held; once, on any thread. Whoever waits for the writes need not wait for this: see fs_write.c. */
void cds_fs_write_release(struct cds_fs_write *writes, size_t count);
/** A new empty file or folder. @return also CDS_CONFLICT: there is something already */
CDS_MUST_USE cds_rc cds_fs_create(int project, const struct cds_path *path, enum cds_fs_type type, struct cds_fs_info *ret, struct cds_err *reterr);
/** Never replaces: an existing target is CDS_CONFLICT. */
CDS_MUST_USE cds_rc cds_fs_rename(int project, const struct cds_path *from, const struct cds_path *to, struct cds_err *reterr);
/** @return also CDS_CONFLICT: a folder that is not empty without recursive; CDS_TOO_LARGE: more than CDS_FS_DELETE_MAX entries */
CDS_MUST_USE cds_rc cds_fs_delete(int project, const struct cds_path *path, bool recursive, struct cds_err *reterr);

/**
 * Bytes and entries below the project, whatever modes its owner gave the folders; stops just over entries_max. Temporary files that a
 * killed write left a minute ago or earlier are removed on the way.
 */
void cds_fs_count(int project, uint64_t entries_max, struct cds_fs_usage *ret);
