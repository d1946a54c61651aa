/* sandbox/image_store.c: see image_store.h. */
#include "sandbox/image_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/log/log.h"
#include "sandbox/micro_image.h"

static const char file_end[] = ".erofs", record_end[] = ".json", hex[] = "0123456789abcdef";
static const char *const languages[IMAGE_LANGUAGES] = {"python", "node", "sh"};

const char *image_language(unsigned index)
{
    return index < IMAGE_LANGUAGES ? languages[index] : NULL;
}

cds_rc image_name_check(const char *name, const char *pointer, struct cds_err *reterr)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789", more[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t len = name ? strlen(name) : 0;
    if (len && len <= IMAGE_NAME_MAX && strchr(first, name[0]) && strspn(name, more) == len)
        return CDS_OK;
    cds_fail(reterr, CDS_BAD_PARAM, __func__, "The name of an image is 1 to %d small letters, digits, dots, underscores and hyphens.",
             IMAGE_NAME_MAX);
    cds_err_hint(reterr, "Let it begin with a letter or a digit.");
    cds_err_pointer(reterr, "%s", pointer);
    return CDS_BAD_PARAM;
}

/* ---- records ---- */
static cds_json *languages_json(const struct image *image)
{
    cds_json *list = cds_json_array();
    for (unsigned i = 0; i < IMAGE_LANGUAGES; i++)
        if (image->languages & 1U << i)
            cds_json_append(list, cds_json_string(languages[i]));
    return list;
}

static bool languages_of(const cds_json *list, unsigned *ret)
{
    *ret = 0;
    for (size_t k = 0; k < cds_json_size(list) && k < IMAGE_LANGUAGES; k++)
        for (unsigned i = 0; i < IMAGE_LANGUAGES; i++)
            if (cds_streq(cds_json_str(cds_json_at(list, k)), languages[i]))
                *ret |= 1U << i;
    return *ret != 0;
}

cds_json *image_json(const struct image *image, bool from)
{
    cds_json *one = cds_json_pack("{s:s,s:s,s:I,s:I,s:s,s:o,s:I,s:I}", "name", image->name, "digest", image->digest, "size_bytes",
                                  (int64_t)image->size_bytes, "added_ms", image->added_ms, "source", image->kind, "languages", languages_json(image),
                                  "entries", (int64_t)image->entries, "tree_bytes", (int64_t)image->tree_bytes);
    if (one && from)
        cds_json_set(one, "from", cds_json_string(image->from));
    return one;
}

static bool copy_text(char *to, size_t size, const char *text)
{
    if (!text || strlen(text) >= size)
        return false;
    cds_strcpy(to, size, text);
    return true;
}

cds_rc image_record_parse(const char *text, size_t len, const char *name, struct image *ret, struct cds_err *reterr)
{
    CDS_JSON_AUTO record = NULL;
    struct image image = {.next = NULL};
    cds_rc rc = cds_json_parse(text, len, &record, reterr);
    if (rc)
        return cds_fail(reterr, CDS_SYSTEM, __func__, "The record of the image %.63s is no JSON.", name);
    const int64_t numbers[] = {cds_json_get_i64(record, "size_bytes", -1), cds_json_get_i64(record, "tree_bytes", -1),
                               cds_json_get_i64(record, "entries", -1), cds_json_get_i64(record, "added_ms", -1)};
    bool good = copy_text(image.name, sizeof(image.name), cds_json_get_str(record, "name")) && cds_streq(image.name, name) &&
                copy_text(image.digest, sizeof(image.digest), cds_json_get_str(record, "digest")) && strlen(image.digest) == IMAGE_DIGEST_LEN &&
                strspn(image.digest, hex) == IMAGE_DIGEST_LEN && copy_text(image.kind, sizeof(image.kind), cds_json_get_str(record, "source")) &&
                copy_text(image.from, sizeof(image.from), cds_json_get_str(record, "from")) &&
                languages_of(cds_json_get(record, "languages"), &image.languages);
    for (size_t i = 0; i < CDS_ARRAY_LEN(numbers); i++)
        good = good && numbers[i] >= 0;
    if (!good)
        return cds_fail(reterr, CDS_SYSTEM, __func__, "The record of the image %.63s is broken.", name);
    image.size_bytes = (uint64_t)numbers[0];
    image.tree_bytes = (uint64_t)numbers[1];
    image.entries = (uint64_t)numbers[2];
    image.added_ms = numbers[3];
    *ret = image;
    return CDS_OK;
}

/* ---- the folder ---- */
/* The name before an ending; false: it has another. */
static bool stem_of(const char *file, const char *end, char ret[static IMAGE_NAME_MAX + 1])
{
    size_t len = strlen(file), end_len = strlen(end);
    if (len <= end_len || len - end_len > IMAGE_NAME_MAX || strcmp(file + len - end_len, end) != 0)
        return false;
    memcpy(ret, file, len - end_len);
    ret[len - end_len] = '\0';
    return image_name_check(ret, "", NULL) == CDS_OK;
}

static void path_of(const struct image_store *store, const char *name, const char *end, char *ret, size_t size)
{
    snprintf(ret, size, "%s/%s%s", store->dir, name, end);
}

static void load(struct image_store *store, const char *name)
{
    char path[700], file[IMAGE_NAME_MAX + 16];
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(IMAGE_RECORD_MAX);
    struct image image = {.next = NULL};
    struct stat st = {.st_size = 0};
    struct cds_err err = {0};
    path_of(store, name, record_end, path, sizeof(path));
    snprintf(file, sizeof(file), "%s%s", name, file_end);
    cds_rc rc = cds_read_file(path, &text, &err);
    if (!rc)
        rc = image_record_parse(text.data ? text.data : "", text.len, name, &image, &err);
    if (!rc && (fstatat(store->dir_fd, file, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != image.size_bytes))
        rc = cds_fail(&err, CDS_SYSTEM, __func__, "The file of the image %.63s is missing, or not what its record says.", name);
    if (!rc)
        rc = image_add(store, &image, &err);
    if (rc)
        cds_log_err(CDS_LOG_WARN, "an image is not there", NULL, &err);
}

/* What a crash between two steps left: a file whose record was not written yet, or is gone already; a record that was being written. */
static void sweep(const struct image_store *store, const char *file)
{
    char name[IMAGE_NAME_MAX + 1], record[IMAGE_NAME_MAX + 16];
    struct stat st;
    bool lost = false;
    if (stem_of(file, file_end, name)) {
        snprintf(record, sizeof(record), "%s%s", name, record_end);
        lost = fstatat(store->dir_fd, record, &st, AT_SYMLINK_NOFOLLOW) && errno == ENOENT;
    } else if (!stem_of(file, record_end, name)) {
        lost = !fstatat(store->dir_fd, file, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode);
    }
    if (lost && !unlinkat(store->dir_fd, file, 0))
        cds_log(CDS_LOG_INFO, "what was left of an image was removed", CDS_LS("name", file));
}

cds_rc image_store_open(const char *dir, struct image_store *ret, struct cds_err *reterr)
{
    struct image_store store = {.dir_fd = -1};
    char name[IMAGE_NAME_MAX + 1];
    cds_rc rc = cds_mkdir_p(dir, 0700, reterr);
    if (rc)
        return rc;
    cds_strcpy(store.dir, sizeof(store.dir), dir);
    store.dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    CDS_CLEANUP(cds_close_dir) DIR *all = store.dir_fd < 0 ? NULL : opendir(dir);
    if (!all) {
        rc = cds_fail_errno(reterr, errno, __func__, "The folder of images %.200s cannot be opened.", dir);
        image_store_close(&store);
        return rc;
    }
    int seen = 0;
    for (const struct dirent *e; (e = readdir(all)) && seen < IMAGE_FILES_MAX; seen++) {
        sweep(&store, e->d_name);
        if (stem_of(e->d_name, record_end, name))
            load(&store, name);
    }
    *ret = store;
    return CDS_OK;
}

void image_store_close(struct image_store *store)
{
    for (struct image *one; (one = store->all);) {
        store->all = one->next;
        free(one);
    }
    if (store->dir_fd >= 0)
        close(store->dir_fd);
    store->dir_fd = -1;
}

/* ---- images ---- */
struct image *image_find(const struct image_store *store, const char *name)
{
    for (struct image *one = store->all; one; one = one->next)
        if (cds_streq(one->name, name))
            return one;
    return NULL;
}

static cds_rc unknown(const char *name, struct cds_err *reterr)
{
    cds_fail(reterr, CDS_NOT_FOUND, "image", "There is no image %.63s.", name);
    cds_err_rule(reterr, "image.unknown");
    return cds_err_hint(reterr, "image.list names them; an admin can add one.");
}

static cds_rc lacks(const struct image *image, const char *language, struct cds_err *reterr)
{
    char has[40] = "";
    for (unsigned i = 0; i < IMAGE_LANGUAGES; i++)
        if (image->languages & 1U << i)
            snprintf(has + strlen(has), sizeof(has) - strlen(has), "%s%s", has[0] ? ", " : "", languages[i]);
    cds_fail(reterr, CDS_BAD_PARAM, "image", "The image %s holds no %.32s; it has %s.", image->name, language, has);
    cds_err_rule(reterr, "image.language");
    cds_err_pointer(reterr, "/params/image");
    return CDS_BAD_PARAM;
}

cds_rc image_take(struct image_store *store, const char *name, const char *language, struct image **ret, int *ret_fd, struct cds_err *reterr)
{
    char path[700];
    struct image *image = image_find(store, name);
    bool has = false;
    if (!image)
        return unknown(name, reterr);
    for (unsigned i = 0; i < IMAGE_LANGUAGES; i++)
        has = has || (image->languages & 1U << i && cds_streq(languages[i], language));
    if (!has)
        return lacks(image, language, reterr);
    path_of(store, name, file_end, path, sizeof(path));
    CDS_CLEANUP(cds_close_fd) int fd = -1;
    cds_rc rc = micro_image_open_root(path, "An admin can remove the image and add it again.", &fd, reterr);
    if (rc)
        return rc;
    image->users++;
    *ret = image;
    *ret_fd = cds_steal_fd(&fd);
    return CDS_OK;
}

void image_give(struct image *image)
{
    image->users--;
}

cds_rc image_commit(const struct image_store *store, const struct image *image, int from_fd, const char *from_name, struct cds_err *reterr)
{
    char path[700], file[IMAGE_NAME_MAX + 16];
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(IMAGE_RECORD_MAX);
    CDS_JSON_AUTO record = image_json(image, true);
    snprintf(file, sizeof(file), "%s%s", image->name, file_end);
    if (!record || cds_json_dump(record, &text))
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    if (renameat(from_fd, from_name, store->dir_fd, file))
        return cds_fail_errno(reterr, errno, __func__, "The image cannot be put in place.");
    path_of(store, image->name, record_end, path, sizeof(path));
    cds_rc rc = cds_write_file_atomic(path, text.data, text.len, 0600, reterr); /* with the folder, so the file's name is durable, too */
    if (rc)
        unlinkat(store->dir_fd, file, 0);
    return rc;
}

cds_rc image_add(struct image_store *store, const struct image *image, struct cds_err *reterr)
{
    struct image *one = malloc(sizeof(*one)), **at = &store->all;
    if (!one)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    *one = *image;
    one->users = 0;
    while (*at && strcmp((*at)->name, one->name) < 0)
        at = &(*at)->next;
    one->next = *at;
    *at = one;
    store->count++;
    return CDS_OK;
}

cds_rc image_remove(struct image_store *store, const char *name, struct cds_err *reterr)
{
    char path[700];
    struct image *image = image_find(store, name), **at = &store->all;
    if (!image)
        return unknown(name, reterr);
    if (image->users) {
        cds_fail(reterr, CDS_CONFLICT, __func__, "A run has the image %s at the moment.", name);
        cds_err_rule(reterr, "image.in_use");
        return cds_err_hint(reterr, "Remove it when the run has ended; run.cancel ends it.");
    }
    path_of(store, name, record_end, path, sizeof(path));
    if (unlink(path) && errno != ENOENT)
        return cds_fail_errno(reterr, errno, __func__, "The image cannot be removed.");
    fsync(store->dir_fd);
    path_of(store, name, file_end, path, sizeof(path));
    unlink(path); /* without its record it is nobody's: the next start removes what stays */
    while (*at != image)
        at = &(*at)->next;
    *at = image->next;
    store->count--;
    free(image);
    return CDS_OK;
}
