/* sandbox/micro_template.c: one machine is booted, its interpreters are started and wait, then it is saved: every other starts there.
 *
 * RAM is a memory file that the first machine shares and that is sealed when that machine is gone; clones map it privately, so what they write
 * is their own. The state of the devices is a second, small memory file. Both live as long as the broker and never touch a disk: what nobody
 * else can write needs no check, and a program of another user can neither read it nor put another in its place. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/log/log.h"
#include "sandbox/micro_priv.h"

enum { PRESTART_ID = 7, SETTLE_MS = 300, USUAL_TASKS = 64 /* default of run.max_tasks */ };

struct micro_waiting {
    struct micro_waiting *next;
    cds_prepare_fn_done *done;
    void *user;
};

void micro_template_init(struct micro_template *t, struct micro *m, const struct micro_image *image)
{
    *t = (struct micro_template){.engine = m, .image = image, .ram_fd = -1, .state_fd = -1};
}

bool micro_template_ready(const struct micro_template *t, enum micro_tier tier)
{
    return micro_tier_has_template(tier) && t->state_fd >= 0 && !t->vm && t->kvm == (tier == MICRO_TIER_KVM);
}

static void tell(struct micro_template *t, const char *failed)
{
    struct micro_waiting *all = t->waiting;
    struct cds_err err;
    t->waiting = NULL;
    if (failed)
        cds_fail(&err, CDS_UNAVAILABLE, "micro_template", "The template of microVMs could not be made: %.200s.", failed);
    for (struct micro_waiting *w; (w = all);) {
        all = w->next;
        w->done(w->user, failed ? &err : NULL);
        free(w);
    }
}

static void drop_files(struct micro_template *t)
{
    cds_close_fd(&t->ram_fd);
    cds_close_fd(&t->state_fd);
    t->ram_fd = t->state_fd = -1;
}

static void fail(struct micro_template *t, const char *why)
{
    cds_timer_remove(&t->deadline);
    micro_vm_end(&t->vm, NULL, NULL);
    drop_files(t);
    t->failed = true; /* cold boots serve; a restart of the broker tries again */
    cds_strcpy(t->reason, sizeof(t->reason), why);
    cds_log(CDS_LOG_ERROR, "the template of microVMs could not be made", CDS_LS("error", why));
    tell(t, why);
    micro_roots_tidy(t->engine);
}

/* The machine is gone, so nothing maps its RAM for writing any more: from here on nobody can. */
static void on_gone(void *user, const struct micro_vm_end *end)
{
    struct micro_template *t = user;
    const int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    t->vm = NULL;
    t->again = false;
    if (fcntl(t->ram_fd, F_ADD_SEALS, seals) || fcntl(t->state_fd, F_ADD_SEALS, seals)) {
        fail(t, "its memory cannot be sealed against writing");
        return;
    }
    cds_log(CDS_LOG_INFO, "microVMs start from a template now");
    tell(t, NULL);
    micro_pool_wake(t->engine);
    micro_roots_tidy(t->engine);
}

static bool on_frame(void *user, enum micro_type type, uint32_t id, const char *payload, size_t len)
{
    struct micro_template *t = user;
    char why[MICRO_REASON_MAX + 32];
    struct timespec now;
    if (type == MICRO_FAILED || type == MICRO_REFUSED) {
        snprintf(why, sizeof(why), "the agent says: %.*s", (int)len, payload);
        fail(t, why);
        return false;
    }
    if (type == MICRO_READY) {
        struct cds_buf frames = cds_buf_init(256);
        clock_gettime(CLOCK_REALTIME, &now);
        const struct micro_prestart p = {.host_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec,
                                         .memory_bytes = (uint64_t)(t->engine->memory_mib - MICRO_GUEST_MIB) << 20,
                                         .max_tasks = USUAL_TASKS};
        t->vm->decoder.asked = PRESTART_ID;
        micro_frame_add(&frames, MICRO_PRESTART, 0, PRESTART_ID, &p, sizeof(p));
        cds_timer_set(t->deadline, cds_now_ms() + MICRO_PRESTART_MS);
        if (!micro_vm_send(t->vm, &frames)) {
            fail(t, "the machine does not take its first frame");
            return false;
        }
    } else if (type == MICRO_PONG) {
        /* What the start has left to do (timers, write-back of caches) is not done again in every clone. */
        cds_timer_set(t->deadline, cds_now_ms() + SETTLE_MS);
    }
    return true;
}

static cds_rc begin(struct micro_template *t, enum micro_tier tier, struct cds_err *reterr);

/* A second machine in the place of one that stands still: ADR 0084. */
static bool begin_again(struct micro_template *t)
{
    struct cds_err err;
    if (t->again || t->vm->decoder.ready)
        return false;
    cds_log(CDS_LOG_WARN, "the microVM of a template did not get ready and is started once more", CDS_LI("waited_ms", MICRO_FIRST_MS));
    cds_timer_remove(&t->deadline);
    micro_vm_end(&t->vm, NULL, NULL);
    t->again = true;
    if (begin(t, t->kvm ? MICRO_TIER_KVM : MICRO_TIER_TCG, &err))
        fail(t, err.message);
    return true;
}

static void on_deadline(void *user)
{
    struct micro_template *t = user;
    struct cds_err err;
    if (begin_again(t))
        return;
    if (!t->vm->decoder.ready || t->vm->decoder.asked || t->vm->qmp.watch) {
        fail(t, !t->vm->decoder.ready  ? "the machine did not boot in time"
                : t->vm->decoder.asked ? "the interpreters did not start in time"
                                       : "QEMU did not save its state in time");
        return;
    }
    cds_timer_set(t->deadline, cds_now_ms() + MICRO_RESTORE_MS);
    if (micro_vm_save(t->vm, t->state_fd, &err))
        fail(t, err.message);
}

static void on_state(void *user)
{
    struct micro_template *t = user;
    struct micro_vm *vm = t->vm;
    cds_timer_remove(&t->deadline);
    micro_vm_end(&vm, on_gone, t); /* t->vm stays set until it is gone: the template is not ready before */
}

static void on_lost(void *user, const char *why)
{
    fail(user, why);
}

static int memory_file(const char *name, off_t size)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, CDS_JAIL_FD_LOWEST);
    if (fd >= 0)
        close(fd);
    if (high >= 0 && size && ftruncate(high, size)) {
        close(high);
        return -1;
    }
    return high;
}

static cds_rc begin(struct micro_template *t, enum micro_tier tier, struct cds_err *reterr)
{
    static const struct micro_vm_ops ops = {on_frame, on_state, on_lost};
    struct micro *m = t->engine;
    struct micro_vm_plan plan;
    drop_files(t);
    t->kvm = tier == MICRO_TIER_KVM;
    t->ram_fd = memory_file("microvm-ram", (off_t)m->memory_mib << 20);
    t->state_fd = memory_file("microvm-state", 0);
    if (t->ram_fd < 0 || t->state_fd < 0)
        return cds_fail_errno(reterr, errno, __func__, "There is no memory for the template of microVMs.");
    micro_plan(m, tier, &plan);
    plan.image = t->image;
    plan.ram_fd = t->ram_fd;
    cds_rc rc = micro_vm_start(m->host, &m->vms, &plan, &ops, t, &t->vm, reterr);
    if (!rc && cds_timer_add(m->host->loop, cds_now_ms() + (t->again ? MICRO_BOOT_MS : MICRO_FIRST_MS), on_deadline, t, &t->deadline))
        rc = cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    if (rc) {
        micro_vm_end(&t->vm, NULL, NULL);
        drop_files(t);
    }
    return rc;
}

cds_rc micro_template_make(struct micro_template *t, enum micro_tier tier, cds_prepare_fn_done *done, void *user, struct cds_err *reterr)
{
    if (t->failed)
        return cds_fail(reterr, CDS_UNAVAILABLE, __func__, "The template of microVMs could not be made: %.200s.", t->reason);
    struct micro_waiting *w = done ? malloc(sizeof(*w)) : NULL;
    if (done && !w)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    cds_rc rc = t->vm || micro_template_ready(t, tier) ? CDS_OK : begin(t, tier, reterr);
    if (rc || !w) {
        free(w);
        return rc;
    }
    *w = (struct micro_waiting){.next = t->waiting, .done = done, .user = user};
    t->waiting = w;
    return CDS_OK;
}

void micro_template_prepare_next(struct micro_template *t, enum micro_tier tier)
{
    struct micro *m = t->engine;
    struct cds_err err;
    bool wanted = m->templates && micro_tier_has_template(tier) && !m->host->active && !t->failed && !micro_template_ready(t, tier);
    if (wanted && micro_template_make(t, tier, NULL, NULL, &err))
        cds_log_err(CDS_LOG_WARN, "the template of microVMs cannot be made", NULL, &err);
    micro_pool_wake(m);
}

cds_rc micro_template_restore(struct micro_template *t, const struct micro_vm_ops *ops, void *user, struct micro_vm **ret, struct cds_err *reterr)
{
    struct micro *m = t->engine;
    struct micro_vm_plan plan;
    char path[64];
    /* Its own description: the place in the file is not shared. */
    snprintf(path, sizeof(path), "/proc/self/fd/%d", t->state_fd);
    CDS_CLEANUP(cds_close_fd) int low = open(path, O_RDONLY | O_CLOEXEC), state = low < 0 ? -1 : fcntl(low, F_DUPFD_CLOEXEC, CDS_JAIL_FD_LOWEST);
    if (state < 0)
        return cds_fail_errno(reterr, errno, __func__, "The state of the template cannot be opened.");
    micro_plan(m, t->kvm ? MICRO_TIER_KVM : MICRO_TIER_TCG, &plan);
    plan.image = t->image;
    plan.ram_fd = t->ram_fd;
    plan.state_fd = state;
    return micro_vm_start(m->host, &m->vms, &plan, ops, user, ret, reterr);
}

bool micro_template_stop(struct micro_template *t)
{
    if (t->vm && t->vm->ending)
        return false;
    cds_timer_remove(&t->deadline);
    micro_vm_end(&t->vm, NULL, NULL);
    return true;
}

void micro_template_end(struct micro_template *t)
{
    cds_timer_remove(&t->deadline);
    for (struct micro_waiting *w; (w = t->waiting);) {
        t->waiting = w->next;
        free(w);
    }
    t->vm = NULL; /* in the list of all machines */
    drop_files(t);
}
