/* sandbox/micro_vm_msb.c: a machine whose monitor is msb (microsandbox). See micro_vm.h and micro_msb.h.
 *
 * msb opens what it needs by name and writes to a home of its own, so its jail shows it: its programs, our agent and the root image (read-only, below
 * /opt), and a throw-away folder as /work with its home, the root it boots, and the socket at which the agent calls. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "sandbox/confine/identity.h"
#include "sandbox/micro_msb.h"
#include "sandbox/micro_vm_priv.h"

enum {
    GUEST_MIB = 64,     /* what msb's own agent and the larger kernel need beside ours, so that as much is left for the job as in QEMU */
    OVERHEAD_MIB = 256, /* two processes of msb, the kernel image, its files in memory */
    TASKS = 128,        /* threads of both */
    LOOK_MS = 250       /* between two looks at the size of its folder */
};
#define SOCKET "agent.sock"

/* ---- its agent calls ---- */
static void on_called(void *user, int fd, uint32_t events)
{
    struct micro_vm *vm = user;
    char path[SCRATCH_PATH_MAX + 16];
    int caller = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (caller < 0)
        return; /* it hung up again */
    vm->agent_fd = caller;
    cds_watch_remove(&vm->called); /* nobody else is heard */
    cds_close_fd(&vm->listen_fd);
    snprintf(path, sizeof(path), "%s/" SOCKET, vm->scratch);
    unlink(path);
    if (micro_vm_hear(vm, NULL))
        micro_vm_lose(vm, "there is no memory for its frames");
}

/* The socket is reached through the folder, which only this jail shows. */
static cds_rc listen_for_agent(struct micro_vm *vm, struct cds_err *reterr)
{
    char path[SCRATCH_PATH_MAX + 16];
    const struct sandbox_host *host = vm->host;
    snprintf(path, sizeof(path), "%s/" SOCKET, vm->scratch);
    cds_rc rc = cds_unix_listen(path, 0600, &vm->listen_fd, reterr);
    if (!rc && host->who.change && lchown(path, host->who.uid, host->who.gid))
        rc = cds_fail_errno(reterr, errno, __func__, "The socket of a machine cannot be given to msb.");
    return rc ? rc : cds_watch_add(host->loop, vm->listen_fd, EPOLLIN, on_called, vm, &vm->called, reterr);
}

/* ---- its folder ---- */
static const char too_much[] = "msb has written more to its folder than it may";

/* A guest that has taken over its kernel can write through msb to the root that msb boots. */
static void on_look(void *user)
{
    struct micro_vm *vm = user;
    if (vm->lost || vm->ending)
        return;
    if (scratch_is_over(vm->scratch))
        micro_vm_lose(vm, too_much);
    else
        cds_timer_set(vm->look, cds_now_ms() + LOOK_MS);
}

void micro_vm_msb_free(struct micro_vm *vm)
{
    cds_watch_remove(&vm->called);
    cds_timer_remove(&vm->look);
    cds_close_fd(&vm->listen_fd);
    if (vm->scratch[0])
        scratch_remove(vm->host, vm->scratch);
}

void micro_vm_msb_why(struct micro_vm *vm, int code, char *why, size_t size)
{
    char words[240], remedy[160], copy[MICRO_LOG_MAX];
    if (vm->scratch[0] && scratch_is_over(vm->scratch)) {
        snprintf(why, size, "%s", too_much); /* it met another limit between two looks */
        return;
    }
    memcpy(copy, vm->log, sizeof(copy));
    micro_msb_words(copy, words, sizeof(words), remedy, sizeof(remedy));
    snprintf(why, size, "msb ended with exit code %d%s%s", code, words[0] ? ": " : "", words);
}

static cds_rc make_folder(struct micro_vm *vm, bool doctor, struct cds_err *reterr)
{
    cds_rc rc = scratch_make(vm->host, vm->scratch, reterr);
    if (!rc && !(rc = scratch_folder(vm->host, vm->scratch, "home", reterr)) && !(rc = scratch_folder(vm->host, vm->scratch, "root", reterr)) &&
        !doctor)
        rc = listen_for_agent(vm, reterr);
    if (!rc && cds_timer_add(vm->host->loop, cds_now_ms() + LOOK_MS, on_look, vm, &vm->look))
        rc = cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    return rc;
}

/* ---- start ---- */
struct places {
    char programs[512], program[512], agents[512], agent[512], image[700];
    struct cds_jail_bind binds[3];
};

/* A folder is shown, not a program: the library is beside it. The top of the host is never that folder. */
static bool split(const char *path, unsigned up, char folder[static 512], const char **ret_rest)
{
    if (strlen(path) >= 512)
        return false;
    cds_strcpy(folder, 512, path);
    while (up--) {
        char *slash = strrchr(folder, '/');
        if (!slash || slash == folder)
            return false;
        *slash = '\0';
    }
    *ret_rest = path + strlen(folder) + 1;
    return true;
}

/* What QEMU gets as a descriptor msb opens itself, with the rights of jobs. Folders on the way do not matter: the jail shows the file. */
static bool is_readable(const struct sandbox_host *host, const char *path)
{
    char link[64];
    CDS_CLEANUP(cds_close_fd) int place = open(path, O_PATH | O_CLOEXEC), fd = -1;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", place);
    if (place < 0 || cds_fs_identity_enter(&host->who, NULL))
        return false;
    fd = open(link, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int why = errno;
    cds_fs_identity_leave(&host->who);
    errno = why;
    return fd >= 0;
}

/* The file that was opened and checked, by the name it has now; one that is gone or was replaced has none. */
static void name_image(const struct micro_image *image, char ret[static 700])
{
    char link[64];
    struct stat opened, named;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", image->root_fd);
    ssize_t n = readlink(link, ret, 680);
    n = n > 0 ? n : 0;
    ret[n] = '\0';
    if (n == 0 || fstat(image->root_fd, &opened) || stat(ret, &named) || opened.st_dev != named.st_dev || opened.st_ino != named.st_ino)
        cds_strcpy(ret + n, 20, " (replaced)");
}

static cds_rc find_places(const struct sandbox_host *host, const struct micro_vm_plan *plan, struct places *ret, struct cds_err *reterr)
{
    const char *program, *agent, *const needed[] = {ret->image, plan->agent, plan->msb};
    name_image(plan->image, ret->image);
    for (size_t i = 0; i < CDS_ARRAY_LEN(needed); i++)
        if (!is_readable(host, needed[i])) {
            cds_fail(reterr, CDS_DENIED, __func__, "msb needs %.180s, which the user of runs cannot read: %s.", needed[i], strerror(errno));
            cds_err_rule(reterr, "micro.image");
            return cds_err_hint(reterr, "Let everybody read it.");
        }
    if (!split(plan->msb, 2, ret->programs, &program) || !split(plan->agent, 1, ret->agents, &agent))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "msb and the agent have to be in folders of their own, which %.200s is not.", plan->msb);
    snprintf(ret->program, sizeof(ret->program), "/opt/msb/%.480s", program);
    snprintf(ret->agent, sizeof(ret->agent), "%.480s", agent);
    ret->binds[0] = (struct cds_jail_bind){ret->programs, "msb", 0};
    ret->binds[1] = (struct cds_jail_bind){ret->agents, "agent", 0};
    ret->binds[2] = (struct cds_jail_bind){ret->image, "image", plan->image->root_fd};
    return CDS_OK;
}

static cds_rc launch(struct micro_vm *vm, const struct micro_vm_plan *plan, const struct cds_run_limits *limits, struct cds_err *reterr)
{
    /* No more threads than a machine of one processor needs, however many the host has. */
    static const char *const env[] = {
        "PATH=/usr/bin:/bin", "LANG=C.UTF-8", "HOME=/work/home", "MSB_HOME=/work/home", "TMPDIR=/tmp", "TOKIO_WORKER_THREADS=2", NULL};
    struct places places;
    struct micro_msb_command command;
    CDS_CLEANUP(cds_close_fd) int null = micro_vm_lift(open("/dev/null", O_RDONLY | O_CLOEXEC));
    CDS_CLEANUP(cds_close_fd) int work = micro_vm_lift(open(vm->scratch, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    CDS_CLEANUP(cds_close_fd) int said = -1;
    cds_rc rc = find_places(vm->host, plan, &places, reterr);
    if (rc || (rc = micro_vm_pair(&vm->log_fd, &said, reterr)))
        return rc;
    if (null < 0 || work < 0)
        return cds_fail_errno(reterr, errno, __func__, "The folder of a machine cannot be opened.");
    const struct micro_msb_plan words = {.doctor = plan->doctor,
                                         .msb = places.program,
                                         .root = "/work/root",
                                         .agents = "/opt/agent",
                                         .agent = places.agent,
                                         .image = "/opt/image",
                                         .socket = "/work/" SOCKET,
                                         .memory_mib = plan->memory_mib + GUEST_MIB};
    if (!micro_msb_command(&words, &command))
        return cds_fail(reterr, CDS_INTERNAL, __func__, "The command line of msb is too long.");
    struct cds_jail_plan jail = {.limits = limits,
                                 .project_fd = work,
                                 .project_path = vm->scratch,
                                 .access = CDS_PROJECT_READ_WRITE,
                                 .binds = places.binds,
                                 .bind_count = CDS_ARRAY_LEN(places.binds),
                                 .argv = command.argv,
                                 .env = env,
                                 .stdin_fd = null,
                                 .stdout_fd = said,
                                 .stderr_fd = said,
                                 .kvm = true,
                                 .vmm_folders = true,
                                 .file_bytes = (uint64_t)(plan->memory_mib + GUEST_MIB) << 20}; /* the guest's memory may be a file to it */
    return micro_vm_launch(vm, &jail, reterr);
}

cds_rc micro_vm_start_msb(struct sandbox_host *host, struct micro_vm **list, const struct micro_vm_plan *plan, const struct micro_vm_ops *ops,
                          void *user, struct micro_vm **ret, struct cds_err *reterr)
{
    const struct cds_run_limits limits = {.wall_ms = MICRO_CPU_BACKSTOP_MS,
                                          .cpu_ms = MICRO_CPU_BACKSTOP_MS,
                                          .memory_bytes = (uint64_t)(plan->memory_mib + GUEST_MIB + OVERHEAD_MIB) << 20,
                                          .max_tasks = TASKS,
                                          .tmp_bytes = 16 << 20};
    struct micro_vm *vm = NULL;
    cds_rc rc = micro_vm_new(host, list, ops, user, "msb", &limits, &vm, reterr);
    if (rc)
        return rc;
    micro_decoder_init(&vm->decoder, false);
    if (!(rc = make_folder(vm, plan->doctor, reterr)))
        rc = launch(vm, plan, &limits, reterr);
    if (rc)
        micro_vm_drop(vm);
    else
        *ret = vm;
    return rc;
}
