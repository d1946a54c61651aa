/* apps/studio-ui/server/files.c: see files.h. */
#include "apps/studio-ui/server/files.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"

enum encoding { PLAIN, GZIP, BROTLI, ENCODINGS };

struct file {
    char *path;            /* "/assets/app-1f2e.js" */
    off_t size[ENCODINGS]; /* -1: not there */
    const char *type;
    bool hashed; /* its name holds a hash of its content */
};

struct files {
    int dir_fd;
    size_t root_len;
    struct file *rows;
    size_t count;
};

static const char *type_of(const char *path)
{
    static const char *const types[][2] = {
        {".html", "text/html; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
        {".mjs", "text/javascript; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".json", "application/json"},
        {".svg", "image/svg+xml"},
        {".png", "image/png"},
        {".ico", "image/x-icon"},
        {".woff2", "font/woff2"},
        {".ttf", "font/ttf"},
        {".txt", "text/plain; charset=utf-8"},
        {".webmanifest", "application/manifest+json"},
        {".wasm", "application/wasm"},
    };
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < CDS_ARRAY_LEN(types); i++)
        if (!strcmp(dot, types[i][0]))
            return types[i][1];
    return "application/octet-stream";
}

static struct file *find(struct files *files, const char *path)
{
    size_t low = 0, high = files->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(path, files->rows[middle].path);
        if (order == 0)
            return &files->rows[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* nftw has no user pointer; files_open runs once, on the main thread, before anything else. */
static struct files *walking;

static int on_file(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    if (kind != FTW_F)
        return 0;
    if (walking->count == FILES_MAX)
        return CDS_TOO_LARGE;
    struct file row = {.path = strdup(path + walking->root_len), .size = {st->st_size, -1, -1}};
    if (!row.path)
        return CDS_EXHAUSTED;
    row.type = type_of(row.path);
    row.hashed = cds_starts_with(row.path, "/assets/");
    walking->rows[walking->count++] = row;
    return 0;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path);
}

/* Gives each *.gz and *.br to the file it encodes. */
static void join_encodings(struct files *files)
{
    static const struct {
        const char *end;
        enum encoding encoding;
    } ends[] = {{".gz", GZIP}, {".br", BROTLI}};
    for (size_t i = 0; i < files->count; i++)
        for (size_t k = 0; k < CDS_ARRAY_LEN(ends); k++) {
            const char *path = files->rows[i].path;
            size_t len = strlen(path);
            char plain[1024];
            if (len < 4 || len >= sizeof(plain) || strcmp(path + len - 3, ends[k].end) != 0)
                continue;
            snprintf(plain, sizeof(plain), "%.*s", (int)len - 3, path);
            struct file *row = find(files, plain);
            if (row)
                row->size[ends[k].encoding] = files->rows[i].size[PLAIN];
        }
}

static cds_rc walk_failed(int walked, const char *dir, struct cds_err *reterr)
{
    if (walked == CDS_EXHAUSTED)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    if (walked == CDS_TOO_LARGE)
        cds_fail(reterr, CDS_TOO_LARGE, __func__, "There are more than %d files in %s, so it is not the built page.", FILES_MAX, dir);
    else
        cds_fail_errno(reterr, errno, __func__, "The built page is not in %s.", dir);
    return cds_err_hint(reterr, "Run `make build`, or name its folder with ui.dir.");
}

cds_rc files_open(const char *dir, struct files **ret, struct cds_err *reterr)
{
    struct files *files = calloc(1, sizeof(*files));
    if (files)
        files->rows = calloc(FILES_MAX, sizeof(*files->rows));
    if (!files || !files->rows) {
        free(files);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    }
    files->root_len = strlen(dir);
    files->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    walking = files;
    int walked = files->dir_fd < 0 ? -1 : nftw(dir, on_file, 16, FTW_PHYS);
    if (walked) {
        cds_rc rc = walk_failed(walked, dir, reterr);
        files_free(&files);
        return rc;
    }
    qsort(files->rows, files->count, sizeof(*files->rows), by_path);
    join_encodings(files);
    if (!find(files, "/index.html")) {
        cds_rc rc = cds_fail(reterr, CDS_NOT_FOUND, __func__, "There is no index.html in %s.", dir);
        cds_err_hint(reterr, "Run `make build`, or name the page's folder with ui.dir.");
        files_free(&files);
        return rc;
    }
    *ret = files;
    return CDS_OK;
}

void files_free(struct files **files_place)
{
    struct files *files = *files_place;
    if (!files)
        return;
    *files_place = NULL;
    for (size_t i = 0; i < files->count; i++)
        free(files->rows[i].path);
    if (files->dir_fd >= 0)
        close(files->dir_fd);
    free(files->rows);
    free(files);
}

/* The weight behind a coding; it is 0 for "not at all" however many zeros it has. n: up to the next comma. */
static bool has_weight(const char *params, size_t n)
{
    for (size_t i = 0; i + 2 < n; i++)
        if ((params[i] == 'q' || params[i] == 'Q') && params[i + 1] == '=')
            return strcspn(params + i + 2, "123456789") < n - i - 2;
    return true;
}

/* The header lists the coding as a token of its own, in any case of letters, and does not weigh it with 0. */
static bool accepts(const char *header, const char *coding)
{
    size_t len = strlen(coding);
    for (const char *p = header; p && *p;) {
        p += strspn(p, ", \t");
        size_t n = strcspn(p, ",");
        if (strcspn(p, ",; \t") == len && !strncasecmp(p, coding, len))
            return has_weight(p + len, n - len);
        p += n;
    }
    return false;
}

bool files_serve(struct files *files, struct cds_http_req *req, const char *path)
{
    static const char *const names[ENCODINGS] = {"", "gzip", "br"};
    static const char *const ends[ENCODINGS] = {"", ".gz", ".br"};
    const struct file *row = find(files, path);
    if (!row)
        return false;
    const char *accept = cds_http_header(req, "Accept-Encoding");
    enum encoding use = PLAIN;
    for (int e = BROTLI; e > PLAIN && use == PLAIN; e--)
        if (row->size[e] >= 0 && accepts(accept, names[e]))
            use = (enum encoding)e;
    char name[1100];
    snprintf(name, sizeof(name), "%s%s", row->path + 1, ends[use]);
    int fd = openat(files->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    if (fd < 0 || fstat(fd, &st)) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    if (use != PLAIN)
        cds_http_add_header(req, "Content-Encoding", names[use]);
    cds_http_add_header(req, "Vary", "Accept-Encoding");
    cds_http_add_header(req, "Cache-Control", row->hashed ? "public, max-age=31536000, immutable" : "no-cache");
    cds_http_file(req, 200, row->type, fd, (uint64_t)st.st_size);
    return true;
}
