/* sandbox/guest/port.c: see agent.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/guest/agent.h"

enum { OPEN_TRIES = 2000, TRY_US = 2000, GONE_MS = 50 };

static int port = -1;
static bool called; /* the other side can hang up, once and for all */

int port_fd(void)
{
    return port;
}

static int open_named(const char *device)
{
    char path[300], name[16] = "";
    snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", device);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, name, sizeof(name) - 1);
    if (fd >= 0)
        close(fd);
    if (n < 5 || strncmp(name, "agent", 5) != 0)
        return -1;
    snprintf(path, sizeof(path), "/dev/%s", device);
    return open(path, O_RDWR | O_CLOEXEC);
}

bool port_open(void)
{
    for (int i = 0; i < OPEN_TRIES && port < 0; i++) {
        DIR *dir = opendir("/sys/class/virtio-ports");
        for (struct dirent *e; dir && port < 0 && (e = readdir(dir));)
            if (e->d_name[0] != '.')
                port = open_named(e->d_name);
        if (dir)
            closedir(dir);
        if (port < 0)
            usleep(TRY_US);
    }
    return port >= 0;
}

bool port_call(unsigned number)
{
    const struct sockaddr_vm host = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = number};
    for (int i = 0; i < OPEN_TRIES && !called; i++) {
        port = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
        called = port >= 0 && connect(port, (const struct sockaddr *)&host, sizeof(host)) == 0;
        if (!called) {
            close(port);
            usleep(TRY_US);
        }
    }
    return called;
}

static void write_all(const char *data, size_t len)
{
    while (len) {
        ssize_t n = write(port, data, len);
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        } else if (n < 0 && called && errno != EINTR && errno != EAGAIN) {
            _exit(1);
        } else if (n < 0 && errno != EINTR) {
            struct pollfd p = {.fd = port, .events = POLLOUT};
            poll(&p, 1, GONE_MS);
        }
    }
}

void port_send(enum micro_type type, uint32_t id, const void *data, size_t len)
{
    static char frame[MICRO_HEADER + MICRO_PAYLOAD_MAX];
    const struct micro_header h = {.len = (uint32_t)len, .type = (uint8_t)type, .id = id};
    memcpy(frame, &h, sizeof(h));
    if (len)
        memcpy(frame + sizeof(h), data, len);
    write_all(frame, sizeof(h) + len);
}

void port_say(enum micro_type type, uint32_t id, const char *format, ...)
{
    char text[MICRO_REASON_MAX];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args); /* NOLINT(clang-analyzer-valist.Uninitialized): it is, one line above */
    va_end(args);
    port_send(type, id, text, n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

/* Without a host on the other side a read gives 0: a template between save and restore. It waits then. */
static void read_all(char *data, size_t len)
{
    while (len) {
        ssize_t n = read(port, data, len);
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        } else if (called && (n == 0 || (errno != EINTR && errno != EAGAIN))) {
            _exit(1);
        } else if (n == 0 || errno != EINTR) {
            struct pollfd p = {.fd = port, .events = POLLIN};
            if (poll(&p, 1, GONE_MS) > 0 && !(p.revents & POLLIN))
                usleep(TRY_US);
        }
    }
}

bool port_receive(struct micro_header *ret, char **payload)
{
    static char buffer[MICRO_EXEC_MAX + 1];
    read_all((char *)ret, sizeof(*ret));
    for (size_t left = ret->len; ret->len > MICRO_EXEC_MAX && left;) {
        size_t n = left < MICRO_EXEC_MAX ? left : MICRO_EXEC_MAX;
        read_all(buffer, n);
        left -= n;
    }
    if (ret->len > MICRO_EXEC_MAX)
        return false;
    read_all(buffer, ret->len);
    buffer[ret->len] = '\0';
    *payload = buffer;
    return true;
}
