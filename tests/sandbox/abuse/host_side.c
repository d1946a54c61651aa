/* tests/sandbox/abuse/host_side.c: what the host does for a row: things that no job could make in its project, and services no job may reach.
 * See play.h.
 *
 * "prepare what name [from]": hardlink (to the canary), symlink (to it), dirlink (to its folder), link (to "from"), fifo, socket, device,
 * mount (the canary's folder), suid (a copy of "from" that belongs to the broker, set-user-id), private (the broker's own file), hidden (the
 * broker's own folder), sparse (a large file), full (as many small files as the quota has). */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "sandbox/fs.h"
#include "tests/sandbox/abuse/play.h"

enum { COPY_MAX = 8 << 20, LINE = 512 };

struct request {
    const struct world *w;
    int dir; /* the project */
    const char *name, *from;
    char path[400]; /* of name */
};

static int make_hardlink(const struct request *r)
{
    return linkat(AT_FDCWD, r->w->canary, r->dir, r->name, 0);
}
static int make_symlink(const struct request *r)
{
    return symlinkat(r->w->canary, r->dir, r->name);
}
static int make_dirlink(const struct request *r)
{
    char to[96];
    snprintf(to, sizeof(to), "%s/outside", r->w->base);
    return symlinkat(to, r->dir, r->name);
}
static int make_link(const struct request *r)
{
    return symlinkat(r->from, r->dir, r->name);
}
static int make_fifo(const struct request *r)
{
    return mkfifoat(r->dir, r->name, 0666);
}
static int make_socket(const struct request *r)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    cds_strcpy(address.sun_path, sizeof(address.sun_path), r->path);
    CDS_CLEANUP(cds_close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd < 0 ? -1 : bind(fd, (struct sockaddr *)&address, sizeof(address));
}
static int make_device(const struct request *r)
{
    return mknodat(r->dir, r->name, S_IFCHR | 0666, makedev(1, 3)) || fchmodat(r->dir, r->name, 0666, 0);
}
static int make_mount(const struct request *r)
{
    char from[96];
    snprintf(from, sizeof(from), "%s/outside", r->w->base);
    return mkdirat(r->dir, r->name, 0755) || mount(from, r->path, NULL, MS_BIND, NULL);
}
static int make_suid(const struct request *r)
{
    static char data[64 << 10];
    CDS_CLEANUP(cds_close_fd) int from = open(r->from, O_RDONLY | O_CLOEXEC);
    CDS_CLEANUP(cds_close_fd) int to = openat(r->dir, r->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
    if (from < 0 || to < 0)
        return -1;
    for (ssize_t n; (n = read(from, data, sizeof(data))) > 0;)
        if (write(to, data, (size_t)n) != n)
            return -1;
    return fchmod(to, 06755);
}
static int make_private(const struct request *r)
{
    CDS_CLEANUP(cds_close_fd) int fd = openat(r->dir, r->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return fd < 0 || write(fd, r->w->secret, strlen(r->w->secret)) < 0 ? -1 : 0;
}
static int make_hidden(const struct request *r)
{
    return mkdirat(r->dir, r->name, 0700);
}
static int make_sparse(const struct request *r)
{
    CDS_CLEANUP(cds_close_fd) int fd = openat(r->dir, r->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    const struct cds_job_identity *who = &r->w->host->who;
    if (fd < 0 || (who->change && fchown(fd, who->uid, who->gid)))
        return -1;
    return fallocate(fd, 0, 0, (off_t)CDS_FS_QUOTA_BYTES);
}
static int make_full(const struct request *r)
{
    const struct cds_job_identity *who = &r->w->host->who;
    char name[32];
    if (mkdirat(r->dir, r->name, 0755) || (who->change && fchownat(r->dir, r->name, who->uid, who->gid, 0)))
        return -1;
    CDS_CLEANUP(cds_close_fd) int dir = openat(r->dir, r->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < CDS_FS_QUOTA_FILES - 1; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        CDS_CLEANUP(cds_close_fd) int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0)
            return -1;
    }
    return 0;
}

static const struct {
    const char *what;
    int (*make)(const struct request *r);
} makers[] = {{"hardlink", make_hardlink}, {"symlink", make_symlink}, {"dirlink", make_dirlink}, {"link", make_link}, {"fifo", make_fifo},
              {"socket", make_socket},     {"device", make_device},   {"mount", make_mount},     {"suid", make_suid}, {"private", make_private},
              {"hidden", make_hidden},     {"sparse", make_sparse},   {"full", make_full}};

/* 0; errno where the host refuses; -1: there is no such thing. */
static int prepare(const struct world *w, char *line)
{
    char *what = strtok(line, " "), *name = strtok(NULL, " ");
    struct request r = {.w = w, .name = name, .from = strtok(NULL, "")};
    CDS_CLEANUP(cds_close_fd) int dir = openat(w->base_fd, "project", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r.dir = dir;
    if (!name || dir < 0)
        return -1;
    snprintf(r.path, sizeof(r.path), "%s/project/%.200s", w->base, name);
    for (size_t i = 0; i < CDS_ARRAY_LEN(makers); i++)
        if (cds_streq(makers[i].what, what))
            return makers[i].make(&r) ? errno : 0;
    return -1;
}

bool play_prepare(struct world *w, const struct row_case *c, const char **ret_why)
{
    static char why[LINE];
    const char *text;
    for (size_t at = 0; (text = case_next(c, "prepare", &at));) {
        char line[LINE];
        cds_strcpy(line, sizeof(line), text);
        int bad = prepare(w, line);
        if (bad == EPERM || bad == EACCES) {
            snprintf(why, sizeof(why), "this host cannot prepare \"%.200s\": %s", text, strerror(bad));
            *ret_why = why;
            world_clean_project(w);
            return false;
        }
        if (bad)
            complain(w, "%s: \"%s\" cannot be prepared: %s", c->name, text, bad < 0 ? "unknown" : strerror(bad));
    }
    return true;
}

void world_unmount(const char *path)
{
    umount2(path, MNT_DETACH);
}

/* ---- services of the host ---- */
static int tcp = -1, udp = -1, abstract = -1;
static char abstract_name[48];

static unsigned port_of(int fd)
{
    struct sockaddr_in address = {.sin_port = 0};
    socklen_t len = sizeof(address);
    return getsockname(fd, (struct sockaddr *)&address, &len) ? 0 : ntohs(address.sin_port);
}
unsigned host_door_tcp(void)
{
    return port_of(tcp);
}
unsigned host_door_udp(void)
{
    return port_of(udp);
}
const char *host_door_abstract(void)
{
    return abstract_name;
}

int host_doors_open(const struct world *w)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    snprintf(abstract_name, sizeof(abstract_name), "cds-%s", w->key);
    memcpy(local.sun_path + 1, abstract_name, strlen(abstract_name));
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(abstract_name));
    tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    abstract = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(tcp, (struct sockaddr *)&address, sizeof(address)) || listen(tcp, 8) || bind(udp, (struct sockaddr *)&address, sizeof(address)) ||
        bind(abstract, (struct sockaddr *)&local, len) || listen(abstract, 8)) {
        perror("abuse: no services");
        return -1;
    }
    return 0;
}

void host_doors_check(struct world *w)
{
    char byte;
    const int doors[] = {tcp, abstract};
    for (size_t i = 0; i < CDS_ARRAY_LEN(doors); i++) {
        CDS_CLEANUP(cds_close_fd) int fd = accept4(doors[i], NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            complain(w, "a job reached the host's %s service", i == 0 ? "TCP" : "abstract");
    }
    if (recv(udp, &byte, 1, 0) >= 0)
        complain(w, "a job reached the host's UDP service");
}
