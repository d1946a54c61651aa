#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apps/fetch/pulling.h"
#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"

static cds_rc origin_of(const char *dir, const char *name, cds_json **ret)
{
    char path[PATH_MAX];
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(16384);
    snprintf(path, sizeof(path), "%.3000s/%.200s.origin", dir, name);
    cds_rc rc = cds_read_file(path, &text, NULL);
    return rc == CDS_OK ? cds_json_parse(text.data ? text.data : "", text.len, ret, NULL) : rc;
}

/** The file is there with the length of its record. */
static bool unchanged(const char *dir, const char *name, const cds_json *origin)
{
    char path[PATH_MAX];
    struct stat st;
    snprintf(path, sizeof(path), "%.3000s/%.200s", dir, name);
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == cds_json_get_i64(origin, "size", -1);
}

cds_rc cds_present_look(const struct cds_pulling *pulling, const struct cds_remote_file *file, bool *ret_present, struct cds_err *reterr)
{
    char path[PATH_MAX], hex[CDS_SHA256_HEX + 1];
    CDS_JSON_AUTO origin = NULL;
    snprintf(path, sizeof(path), "%.3000s/%.200s", pulling->options->dir, file->name);
    *ret_present = false;
    CDS_CLEANUP(cds_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return CDS_OK;
    if (origin_of(pulling->options->dir, file->name, &origin) == CDS_OK && unchanged(pulling->options->dir, file->name, origin) &&
        (*file->sha256 ? cds_streq(cds_json_get_str(origin, "sha256"), file->sha256)
                       : cds_streq(cds_json_get_str(origin, "source"), pulling->reach.label))) {
        *ret_present = true;
        return CDS_OK;
    }
    cds_rc rc = *file->sha256 ? cds_digest_file(fd, hex, NULL, NULL, reterr) : CDS_OK;
    if (rc == CDS_OK && *file->sha256 && cds_streq(hex, file->sha256)) {
        *ret_present = true;
        return CDS_OK;
    }
    if (rc != CDS_OK)
        return rc;
    cds_fail(reterr, CDS_CONFLICT, __func__, "There is another file %.100s already.", file->name);
    return cds_err_hint(reterr, "Remove it first (cyberdevstudio model remove), or keep it.");
}

void cds_present_digest(const struct cds_pulling *pulling, const struct cds_remote_file *file, char ret[static CDS_SHA256_HEX + 1])
{
    CDS_JSON_AUTO origin = NULL;
    const char *known = *file->sha256 ? file->sha256 : NULL;
    if (!known && origin_of(pulling->options->dir, file->name, &origin) == CDS_OK)
        known = cds_json_get_str(origin, "sha256");
    cds_strcpy(ret, CDS_SHA256_HEX + 1, known ? known : "");
}

bool cds_present_offline(const struct cds_pulling *pulling, char name[static CDS_FILE_NAME_MAX + 1])
{
    CDS_CLEANUP(cds_close_dir) DIR *dir = opendir(pulling->options->dir);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        size_t len = strlen(entry->d_name), tail = strlen(".origin");
        unsigned part, parts;
        if (len <= tail || len - tail > CDS_FILE_NAME_MAX || !cds_streq(entry->d_name + len - tail, ".origin"))
            continue;
        CDS_JSON_AUTO origin = NULL;
        memcpy(name, entry->d_name, len - tail);
        name[len - tail] = '\0';
        /* Of a split model all parts would have to be looked at: the hub is asked. */
        if (!cds_source_part(name, &part, &parts) && origin_of(pulling->options->dir, name, &origin) == CDS_OK &&
            cds_streq(cds_json_get_str(origin, "source"), pulling->reach.label) && unchanged(pulling->options->dir, name, origin) &&
            (!*pulling->options->reach.sha256 || cds_streq(cds_json_get_str(origin, "sha256"), pulling->options->reach.sha256)))
            return true;
    }
    return false;
}
