/* sandbox/micro_tiers.c: which way of running a virtual machine works here: found out by booting one (a canary), once per boot of the machine. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/log/log.h"
#include "sandbox/micro_msb.h"
#include "sandbox/micro_priv.h"

enum { TSC_MEASURE_NS = 20000000, WAITING_MAX = 64 };

struct micro_canary {
    struct micro *engine;
    enum micro_tier tier;
    bool again, doctor; /* doctor: what runs is not a machine yet */
    struct micro_vm *vm;
    struct cds_timer *deadline;
    uint64_t began_ms;
    char why[200];
    struct {
        micro_tried_fn *done;
        void *user;
    } waiting[WAITING_MAX];
    size_t count;
};

static void next_tier(struct micro_canary *c);
static bool boot(struct micro_canary *c, bool doctor);

const char *micro_backend_name(enum micro_tier tier)
{
    static const char *const names[MICRO_TIERS] = {"msb-kvm", "qemu-kvm", "qemu-tcg"};
    return tier < MICRO_TIERS ? names[tier] : "none";
}

const char *micro_boundary_name(enum micro_tier tier)
{
    return tier == MICRO_TIER_TCG ? "emulated" : tier < MICRO_TIERS ? "hardware" : "none";
}

/* The guest cannot measure it under emulation without hanging now and then, so it is told. */
unsigned micro_tsc_khz(void)
{
    uint64_t began = cds_now_ns(), from = __rdtsc(), now;
    do
        now = cds_now_ns();
    while (now - began < TSC_MEASURE_NS);
    uint64_t khz = (uint64_t)((double)(__rdtsc() - from) * 1e6 / (double)(now - began));
    return khz > 100000 && khz < 100000000 ? (unsigned)khz : 0;
}

void micro_plan(const struct micro *m, enum micro_tier tier, struct micro_vm_plan *ret)
{
    *ret = (struct micro_vm_plan){.qemu = m->qemu,
                                  .msb = tier == MICRO_TIER_MSB ? m->msb : NULL,
                                  .image = &m->files,
                                  .agent = m->agent,
                                  .kvm = tier != MICRO_TIER_TCG,
                                  .memory_mib = m->memory_mib,
                                  .tsc_khz = m->tsc_khz,
                                  .ram_fd = -1,
                                  .state_fd = -1};
}

cds_rc micro_ready(struct micro *m, struct cds_err *reterr)
{
    if (access(m->qemu, X_OK) && access(m->msb, X_OK)) {
        cds_fail(reterr, CDS_DENIED, __func__, "No virtual machine works here: %.200s: %s.", m->qemu, strerror(errno));
        cds_err_rule(reterr, "micro.no_backend");
        return cds_err_hint(reterr, "Run `make micro`, which installs QEMU and makes the images.");
    }
    if (m->have_files)
        return CDS_OK;
    cds_rc rc = micro_image_open(m->image_dir, m->agent, m->image, &m->files, reterr);
    if (rc)
        return rc;
    m->have_files = true;
    m->tsc_khz = micro_tsc_khz();
    micro_cache_load(m);
    return CDS_OK;
}

/* What can be said without a machine. */
static bool qemu_is_there(const struct micro *m, struct micro_tier_state *s)
{
    if (access(m->qemu, X_OK) == 0)
        return true;
    s->state = MICRO_FAILS;
    snprintf(s->reason, sizeof(s->reason), "start %.160s: %s.", m->qemu, strerror(errno));
    cds_strcpy(s->remedy, sizeof(s->remedy), "Run `make micro`, which installs QEMU, or name another in the option micro.qemu.");
    return false;
}

static bool kvm_is_there(struct micro_tier_state *s)
{
    CDS_CLEANUP(cds_close_fd) int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd >= 0)
        return true;
    s->state = MICRO_FAILS;
    snprintf(s->reason, sizeof(s->reason), "open /dev/kvm: %s.", strerror(errno));
    cds_strcpy(s->remedy, sizeof(s->remedy),
               errno == EACCES || errno == EPERM
                   ? "Add the user of the studio to the group kvm and start it again."
                   : "Switch on virtualisation in the firmware (in a virtual machine: nested virtualisation), then load "
                     "kvm_intel or kvm_amd.");
    return false;
}

cds_rc micro_choose(struct micro *m, enum micro_tier *ret, struct cds_err *reterr)
{
    if (m->tiers[MICRO_TIER_MSB].state == MICRO_UNTRIED)
        micro_msb_look(m->msb, &m->tiers[MICRO_TIER_MSB]);
    for (int tier = MICRO_TIER_KVM; tier <= MICRO_TIER_TCG; tier++)
        if (m->tiers[tier].state == MICRO_UNTRIED && qemu_is_there(m, &m->tiers[tier]) && tier == MICRO_TIER_KVM)
            kvm_is_there(&m->tiers[tier]);
    for (int tier = 0; tier < MICRO_TIERS; tier++) {
        /* Emulation needs nothing of the host: its first machine is its own canary. */
        bool usable = m->tiers[tier].state == MICRO_WORKS || (tier == MICRO_TIER_TCG && m->tiers[tier].state == MICRO_UNTRIED);
        if (usable || m->tiers[tier].state == MICRO_UNTRIED) {
            *ret = usable ? (enum micro_tier)tier : MICRO_TIERS;
            return CDS_OK;
        }
    }
    char reasons[MICRO_TIERS][80];
    for (int tier = 0; tier < MICRO_TIERS; tier++)
        cds_shorten(reasons[tier], sizeof(reasons[tier]), m->tiers[tier].reason);
    cds_fail(reterr, CDS_DENIED, __func__, "No virtual machine works here. msb: %s qemu-kvm: %s qemu-tcg: %s", reasons[0], reasons[1], reasons[2]);
    cds_err_rule(reterr, "micro.no_backend");
    return cds_err_hint(reterr, "`cyberdevstudio doctor` names a remedy for each.");
}

/* ---- canaries ---- */
static void finish(struct micro_canary *c)
{
    struct micro *m = c->engine;
    m->canary = NULL;
    cds_timer_remove(&c->deadline);
    micro_cache_save(m);
    for (size_t i = 0; i < c->count; i++)
        if (c->waiting[i].done)
            c->waiting[i].done(c->waiting[i].user);
    free(c);
}

/* The last line is where the kernel was when it stopped. */
static void last_line(const struct micro_vm *vm, char *ret, size_t size)
{
    size_t end = vm->log_len;
    while (end && (unsigned char)vm->log[end - 1] <= ' ')
        end--;
    size_t begin = end;
    while (begin && vm->log[begin - 1] != '\n')
        begin--;
    size_t n = end - begin < size - 1 ? end - begin : size - 1;
    for (size_t i = 0; i < n; i++)
        ret[i] = vm->log[begin + i] >= ' ' && vm->log[begin + i] < 127 ? vm->log[begin + i] : ' ';
    ret[n] = '\0';
}

static void note(struct micro_canary *c, bool works, const char *log)
{
    struct micro_tier_state *s = &c->engine->tiers[c->tier];
    s->state = works ? MICRO_WORKS : MICRO_FAILS;
    s->took_ms = (uint32_t)(cds_now_ms() - c->began_ms);
    s->reason[0] = s->remedy[0] = '\0';
    if (!works) {
        char all[400];
        snprintf(all, sizeof(all), "A machine was started and did not say READY: %s.%s%s", c->why, *log ? " Its last words: " : "", log);
        cds_shorten(s->reason, sizeof(s->reason), all);
        cds_strcpy(s->remedy, sizeof(s->remedy),
                   c->tier == MICRO_TIER_KVM ? "Switch on (nested) virtualisation for this machine; until then emulation is used."
                   : c->tier == MICRO_TIER_MSB
                       ? "Run `msb doctor` as the user of the studio; until it is content and a machine of msb boots, QEMU is used."
                       : "Run `make micro` again; if it stays, report it with this line.");
    }
    cds_log(CDS_LOG_INFO, "a microVM was tried", CDS_LS("backend", micro_backend_name(c->tier)), CDS_LS("works", works ? "yes" : "no"),
            CDS_LI("took_ms", s->took_ms), CDS_LS("error", works ? NULL : s->reason));
}

static void on_gone(void *user, const struct micro_vm_end *end)
{
    struct micro_canary *c = user;
    if (c->doctor && c->engine->tiers[c->tier].state == MICRO_UNTRIED && boot(c, false))
        return; /* it was content: now a machine */
    c->tier++;
    next_tier(c);
}

static void end_canary(struct micro_canary *c, bool works)
{
    char log[96];
    if (!c->vm)
        return;
    log[0] = '\0';
    if (c->tier != MICRO_TIER_MSB) /* its log is what msb says, which is in the reason already */
        last_line(c->vm, log, sizeof(log));
    cds_timer_set(c->deadline, UINT64_MAX);
    note(c, works, log);
    micro_vm_end(&c->vm, on_gone, c);
}

static bool on_frame(void *user, enum micro_type type, uint32_t id, const char *payload, size_t len)
{
    struct micro_canary *c = user;
    if (type != MICRO_READY)
        snprintf(c->why, sizeof(c->why), "the agent says: %.*s", (int)(len < 150 ? len : 150), payload);
    end_canary(c, type == MICRO_READY);
    return false;
}

static void on_state(void *user)
{
}

/* msb's doctor has ended, or was ended. */
static void end_doctor(struct micro_canary *c, const char *why)
{
    struct micro_tier_state *s = &c->engine->tiers[c->tier];
    char words[200], all[320];
    cds_timer_set(c->deadline, UINT64_MAX);
    if (c->vm->status != 0) {
        s->state = MICRO_FAILS;
        s->took_ms = (uint32_t)(cds_now_ms() - c->began_ms);
        snprintf(all, sizeof(all), "msb doctor: %.300s", cds_starts_with(why, "msb ") ? why + strlen("msb ") : why);
        cds_shorten(s->reason, sizeof(s->reason), all);
        micro_msb_words(c->vm->log, words, sizeof(words), s->remedy, sizeof(s->remedy));
        if (!s->remedy[0])
            cds_strcpy(s->remedy, sizeof(s->remedy), "Run `msb doctor` as the user of the studio; it says what is missing.");
    }
    micro_vm_end(&c->vm, on_gone, c);
}

static void on_lost(void *user, const char *why)
{
    struct micro_canary *c = user;
    cds_shorten(c->why, sizeof(c->why), why);
    if (c->doctor)
        end_doctor(c, why);
    else
        end_canary(c, false);
}

static unsigned most_ms(const struct micro_canary *c)
{
    static const unsigned most[MICRO_TIERS] = {MICRO_MSB_MS, MICRO_KVM_MS, MICRO_BOOT_MS};
    return c->doctor ? MICRO_DOCTOR_MS : most[c->tier];
}

static void on_deadline(void *user)
{
    struct micro_canary *c = user;
    if (!c->vm) { /* nothing runs: the first tier is due */
        next_tier(c);
        return;
    }
    snprintf(c->why, sizeof(c->why), "nothing was heard of it for %u s", most_ms(c) / 1000);
    if (c->doctor)
        end_doctor(c, c->why);
    else
        end_canary(c, false);
}

/* True: it was started, its end goes on. doctor: msb's, before a machine of it. */
static bool boot(struct micro_canary *c, bool doctor)
{
    static const struct micro_vm_ops ops = {on_frame, on_state, on_lost};
    struct micro *m = c->engine;
    struct micro_vm_plan plan;
    struct cds_err err;
    micro_plan(m, c->tier, &plan);
    plan.log = true;
    plan.doctor = c->doctor = doctor;
    if (micro_vm_start(m->host, &m->vms, &plan, &ops, c, &c->vm, &err)) {
        cds_shorten(c->why, sizeof(c->why), err.message);
        note(c, false, "");
        return false;
    }
    cds_timer_set(c->deadline, cds_now_ms() + most_ms(c));
    return true;
}

/* True: something was started, its end goes on. */
static bool try_tier(struct micro_canary *c)
{
    struct micro *m = c->engine;
    struct micro_tier_state *s = &m->tiers[c->tier];
    c->began_ms = cds_now_ms();
    c->why[0] = '\0';
    s->state = MICRO_UNTRIED;
    if (c->tier == MICRO_TIER_MSB)
        micro_msb_look(m->msb, s);
    else if (qemu_is_there(m, s) && c->tier == MICRO_TIER_KVM)
        kvm_is_there(s);
    if (s->state == MICRO_FAILS)
        return false;
    return boot(c, c->tier == MICRO_TIER_MSB);
}

static void next_tier(struct micro_canary *c)
{
    struct micro *m = c->engine;
    for (; c->tier < MICRO_TIERS; c->tier++) {
        bool needed = c->again ? m->tiers[c->tier].state == MICRO_UNTRIED : m->tiers[c->tier].state == MICRO_UNTRIED && c->tier != MICRO_TIER_TCG;
        if (!c->again && m->tiers[c->tier].state == MICRO_WORKS)
            break; /* good enough for a job */
        if (needed && try_tier(c))
            return;
    }
    finish(c);
}

cds_rc micro_try(struct micro *m, bool again, micro_tried_fn *done, void *user, struct cds_err *reterr)
{
    struct micro_canary *c = m->canary;
    if (!c) {
        if (!(c = calloc(1, sizeof(*c))) || cds_timer_add(m->host->loop, cds_now_ms(), on_deadline, c, &c->deadline)) {
            free(c);
            return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
        }
        c->engine = m;
        m->canary = c;
    }
    if (c->count == WAITING_MAX) {
        cds_fail(reterr, CDS_BUSY, __func__, "Too many wait to hear whether virtual machines work here.");
        if (reterr)
            reterr->retry_after_ms = 2000;
        return CDS_BUSY;
    }
    c->again = c->again || again;
    c->waiting[c->count].done = done;
    c->waiting[c->count++].user = user;
    return CDS_OK;
}

void micro_try_forget(struct micro *m, const void *user)
{
    for (size_t i = 0; m->canary && i < m->canary->count; i++)
        if (m->canary->waiting[i].user == user)
            m->canary->waiting[i].done = NULL;
}

void micro_try_end(struct micro *m)
{
    if (!m->canary)
        return;
    cds_timer_remove(&m->canary->deadline);
    free(m->canary); /* its machine is in the list of all machines */
    m->canary = NULL;
}
