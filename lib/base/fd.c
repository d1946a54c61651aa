/* lib/base/fd.c: see fd.h. */
#include "lib/base/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"

cds_rc cds_write_all(int fd, const void *data, size_t len, uint64_t deadline_ms, struct cds_err *reterr)
{
    const char *p = data;
    while (len) {
        ssize_t n = write(fd, p, len);
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            struct pollfd pfd = {.fd = fd, .events = POLLOUT};
            if (poll(&pfd, 1, cds_ms_left(deadline_ms)) == 0 && cds_ms_left(deadline_ms) == 0)
                return cds_fail(reterr, CDS_TIMED_OUT, __func__, "The other side did not read in time.");
        } else if (n < 0 && errno != EINTR) {
            return cds_fail_errno(reterr, errno, __func__, "Could not write.");
        }
    }
    return CDS_OK;
}

cds_rc cds_set_nonblock(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) < 0)
        return CDS_SYSTEM;
    return CDS_OK;
}

cds_rc cds_read_file(const char *path, struct cds_buf *buf, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 && errno == ENOENT)
        return cds_fail(reterr, CDS_NOT_FOUND, __func__, "There is no file %s.", path);
    if (fd < 0)
        return cds_fail_errno(reterr, errno, __func__, "Cannot open %s.", path);
    for (;;) {
        char chunk[16384];
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n == 0)
            break;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cds_fail_errno(reterr, errno, __func__, "Cannot read %s.", path);
        cds_rc rc = cds_buf_add(buf, chunk, (size_t)n);
        if (rc == CDS_EXHAUSTED)
            return cds_fail(reterr, rc, __func__, "Out of memory.");
        if (rc)
            return cds_fail(reterr, CDS_TOO_LARGE, __func__, "%s is larger than %zu bytes.", path, buf->ceiling);
    }
    return cds_buf_add(buf, "", 0) ? cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.") : CDS_OK;
}

cds_rc cds_write_file_atomic(const char *path, const void *data, size_t len, mode_t mode, struct cds_err *reterr)
{
    char temp[4096], folder[4096];
    unsigned char salt[6];
    cds_random(salt, sizeof(salt));
    int n = snprintf(temp, sizeof(temp), "%s.%02x%02x%02x%02x%02x%02x.tmp", path, salt[0], salt[1], salt[2], salt[3], salt[4], salt[5]);
    if (n < 0 || (size_t)n >= sizeof(temp))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The path %.64s... is too long.", path);
    snprintf(folder, sizeof(folder), "%s", path);
    CDS_CLEANUP(cds_close_fd) int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return cds_fail_errno(reterr, errno, __func__, "Cannot create %s.", temp);
    cds_rc rc = cds_write_all(fd, data, len, UINT64_MAX, reterr);
    if (!rc && (fchmod(fd, mode) || fsync(fd) || rename(temp, path)))
        rc = cds_fail_errno(reterr, errno, __func__, "Cannot write %s.", path);
    if (rc) {
        unlink(temp);
        return rc;
    }
    CDS_CLEANUP(cds_close_fd) int dir = open(dirname(folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0)
        fsync(dir);
    return CDS_OK;
}

cds_rc cds_mkdir_p(const char *path, mode_t mode, struct cds_err *reterr)
{
    char part[4096];
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof(part))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The path of a folder must have 1 to %zu bytes.", sizeof(part) - 1);
    for (size_t i = 1; i <= len; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, mode) && errno != EEXIST)
            return cds_fail_errno(reterr, errno, __func__, "Cannot create the folder %s.", part);
    }
    struct stat st;
    if (stat(path, &st) || !S_ISDIR(st.st_mode))
        return cds_fail(reterr, CDS_CONFLICT, __func__, "%s exists and is not a folder.", path);
    return CDS_OK;
}

static cds_rc unix_address(const char *path, struct sockaddr_un *ret, struct cds_err *reterr)
{
    memset(ret, 0, sizeof(*ret));
    ret->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof(ret->sun_path)) {
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "The socket path %s is longer than %zu bytes.", path, sizeof(ret->sun_path) - 1);
        return cds_err_hint(reterr, "Choose a shorter data folder with CDS_HOME."), CDS_BAD_PARAM;
    }
    snprintf(ret->sun_path, sizeof(ret->sun_path), "%s", path);
    return CDS_OK;
}

cds_rc cds_unix_listen(const char *path, mode_t mode, int *ret_fd, struct cds_err *reterr)
{
    struct sockaddr_un address;
    struct stat st;
    cds_rc rc = unix_address(path, &address, reterr);
    if (rc)
        return rc;
    if (lstat(path, &st) == 0) {
        if (!S_ISSOCK(st.st_mode))
            return cds_fail(reterr, CDS_CONFLICT, __func__, "%s exists and is not a socket; remove it.", path);
        unlink(path);
    }
    CDS_CLEANUP(cds_close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return cds_fail_errno(reterr, errno, __func__, "Cannot make a unix socket.");
    mode_t before = umask(0777 & ~mode);
    int bound = bind(fd, (struct sockaddr *)&address, sizeof(address));
    int why = errno;
    umask(before);
    if (bound || listen(fd, 128))
        return cds_fail_errno(reterr, bound ? why : errno, __func__, "Cannot listen on %s.", path);
    *ret_fd = cds_steal_fd(&fd);
    return CDS_OK;
}

cds_rc cds_unix_connect(const char *path, int *ret_fd, struct cds_err *reterr)
{
    struct sockaddr_un address;
    cds_rc rc = unix_address(path, &address, reterr);
    if (rc)
        return rc;
    CDS_CLEANUP(cds_close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return cds_fail_errno(reterr, errno, __func__, "Cannot make a unix socket.");
    if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
        int why = errno;
        rc = cds_fail(reterr, CDS_UNAVAILABLE, __func__, "Nothing answers on %s.", path);
        if (reterr)
            reterr->sys_errno = why;
        return rc;
    }
    *ret_fd = cds_steal_fd(&fd);
    return CDS_OK;
}

static cds_rc tcp_socket(const char *address, uint16_t port, struct sockaddr_storage *ret, socklen_t *ret_len, int *ret_fd, struct cds_err *reterr)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;
    memset(ret, 0, sizeof(*ret));
    if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        *ret_len = sizeof(*v4);
    } else if (inet_pton(AF_INET6, address, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        *ret_len = sizeof(*v6);
    } else {
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "%s is not an IPv4 or IPv6 address.", address);
    }
    int fd = socket(ret->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return cds_fail_errno(reterr, errno, __func__, "Cannot make a TCP socket.");
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    *ret_fd = fd;
    return CDS_OK;
}

cds_rc cds_tcp_listen(const char *address, uint16_t port, int *ret_fd, struct cds_err *reterr)
{
    struct sockaddr_storage place;
    socklen_t len = 0;
    CDS_CLEANUP(cds_close_fd) int fd = -1;
    cds_rc rc = tcp_socket(address, port, &place, &len, &fd, reterr);
    if (rc)
        return rc;
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&place, len) || listen(fd, 1024)) {
        if (errno == EADDRINUSE)
            return cds_fail(reterr, CDS_CONFLICT, __func__, "Port %u on %s is taken by another program.", port, address);
        return cds_fail_errno(reterr, errno, __func__, "Cannot listen on %s port %u.", address, port);
    }
    *ret_fd = cds_steal_fd(&fd);
    return CDS_OK;
}

cds_rc cds_tcp_connect(const char *address, uint16_t port, int *ret_fd, struct cds_err *reterr)
{
    struct sockaddr_storage place;
    socklen_t len = 0;
    CDS_CLEANUP(cds_close_fd) int fd = -1;
    cds_rc rc = tcp_socket(address, port, &place, &len, &fd, reterr);
    if (rc)
        return rc;
    if (connect(fd, (struct sockaddr *)&place, len) && errno != EINPROGRESS)
        return cds_fail(reterr, CDS_UNAVAILABLE, __func__, "Nothing answers on %s port %u.", address, port);
    *ret_fd = cds_steal_fd(&fd);
    return CDS_OK;
}
