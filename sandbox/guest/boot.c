/* sandbox/guest/boot.c: see agent.h. What the initramfs holds: /init (this program) and /m/<module>.ko. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/guest/agent.h"

enum { DISK_TRIES = 1000, TRY_US = 2000 };

bool put_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return good;
}

uint64_t get_number(const char *path, const char *key)
{
    char text[1024];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    const char *at = text;
    if (key) {
        size_t len = strlen(key);
        while (at && (strncmp(at, key, len) != 0 || at[len] != ' '))
            at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL;
        at = at ? at + len + 1 : NULL;
    }
    return at ? strtoull(at, NULL, 10) : 0;
}

static bool load(const char *name)
{
    char path[64];
    snprintf(path, sizeof(path), "/m/%s.ko", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool good = fd >= 0 && (syscall(SYS_finit_module, fd, "", 0) == 0 || errno == EEXIST);
    if (fd >= 0)
        close(fd);
    return good;
}

static bool mount_at(const char *what, const char *where, const char *type, unsigned long flags, const char *options)
{
    if (mkdir(where, 0755) && errno != EEXIST)
        return false;
    return mount(what, where, type, flags, options) == 0;
}

bool boot_modules(const char **ret_step)
{
    /* In the order in which they need each other. */
    static const char *const modules[] = {"virtio_ring", "virtio", "virtio_mmio", "virtio_blk", "virtio_console", "libcrc32c", "erofs"};
    *ret_step = "mount /proc, /sys and /dev";
    if (!mount_at("proc", "/proc", "proc", 0, NULL) || !mount_at("sys", "/sys", "sysfs", 0, NULL))
        return false;
    if (!mount_at("dev", "/dev", "devtmpfs", 0, NULL) && errno != EBUSY)
        return false;
    *ret_step = "load the kernel's virtio and erofs modules";
    for (size_t i = 0; i < sizeof(modules) / sizeof(*modules); i++)
        if (!load(modules[i]))
            return false;
    return true;
}

bool boot_image(const char **ret_step)
{
    *ret_step = "mount the root image (erofs on /dev/vda)";
    mkdir(AGENT_IMAGE, 0755);
    for (int i = 0; i < DISK_TRIES; i++) {
        if (mount("/dev/vda", AGENT_IMAGE, "erofs", MS_RDONLY, NULL) == 0)
            return true;
        if (errno != ENOENT && errno != ENXIO)
            return false;
        usleep(TRY_US);
    }
    return false;
}

bool boot_hosted(const char **ret_step)
{
    *ret_step = "make mounts of its own";
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

/* Another pid 1 may have made it. */
static bool made(int bad)
{
    return bad == 0 || errno == EEXIST;
}

/* The image is read-only; what may be written is memory, and its size is part of the limits of a job. */
static bool mount_memory(void)
{
    const unsigned long plain = MS_NOSUID | MS_NODEV;
    char tmp[96], work[96];
    snprintf(tmp, sizeof(tmp), "size=%dm,nr_inodes=16384,mode=1777", MICRO_TMP_MIB);
    snprintf(work, sizeof(work), "size=%dm,nr_inodes=16384,mode=755,uid=%d,gid=%d", MICRO_TMP_MIB, AGENT_JOB_UID, AGENT_JOB_UID);
    return mount("tmp", "/tmp", "tmpfs", plain, tmp) == 0 && mount("work", "/work", "tmpfs", plain, work) == 0 &&
           mount("run", "/run", "tmpfs", plain, "size=1m,mode=755") == 0 && made(mkdir("/dev/pts", 0755)) &&
           mount("pts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=620,ptmxmode=666") == 0 && made(mkdir("/dev/shm", 0755)) &&
           mount("shm", "/dev/shm", "tmpfs", plain | MS_NOEXEC, "size=16m,nr_inodes=1024,mode=1777") == 0;
}

static bool make_groups(void)
{
    static const char *const groups[] = {"/run/cgroup/job", "/run/cgroup/python", "/run/cgroup/node"};
    if (!mount_at("cgroup", "/run/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) || chmod("/run/cgroup", 0700) ||
        !put_text("/run/cgroup/cgroup.subtree_control", "+memory +pids"))
        return false;
    for (size_t i = 0; i < sizeof(groups) / sizeof(*groups); i++)
        if (mkdir(groups[i], 0700))
            return false;
    return true;
}

bool boot_root(const char *image, const char **ret_step)
{
    static const char *const moved[] = {"proc", "sys", "dev"};
    *ret_step = "enter the root image, which needs the folders proc, sys, dev, tmp, work and run";
    for (size_t i = 0; i < sizeof(moved) / sizeof(*moved); i++) {
        char from[16], to[64];
        snprintf(from, sizeof(from), "/%s", moved[i]);
        snprintf(to, sizeof(to), "%.40s/%s", image, moved[i]);
        if (mount(from, to, NULL, MS_MOVE, NULL))
            return false;
    }
    if (chdir(image) || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
        return false;
    *ret_step = "mount /tmp, /work, /run and /dev/shm";
    if (!mount_memory())
        return false;
    *ret_step = "make the control groups of the job";
    if (!make_groups())
        return false;
    *ret_step = "make the links of /dev";
    if (!made(symlink("/proc/self/fd", "/dev/fd")) || !made(symlink("/proc/self/fd/0", "/dev/stdin")) ||
        !made(symlink("/proc/self/fd/1", "/dev/stdout")) || !made(symlink("/proc/self/fd/2", "/dev/stderr")))
        return false;
    *ret_step = "name the machine";
    return sethostname("sandbox", 7) == 0;
}
