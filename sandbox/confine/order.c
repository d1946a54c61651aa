/* sandbox/confine/order.c: see order.h. The reading half runs in the jail after every step of confinement, with system calls only. */
#include "sandbox/confine/order.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "sandbox/confine/jail_priv.h"

enum { PATH_BYTES = 4200 };

/* ---- broker ---- */
static void add_u32(struct cds_buf *buf, size_t value)
{
    uint32_t n = (uint32_t)value;
    cds_rc rc = cds_buf_add(buf, &n, sizeof(n)); /* the caller looks at buf->failed */
    (void)rc;
}

static void add_bytes(struct cds_buf *buf, const void *data, size_t len)
{
    add_u32(buf, len);
    cds_rc rc = len ? cds_buf_add(buf, data, len) : CDS_OK;
    (void)rc;
}

static bool add_texts(struct cds_buf *buf, const char *const *texts)
{
    size_t n = 0;
    while (texts[n])
        n++;
    add_u32(buf, n);
    for (size_t i = 0; i < n; i++)
        add_bytes(buf, texts[i], strlen(texts[i]) + 1);
    return n < CDS_ORDER_TEXTS;
}

cds_rc cds_order_write(struct cds_buf *buf, const char *const *argv, const char *const *env, const struct cds_job_file *files, size_t file_count,
                       struct cds_err *reterr)
{
    if (!add_texts(buf, argv) || !add_texts(buf, env))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "A program gets at most %d arguments and as many variables.", CDS_ORDER_TEXTS - 1);
    add_u32(buf, file_count);
    for (size_t i = 0; i < file_count; i++) {
        add_bytes(buf, files[i].path, strlen(files[i].path) + 1);
        add_bytes(buf, files[i].data, files[i].len);
    }
    return buf->failed ? cds_fail(reterr, CDS_TOO_LARGE, __func__, "Arguments, variables and files of a run together are too large.") : CDS_OK;
}

/* ---- payload ---- */
struct reader {
    const char *at, *end;
};

static int take_u32(struct reader *r, uint32_t *ret)
{
    if ((size_t)(r->end - r->at) < sizeof(*ret))
        return -1;
    memcpy(ret, r->at, sizeof(*ret));
    r->at += sizeof(*ret);
    return 0;
}

static int take_bytes(struct reader *r, const char **ret, uint32_t *ret_len)
{
    if (take_u32(r, ret_len) || (size_t)(r->end - r->at) < *ret_len)
        return -1;
    *ret = r->at;
    r->at += *ret_len;
    return 0;
}

static int take_text(struct reader *r, const char **ret)
{
    uint32_t len;
    return take_bytes(r, ret, &len) || len == 0 || (*ret)[len - 1] != '\0' ? -1 : 0;
}

static int take_texts(struct reader *r, const char *texts[static CDS_ORDER_TEXTS])
{
    uint32_t count;
    if (take_u32(r, &count) || count >= CDS_ORDER_TEXTS)
        return -1;
    for (uint32_t i = 0; i < count; i++)
        if (take_text(r, &texts[i]))
            return -1;
    texts[count] = NULL;
    return 0;
}

static int make_parents(char *path)
{
    for (char *slash = strchr(path + strlen("/tmp/"), '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int bad = mkdir(path, 0755) && errno != EEXIST;
        *slash = '/';
        if (bad)
            return -1;
    }
    return 0;
}

static int put_file(const char *name, const char *data, size_t len)
{
    char path[PATH_BYTES] = "/tmp/";
    size_t name_len = strlen(name), at = strlen(path);
    if (name_len >= sizeof(path) - at)
        return -1;
    memcpy(path + at, name, name_len + 1);
    int fd = make_parents(path) ? -1 : open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    int bad = fd < 0;
    for (size_t done = 0; !bad && done < len;) {
        ssize_t n = write(fd, data + done, len - done);
        done += n > 0 ? (size_t)n : 0;
        bad = n <= 0;
    }
    if (fd >= 0)
        close(fd);
    return bad ? -1 : 0;
}

static int put_files(struct reader *r)
{
    uint32_t count, len;
    if (take_u32(r, &count))
        return -1;
    for (uint32_t i = 0; i < count; i++) {
        const char *name, *data;
        if (take_text(r, &name) || take_bytes(r, &data, &len) || put_file(name, data, len))
            return -1;
    }
    return 0;
}

int jail_order_wait(int order_fd, int start_fd, const char *const **ret_argv, const char *const **ret_env)
{
    static const char *argv[CDS_ORDER_TEXTS], *env[CDS_ORDER_TEXTS]; /* this process only */
    struct stat st;
    char mark;
    if (read(start_fd, &mark, 1) != 1)
        _exit(123); /* the broker has changed its mind, or is gone */
    if (fstat(order_fd, &st) || st.st_size <= 0)
        return -1;
    const char *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, order_fd, 0);
    if (map == MAP_FAILED)
        return -1;
    close(order_fd);
    close(start_fd);
    struct reader r = {map, map + st.st_size};
    errno = EBADMSG;
    if (take_texts(&r, argv) || !argv[0] || take_texts(&r, env) || put_files(&r))
        return -1;
    *ret_argv = argv;
    *ret_env = env;
    return 0;
}
