#include "apps/llmserver/grammars.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apps/llmserver/gbnf.h"
#include "lib/base/buf.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"

enum { GRAMMARS_MAX = 64, NAME_MAX_BYTES = 31 };

struct cds_grammars {
    unsigned count;
    char names[GRAMMARS_MAX][NAME_MAX_BYTES + 1];
    char *texts[GRAMMARS_MAX];
};

void cds_grammars_free(struct cds_grammars **grammars)
{
    if (!grammars || !*grammars)
        return;
    for (unsigned i = 0; i < (*grammars)->count; i++)
        free((*grammars)->texts[i]);
    free(*grammars);
    *grammars = NULL;
}

static cds_rc read_file(const char *path, char **ret, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(CDS_GBNF_BYTES_MAX);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char piece[4096];
    ssize_t n = fd < 0 ? -1 : 1;
    while (n > 0 && (n = read(fd, piece, sizeof(piece))) > 0)
        (void)cds_buf_add(&text, piece, (size_t)n);
    if (fd >= 0)
        close(fd);
    if (n < 0 || text.failed)
        return cds_fail(reterr, CDS_SYSTEM, __func__, "The grammar %s cannot be read.", path);
    cds_rc rc = cds_gbnf_check(text.data ? text.data : "", text.len, reterr);
    if (rc != CDS_OK)
        return rc;
    *ret = cds_buf_steal(&text, NULL);
    return *ret ? CDS_OK : cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the grammars.");
}

static cds_rc read_entry(struct cds_grammars *grammars, const char *folder, const char *file, struct cds_err *reterr)
{
    char path[4400];
    size_t len = strlen(file);
    if (len < 6 || len - 5 > NAME_MAX_BYTES || !cds_streq(file + len - 5, ".gbnf") || grammars->count == GRAMMARS_MAX)
        return CDS_OK;
    snprintf(path, sizeof(path), "%.4000s/%.300s", folder, file);
    cds_rc rc = read_file(path, &grammars->texts[grammars->count], reterr);
    if (rc == CDS_OK)
        snprintf(grammars->names[grammars->count++], NAME_MAX_BYTES + 1, "%.*s", (int)(len - 5), file);
    return rc;
}

cds_rc cds_grammars_open(const char *folder, struct cds_grammars **ret, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_grammars_free) struct cds_grammars *grammars = calloc(1, sizeof(*grammars));
    if (!grammars)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the grammars.");
    DIR *dir = opendir(folder);
    cds_rc rc = CDS_OK;
    for (const struct dirent *entry; dir && rc == CDS_OK && (entry = readdir(dir)) != NULL;)
        rc = read_entry(grammars, folder, entry->d_name, reterr);
    if (dir)
        closedir(dir);
    if (rc != CDS_OK)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        return rc;
    *ret = grammars;
    grammars = NULL;
    return CDS_OK;
}

const char *cds_grammars_find(const struct cds_grammars *grammars, const char *name, struct cds_err *reterr)
{
    char list[512] = "";
    for (unsigned i = 0; grammars && i < grammars->count; i++) {
        if (cds_streq(grammars->names[i], name))
            return grammars->texts[i];
        size_t at = strlen(list);
        snprintf(list + at, sizeof(list) - at, "%s%s", at ? ", " : "", grammars->names[i]);
    }
    cds_fail(reterr, CDS_BAD_PARAM, __func__, "There is no grammar \"%.40s\" here. Known names: %s.", name, *list ? list : "none");
    cds_err_pointer(reterr, "/grammar");
    return NULL;
}
