/* sandbox/fs_tree.c: listing a folder, deleting a tree, counting a project. Folders are entered by descriptor, never through a link. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "sandbox/confine/beneath.h"
#include "sandbox/fs_priv.h"

static int by_kind_and_name(const void *a, const void *b)
{
    const struct cds_fs_entry *x = a, *y = b;
    bool x_dir = x->info.type == CDS_FS_DIR, y_dir = y->info.type == CDS_FS_DIR;
    return x_dir != y_dir ? y_dir - x_dir : strcmp(x->name, y->name);
}

static bool is_dot(const char *name)
{
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

static cds_rc add_entry(DIR *dir, const char *name, struct cds_fs_list *list, size_t *cap, struct cds_err *reterr)
{
    struct stat st;
    /* Names that a run made and no path can name, and our own temporary files, are not shown. */
    if (is_dot(name) || cds_starts_with(name, CDS_PATH_TEMP_PREFIX) || !cds_utf8_valid(name, strlen(name)) ||
        fstatat(dirfd(dir), name, &st, AT_SYMLINK_NOFOLLOW))
        return CDS_OK;
    if (list->count == CDS_FS_LIST_MAX)
        return cds_fail(reterr, CDS_TOO_LARGE, __func__, "The folder has more than %d entries.", CDS_FS_LIST_MAX);
    if (list->count == *cap) {
        size_t more = *cap ? *cap * 2 : 64;
        struct cds_fs_entry *entries = realloc(list->entries, more * sizeof(*entries));
        if (!entries)
            return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
        list->entries = entries;
        *cap = more;
    }
    struct cds_fs_entry *e = &list->entries[list->count++];
    cds_strcpy(e->name, sizeof(e->name), name);
    fs_info_of(&st, &e->info);
    return CDS_OK;
}

cds_rc cds_fs_list(int project, const struct cds_path *path, struct cds_fs_list *ret, struct cds_err *reterr)
{
    int fd = -1;
    size_t cap = 0;
    struct cds_fs_list list = {NULL, 0};
    cds_rc rc = cds_beneath_open(project, path->text, strlen(path->text), O_RDONLY | O_DIRECTORY, &fd, reterr);
    if (rc)
        return rc;
    CDS_CLEANUP(cds_close_dir) DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    }
    for (const struct dirent *e; !rc && (e = readdir(dir));)
        rc = add_entry(dir, e->d_name, &list, &cap, reterr);
    if (rc) {
        cds_fs_list_free(&list);
        return rc;
    }
    if (list.count)
        qsort(list.entries, list.count, sizeof(*list.entries), by_kind_and_name);
    *ret = list;
    return CDS_OK;
}

void cds_fs_list_free(struct cds_fs_list *list)
{
    free(list->entries);
    *list = (struct cds_fs_list){NULL, 0};
}

/* ---- walks ---- */
static DIR *enter(int parent, const char *name)
{
    int fd = cds_beneath_enter(parent, name, O_RDONLY);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (fd >= 0 && !dir)
        close(fd);
    return dir;
}

/* Removes what is below one folder. *left counts down to the ceiling. 0 or errno. */
static int empty_folder(int parent, const char *name, int depth, int *left)
{
    if (depth > CDS_PATH_DEPTH_MAX * 2)
        return ELOOP;
    CDS_CLEANUP(cds_close_dir) DIR *dir = enter(parent, name);
    if (!dir)
        return errno ? errno : ENOMEM;
    for (const struct dirent *e; (e = readdir(dir));) {
        if (is_dot(e->d_name))
            continue;
        if ((*left)-- <= 0)
            return E2BIG;
        if (unlinkat(dirfd(dir), e->d_name, 0) == 0)
            continue;
        if (errno != EISDIR && errno != EPERM)
            return errno;
        int why = empty_folder(dirfd(dir), e->d_name, depth + 1, left);
        if (why)
            return why;
        if (unlinkat(dirfd(dir), e->d_name, AT_REMOVEDIR))
            return errno;
    }
    return 0;
}

cds_rc cds_fs_delete(int project, const struct cds_path *path, bool recursive, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_close_fd) int parent = -1;
    int left = CDS_FS_DELETE_MAX;
    cds_rc rc = fs_open_parent(project, path, &parent, reterr);
    if (rc)
        return rc;
    /* A link is removed itself, whatever it points to. */
    if (unlinkat(parent, cds_path_name(path), 0) == 0)
        return CDS_OK;
    int why = errno;
    if (why == EISDIR || why == EPERM) {
        why = recursive ? empty_folder(parent, cds_path_name(path), 0, &left) : 0;
        if (!why)
            why = unlinkat(parent, cds_path_name(path), AT_REMOVEDIR) ? errno : 0;
    }
    if (why == 0)
        return CDS_OK;
    if (why == ENOENT)
        return cds_fail(reterr, CDS_NOT_FOUND, __func__, "There is no %.200s in the project.", path->text);
    if (why == ENOTEMPTY || why == EEXIST) {
        cds_fail(reterr, CDS_CONFLICT, __func__, "The folder %.200s is not empty.", path->text);
        return cds_err_hint(reterr, "Delete it with recursive: true.");
    }
    if (why == E2BIG)
        return cds_fail(reterr, CDS_TOO_LARGE, __func__, "%.160s holds more than %d entries; %d were deleted, delete it again.", path->text,
                        CDS_FS_DELETE_MAX, CDS_FS_DELETE_MAX);
    return cds_fail_errno(reterr, why, __func__, "%.200s cannot be deleted.", path->text);
}

static void count_folder(int parent, const char *name, int depth, uint64_t *bytes, uint64_t *entries)
{
    CDS_CLEANUP(cds_close_dir) DIR *dir = depth > CDS_PATH_DEPTH_MAX * 2 ? NULL : enter(parent, name);
    struct stat st;
    for (const struct dirent *e; dir && *entries <= CDS_FS_QUOTA_FILES && (e = readdir(dir));) {
        if (is_dot(e->d_name) || fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW))
            continue;
        (*entries)++;
        *bytes += (uint64_t)st.st_blocks * 512;
        if (S_ISDIR(st.st_mode))
            count_folder(dirfd(dir), e->d_name, depth + 1, bytes, entries);
    }
}

void cds_fs_count(int project, uint64_t *ret_bytes, uint64_t *ret_entries)
{
    *ret_bytes = *ret_entries = 0;
    count_folder(project, ".", 0, ret_bytes, ret_entries);
}
