/* sandbox/confine/doors.c: see doors.h. */
#include "sandbox/confine/doors.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

enum { MOST = 1 + CDS_DOORS_PREVIEW };

/* The bytes beside the descriptors. */
struct note {
    int sys_errno; /* 0: all was made */
    bool egress;   /* the first descriptor is that one */
};

union control {
    char bytes[CMSG_SPACE(MOST * sizeof(int))];
    struct cmsghdr align;
};

/* ---- child ---- */
/* Loopback connections that nobody reads fill the kernel's memory, which without control groups is nobody's. The usual ceilings are megabytes for
 * each; where /proc/sys is closed, they stay. */
static void small_buffers(void)
{
    static const char *const files[] = {"/proc/sys/net/ipv4/tcp_rmem", "/proc/sys/net/ipv4/tcp_wmem"};
    static const char sizes[] = "4096 65536 262144\n";
    for (size_t i = 0; i < CDS_ARRAY_LEN(files); i++) {
        int fd = open(files[i], O_WRONLY | O_CLOEXEC);
        if (fd < 0)
            return;
        ssize_t n = write(fd, sizes, sizeof(sizes) - 1);
        close(fd);
        if (n < 0)
            return;
    }
}

static int bring_loopback_up(int any_socket)
{
    struct ifreq lo = {.ifr_name = "lo"};
    if (ioctl(any_socket, SIOCGIFFLAGS, &lo))
        return -1;
    lo.ifr_flags = (short)(lo.ifr_flags | IFF_UP);
    return ioctl(any_socket, SIOCSIFFLAGS, &lo);
}

static int listen_for_egress(int fd)
{
    const struct sockaddr_in door = {.sin_family = AF_INET, .sin_port = htons(CDS_DOORS_EGRESS_PORT), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int yes = 1; /* it may stop and listen again while old connections of the port are still ending */
    return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) || bind(fd, (const struct sockaddr *)&door, sizeof(door)) ||
                   listen(fd, CDS_DOORS_BACKLOG)
               ? -1
               : 0;
}

static void send_all(int to, const struct note *note, const int *fds, size_t count)
{
    union control control;
    struct iovec bytes = {(void *)note, sizeof(*note)};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};
    if (count) {
        memset(&control, 0, sizeof(control));
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(head), fds, count * sizeof(int));
    }
    sendmsg(to, &message, MSG_NOSIGNAL); /* when it fails the broker sees the end of the channel */
}

void cds_doors_make(const struct cds_doors_plan *plan)
{
    int fds[MOST];
    size_t count = 0, wanted = (plan->egress ? 1 : 0) + CDS_DOORS_PREVIEW;
    struct note note = {.egress = plan->egress};
    small_buffers(); /* before the sockets, which take their sizes from it */
    while (count < wanted && (fds[count] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) >= 0)
        count++;
    if (count < wanted || bring_loopback_up(fds[0]) || (plan->egress && listen_for_egress(fds[0])))
        note.sys_errno = errno;
    send_all(plan->fd, &note, fds, note.sys_errno ? 0 : count);
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
    close(plan->fd);
}

/* ---- broker ---- */
void cds_doors_init(struct cds_jail_doors *doors)
{
    *doors = (struct cds_jail_doors){.egress = -1};
    for (size_t i = 0; i < CDS_DOORS_PREVIEW; i++)
        doors->preview[i] = -1;
}

void cds_doors_close(struct cds_jail_doors *doors)
{
    cds_close_fd(&doors->egress);
    for (size_t i = 0; i < doors->preview_count; i++)
        cds_close_fd(&doors->preview[i]);
    cds_doors_init(doors);
}

cds_rc cds_doors_pair(int *ret_ours, int *ret_theirs, struct cds_err *reterr)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
        return cds_fail_errno(reterr, errno, __func__, "No channel for the network of a run.");
    *ret_ours = pair[0];
    *ret_theirs = pair[1];
    return CDS_OK;
}

cds_rc cds_doors_take(int ours, struct cds_jail_doors *ret, struct cds_err *reterr)
{
    struct note note = {0};
    union control control;
    struct iovec bytes = {&note, sizeof(note)};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    int fds[MOST];
    size_t count = 0;
    ssize_t n = recvmsg(ours, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return cds_fail(reterr, CDS_BUSY, __func__, "The network of this run is not ready yet.");
    const struct cmsghdr *head = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS) {
        count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds, CMSG_DATA(head), count * sizeof(int));
    }
    const size_t wanted = (note.egress ? 1 : 0) + CDS_DOORS_PREVIEW;
    if (n != (ssize_t)sizeof(note) || note.sys_errno || count != wanted) {
        for (size_t i = 0; i < count; i++)
            close(fds[i]);
        if (n == (ssize_t)sizeof(note) && note.sys_errno)
            return cds_fail_errno(reterr, note.sys_errno, __func__, "The loopback network of a run was refused.");
        return cds_fail(reterr, CDS_SYSTEM, __func__, "The sockets of a run did not arrive: no descriptors are left, or it ended before.");
    }
    size_t at = 0;
    cds_doors_init(ret);
    if (note.egress)
        ret->egress = fds[at++];
    while (at < count)
        ret->preview[ret->preview_count++] = fds[at++];
    return CDS_OK;
}
