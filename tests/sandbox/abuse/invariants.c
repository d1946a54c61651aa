/* tests/sandbox/abuse/invariants.c: what must be on the host after each row as it was before. See world.h. */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "sandbox/confine/cgroup_dir.h"
#include "tests/sandbox/abuse/world.h"

enum { GROWTH_KB_MAX = 1024, LINE = 4096, BOXES_MS = 60000 };

/* ---- small looks at /proc ---- */
static unsigned count_entries(const char *folder)
{
    CDS_CLEANUP(cds_close_dir) DIR *dir = opendir(folder);
    unsigned n = 0;
    for (const struct dirent *e; dir && (e = readdir(dir));)
        n += e->d_name[0] != '.';
    return n;
}

/* Number behind "Key:" in a status file; otherwise when there is none. */
static uint64_t status_number(const char *pid, const char *key, uint64_t otherwise)
{
    char path[300], line[LINE];
    snprintf(path, sizeof(path), "/proc/%s/status", pid);
    CDS_CLEANUP(cds_close_file) FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f))
        if (cds_starts_with(line, key))
            return strtoull(line + strlen(key), NULL, 10);
    return otherwise;
}

static unsigned count_mounts(const char *below)
{
    char line[LINE];
    unsigned n = 0;
    CDS_CLEANUP(cds_close_file) FILE *f = fopen("/proc/self/mounts", "re");
    while (f && fgets(line, sizeof(line), f))
        n += !below || strstr(line, below) != NULL;
    return n;
}

/* ---- processes ---- */
/* Dead, and waiting for whoever inherited it. */
static bool is_zombie(const char *pid)
{
    char path[300], line[LINE];
    snprintf(path, sizeof(path), "/proc/%s/status", pid);
    CDS_CLEANUP(cds_close_file) FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f))
        if (cds_starts_with(line, "State:"))
            return strchr(line, 'Z') != NULL;
    return true; /* it is gone */
}

/* Where the jobs' uid is shared with others on the machine (root), their pid namespaces tell; elsewhere nobody else has our uid or pid namespace. */
static bool is_survivor(const struct world *w, const char *pid)
{
    char path[300];
    struct stat st;
    if (atoi(pid) == getpid() || is_zombie(pid))
        return false;
    if (w->mode == MODE_USERNS || w->mode == MODE_USERNS_SINGLE)
        return true;
    uint64_t uid = status_number(pid, "Uid:", UINT64_MAX);
    if (w->mode == MODE_UNPRIVILEGED)
        return uid == geteuid();
    snprintf(path, sizeof(path), "/proc/%s/ns/pid", pid);
    if (stat(path, &st))
        return false; /* it has ended meanwhile */
    struct stat jail;
    for (size_t i = 0; i < w->jail_count; i++)
        if (fstat(w->jails[i], &jail) == 0 && jail.st_ino == st.st_ino)
            return true;
    return st.st_ino == w->own_jail && w->host && w->host->who.change && uid == w->host->who.uid;
}

/* "pid 12 (name), uid 1000, pid:[4026]" */
static void describe(const char *pid, char *text, size_t size)
{
    char path[300], name[32] = "", jail[64] = "";
    snprintf(path, sizeof(path), "/proc/%s/comm", pid);
    CDS_CLEANUP(cds_close_file) FILE *f = fopen(path, "re");
    if (f && fgets(name, sizeof(name), f))
        name[strcspn(name, "\n")] = '\0';
    snprintf(path, sizeof(path), "/proc/%s/ns/pid", pid);
    ssize_t n = readlink(path, jail, sizeof(jail) - 1);
    snprintf(text, size, "pid %s (%s), uid %llu, %.*s", pid, name, (unsigned long long)status_number(pid, "Uid:", 0), n > 0 ? (int)n : 0, jail);
}

unsigned world_survivors(const struct world *w, char *who, size_t size)
{
    CDS_CLEANUP(cds_close_dir) DIR *dir = opendir("/proc");
    unsigned n = 0;
    for (const struct dirent *e; dir && (e = readdir(dir));)
        if (isdigit((unsigned char)e->d_name[0]) && is_survivor(w, e->d_name) && n++ == 0 && who)
            describe(e->d_name, who, size);
    return n;
}

/* ---- control groups ---- */
/* Groups of our key in all hierarchies; *ret_tasks: processes in them. */
static unsigned count_groups(const struct world *w, unsigned *ret_tasks)
{
    struct cds_cgroup_places places;
    unsigned n = 0;
    cds_cgroup_places_find("/proc/self/mountinfo", "/proc/self/cgroup", &places);
    const char *const all[] = {places.v2, places.memory, places.pids, places.cpuacct};
    *ret_tasks = 0;
    for (size_t i = 0; i < CDS_ARRAY_LEN(all); i++) {
        CDS_CLEANUP(cds_close_dir) DIR *dir = *all[i] ? opendir(all[i]) : NULL;
        for (const struct dirent *e; dir && (e = readdir(dir));) {
            char path[PATH_MAX + 300];
            int pid;
            if (!strstr(e->d_name, w->key))
                continue;
            n++;
            snprintf(path, sizeof(path), "%s/%s/cgroup.procs", all[i], e->d_name);
            CDS_CLEANUP(cds_close_file) FILE *f = fopen(path, "re");
            while (f && fscanf(f, "%d", &pid) == 1)
                ++*ret_tasks;
        }
    }
    return n;
}

/* ---- canaries ---- */
void world_check_text(struct world *w, const char *text, size_t len)
{
    if (memmem(text, len, w->secret, strlen(w->secret)))
        complain(w, "the canary was read: it stands in the output");
}

static void check_canary(struct world *w)
{
    char text[128] = "";
    struct stat before, st;
    CDS_CLEANUP(cds_close_fd) int fd = open(w->canary, O_RDONLY | O_NOATIME | O_NOFOLLOW | O_CLOEXEC);
    ssize_t n = fd < 0 || fstat(fd, &before) ? -1 : read(fd, text, sizeof(text) - 1);
    if (n < 0 || !cds_streq(text, w->secret) || fstat(fd, &st))
        complain(w, "the canary outside of the project was changed or removed");
    else if (st.st_atim.tv_sec > (time_t)(cds_wall_ms() / 1000) - 86400)
        complain(w, "the canary outside of the project was read");
    else if (st.st_nlink > 2) /* the second is the row's own hard link */
        complain(w, "the canary has %u names", (unsigned)st.st_nlink);
    char folder[96];
    snprintf(folder, sizeof(folder), "%s/outside", w->base);
    if (count_entries(folder) != 2)
        complain(w, "something was put beside the canary, or taken away");
}

static void check_folders(struct world *w)
{
    static const char *const empty_ones[] = {"jail/root", "jail/empty"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(empty_ones); i++) {
        char folder[96];
        snprintf(folder, sizeof(folder), "%s/%s", w->base, empty_ones[i]);
        if (count_entries(folder))
            complain(w, "%s is not empty", empty_ones[i]);
    }
    if (count_entries(w->base) != 4) /* jail, neighbour, outside, project */
        complain(w, "a folder is left in %s", w->base);
}

/* ---- before and after ---- */
void world_remember(struct world *w)
{
    w->before = (struct world_before){
        .fds = count_entries("/proc/self/fd"), .mounts = count_mounts(NULL), .private_kb = status_number("self", "RssAnon:", 0)};
    gethostname(w->before.host_name, sizeof(w->before.host_name) - 1);
    w->complaints[0] = '\0';
}

/* A run is told of as soon as nothing of it lives but its init; the kernel needs some moments more for the namespaces. */
void world_wait_for_boxes(struct world *w)
{
    for (uint64_t until = cds_now_ms() + BOXES_MS; w->host->ending && cds_now_ms() < until;)
        cds_loop_once(w->loop, 10);
    if (w->host->ending)
        complain(w, "%u boxes of jobs that are over have not come to their end", w->host->ending);
}

void world_check_open(struct world *w)
{
    world_wait_for_boxes(w);
    char jail[80], name[65] = "";
    char who[160] = "";
    unsigned tasks, survivors = world_survivors(w, who, sizeof(who));
    if (survivors)
        complain(w, "%u processes of jobs live on, one is %s", survivors, who);
    count_groups(w, &tasks);
    if (tasks)
        complain(w, "%u processes are left in control groups", tasks);
    if (world_new_child(NULL, 0))
        complain(w, "a child of the broker lives on");
    if (w->host->active)
        complain(w, "%u places for jobs are still taken", w->host->active);
    snprintf(jail, sizeof(jail), "%s/jail", w->base);
    if (count_mounts(jail))
        complain(w, "a mount of a job is seen on the host");
    gethostname(name, sizeof(name) - 1);
    if (!cds_streq(name, w->before.host_name))
        complain(w, "the host has another name: %s", name);
    world_forget_jobs(w);
    check_canary(w);
    check_folders(w);
}

void world_check_closed(struct world *w)
{
    unsigned tasks, groups = count_groups(w, &tasks), fds = count_entries("/proc/self/fd"), mounts = count_mounts(NULL);
    uint64_t private_kb = status_number("self", "RssAnon:", 0);
    if (groups)
        complain(w, "%u control groups are left", groups);
    if (fds != w->before.fds)
        complain(w, "%u descriptors are open, %u were before", fds, w->before.fds);
    if (mounts != w->before.mounts)
        complain(w, "%u mounts are there, %u were before", mounts, w->before.mounts);
    if (private_kb > w->before.private_kb + GROWTH_KB_MAX)
        complain(w, "the broker grew by %llu KB", (unsigned long long)(private_kb - w->before.private_kb));
}
