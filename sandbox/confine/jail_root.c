/* sandbox/confine/jail_root.c: what a job sees: a small tmpfs root, the system read-only, its own proc, five devices, /tmp, the project at /work.
 *
 * The child's half makes system calls only (see jail.h); what it needs to know of the host is looked up once in cds_jail_open. */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "sandbox/confine/jail_priv.h"
#include "sandbox/path.h"

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

enum { TARGET_MAX = 256, TMP_INODES = 16384, ROOT_MODE = 0755, KVM_MAJOR = 10, KVM_MINOR = 232 };

/* Parts of the system a job sees, read-only. */
static struct {
    const char *path; /* below /, without the slash */
    enum { ABSENT, FOLDER, LINK, PLAIN } kind;
    char target[TARGET_MAX];
} parts[] = {{.path = "usr"},
             {.path = "bin"},
             {.path = "sbin"},
             {.path = "lib"},
             {.path = "lib32"},
             {.path = "lib64"},
             {.path = "libx32"},
             {.path = "etc/ld.so.cache"},
             {.path = "etc/alternatives"}};

static const char *const devices[] = {"null", "zero", "full", "random", "urandom"};

cds_rc cds_jail_open(struct cds_err *reterr)
{
    for (size_t i = 0; i < CDS_ARRAY_LEN(parts); i++) {
        char path[64];
        struct stat st;
        snprintf(path, sizeof(path), "/%s", parts[i].path);
        if (lstat(path, &st))
            continue;
        parts[i].kind = S_ISDIR(st.st_mode) ? FOLDER : S_ISREG(st.st_mode) ? PLAIN : ABSENT;
        if (S_ISLNK(st.st_mode)) {
            ssize_t n = readlink(path, parts[i].target, sizeof(parts[i].target) - 1);
            parts[i].kind = n > 0 && n < TARGET_MAX - 1 ? LINK : ABSENT;
        }
    }
    return parts[0].kind == FOLDER ? CDS_OK : cds_fail(reterr, CDS_NOT_FOUND, __func__, "There is no /usr to run programs from.");
}

/* A copy of a mount tree at a place below the current folder; attributes are set before it becomes visible. */
static int bind(int from_fd, const char *from, const char *to, uint64_t attributes)
{
    struct mount_attr attr = {.attr_set = attributes};
    unsigned empty = *from ? 0 : AT_EMPTY_PATH;
    int tree = (int)syscall(SYS_open_tree, from_fd, from, OPEN_TREE_CLONE | (unsigned)O_CLOEXEC | AT_RECURSIVE | empty);
    if (tree < 0)
        return -1;
    int bad = (int)syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr));
    if (!bad)
        bad = (int)syscall(SYS_move_mount, tree, "", AT_FDCWD, to, 4 /* MOVE_MOUNT_F_EMPTY_PATH */);
    int why = errno;
    close(tree);
    errno = why;
    return bad;
}

static int touch(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    return fd < 0 ? -1 : close(fd);
}

static int put_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return -1;
    size_t len = strlen(text);
    int bad = write(fd, text, len) == (ssize_t)len ? 0 : -1;
    close(fd);
    return bad;
}

/* Decimal digits without the C library's formatting. */
static char *put_number(char *at, uint64_t value)
{
    char digits[24];
    size_t n = 0;
    do
        digits[n++] = (char)('0' + value % 10);
    while (value /= 10);
    while (n)
        *at++ = digits[--n];
    *at = '\0';
    return at;
}

/* Appends; what is put together here has room for all that is known at compile time. */
static char *put_string(char *at, const char *text)
{
    size_t len = strlen(text);
    memcpy(at, text, len + 1);
    return at + len;
}

static int make_root(const struct cds_jail_plan *plan)
{
    static const char *const folders[] = {"proc", "dev", "tmp", "work", "etc", "opt"};
    if (mount("sandbox", plan->base, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,nr_inodes=512,mode=755") || chdir(plan->base))
        return -1;
    for (size_t i = 0; i < CDS_ARRAY_LEN(folders); i++)
        if (mkdir(folders[i], ROOT_MODE))
            return -1;
    char users[128] = "root:x:0:0:root:/:/usr/sbin/nologin\njob:x:", groups[64] = "root:x:0:\njob:x:";
    char *at = put_number(users + strlen(users), plan->who->inside_uid);
    *at = ':';
    put_string(put_number(at + 1, plan->who->inside_gid), ":job:/work:/bin/sh\n");
    put_string(put_number(groups + strlen(groups), plan->who->inside_gid), ":\n");
    return put_text("etc/passwd", users) | put_text("etc/group", groups) | put_text("etc/hosts", "127.0.0.1 localhost\n") |
           put_text("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n");
}

static int bind_system(void)
{
    const uint64_t read_only = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    for (size_t i = 0; i < CDS_ARRAY_LEN(parts); i++) {
        const char *name = parts[i].path;
        char from[64] = "/";
        put_string(from + 1, name);
        int bad = 0;
        if (parts[i].kind == LINK)
            bad = symlink(parts[i].target, name);
        else if (parts[i].kind == FOLDER)
            bad = mkdir(name, ROOT_MODE) ? -1 : bind(AT_FDCWD, from, name, read_only);
        else if (parts[i].kind == PLAIN)
            bad = touch(name) ? -1 : bind(AT_FDCWD, from, name, read_only);
        if (bad)
            return -1;
    }
    return 0;
}

/* The job's terminal, and an instance of devpts that nobody else shares, for terminals that its programs open themselves. */
static int make_terminals(const struct cds_jail_plan *plan)
{
    struct stat wanted, found;
    if (!plan->terminal)
        return 0;
    if (mkdir("dev/pts", ROOT_MODE) || mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=600,max=64") ||
        symlink("pts/ptmx", "dev/ptmx") || touch("dev/tty") || bind(AT_FDCWD, "/dev/tty", "dev/tty", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC) ||
        touch("dev/console") || bind(AT_FDCWD, plan->terminal, "dev/console", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC) || stat("dev/console", &found) ||
        fstat(plan->stdin_fd, &wanted))
        return -1;
    /* Where /dev/pts is not the instance that the terminal came from, its name would be somebody else's. */
    errno = ESTALE;
    return wanted.st_dev == found.st_dev && wanted.st_ino == found.st_ino && wanted.st_rdev == found.st_rdev ? 0 : -1;
}

/* Root makes a node of its own, which belongs to the job and is gone with it: the host's stays as closed as it is. Others show theirs. */
static int make_kvm(const struct cds_jail_plan *plan)
{
    if (!plan->kvm)
        return 0;
    if (!plan->who->change)
        return touch("dev/kvm") || bind(AT_FDCWD, "/dev/kvm", "dev/kvm", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC) ? -1 : 0;
    if (mkdir("dev/vmm", ROOT_MODE) || mount("vmm", "dev/vmm", "tmpfs", MS_NOSUID | MS_NOEXEC, "size=4k,nr_inodes=4,mode=755") ||
        mknod("dev/vmm/kvm", S_IFCHR | 0600, makedev(KVM_MAJOR, KVM_MINOR)) || lchown("dev/vmm/kvm", plan->who->uid, plan->who->gid))
        return -1;
    return symlink("vmm/kvm", "dev/kvm");
}

static int make_devices(const struct cds_jail_plan *plan)
{
    for (size_t i = 0; i < CDS_ARRAY_LEN(devices); i++) {
        char from[32] = "/dev/", to[32] = "dev/";
        put_string(from + strlen("/dev/"), devices[i]);
        put_string(to + strlen("dev/"), devices[i]);
        if (touch(to) || bind(AT_FDCWD, from, to, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC))
            return -1;
    }
    if (symlink("/proc/self/fd", "dev/fd") || symlink("/proc/self/fd/0", "dev/stdin") || symlink("/proc/self/fd/1", "dev/stdout") ||
        symlink("/proc/self/fd/2", "dev/stderr") || mkdir("dev/shm", ROOT_MODE) || make_kvm(plan))
        return -1;
    return mount("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=16m,nr_inodes=1024,mode=1777");
}

/* As with the project, see bind_project: what is bound is looked at once more when it can no longer be swapped. */
static int bind_extra(const struct cds_jail_bind *extra, const char *to)
{
    struct stat wanted, found;
    int fd = open(extra->from, O_PATH | O_CLOEXEC);
    int bad = fd < 0 || fstat(fd, &found) ? -1 : 0;
    if (!bad && extra->of && !(bad = fstat(extra->of, &wanted)) && (wanted.st_dev != found.st_dev || wanted.st_ino != found.st_ino)) {
        errno = ESTALE;
        bad = -1;
    }
    if (!bad && !(bad = S_ISDIR(found.st_mode) ? mkdir(to, ROOT_MODE) : touch(to)))
        bad = bind(fd, "", to, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    int why = errno;
    if (fd >= 0)
        close(fd);
    errno = why;
    return bad;
}

static int bind_extras(const struct cds_jail_plan *plan)
{
    for (size_t i = 0; i < plan->bind_count; i++) {
        char to[CDS_PATH_PART_MAX + 8] = "opt/";
        strncat(to, plan->binds[i].to, CDS_PATH_PART_MAX);
        if (bind_extra(&plan->binds[i], to))
            return -1;
    }
    return 0;
}

static int give(const struct cds_jail_plan *plan, int fd)
{
    return plan->who->change ? fchown(fd, plan->who->uid, plan->who->gid) : 0;
}

/* The folders on the way to a file below /tmp. The path was taken apart before: no "..", and nothing else is there yet that could be a link. */
static int make_parents(const struct cds_jail_plan *plan, const char *path)
{
    char part[CDS_PATH_MAX + 8];
    for (const char *slash = strchr(path + strlen("tmp/"), '/'); slash; slash = strchr(slash + 1, '/')) {
        memcpy(part, path, (size_t)(slash - path));
        part[slash - path] = '\0';
        if (mkdir(part, ROOT_MODE)) {
            if (errno != EEXIST)
                return -1;
        } else if (plan->who->change && lchown(part, plan->who->uid, plan->who->gid)) {
            return -1;
        }
    }
    return 0;
}

static int copy_file(const struct cds_jail_plan *plan, const struct cds_job_file *file)
{
    char path[CDS_PATH_MAX + 8] = "tmp/";
    size_t at = 0;
    strncat(path, file->path, CDS_PATH_MAX);
    int fd = make_parents(plan, path) ? -1 : open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    int bad = fd < 0 ? -1 : give(plan, fd);
    while (!bad && at < file->len) {
        ssize_t n = write(fd, file->data + at, file->len - at);
        at += n > 0 ? (size_t)n : 0;
        bad = n > 0 ? 0 : -1;
    }
    int why = errno;
    if (fd >= 0)
        close(fd);
    errno = why;
    return bad;
}

static int make_tmp(const struct cds_jail_plan *plan)
{
    char options[96] = "mode=1777,nr_inodes=";
    char *at = put_number(options + strlen(options), TMP_INODES);
    put_number(put_string(at, ",size="), plan->limits->tmp_bytes);
    if (mount("tmp", "tmp", "tmpfs", MS_NOSUID | MS_NODEV, options))
        return -1;
    for (size_t i = 0; i < plan->file_count; i++)
        if (copy_file(plan, &plan->files[i]))
            return -1;
    return 0;
}

/* A job without a project still has a working folder: its own, gone with it. */
static int make_own_folder(const struct cds_jail_plan *plan)
{
    char options[96] = "mode=755,nr_inodes=";
    char *at = put_number(options + strlen(options), TMP_INODES);
    put_number(put_string(at, ",size="), plan->limits->tmp_bytes);
    if (mount("work", "work", "tmpfs", MS_NOSUID | MS_NODEV, options))
        return -1;
    return plan->who->change ? lchown("work", plan->who->uid, plan->who->gid) : 0;
}

/* The descriptor belongs to the broker's mounts, which cannot be bound here. The path is opened in our own namespace and must be the same
 * folder; anything else that was swapped in is refused. */
static int bind_project(const struct cds_jail_plan *plan)
{
    struct stat wanted, found;
    if (plan->access == CDS_PROJECT_NONE)
        return make_own_folder(plan);
    int fd = open(plan->project_path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(plan->project_fd, &wanted) || fstat(fd, &found))
        return -1;
    int bad = 0;
    if (wanted.st_dev != found.st_dev || wanted.st_ino != found.st_ino) {
        errno = ESTALE;
        bad = -1;
    } else {
        bad = bind(fd, "", "work", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (plan->access == CDS_PROJECT_READ_ONLY ? MOUNT_ATTR_RDONLY : 0));
    }
    int why = errno;
    close(fd);
    errno = why;
    return bad;
}

static int enter_root(void)
{
    if (syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH))
        return -1;
    if (mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL))
        return -1;
    return chdir("/work");
}

int jail_root(const struct cds_jail_plan *plan, enum cds_jail_step *ret_step)
{
    umask(022);
    *ret_step = CDS_STEP_MOUNTS;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
        return -1;
    *ret_step = CDS_STEP_ROOT;
    if (make_root(plan))
        return -1;
    *ret_step = CDS_STEP_SYSTEM;
    if (bind_system() || bind_extras(plan))
        return -1;
    *ret_step = CDS_STEP_PROC;
    if (mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, plan->vmm_folders ? "hidepid=invisible" : "hidepid=invisible,subset=pid"))
        return -1;
    *ret_step = CDS_STEP_DEVICES;
    if (make_devices(plan) || make_terminals(plan))
        return -1;
    *ret_step = CDS_STEP_TMP;
    if (make_tmp(plan))
        return -1;
    *ret_step = CDS_STEP_PROJECT;
    if (bind_project(plan))
        return -1;
    *ret_step = CDS_STEP_PIVOT;
    return enter_root();
}

/* ---- landlock ---- */
enum {
    LL_EXECUTE = 1,
    LL_READ_FILE = 4,
    LL_READ = LL_READ_FILE | 8, /* files and folders */
    LL_WRITE_FILE = 2,
    LL_ALL = 0x1fff,      /* what ABI 1 knows */
    LL_REFER = 0x2000,    /* ABI 2: renames between folders, which would always be refused otherwise */
    LL_TRUNCATE = 0x4000, /* ABI 3 */
    LL_SCOPES = 3         /* abstract sockets and signals, ABI 6 */
};

static int allow_fd(int rules, int fd, uint64_t access)
{
    struct {
        uint64_t access;
        int fd;
    } __attribute__((packed)) rule = {access, fd};
    return (int)syscall(445, rules, 1 /* LANDLOCK_RULE_PATH_BENEATH */, &rule, 0);
}

static int allow(int rules, const char *path, uint64_t access)
{
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int bad = allow_fd(rules, fd, access);
    close(fd);
    return bad;
}

/* A file that was handed over may be opened again by /proc/self/fd, to read. Sockets and pipes have no rules. */
static void allow_passed(int rules, const struct cds_jail_plan *plan)
{
    struct stat st;
    for (size_t i = 0; i < plan->pass_count; i++)
        if (fstat(CDS_JAIL_PASS_FIRST + (int)i, &st) == 0 && S_ISREG(st.st_mode))
            allow_fd(rules, CDS_JAIL_PASS_FIRST + (int)i, LL_READ_FILE);
}

int jail_landlock(const struct cds_jail_plan *plan)
{
    struct {
        uint64_t fs, net, scoped;
    } wanted = {LL_ALL, 0, LL_SCOPES};
    long abi = syscall(444, NULL, 0, 1 /* LANDLOCK_CREATE_RULESET_VERSION */);
    if (abi < 1)
        return 0; /* the mount namespace holds without it */
    wanted.fs |= (abi >= 2 ? LL_REFER : 0) | (abi >= 3 ? LL_TRUNCATE : 0);
    if (abi < 6)
        wanted.scoped = 0;
    int rules = (int)syscall(444, &wanted, abi >= 6 ? sizeof(wanted) : 8, 0);
    if (rules < 0)
        return -1;
    int bad = allow(rules, "/", LL_EXECUTE | LL_READ) || allow(rules, "/work", wanted.fs) || allow(rules, "/tmp", wanted.fs) ||
              allow(rules, "/dev", LL_READ | LL_WRITE_FILE) || allow(rules, "/dev/shm", wanted.fs);
    allow_passed(rules, plan);
    bad = bad || syscall(446, rules, 0);
    close(rules);
    return bad ? -1 : 0;
}
