/* apps/cyberdevstudio/studiolog.c: see studiolog.h. */
#include "apps/cyberdevstudio/studiolog.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/json/json.h"

enum { READ_ROUNDS = 16 /* chunks taken from one child before the others get their turn */, LAST_MAX = 256 };

struct cds_studiolog {
    char path[PATH_MAX];
    int fd;
    gid_t gid;
    uint64_t rotate_bytes, size_bytes, lost_lines;
    int keep;
    bool owns_stderr;
};

struct cds_logsource {
    struct cds_studiolog *log;
    struct cds_watch *watch;
    int fd;
    char proc[32];
    char last[LAST_MAX];
    size_t len;
    bool skipping; /* the rest of a line that was cut */
    char line[CDS_LOGLINE_MAX];
};

static cds_rc open_file(struct cds_studiolog *log, struct cds_err *reterr)
{
    int fd = open(log->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0) {
        cds_rc rc = cds_fail_errno(reterr, errno, __func__, "The log %s cannot be opened.", log->path);
        cds_err_hint(reterr, "Check the rights of that file and its folder.");
        return rc;
    }
    struct stat st;
    bool fine = fstat(fd, &st) == 0 && fchmod(fd, log->gid == (gid_t)-1 ? 0600 : 0640) == 0;
    if (fine && log->gid != (gid_t)-1 && geteuid() == 0)
        fine = fchown(fd, (uid_t)-1, log->gid) == 0;
    if (!fine) {
        int sys_errno = errno;
        close(fd);
        return cds_fail_errno(reterr, sys_errno, __func__, "The rights of the log %s cannot be set.", log->path);
    }
    if (log->fd >= 0)
        close(log->fd);
    log->fd = fd;
    log->size_bytes = (uint64_t)st.st_size;
    if (log->owns_stderr)
        dup2(fd, STDERR_FILENO);
    return CDS_OK;
}

cds_rc cds_studiolog_open(const char *folder, gid_t gid, uint64_t rotate_bytes, int keep, struct cds_studiolog **ret, struct cds_err *reterr)
{
    struct cds_studiolog *log = calloc(1, sizeof(*log));
    if (!log)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is no memory for the log.");
    *log = (struct cds_studiolog){.fd = -1, .gid = gid, .rotate_bytes = rotate_bytes, .keep = keep};
    snprintf(log->path, sizeof(log->path), "%s/studio.jsonl", folder);
    cds_rc rc = open_file(log, reterr);
    if (rc != CDS_OK) {
        cds_studiolog_close(&log);
        return rc;
    }
    *ret = log;
    return CDS_OK;
}

void cds_studiolog_close(struct cds_studiolog **log)
{
    if (*log && (*log)->fd >= 0)
        close((*log)->fd);
    free(*log);
    *log = NULL;
}

cds_rc cds_studiolog_take_stderr(struct cds_studiolog *log, struct cds_err *reterr)
{
    if (dup2(log->fd, STDERR_FILENO) < 0)
        return cds_fail_errno(reterr, errno, __func__, "The log cannot become the error output.");
    log->owns_stderr = true;
    return CDS_OK;
}

const char *cds_studiolog_path(const struct cds_studiolog *log)
{
    return log->path;
}

/** studio.jsonl.2 -> .3, .1 -> .2, studio.jsonl -> .1, and a fresh file. When that fails the old file goes on growing: losing lines is worse. */
static void rotate(struct cds_studiolog *log)
{
    char from[PATH_MAX + 16], to[PATH_MAX + 16];
    for (int i = log->keep; i >= 1; i--) {
        snprintf(to, sizeof(to), "%s.%d", log->path, i);
        if (i == 1)
            snprintf(from, sizeof(from), "%s", log->path);
        else
            snprintf(from, sizeof(from), "%s.%d", log->path, i - 1);
        if (rename(from, to) != 0 && errno != ENOENT)
            return;
    }
    struct cds_err err;
    if (open_file(log, &err) != CDS_OK)
        log->size_bytes = 0; /* tried again after the next rotate_bytes */
}

static void write_out(struct cds_studiolog *log, const char *data, size_t len)
{
    if (log->size_bytes + len > log->rotate_bytes && log->size_bytes > 0)
        rotate(log);
    ssize_t n = write(log->fd, data, len);
    if (n != (ssize_t)len) {
        log->lost_lines++;
        /* Half a line would make the next one unreadable too. */
        struct stat st;
        if (n > 0 && (fstat(log->fd, &st) != 0 || ftruncate(log->fd, st.st_size - n) != 0))
            log->size_bytes += (uint64_t)n;
        return;
    }
    log->size_bytes += len;
}

/** Appends text as the inside of a JSON string: bytes that are not UTF-8 become '?', control characters are escaped. */
static void add_json_text(struct cds_buf *out, const char *text, size_t len)
{
    bool utf8 = cds_utf8_valid(text, len);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            cds_buf_addf(out, "\\%c", c);
        else if (c == '\t')
            cds_buf_add(out, "\\t", 2);
        else if (c < 0x20 || c == 0x7f)
            cds_buf_addf(out, "\\u%04x", c);
        else
            cds_buf_add(out, c >= 0x80 && !utf8 ? "?" : text + i, 1);
    }
}

static const char *level_of(const char *text, size_t len)
{
    static const struct {
        const char *word, *level;
    } words[] = {{"FATAL:", "error"}, {"PANIC:", "error"}, {"ERROR:", "error"}, {"WARNING:", "warn"}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(words); i++)
        if (memmem(text, len, words[i].word, strlen(words[i].word)))
            return words[i].level;
    return "info";
}

static void add_wrapped(struct cds_buf *out, const char *proc, const char *level, const char *text, size_t len, bool cut)
{
    char ts[25];
    cds_buf_addf(out, "{\"ts\":\"%s\",\"level\":\"%s\",\"proc\":\"%s\",\"msg\":\"", cds_time_rfc3339(cds_wall_ms(), ts), level, proc);
    add_json_text(out, text, len);
    cds_buf_add_str(out, cut ? "\",\"cut\":true}\n" : "\"}\n");
}

static bool is_json_object(const char *text, size_t len)
{
    if (len < 2 || text[0] != '{' || text[len - 1] != '}')
        return false;
    CDS_JSON_AUTO value = NULL;
    struct cds_err err;
    return cds_json_parse(text, len, &value, &err) == CDS_OK && cds_json_is(value, CDS_JSON_OBJECT);
}

void cds_studiolog_line(struct cds_studiolog *log, const char *proc, const char *text, size_t len, bool cut)
{
    /* Six bytes is the longest escape of one. */
    CDS_CLEANUP(cds_buf_free) struct cds_buf out = cds_buf_init(6 * (size_t)CDS_LOGLINE_MAX + 1024);
    if (log->lost_lines > 0) {
        char note[96];
        int n = snprintf(note, sizeof(note), "%llu lines could not be written to this log", (unsigned long long)log->lost_lines);
        uint64_t lost = log->lost_lines;
        add_wrapped(&out, "cyberdevstudio", "warn", note, (size_t)n, false);
        write_out(log, out.data, out.len);
        if (log->lost_lines == lost)
            log->lost_lines = 0;
        cds_buf_clear(&out);
    }
    if (len > CDS_LOGLINE_MAX) {
        len = CDS_LOGLINE_MAX;
        cut = true;
    }
    if (!cut && is_json_object(text, len)) {
        cds_buf_add(&out, text, len);
        cds_buf_add(&out, "\n", 1);
    } else {
        add_wrapped(&out, proc, level_of(text, len), text, len, cut);
    }
    if (!out.failed)
        write_out(log, out.data, out.len);
}

/* ---- output of a child ---- */

static void remember(struct cds_logsource *source, const char *text, size_t len)
{
    CDS_JSON_AUTO value = NULL;
    struct cds_err err;
    char plain[LAST_MAX];
    snprintf(plain, sizeof(plain), "%.*s", len < LAST_MAX ? (int)len : LAST_MAX - 1, text);
    const char *msg = plain;
    if (len > 0 && text[0] == '{' && cds_json_parse(text, len, &value, &err) == CDS_OK && cds_json_get_str(value, "msg"))
        msg = cds_json_get_str(value, "msg");
    cds_strcpy(source->last, sizeof(source->last), msg);
}

static void end_line(struct cds_logsource *source, bool cut)
{
    size_t len = source->len;
    source->len = 0;
    if (len > 0 && source->line[len - 1] == '\r')
        len--;
    if (len == 0)
        return;
    remember(source, source->line, len);
    cds_studiolog_line(source->log, source->proc, source->line, len, cut);
}

static void take(struct cds_logsource *source, const char *data, size_t len)
{
    while (len > 0) {
        const char *newline = memchr(data, '\n', len);
        size_t part = newline ? (size_t)(newline - data) : len;
        size_t room = sizeof(source->line) - source->len;
        if (!source->skipping) {
            size_t fits = part < room ? part : room;
            memcpy(source->line + source->len, data, fits);
            source->len += fits;
            if (part > room) {
                end_line(source, true);
                source->skipping = true;
            }
        }
        if (newline) {
            if (!source->skipping)
                end_line(source, false);
            source->skipping = false;
            part++;
        }
        data += part;
        len -= part;
    }
}

/** @return false at the end of the pipe */
static bool drain(struct cds_logsource *source, int rounds)
{
    char chunk[8192];
    while (rounds-- > 0) {
        ssize_t n = read(source->fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        if (n == 0)
            return false;
        take(source, chunk, (size_t)n);
    }
    return true;
}

static void on_output(void *user, int fd, uint32_t events)
{
    struct cds_logsource *source = user;
    if (!drain(source, READ_ROUNDS))
        cds_watch_remove(&source->watch);
}

cds_rc cds_logsource_open(struct cds_studiolog *log, struct cds_loop *loop, const char *proc, struct cds_logsource **ret, int *ret_fd,
                          struct cds_err *reterr)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return cds_fail_errno(reterr, errno, __func__, "No pipe could be opened for the output of %s.", proc);
    struct cds_logsource *source = calloc(1, sizeof(*source));
    if (!source) {
        close(fds[0]);
        close(fds[1]);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is no memory for the output of %s.", proc);
    }
    source->log = log;
    source->fd = fds[0];
    cds_strcpy(source->proc, sizeof(source->proc), proc);
    cds_rc rc = cds_set_nonblock(fds[0], true);
    if (rc == CDS_OK)
        rc = cds_watch_add(loop, fds[0], EPOLLIN, on_output, source, &source->watch, reterr);
    if (rc != CDS_OK) {
        close(fds[1]);
        cds_logsource_close(&source);
        return rc;
    }
    *ret = source;
    *ret_fd = fds[1];
    return CDS_OK;
}

void cds_logsource_drain(struct cds_logsource *source)
{
    enum { LAST_ROUNDS = 64 };
    if (!source)
        return;
    drain(source, LAST_ROUNDS);
    end_line(source, false);
}

void cds_logsource_close(struct cds_logsource **source)
{
    if (!*source)
        return;
    cds_logsource_drain(*source);
    cds_watch_remove(&(*source)->watch);
    close((*source)->fd);
    free(*source);
    *source = NULL;
}

const char *cds_logsource_last(const struct cds_logsource *source)
{
    return source ? source->last : "";
}
