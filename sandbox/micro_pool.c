/* sandbox/micro_pool.c: machines that are restored, seeded, warmed and frozen before anybody asks: a job then starts where others would be after
 * a third of a second. One machine is for one job. It is filled while nothing runs, for languages used lately, and thrown away after a while. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/log/log.h"
#include "sandbox/micro_priv.h"

enum { WARM_RUNS = 2, WARM_ID = 100, SOON_MS = 200, LATER_MS = 5000, TRIES = 3 };

static void drop(struct micro_spare *s)
{
    *s->prev = s->next;
    if (s->next)
        s->next->prev = s->prev;
    micro_vm_end(&s->vm, NULL, NULL);
    free(s);
}

static void give_up(struct micro_spare *s, const char *why)
{
    struct micro *m = s->engine;
    m->pool.failed++;
    cds_log(CDS_LOG_WARN, "a microVM of the pool is lost", CDS_LS("error", why));
    drop(s);
    micro_pool_wake(m);
}

/* One of node translates all that a second would. */
static unsigned warm_runs(enum micro_language language)
{
    return language == MICRO_NODE ? 1 : WARM_RUNS;
}

static bool warm(struct micro_spare *s)
{
    struct cds_buf frames = cds_buf_init(64);
    const unsigned char language = (unsigned char)s->language;
    s->vm->decoder.asked = WARM_ID + s->warmed;
    micro_frame_add(&frames, MICRO_WARM, 0, s->vm->decoder.asked, &language, 1);
    return micro_vm_send(s->vm, &frames);
}

static void on_state(void *user)
{
    struct micro_spare *s = user;
    if (!micro_vm_seed(s->vm) || !warm(s))
        give_up(s, "it does not take frames");
}

static bool on_frame(void *user, enum micro_type type, uint32_t id, const char *payload, size_t len)
{
    struct micro_spare *s = user;
    struct micro *m = s->engine;
    if (type != MICRO_WARMED) {
        char why[MICRO_REASON_MAX + 1];
        snprintf(why, sizeof(why), "%.*s", (int)len, type == MICRO_FAILED || type == MICRO_REFUSED ? payload : "");
        give_up(s, why[0] ? why : "it said something else than WARMED");
        return false;
    }
    if (++s->warmed < warm_runs(s->language))
        return warm(s) || (give_up(s, "it does not take frames"), false);
    s->ready = true;
    m->pool.failed = 0;
    micro_vm_stop(s->vm, true);
    micro_pool_wake(m);
    return true;
}

static void on_lost(void *user, const char *why)
{
    give_up(user, why);
}

static cds_rc add(struct micro *m, enum micro_language language, struct cds_err *reterr)
{
    static const struct micro_vm_ops ops = {on_frame, on_state, on_lost};
    struct micro_spare *s = calloc(1, sizeof(*s));
    if (!s)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    *s = (struct micro_spare){
        .engine = m, .language = language, .kvm = m->template.kvm, .deadline_ms = cds_now_ms() + MICRO_RESTORE_MS + MICRO_PRESTART_MS};
    cds_rc rc = micro_template_restore(&m->template, &ops, s, &s->vm, reterr);
    if (rc) {
        free(s);
        return rc;
    }
    if ((s->next = m->pool.spares))
        s->next->prev = &s->next;
    s->prev = &m->pool.spares;
    m->pool.spares = s;
    return CDS_OK;
}

static bool used_lately(const struct micro *m, enum micro_language language)
{
    uint64_t used = m->pool.used_ms[language];
    return used && cds_now_ms() - used < m->pool_ttl_ms;
}

/* Old ones are thrown away; true while one is getting ready. */
static bool look_through(struct micro *m, unsigned count[static MICRO_LANGUAGES])
{
    bool busy = false;
    uint64_t now = cds_now_ms();
    for (struct micro_spare *s = m->pool.spares, *next; s; s = next) {
        next = s->next;
        if (s->ready && !used_lately(m, s->language)) {
            drop(s);
        } else if (!s->ready && now >= s->deadline_ms) {
            m->pool.failed++;
            cds_log(CDS_LOG_WARN, "a microVM of the pool is lost", CDS_LS("error", "it did not get ready in time"));
            drop(s);
        } else {
            count[s->language]++;
            busy = busy || !s->ready;
        }
    }
    return busy;
}

/* One at a time, and only while no job runs: filling must not slow anybody down. */
static void on_timer(void *user)
{
    struct micro *m = user;
    struct cds_err err;
    unsigned count[MICRO_LANGUAGES] = {0}, wanted = 0;
    bool busy = look_through(m, count) || m->host->active || m->template.vm || m->template.state_fd < 0 || m->pool.failed >= TRIES;
    for (int language = MICRO_PYTHON; language < MICRO_LANGUAGES; language++) {
        if (!used_lately(m, (enum micro_language)language))
            continue;
        wanted++;
        if (!busy && count[language] < m->pool_target) {
            busy = true;
            if (add(m, (enum micro_language)language, &err)) {
                m->pool.failed++;
                cds_log_err(CDS_LOG_WARN, "the pool of microVMs cannot be filled", NULL, &err);
            }
        }
    }
    cds_timer_set(m->pool.timer, wanted || m->pool.spares ? cds_now_ms() + (busy && m->host->active ? SOON_MS : LATER_MS) : UINT64_MAX);
}

void micro_pool_wake(struct micro *m)
{
    if (m->pool.timer && m->pool_target)
        cds_timer_set(m->pool.timer, cds_now_ms() + SOON_MS);
}

struct micro_vm *micro_pool_take(struct micro *m, enum micro_language language, enum micro_tier tier)
{
    if (!micro_tier_has_template(tier))
        return NULL;
    m->pool.used_ms[language] = cds_now_ms();
    for (struct micro_spare *s = m->pool.spares; s; s = s->next) {
        /* One that was made before KVM was found to work would be a weaker boundary than the job is told. */
        if (!s->ready || s->language != language || s->kvm != (tier == MICRO_TIER_KVM) || !s->vm || s->vm->lost)
            continue;
        struct micro_vm *vm = s->vm;
        s->vm = NULL;
        drop(s);
        micro_vm_stop(vm, false);
        return vm;
    }
    return NULL;
}

struct micro_vm *micro_pool_look(const struct micro *m, enum micro_language language)
{
    for (struct micro_spare *s = m->pool.spares; s; s = s->next)
        if (s->ready && s->language == language && !s->vm->lost)
            return s->vm;
    return NULL;
}

cds_rc micro_pool_open(struct micro *m, struct cds_err *reterr)
{
    return cds_timer_add(m->host->loop, UINT64_MAX, on_timer, m, &m->pool.timer) ? cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.")
                                                                                 : CDS_OK;
}

void micro_pool_end(struct micro *m)
{
    cds_timer_remove(&m->pool.timer);
    for (struct micro_spare *s; (s = m->pool.spares);) {
        m->pool.spares = s->next;
        free(s); /* its machine is in the list of all machines */
    }
}
