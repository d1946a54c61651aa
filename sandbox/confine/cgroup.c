/* sandbox/confine/cgroup.c: see cgroup.h. In hybrid mode groups are used again: making v1 groups is slow. */
#include "sandbox/confine/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "sandbox/confine/cgroup_dir.h"
#include "sandbox/confine/tree.h"

enum { NAME_MAX_LEN = 48, REMOVE_TRIES = 40, REMOVE_PAUSE_US = 500 };

/** The hierarchies a group has a folder in. */
enum tree { TREE_V2, TREE_MEMORY, TREE_PIDS, TREE_CPUACCT, TREE_COUNT };

struct cds_cgroup {
    enum cds_cgroup_kind kind;
    char name[NAME_MAX_LEN];
    int fd[TREE_COUNT];             /* -1: not used */
    int join_fd[TREE_COUNT];        /* v1: its `tasks`, to be written to; -1: nothing to join there */
    struct cds_cgroup_usage before; /* counters at acquire: they never go back */
    struct cds_cgroup *next;        /* in the list of free ones */
    bool was_killed;                /* cgroup.kill was used */
    /* With NONE: */
    pid_t init;
    int init_fd; /* tells whether the number still means that process */
    uint64_t memory_bytes;
    uint32_t max_tasks;
    struct cds_cgroup_usage seen;
};

struct cds_cgroups {
    enum cds_cgroup_kind kind;
    char prefix[32], reason[256];
    char place[TREE_COUNT][PATH_MAX]; /* "": not used */
    unsigned made;
    struct cds_cgroup *free_ones;
};

static void close_group(struct cds_cgroup **group)
{
    if (!*group)
        return;
    for (int i = 0; i < TREE_COUNT; i++) {
        cds_close_fd(&(*group)->fd[i]);
        cds_close_fd(&(*group)->join_fd[i]);
    }
    cds_close_fd(&(*group)->init_fd);
    free(*group);
    *group = NULL;
}

static void remove_group(const struct cds_cgroups *groups, struct cds_cgroup **group)
{
    for (int i = 0; i < TREE_COUNT; i++) {
        char path[PATH_MAX + NAME_MAX_LEN];
        if ((*group)->fd[i] < 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", groups->place[i], (*group)->name);
        /* The last task may be on its way out; what stays is found by the next start. */
        for (int k = 0; k < REMOVE_TRIES && rmdir(path) != 0 && errno == EBUSY; k++)
            usleep(REMOVE_PAUSE_US);
    }
    close_group(group);
}

static cds_rc make_group(struct cds_cgroups *groups, struct cds_cgroup **ret, struct cds_err *reterr)
{
    struct cds_cgroup *group = calloc(1, sizeof(*group));
    if (!group)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    *group = (struct cds_cgroup){.kind = groups->kind, .fd = {-1, -1, -1, -1}, .join_fd = {-1, -1, -1, -1}, .init_fd = -1};
    snprintf(group->name, sizeof(group->name), "%s%u", groups->prefix, ++groups->made);
    for (int i = 0; i < TREE_COUNT && groups->kind != CDS_CGROUP_NONE; i++) {
        char path[PATH_MAX + NAME_MAX_LEN];
        if (!groups->place[i][0])
            continue;
        snprintf(path, sizeof(path), "%s/%s", groups->place[i], group->name);
        /* The v2 tree counts CPU time already; joining a third v1 tree would only cost time. */
        bool joined = i != TREE_V2 && !(i == TREE_CPUACCT && groups->place[TREE_V2][0]);
        if (mkdir(path, 0755) != 0 || (group->fd[i] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 ||
            (joined && (group->join_fd[i] = openat(group->fd[i], "tasks", O_WRONLY | O_CLOEXEC)) < 0)) {
            cds_rc rc = cds_fail_errno(reterr, errno, __func__, "The sandbox cannot make a control group for the run.");
            remove_group(groups, &group);
            return rc;
        }
    }
    *ret = group;
    return CDS_OK;
}

static int set_limits(const struct cds_cgroup *group, const struct cds_run_limits *limits)
{
    char memory[32], tasks[32];
    snprintf(memory, sizeof(memory), "%llu", (unsigned long long)limits->memory_bytes);
    /* One more for the job's own init. */
    snprintf(tasks, sizeof(tasks), "%u", limits->max_tasks + 1);
    int fd = group->fd[TREE_V2], error;
    if (group->kind == CDS_CGROUP_V2) {
        error = cds_cgroup_write(fd, "memory.max", memory);
        error = error ? error : cds_cgroup_write(fd, "pids.max", tasks);
        cds_cgroup_write(fd, "memory.swap.max", "0"); /* absent without swap accounting */
        cds_cgroup_write(fd, "memory.oom.group", "0");
        return error;
    }
    fd = group->fd[TREE_MEMORY];
    /* memsw must stay the larger one at every moment. */
    cds_cgroup_write(fd, "memory.memsw.limit_in_bytes", "-1");
    error = cds_cgroup_write(fd, "memory.limit_in_bytes", memory);
    cds_cgroup_write(fd, "memory.memsw.limit_in_bytes", memory);
    cds_cgroup_write(fd, "memory.max_usage_in_bytes", "0");
    return error ? error : cds_cgroup_write(group->fd[TREE_PIDS], "pids.max", tasks);
}

static void read_counters(const struct cds_cgroup *group, struct cds_cgroup_usage *ret)
{
    int v2 = group->fd[TREE_V2], memory = group->fd[TREE_MEMORY];
    *ret = (struct cds_cgroup_usage){.cpu_us = UINT64_MAX};
    if (v2 >= 0)
        ret->cpu_us = cds_cgroup_read(v2, "cpu.stat", "usage_usec", UINT64_MAX);
    if (ret->cpu_us == UINT64_MAX && group->fd[TREE_CPUACCT] >= 0) {
        uint64_t ns = cds_cgroup_read(group->fd[TREE_CPUACCT], "cpuacct.usage", NULL, UINT64_MAX);
        ret->cpu_us = ns == UINT64_MAX ? ns : ns / 1000;
    }
    if (group->kind == CDS_CGROUP_V2) {
        ret->peak_bytes = cds_cgroup_read(v2, "memory.peak", NULL, 0);
        ret->oom_kills = cds_cgroup_read(v2, "memory.events", "oom_kill", 0);
        ret->tasks_refused = cds_cgroup_read(v2, "pids.events", "max", 0);
    } else if (group->kind == CDS_CGROUP_HYBRID) {
        ret->peak_bytes = cds_cgroup_read(memory, "memory.max_usage_in_bytes", NULL, 0);
        ret->oom_kills = cds_cgroup_read(memory, "memory.oom_control", "oom_kill", 0);
        ret->tasks_refused = cds_cgroup_read(group->fd[TREE_PIDS], "pids.events", "max", 0);
    }
}

/** Limits can be set and a group be made: the real thing once, so that nothing surprises later. */
static bool try_group(struct cds_cgroups *groups, struct cds_err *reterr)
{
    struct cds_cgroup *group = NULL;
    const struct cds_run_limits limits = {.memory_bytes = 64 << 20, .max_tasks = 8};
    if (make_group(groups, &group, reterr))
        return false;
    int error = set_limits(group, &limits);
    if (error)
        cds_fail_errno(reterr, error, __func__, "The limits of a control group cannot be set.");
    remove_group(groups, &group);
    return error == 0;
}

/* docs/adr/0023-limits-without-control-groups.md */
static void say_what_holds(struct cds_cgroups *groups, const char *why)
{
    bool look = access("/proc/thread-self/children", R_OK) == 0; /* absent in kernels built without it */
    snprintf(groups->reason, sizeof(groups->reason), "%.130s Memory, CPU time and tasks are held by rlimits of each process%s.", why,
             look ? " and by looking at all of them 20 times a second" : "");
}

static void choose(struct cds_cgroups *groups)
{
    struct cds_cgroup_places places;
    struct cds_err err = {0};
    cds_cgroup_places_find("/proc/self/mountinfo", "/proc/self/cgroup", &places);
    const char *found[TREE_COUNT] = {places.v2, places.memory, places.pids, places.cpuacct};
    if (places.memory[0] && places.pids[0]) {
        groups->kind = CDS_CGROUP_HYBRID;
        for (int i = 0; i < TREE_COUNT; i++)
            cds_strcpy(groups->place[i], PATH_MAX, found[i]);
        if (try_group(groups, &err))
            return;
    } else if (places.v2[0]) {
        /* Below the own group where that is delegated to us, else beside the others at the top. */
        const char *const tries[] = {places.v2, places.v2_top};
        static const char *const wanted[] = {"memory", "pids", NULL};
        /* At the top of what is seen we are in a container, whose tasks are all of the studio; a unit with Delegate=yes is as good. */
        bool may_move = cds_streq(places.v2, places.v2_top) || cds_cgroup_is_delegated(places.v2);
        groups->kind = CDS_CGROUP_V2;
        for (size_t i = 0; i < CDS_ARRAY_LEN(tries); i++) {
            cds_strcpy(groups->place[TREE_V2], PATH_MAX, tries[i]);
            int error = cds_cgroup_delegate(tries[i], wanted, may_move && i == 0);
            if (error == 0 && try_group(groups, &err))
                return;
            if (error == EBUSY)
                cds_fail(&err, CDS_DENIED, __func__, "Other programs share the control group %.80s: start the studio as a unit with Delegate=yes.",
                         places.v2);
        }
        if (!err.message[0])
            cds_fail(&err, CDS_DENIED, __func__, "The memory and pids controllers are not delegated to %.80s.", places.v2);
    } else {
        cds_fail(&err, CDS_NOT_FOUND, __func__, "No control group hierarchy with memory and pids is mounted.");
    }
    groups->kind = CDS_CGROUP_NONE;
    memset(groups->place, 0, sizeof(groups->place));
    say_what_holds(groups, err.message);
}

cds_rc cds_cgroups_open(const char *key, bool none, struct cds_cgroups **ret, struct cds_err *reterr)
{
    struct cds_cgroups *groups = calloc(1, sizeof(*groups));
    if (!groups)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    snprintf(groups->prefix, sizeof(groups->prefix), "cds-%.16s.", key);
    if (none) {
        say_what_holds(groups, "Control groups are switched off.");
    } else {
        struct cds_cgroup_places places;
        cds_cgroup_places_find("/proc/self/mountinfo", "/proc/self/cgroup", &places);
        const char *const old[] = {places.v2, places.v2_top, places.memory, places.pids, places.cpuacct};
        for (size_t i = 0; i < CDS_ARRAY_LEN(old); i++)
            cds_cgroup_sweep(old[i], groups->prefix);
        choose(groups);
    }
    *ret = groups;
    return CDS_OK;
}

void cds_cgroups_free(struct cds_cgroups **groups)
{
    if (!*groups)
        return;
    for (struct cds_cgroup *group; (group = (*groups)->free_ones);) {
        (*groups)->free_ones = group->next;
        remove_group(*groups, &group);
    }
    free(*groups);
    *groups = NULL;
}

enum cds_cgroup_kind cds_cgroups_kind(const struct cds_cgroups *groups)
{
    return groups->kind;
}

const char *cds_cgroups_reason(const struct cds_cgroups *groups)
{
    return groups->reason;
}

cds_rc cds_cgroup_acquire(struct cds_cgroups *groups, const struct cds_run_limits *limits, struct cds_cgroup **ret, struct cds_err *reterr)
{
    struct cds_cgroup *group = groups->free_ones;
    cds_rc rc = CDS_OK;
    if (group)
        groups->free_ones = group->next;
    else
        rc = make_group(groups, &group, reterr);
    if (rc || !group)
        return rc;
    int error = group->kind == CDS_CGROUP_NONE ? 0 : set_limits(group, limits);
    if (error) {
        remove_group(groups, &group);
        return cds_fail_errno(reterr, error, __func__, "The limits of the run cannot be set in its control group.");
    }
    group->memory_bytes = limits->memory_bytes;
    group->max_tasks = limits->max_tasks;
    read_counters(group, &group->before);
    *ret = group;
    return CDS_OK;
}

int cds_cgroup_clone_fd(const struct cds_cgroup *group)
{
    return group->fd[TREE_V2];
}

int cds_cgroup_join(const struct cds_cgroup *group)
{
    for (int i = TREE_MEMORY; i < TREE_COUNT; i++)
        if (group->join_fd[i] >= 0 && write(group->join_fd[i], "0", 1) != 1)
            return -1;
    return 0;
}

cds_rc cds_cgroup_watch(struct cds_cgroup *group, pid_t pid, struct cds_err *reterr)
{
    if (group->kind != CDS_CGROUP_NONE)
        return CDS_OK;
    group->init = pid;
    group->init_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    return group->init_fd >= 0 ? CDS_OK : cds_fail_errno(reterr, errno, __func__, "The run cannot be watched.");
}

void cds_cgroup_kill(struct cds_cgroup *group)
{
    if (group->fd[TREE_V2] < 0)
        return;
    cds_cgroup_write(group->fd[TREE_V2], "cgroup.kill", "1");
    group->was_killed = true;
}

/* CPU time never goes back, although a task that dies without being waited for takes its own with it. */
static void look_at_tree(struct cds_cgroup *group)
{
    struct cds_tree_usage used;
    struct cds_cgroup_usage *seen = &group->seen;
    if (group->init_fd < 0 || syscall(SYS_pidfd_send_signal, group->init_fd, 0, NULL, 0))
        return;
    cds_tree_look(group->init, group->memory_bytes, &used);
    seen->cpu_us = used.cpu_us > seen->cpu_us ? used.cpu_us : seen->cpu_us;
    seen->peak_bytes = used.memory_bytes > seen->peak_bytes ? used.memory_bytes : seen->peak_bytes;
    seen->memory_over = seen->memory_over || used.memory_bytes > group->memory_bytes;
    seen->tasks_over = seen->tasks_over || used.tasks > group->max_tasks + 1; /* and init */
}

void cds_cgroup_mark(struct cds_cgroup *group)
{
    if (group->kind == CDS_CGROUP_NONE) {
        look_at_tree(group);
        group->before = group->seen;
        group->seen.peak_bytes = 0;
        return;
    }
    if (group->kind == CDS_CGROUP_HYBRID)
        cds_cgroup_write(group->fd[TREE_MEMORY], "memory.max_usage_in_bytes", "0");
    read_counters(group, &group->before);
}

void cds_cgroup_usage(struct cds_cgroup *group, struct cds_cgroup_usage *ret)
{
    struct cds_cgroup_usage now;
    if (group->kind == CDS_CGROUP_NONE) {
        look_at_tree(group);
        *ret = group->seen;
        ret->cpu_us -= group->before.cpu_us != UINT64_MAX ? group->before.cpu_us : 0;
        return;
    }
    read_counters(group, &now);
    *ret = now;
    if (now.cpu_us != UINT64_MAX && group->before.cpu_us != UINT64_MAX)
        ret->cpu_us = now.cpu_us - group->before.cpu_us;
    ret->oom_kills = now.oom_kills - group->before.oom_kills;
    ret->tasks_refused = now.tasks_refused - group->before.tasks_refused;
}

void cds_cgroup_release(struct cds_cgroups *groups, struct cds_cgroup **group)
{
    if (!*group)
        return;
    /* v2 has a peak that only a new group resets, and needs no joining: there a new one is the better deal. */
    /* And a group that was killed once kills whatever is later cloned into it: since Linux 6.15 a fork compares the kill count of the group
     * it comes from with that of the group it goes to. */
    if ((*group)->kind != CDS_CGROUP_HYBRID || (*group)->was_killed) {
        remove_group(groups, group);
        return;
    }
    (*group)->next = groups->free_ones;
    groups->free_ones = *group;
    *group = NULL;
}
