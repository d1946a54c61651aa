/* sandbox/confine/cgroup_dir.c: see cgroup_dir.h. */
#include "sandbox/confine/cgroup_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"

enum { SWEEP_TRIES = 100, SWEEP_PAUSE_MS = 5, SWEEP_PIDS = 1024, MOVE_PIDS = 4096, MOVE_TRIES = 3 };

/** True when the comma-separated list holds word. */
static bool list_has(const char *list, const char *word)
{
    size_t len = strlen(word);
    for (const char *p = list; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (!strncmp(p, word, len) && (p[len] == ',' || p[len] == '\0' || p[len] == '\n'))
            return true;
    return false;
}

/** The field that begins at text, up to the next blank; "\040" and the like undone. @return what follows it; NULL: none, or too long to be ours */
static const char *take_field(const char *text, char *out, size_t size)
{
    size_t n = 0;
    for (; *text && *text != ' ' && *text != '\n'; n++) {
        if (n + 1 >= size)
            return NULL;
        bool octal = text[0] == '\\' && strspn(text + 1, "01234567") >= 3;
        out[n] = octal ? (char)(((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0')) & 0xff) : *text;
        text += octal ? 4 : 1;
    }
    out[n] = '\0';
    return n == 0 ? NULL : *text == ' ' ? text + 1 : text;
}

/** Mount point and root of the hierarchy in mountinfo; controller NULL: v2. @return false when it is not mounted */
static bool find_mount(const char *mountinfo, const char *controller, char *root, char *point, size_t size)
{
    CDS_CLEANUP(cds_close_file) FILE *f = fopen(mountinfo, "re");
    CDS_CLEANUP(cds_free_ptr) char *line = NULL;
    size_t cap = 0;
    while (f && getline(&line, &cap, f) > 0) {
        char skipped[64], type[64], super[512];
        const char *dash = strstr(line, " - "), *at = line;
        for (int i = 0; at && i < 3; i++) /* id, parent, device */
            at = take_field(at, skipped, sizeof(skipped));
        if (!dash || !at || !(at = take_field(at, root, size)) || !take_field(at, point, size) || *root != '/' || *point != '/')
            continue;
        if (!(at = take_field(dash + 3, type, sizeof(type))) || !(at = strchr(at, ' ')) || !take_field(at + 1, super, sizeof(super)))
            continue;
        if (controller ? cds_streq(type, "cgroup") && list_has(super, controller) : cds_streq(type, "cgroup2"))
            return true;
    }
    return false;
}

/** Own path in the hierarchy: "/a/b"; "" when the file does not name it. @return false: it is too long */
static bool own_path(const char *cgroup, const char *controller, char *path, size_t size)
{
    CDS_CLEANUP(cds_close_file) FILE *f = fopen(cgroup, "re");
    CDS_CLEANUP(cds_free_ptr) char *line = NULL;
    size_t cap = 0;
    path[0] = '\0';
    while (f && getline(&line, &cap, f) > 0) {
        char *names = strchr(line, ':'), *place = names ? strchr(names + 1, ':') : NULL;
        if (!place)
            continue;
        *place++ = '\0';
        place[strcspn(place, "\n")] = '\0';
        if (controller ? !list_has(names + 1, controller) : names[1] != '\0')
            continue;
        if (strlen(place) >= size)
            return false;
        cds_strcpy(path, size, place);
    }
    return true;
}

/** What of path is below root: "/b" of "/a/b" below "/a". NULL: it lies elsewhere, e.g. "/../b" where a namespace shows a part only. */
static const char *below(const char *root, const char *path)
{
    size_t skip = cds_streq(root, "/") ? 0 : strlen(root);
    if (strncmp(path, root, skip) != 0 || path[skip] != '/' || cds_streq(path + skip, "/"))
        return NULL;
    for (const char *up = path; (up = strstr(up, "/..")); up += 3)
        if (up[3] == '/' || up[3] == '\0')
            return NULL;
    return path + skip;
}

static void find_place(const char *mountinfo, const char *cgroup, const char *controller, char *place, char *top)
{
    char root[PATH_MAX / 4], point[PATH_MAX / 4], own[PATH_MAX / 4], full[PATH_MAX];
    struct stat st;
    place[0] = '\0';
    if (top)
        top[0] = '\0';
    if (!find_mount(mountinfo, controller, root, point, sizeof(point)) || !own_path(cgroup, controller, own, sizeof(own)))
        return;
    /* In a container the mount shows a part of the tree only: the root of the mount comes off the own path. */
    const char *part = below(root, own);
    snprintf(full, sizeof(full), "%s%s", point, part ? part : "");
    /* We may stand in the leaf that an earlier start made for us. */
    char *last = strrchr(full, '/');
    if (part && cds_streq(last + 1, CDS_CGROUP_LEAF))
        *last = '\0';
    cds_strcpy(place, PATH_MAX, stat(full, &st) == 0 ? full : point);
    if (top)
        cds_strcpy(top, PATH_MAX, point);
}

void cds_cgroup_places_find(const char *mountinfo, const char *cgroup, struct cds_cgroup_places *ret)
{
    find_place(mountinfo, cgroup, NULL, ret->v2, ret->v2_top);
    find_place(mountinfo, cgroup, "memory", ret->memory, NULL);
    find_place(mountinfo, cgroup, "pids", ret->pids, NULL);
    find_place(mountinfo, cgroup, "cpuacct", ret->cpuacct, NULL);
}

int cds_cgroup_write(int dir_fd, const char *file, const char *text)
{
    CDS_CLEANUP(cds_close_fd) int fd = openat(dir_fd, file, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    return write(fd, text, strlen(text)) < 0 ? errno : 0;
}

static ssize_t read_small(int dir_fd, const char *file, char *buf, size_t size)
{
    CDS_CLEANUP(cds_close_fd) int fd = openat(dir_fd, file, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);
    buf[n > 0 ? n : 0] = '\0';
    return n;
}

uint64_t cds_cgroup_read(int dir_fd, const char *file, const char *key, uint64_t otherwise)
{
    char text[2048];
    if (read_small(dir_fd, file, text, sizeof(text)) <= 0)
        return otherwise;
    const char *at = text;
    size_t len = key ? strlen(key) : 0;
    while (key && at && (strncmp(at, key, len) != 0 || at[len] != ' '))
        at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL;
    if (!at)
        return otherwise;
    char *end;
    errno = 0;
    uint64_t value = strtoull(at + (key ? len + 1 : 0), &end, 10);
    return errno || end == at ? otherwise : value;
}

bool cds_cgroup_has_word(int dir_fd, const char *file, const char *word)
{
    char text[2048];
    if (read_small(dir_fd, file, text, sizeof(text)) <= 0)
        return false;
    for (char *p = text; *p; p++)
        if (*p == ' ')
            *p = ',';
    return list_has(text, word);
}

/** Ends every process of the group, with the kernel's own switch where it has one. */
static void kill_all(int dir_fd)
{
    if (cds_cgroup_write(dir_fd, "cgroup.kill", "1") == 0)
        return;
    int fd = openat(dir_fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    CDS_CLEANUP(cds_close_file) FILE *f = fd < 0 ? NULL : fdopen(fd, "r");
    int pid, left = SWEEP_PIDS;
    while (f && left-- > 0 && fscanf(f, "%d", &pid) == 1)
        if (pid > 1 && pid != getpid())
            kill(pid, SIGKILL);
}

void cds_cgroup_sweep(const char *place, const char *prefix)
{
    CDS_CLEANUP(cds_close_dir) DIR *dir = *place ? opendir(place) : NULL;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (!cds_starts_with(entry->d_name, prefix))
            continue;
        CDS_CLEANUP(cds_close_fd) int fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (int i = 0; fd >= 0 && i < SWEEP_TRIES && unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR) != 0 && errno == EBUSY; i++) {
            kill_all(fd);
            nanosleep(&(struct timespec){.tv_nsec = SWEEP_PAUSE_MS * 1000000L}, NULL);
        }
    }
}

/* ---- v2: letting children have controllers ---- */
static int enable(int fd, const char *const *controllers)
{
    char text[128] = "";
    for (size_t i = 0; controllers[i]; i++) {
        if (!cds_cgroup_has_word(fd, "cgroup.controllers", controllers[i]))
            return EOPNOTSUPP;
        if (!cds_cgroup_has_word(fd, "cgroup.subtree_control", controllers[i]))
            snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s+%.32s", *text ? " " : "", controllers[i]);
    }
    return *text ? cds_cgroup_write(fd, "cgroup.subtree_control", text) : 0;
}

/* Moves every task of the group into the leaf. 0 or errno of the first that would not go. */
static int move_tasks(int fd, int leaf)
{
    int procs = openat(fd, "cgroup.procs", O_RDONLY | O_CLOEXEC), pid, error = 0, left = MOVE_PIDS;
    CDS_CLEANUP(cds_close_file) FILE *f = procs < 0 ? NULL : fdopen(procs, "r");
    while (f && left-- > 0 && fscanf(f, "%d", &pid) == 1) {
        char text[16];
        snprintf(text, sizeof(text), "%d", pid);
        int why = cds_cgroup_write(leaf, "cgroup.procs", text);
        if (why != ESRCH && !error)
            error = why;
    }
    return f ? error : EACCES;
}

int cds_cgroup_delegate(const char *place, const char *const *controllers, bool may_move)
{
    CDS_CLEANUP(cds_close_fd) int fd = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = fd < 0 ? errno : enable(fd, controllers);
    for (int i = 0; error == EBUSY && may_move && i < MOVE_TRIES; i++) { /* a task may fork while it moves */
        if (mkdirat(fd, CDS_CGROUP_LEAF, 0755) && errno != EEXIST)
            return errno;
        CDS_CLEANUP(cds_close_fd) int leaf = openat(fd, CDS_CGROUP_LEAF, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int why = leaf < 0 ? errno : move_tasks(fd, leaf);
        if (why)
            return why;
        error = enable(fd, controllers);
    }
    return error;
}

bool cds_cgroup_is_delegated(const char *place)
{
    static const char *const marks[] = {"user.delegate", "trusted.delegate"};
    char value[2];
    for (size_t i = 0; i < CDS_ARRAY_LEN(marks); i++)
        if (getxattr(place, marks[i], value, sizeof(value)) == 1 && value[0] == '1')
            return true;
    return false;
}
