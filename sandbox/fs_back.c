/* sandbox/fs_back.c: see fs_back.h. */
#include "sandbox/fs_back.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "sandbox/fs_priv.h"

struct batch {
    int project;
    struct cds_fs_usage used; /* measured once; what is written is added */
    size_t count;
    struct cds_fs_write writes[CDS_FS_BATCH_MAX];
    struct cds_path paths[CDS_FS_BATCH_MAX];
    struct cds_fs_back *of[CDS_FS_BATCH_MAX];
};

static void refuse(struct cds_fs_back *b, const struct cds_err *err)
{
    b->fate = CDS_BACK_REFUSED;
    cds_strcpy(b->rule, sizeof(b->rule), err->rule[0] ? err->rule : err->code == CDS_CONFLICT ? "fs.conflict" : "fs.system");
    cds_strcpy(b->reason, sizeof(b->reason), err->message);
    b->reason[cds_utf8_complete(b->reason, strlen(b->reason))] = '\0';
}

static void conflict(struct cds_fs_back *b, const char *why)
{
    b->fate = CDS_BACK_CONFLICT;
    cds_strcpy(b->rule, sizeof(b->rule), "fs.conflict");
    cds_strcpy(b->reason, sizeof(b->reason), why);
}

/* ---- folders ---- */
static cds_rc make_folder(struct batch *t, const struct cds_path *path, bool *ret_made, struct cds_err *err)
{
    CDS_CLEANUP(cds_close_fd) int parent = -1;
    cds_rc rc = fs_open_parent(t->project, path, &parent, err);
    if (rc || (rc = fs_check_room(&t->used, 0, 1, path->text, err)))
        return rc;
    *ret_made = mkdirat(parent, cds_path_name(path), 0755) == 0;
    if (*ret_made) {
        t->used.entries++;
        fsync(parent);
        return CDS_OK;
    }
    struct stat st;
    if (errno == EEXIST && !fstatat(parent, cds_path_name(path), &st, AT_SYMLINK_NOFOLLOW) && S_ISDIR(st.st_mode))
        return CDS_OK;
    if (errno == EEXIST)
        return cds_fail(err, CDS_CONFLICT, __func__, "%.120s is no folder in the project.", path->text);
    return cds_fail_errno(err, errno, __func__, "%.120s cannot be created.", path->text);
}

/* The project may have lost the folder in the meantime. */
static cds_rc make_parents(struct batch *t, const struct cds_path *path, struct cds_err *err)
{
    cds_rc rc = CDS_OK;
    bool made;
    for (size_t i = 1; !rc && i <= path->parent_len; i++) {
        struct cds_path one;
        if (path->text[i] != '/')
            continue;
        rc = cds_path_parse_below(path->text, i, &one, err);
        if (!rc)
            rc = make_folder(t, &one, &made, err);
    }
    return rc;
}

static void take_folder(struct batch *t, struct cds_fs_back *b, const struct cds_path *path)
{
    struct cds_err err;
    bool made = false;
    if (make_parents(t, path, &err) || make_folder(t, path, &made, &err)) {
        refuse(b, &err);
        return;
    }
    b->fate = made ? CDS_BACK_DONE : CDS_BACK_SAME;
}

/* ---- deletions ---- */
static void take_gone(const struct batch *t, struct cds_fs_back *b, const struct cds_path *path)
{
    CDS_CLEANUP(cds_close_fd) int parent = -1;
    bool folder = b->kind == CDS_BACK_GONE_FOLDER, there = true;
    struct cds_err err;
    struct stat st;
    cds_rc rc = fs_open_parent(t->project, path, &parent, &err);
    if (!rc && !folder)
        rc = fs_check_target(parent, path, NULL, &there, &st, &err);
    if (rc == CDS_NOT_FOUND || !there) { /* the project has deleted it, too */
        b->fate = CDS_BACK_SAME;
        return;
    }
    if (rc == CDS_CONFLICT) {
        conflict(b, "It is a folder in the project now and stays there.");
        return;
    }
    if (rc) {
        refuse(b, &err);
        return;
    }
    struct cds_fs_info info;
    if (!folder)
        fs_info_of(&st, &info);
    if (!folder && strcmp(info.version, b->base) != 0) {
        conflict(b, "The program deleted it, the project changed it meanwhile: the project's file stays.");
    } else if (unlinkat(parent, cds_path_name(path), folder ? AT_REMOVEDIR : 0) == 0) {
        fsync(parent);
        b->fate = CDS_BACK_DONE;
    } else if (folder && (errno == ENOTEMPTY || errno == EEXIST)) {
        conflict(b, "The program deleted the folder, the project has something in it that the program did not see: it stays.");
    } else if (errno == ENOENT || errno == ENOTDIR) {
        b->fate = CDS_BACK_SAME;
    } else {
        cds_fail_errno(&err, errno, __func__, "%.120s cannot be deleted.", path->text);
        refuse(b, &err);
    }
}

/* ---- files ---- */
static bool has_content(int project, const struct cds_path *path, const void *data, size_t len)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf now = cds_buf_init(CDS_FS_FILE_MAX);
    struct cds_fs_info info;
    return !cds_fs_read(project, path, &now, &info, NULL) && now.len == len && (len == 0 || memcmp(now.data, data, len) == 0);
}

/* The program's file under a name of its own: NAME.SUFFIX beside the project's, or, where a folder of its path is something else in the project
 * now, below TOP.SUFFIX. The suffix belongs to this run alone, so nothing is there; should something be, nothing is replaced. */
static void keep_beside(struct batch *t, struct cds_fs_back *b, const struct cds_path *path, bool folder, const char *suffix)
{
    struct cds_err err;
    const char *text_of = path->text, *name = folder ? text_of : cds_path_name(path), *rest = name + strcspn(name, "/");
    size_t name_len = (size_t)(rest - name), most = CDS_PATH_PART_MAX - strlen(suffix) - 1;
    CDS_CLEANUP(cds_free_ptr) char *text = NULL;
    CDS_CLEANUP(cds_free_ptr) struct cds_path *other = malloc(sizeof(*other));
    if (name_len > most)
        name_len = cds_utf8_complete(name, most);
    if (!other || asprintf(&text, "%.*s%.*s.%s%s", (int)(name - text_of), text_of, (int)name_len, name, suffix, rest) < 0) {
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the cleanup frees other */
        cds_fail(&err, CDS_EXHAUSTED, __func__, "Out of memory.");
        refuse(b, &err);
        return;
    }
    struct cds_fs_info info;
    if (cds_path_parse_below(text, strlen(text), other, &err) || make_parents(t, other, &err) ||
        cds_fs_write(t->project, other, b->data, b->len, "", &info, &err)) {
        refuse(b, &err);
        return;
    }
    conflict(b, b->base[0] ? "The project changed it while the program ran: the project's file stays, the program's is beside it."
                           : "The project has such a name now, too: its own stays, the program's file is beside it.");
    b->kept_as = text;
    text = NULL;
}

static void flush(struct batch *t, const char *suffix)
{
    cds_fs_write_many(t->writes, t->count);
    cds_fs_write_release(t->writes, t->count);
    for (size_t i = 0; i < t->count; i++) {
        struct cds_fs_write *w = &t->writes[i];
        struct cds_fs_back *b = t->of[i];
        bool lost = w->rc == CDS_NOT_FOUND; /* the folder it was in */
        if (lost && !(w->rc = make_parents(t, w->path, &w->err)))
            w->rc = cds_fs_write(t->project, w->path, w->data, w->len, w->if_version, &w->info, &w->err), lost = false;
        if (w->rc == CDS_CONFLICT)
            keep_beside(t, b, w->path, lost, suffix);
        else if (w->rc)
            refuse(b, &w->err);
        else
            b->fate = CDS_BACK_DONE;
    }
    t->count = 0;
}

static void take_file(struct batch *t, struct cds_fs_back *b, const struct cds_path *path)
{
    if (has_content(t->project, path, b->data, b->len)) { /* written again, or the same on both sides */
        b->fate = CDS_BACK_SAME;
        return;
    }
    t->paths[t->count] = *path;
    t->writes[t->count] = (struct cds_fs_write){
        .project = t->project, .path = &t->paths[t->count], .data = b->data, .len = b->len, .if_version = b->base, .used = &t->used};
    t->of[t->count++] = b;
}

void cds_fs_back(int project, struct cds_fs_back *list, size_t count, const char *suffix)
{
    struct cds_path path;
    struct cds_err err;
    struct batch *t = calloc(1, sizeof(*t));
    if (!t)
        abort(); /* the supervisor starts us afresh */
    t->project = project;
    cds_fs_count(project, CDS_FS_QUOTA_FILES, &t->used);
    for (size_t i = 0; i < count; i++) {
        struct cds_fs_back *b = &list[i];
        if (b->fate == CDS_BACK_REFUSED)
            continue; /* the caller knows it already */
        if (t->count && (t->count == CDS_FS_BATCH_MAX || b->kind != CDS_BACK_FILE))
            flush(t, suffix);
        if (cds_path_parse_below(b->path, b->path_len, &path, &err))
            refuse(b, &err);
        else if (b->kind == CDS_BACK_FOLDER)
            take_folder(t, b, &path);
        else if (b->kind == CDS_BACK_FILE)
            take_file(t, b, &path);
        else
            take_gone(t, b, &path);
    }
    if (t->count)
        flush(t, suffix);
    free(t);
}
