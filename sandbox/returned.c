/* sandbox/returned.c: see returned.h. */
#include "sandbox/returned.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/str.h"

enum { TOLD_PATH_MAX = 1024 };

struct given {
    char *path;
    char version[CDS_FS_VERSION_LEN + 1];
};
struct returned {
    struct given *given;
    size_t given_count, given_room;
    bool sorted;
    struct cds_fs_back *list;
    size_t count, room, applied;
    uint32_t left_out;
};

struct returned *returned_new(void)
{
    return calloc(1, sizeof(struct returned));
}

void returned_free(struct returned **where)
{
    struct returned *r = *where;
    *where = NULL;
    if (!r)
        return;
    for (size_t i = 0; i < r->given_count; i++)
        free(r->given[i].path);
    for (size_t i = 0; i < r->count; i++) {
        free((char *)(uintptr_t)r->list[i].path);
        free((void *)(uintptr_t)r->list[i].data);
        free(r->list[i].kept_as);
    }
    free(r->given);
    free(r->list);
    free(r);
}

bool returned_given(struct returned *r, const char *path, const char *version)
{
    if (r->given_count == r->given_room) {
        size_t room = r->given_room ? 2 * r->given_room : 64;
        struct given *more = reallocarray(r->given, room, sizeof(*more));
        if (!more)
            return false;
        r->given = more;
        r->given_room = room;
    }
    struct given *g = &r->given[r->given_count];
    if (!(g->path = strdup(path)))
        return false;
    cds_strcpy(g->version, sizeof(g->version), version);
    r->given_count++;
    r->sorted = false;
    return true;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct given *)a)->path, ((const struct given *)b)->path);
}

static const struct given *find(struct returned *r, const char *path)
{
    const struct given key = {.path = (char *)(uintptr_t)path};
    if (!r->sorted && r->given_count)
        qsort(r->given, r->given_count, sizeof(*r->given), by_path);
    r->sorted = true;
    return r->given_count ? bsearch(&key, r->given, r->given_count, sizeof(*r->given), by_path) : NULL;
}

/* Only what was given can be missed. */
static bool gave_folder(const struct returned *r, const char *path, size_t len)
{
    for (size_t i = 0; i < r->given_count; i++)
        if (strncmp(r->given[i].path, path, len) == 0 && r->given[i].path[len] == '/')
            return true;
    return false;
}

static void refuse(struct cds_fs_back *b, enum micro_back_kind kind)
{
    static const struct {
        const char *rule, *reason;
    } why[] = {[MICRO_BACK_LINK] = {"fs.symlink", "It is a symbolic link; the studio does not follow links."},
               [MICRO_BACK_SPECIAL] = {"fs.special", "It is a device, pipe or socket, not a file."},
               [MICRO_BACK_TOO_BIG] = {"fs.too_big", "A file has at most 524288 bytes (512 KB)."},
               [MICRO_BACK_OVER] = {"micro.back_size", "A run gives back at most 8 MiB."},
               [MICRO_BACK_TOO_DEEP] = {"fs.name", "What is in this folder lies deeper than 64 folders or has a path over 4096 bytes."},
               [MICRO_BACK_UNREADABLE] = {"micro.back_unreadable", "It could not be read in the machine."}};
    b->fate = CDS_BACK_REFUSED;
    cds_strcpy(b->rule, sizeof(b->rule), why[kind].rule);
    cds_strcpy(b->reason, sizeof(b->reason), why[kind].reason);
}

const char *returned_add(struct returned *r, const struct micro_back *head, const char *path)
{
    static const enum cds_fs_back_kind kinds[] = {[MICRO_BACK_GONE] = CDS_BACK_GONE,
                                                  [MICRO_BACK_GONE_FOLDER] = CDS_BACK_GONE_FOLDER,
                                                  [MICRO_BACK_FOLDER] = CDS_BACK_FOLDER,
                                                  [MICRO_BACK_FILE] = CDS_BACK_FILE};
    const enum micro_back_kind kind = (enum micro_back_kind)head->kind;
    if (r->count == r->room) {
        size_t room = r->room ? 2 * r->room : 32;
        struct cds_fs_back *more = reallocarray(r->list, room, sizeof(*more));
        if (!more)
            return "there is no memory for the files that return";
        r->list = more;
        r->room = room;
    }
    char *copy = malloc((size_t)head->path_len + 1), *data = malloc((size_t)head->size + 1);
    if (!copy || !data) {
        free(copy);
        free(data);
        return "there is no memory for the files that return";
    }
    memcpy(copy, path, head->path_len);
    copy[head->path_len] = '\0';
    struct cds_fs_back *b = &r->list[r->count++];
    *b = (struct cds_fs_back){.path = copy, .path_len = head->path_len, .data = data};
    if (kind >= MICRO_BACK_LINK)
        refuse(b, kind);
    else
        b->kind = kinds[kind];
    /* A NUL in the path finds nothing here and is refused by the parser of paths. */
    const struct given *g = strlen(copy) == head->path_len ? find(r, copy) : NULL;
    if (kind == MICRO_BACK_GONE && !g)
        return "protocol: a file is gone that was never given";
    if (kind == MICRO_BACK_GONE_FOLDER && (strlen(copy) != head->path_len || !gave_folder(r, copy, head->path_len)))
        return "protocol: a folder is gone that was never given";
    if (g)
        cds_strcpy(b->base, sizeof(b->base), g->version);
    return NULL;
}

const char *returned_data(struct returned *r, const char *data, size_t len)
{
    if (r->count == 0) /* the decoder has seen to it that there is one, and to its size */
        return "protocol: data of no file";
    struct cds_fs_back *b = &r->list[r->count - 1];
    memcpy((char *)(uintptr_t)b->data + b->len, data, len);
    b->len += len;
    return NULL;
}

void returned_end(struct returned *r, const struct micro_back_end *end)
{
    r->left_out = end->left_out;
}

bool returned_apply(struct returned *r, int project, const char *suffix)
{
    size_t n = r->count - r->applied < CDS_FS_BATCH_MAX ? r->count - r->applied : CDS_FS_BATCH_MAX;
    cds_fs_back(project, r->list + r->applied, n, suffix);
    r->applied += n;
    return r->applied < r->count;
}

size_t returned_count(const struct returned *r)
{
    return r->count;
}

/* ---- what a result tells ---- */
/* Names of a guest are bytes. */
static cds_json *text_of(const char *bytes, size_t len)
{
    char text[TOLD_PATH_MAX + 1] = "";
    size_t n = 0;
    for (size_t i = 0; i < len && n < TOLD_PATH_MAX; i++)
        text[n++] = bytes[i] ? bytes[i] : '?';
    size_t whole = cds_utf8_complete(text, n);
    if (!cds_utf8_valid(text, whole))
        for (size_t i = 0; i < whole; i++)
            text[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
    return cds_json_stringn(text, whole);
}

cds_json *returned_json(const struct returned *r, const char *reason)
{
    int64_t written = 0, folders = 0, deleted = 0, bytes = 0, conflicts = 0, refused = 0;
    cds_json *told = cds_json_array();
    for (size_t i = 0; r && i < r->applied; i++) {
        const struct cds_fs_back *b = &r->list[i];
        bool done = b->fate == CDS_BACK_DONE, loud = b->fate == CDS_BACK_CONFLICT || b->fate == CDS_BACK_REFUSED;
        written += done && b->kind == CDS_BACK_FILE;
        bytes += done && b->kind == CDS_BACK_FILE ? (int64_t)b->len : 0;
        folders += done && b->kind == CDS_BACK_FOLDER;
        deleted += done && (b->kind == CDS_BACK_GONE || b->kind == CDS_BACK_GONE_FOLDER);
        conflicts += b->fate == CDS_BACK_CONFLICT;
        refused += b->fate == CDS_BACK_REFUSED;
        if (!loud || cds_json_size(told) == RETURNED_TOLD)
            continue;
        cds_json *one = cds_json_pack("{s:o,s:s,s:s,s:s}", "path", text_of(b->path, b->path_len), "what",
                                      b->fate == CDS_BACK_CONFLICT ? "conflict" : "refused", "rule", b->rule, "reason", b->reason);
        if (b->kept_as)
            cds_json_set(one, "kept_as", cds_json_string(b->kept_as));
        cds_json_append(told, one);
    }
    if (r)
        refused += r->left_out + (int64_t)(r->count - r->applied);
    cds_json *result = cds_json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "written", written, "folders", folders, "deleted", deleted, "bytes", bytes,
                                     "conflicts", conflicts, "refused", refused, "told", told);
    if (reason)
        cds_json_set(result, "reason", cds_json_string(reason));
    else if (r && r->left_out)
        cds_json_set(result, "reason",
                     cds_json_string("A run gives back at most 2000 files, folders and deletions; the rest stayed in its machine."));
    return result;
}
