#include "apps/fetch/hub.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"

enum { TREE_MAX = 16 << 20, TREE_FILES_MAX = 20000 };

/* Without a wish: the usual compromise first, then what is near it. */
static const char *const liked[] = {"q4_k_m", "q4_k_s", "q4_1", "q4_0", "q5_k_m", "q8_0", "f16"};

static bool is_model(const cds_json *row, const char **ret_path)
{
    char name[CDS_FILE_NAME_MAX + 1];
    *ret_path = cds_json_get_str(row, "path");
    return cds_streq(cds_json_get_str(row, "type"), "file") && *ret_path && cds_source_file_name(*ret_path, name);
}

/** The first part stands for all parts of a split model. */
static bool is_later_part(const char *path)
{
    unsigned part, parts;
    return cds_source_part(path, &part, &parts) && part > 1;
}

static const cds_json *row_at(const cds_json *tree, const char *wanted)
{
    for (size_t i = 0; i < cds_json_size(tree) && i < TREE_FILES_MAX; i++) {
        const char *path;
        if (is_model(cds_json_at(tree, i), &path) && cds_streq(path, wanted))
            return cds_json_at(tree, i);
    }
    return NULL;
}

/** The shortest path with that quantization ("": any). @param ret_several  more than one model fits */
static const cds_json *row_with(const cds_json *tree, const char *quant, bool *ret_several)
{
    const cds_json *best = NULL;
    size_t best_len = SIZE_MAX;
    unsigned found = 0;
    for (size_t i = 0; i < cds_json_size(tree) && i < TREE_FILES_MAX; i++) {
        const cds_json *row = cds_json_at(tree, i);
        const char *path;
        if (!is_model(row, &path) || is_later_part(path) || (*quant && !cds_source_has_quant(path, quant)))
            continue;
        found++;
        if (strlen(path) < best_len) {
            best = row;
            best_len = strlen(path);
        }
    }
    *ret_several = found > 1;
    return best;
}

static cds_rc nothing(const cds_json *tree, const struct cds_source *source, struct cds_err *reterr)
{
    char there[160] = "";
    for (size_t i = 0; i < cds_json_size(tree) && i < TREE_FILES_MAX; i++) {
        const char *path;
        if (is_model(cds_json_at(tree, i), &path) && !is_later_part(path) && strlen(there) + strlen(path) + 3 < sizeof(there))
            snprintf(there + strlen(there), sizeof(there) - strlen(there), "%s%s", *there ? ", " : "", path);
    }
    cds_fail(reterr, CDS_NOT_FOUND, "hub", "The repository %.100s has no file%s%.60s.", source->repo,
             *source->file    ? " "
             : *source->quant ? " of the quantization "
                              : " that ends in .gguf and could be chosen without a word",
             *source->file ? source->file : source->quant);
    return *there ? cds_err_hint(reterr, "It has: %s.", there) : CDS_NOT_FOUND;
}

static bool hex_of(const char *oid, char ret[static CDS_SHA256_HEX + 1])
{
    if (!oid)
        return false;
    if (cds_starts_with(oid, "sha256:"))
        oid += 7;
    if (strlen(oid) != CDS_SHA256_HEX)
        return false;
    for (size_t i = 0; i <= CDS_SHA256_HEX; i++)
        ret[i] = (char)tolower((unsigned char)oid[i]);
    return strspn(ret, "0123456789abcdef") == CDS_SHA256_HEX;
}

/** A path with everything but letters, digits and -._/ written as %XX. */
static void escape_path(const char *path, char *out, size_t size)
{
    size_t at = 0;
    for (; *path && at + 4 < size; path++) {
        if (isalnum((unsigned char)*path) || strchr("-._/", *path))
            out[at++] = *path;
        else
            at += (size_t)snprintf(out + at, size - at, "%%%02X", (unsigned char)*path);
    }
    out[at] = '\0';
}

static cds_rc add_file(const cds_json *row, const char *hub, const struct cds_source *source, struct cds_remote_file *file, struct cds_err *reterr)
{
    const char *path = cds_json_get_str(row, "path");
    const cds_json *lfs = cds_json_get(row, "lfs");
    char escaped[CDS_SOURCE_MAX * 3];
    int64_t size = cds_json_get_i64(lfs ? lfs : row, "size", 0);
    escape_path(path, escaped, sizeof(escaped));
    int n = snprintf(file->url, sizeof(file->url), "%s/%s/resolve/%s/%s", hub, source->repo, source->branch, escaped);
    if (n < 0 || (size_t)n >= sizeof(file->url) || !cds_source_file_name(path, file->name) || size <= 0)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The hub's record of %.200s cannot be used.", path);
    file->size = (uint64_t)size;
    if (!hex_of(cds_json_get_str(lfs, "oid"), file->sha256))
        file->sha256[0] = '\0';
    return CDS_OK;
}

static cds_rc room_for(unsigned count, struct cds_remote *ret, struct cds_err *reterr)
{
    if (count == 0 || count > CDS_PARTS_MAX)
        return cds_fail(reterr, CDS_TOO_LARGE, __func__, "The model is split into more than %d parts.", CDS_PARTS_MAX);
    ret->files = calloc(count, sizeof(*ret->files));
    ret->count = count;
    return ret->files ? CDS_OK : cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for a download.");
}

static cds_rc take_parts(const cds_json *tree, const char *path, const char *hub, const struct cds_source *source, struct cds_remote *ret,
                         struct cds_err *reterr)
{
    unsigned part = 1, parts = 1;
    bool split = cds_source_part(path, &part, &parts);
    cds_rc rc = room_for(parts, ret, reterr);
    for (unsigned i = 0; rc == CDS_OK && i < parts; i++) {
        char name[CDS_SOURCE_MAX];
        if (split)
            cds_source_part_name(path, i + 1, name, sizeof(name));
        else
            cds_strcpy(name, sizeof(name), path);
        const cds_json *row = row_at(tree, name);
        rc = row ? add_file(row, hub, source, &ret->files[i], reterr)
                 : cds_fail(reterr, CDS_NOT_FOUND, __func__, "The repository %.100s lacks part %u of %u of the model.", source->repo, i + 1, parts);
    }
    if (rc != CDS_OK) {
        free(ret->files);
        *ret = (struct cds_remote){0};
    }
    return rc;
}

cds_rc cds_hub_choose(const cds_json *tree, const char *hub, const struct cds_source *source, struct cds_remote *ret, struct cds_err *reterr)
{
    const cds_json *row = NULL;
    bool several = false;
    if (!cds_json_is(tree, CDS_JSON_ARRAY))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The hub's list of files cannot be read.");
    if (*source->file) {
        row = row_at(tree, source->file);
    } else if (*source->quant) {
        row = row_with(tree, source->quant, &several);
    } else {
        for (size_t i = 0; i < CDS_ARRAY_LEN(liked) && !row; i++)
            row = row_with(tree, liked[i], &several);
        if (!row) {
            row = row_with(tree, "", &several);
            row = several ? NULL : row;
        }
    }
    if (!row)
        return nothing(tree, source, reterr);
    return take_parts(tree, cds_json_get_str(row, "path"), hub, source, ret, reterr);
}

static bool on_tree(void *user, const void *data, size_t len)
{
    return cds_buf_add(user, data, len) == CDS_OK;
}

cds_rc cds_hub_resolve(struct cds_web *web, const char *hub, const struct cds_source *source, struct cds_remote *ret, struct cds_err *reterr)
{
    char url[CDS_URL_MAX], branch[400];
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(TREE_MAX);
    struct cds_web_head head;
    bool ended = false;
    /* A branch with a slash is one part of the address. */
    size_t at = 0;
    for (const char *c = source->branch; *c && at + 4 < sizeof(branch); c++)
        at += (size_t)snprintf(branch + at, sizeof(branch) - at, *c == '/' ? "%%2F" : "%c", *c);
    branch[at] = '\0';
    snprintf(url, sizeof(url), "%s/api/models/%s/tree/%s?recursive=true", hub, source->repo, branch);
    struct cds_web_get get = {.url = url, .first = -1, .last = -1, .on_data = on_tree, .user = &text};
    cds_rc rc = cds_web_fetch(web, &get, &head, &ended, reterr);
    if (rc == CDS_NOT_FOUND)
        return cds_fail(reterr, CDS_NOT_FOUND, __func__, "The hub has no repository %.100s with a branch %.60s.", source->repo, source->branch);
    if (rc != CDS_OK)
        return rc;
    if (ended)
        return cds_fail(reterr, CDS_TOO_LARGE, __func__, "The hub's list of files is longer than %d MiB.", TREE_MAX >> 20);
    CDS_JSON_AUTO tree = NULL;
    if (!text.len || cds_json_parse(text.data, text.len, &tree, NULL) != CDS_OK)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The hub's list of files is no JSON.");
    return cds_hub_choose(tree, hub, source, ret, reterr);
}

cds_rc cds_hub_plain(const struct cds_source *source, const char *sha256, struct cds_remote *ret, struct cds_err *reterr)
{
    char path[CDS_SOURCE_MAX];
    unsigned part = 1, parts = 1;
    cds_strcpy(path, sizeof(path), source->url);
    const char *query = strchr(source->url, '?');
    path[strcspn(path, "?")] = '\0';
    bool split = cds_source_part(path, &part, &parts);
    cds_rc rc = room_for(split ? parts : 1, ret, reterr);
    for (unsigned i = 0; rc == CDS_OK && i < ret->count; i++) {
        char name[CDS_SOURCE_MAX];
        if (split)
            cds_source_part_name(path, i + 1, name, sizeof(name));
        else
            cds_strcpy(name, sizeof(name), path);
        snprintf(ret->files[i].url, sizeof(ret->files[i].url), "%s%s", name, query ? query : "");
        if (!cds_source_file_name(name, ret->files[i].name))
            rc = cds_fail(reterr, CDS_BAD_PARAM, __func__, "The address does not end in the name of a .gguf file.");
        if (ret->count == 1)
            cds_strcpy(ret->files[i].sha256, sizeof(ret->files[i].sha256), sha256);
    }
    if (rc != CDS_OK) {
        free(ret->files);
        *ret = (struct cds_remote){0};
    }
    return rc;
}
