/* apps/cyberdevstudio/stop.c: ends the parts in waves: first what takes requests in, then what works for it, the database last.
 *
 * Each wave is asked with SIGTERM (PostgreSQL: SIGINT, its fast shutdown), killed at its deadline, and followed by the next as soon as it is
 * gone. The deadlines count from the begin of the stop, so a quick wave leaves its time to the later ones.
 */
#include <signal.h>

#include "apps/cyberdevstudio/supervisor.h"
#include "lib/base/clock.h"
#include "lib/log/log.h"

enum { IMPATIENT_MS = 200, POSTGRES_GRACE_MS = 200 };

uint32_t cds_stop_deadline_ms(int wave, uint32_t drain_ms)
{
    static const uint32_t after_drain_ms[CDS_STOP_WAVES] = {200, 700, 1200};
    return drain_ms + after_drain_ms[wave];
}

static bool wave_is_gone(const struct cds_supervisor *sup, int wave)
{
    for (int i = 0; i < CDS_PART_COUNT; i++)
        if (sup->parts[i].def->stop_wave == wave && sup->parts[i].pid > 0)
            return false;
    return true;
}

static void arm(struct cds_supervisor *sup)
{
    uint32_t drain_ms = (uint32_t)cds_config_u64(sup->config, CDS_OPT_HTTP_DRAIN_MS);
    if (sup->stop_timer)
        cds_timer_set(sup->stop_timer, sup->stop_started_ms + cds_stop_deadline_ms(sup->stop_wave, drain_ms));
}

static void ask_wave(struct cds_supervisor *sup)
{
    for (int i = CDS_PART_COUNT - 1; i >= 0; i--) {
        struct cds_part *part = &sup->parts[i];
        if (part->def->stop_wave != sup->stop_wave)
            continue;
        if (part->pid > 0) {
            part->state = CDS_PART_STOPPING;
            kill(part->pid, part->def->program ? SIGTERM : SIGINT);
        } else if (part->state != CDS_PART_EXTERNAL) {
            part->state = CDS_PART_OFF;
        }
    }
}

/** The deadline of a wave passed. PostgreSQL gets one more chance to end without losing its shared memory behind it. */
static void on_deadline(void *user)
{
    struct cds_supervisor *sup = user;
    bool again = false;
    for (int i = 0; i < CDS_PART_COUNT; i++) {
        struct cds_part *part = &sup->parts[i];
        if (part->def->stop_wave != sup->stop_wave || part->pid == 0)
            continue;
        cds_log(CDS_LOG_WARN, "part did not end in time", CDS_LS("part", part->def->name), CDS_LI("pid", part->pid));
        if (part->def->program || part->asked_to_quit) {
            kill(-part->pid, SIGKILL);
        } else {
            part->asked_to_quit = true;
            kill(part->pid, SIGQUIT);
            again = true;
        }
    }
    if (again)
        cds_timer_set(sup->stop_timer, cds_now_ms() + POSTGRES_GRACE_MS);
}

void cds_supervisor_stop(struct cds_supervisor *sup)
{
    if (sup->stopping) {
        if (sup->stop_timer)
            cds_timer_set(sup->stop_timer, cds_now_ms() + IMPATIENT_MS);
        return;
    }
    sup->stopping = true;
    sup->stop_started_ms = cds_now_ms();
    cds_log(CDS_LOG_INFO, "stopping");
    struct cds_err err;
    if (!sup->stop_timer && cds_timer_add(sup->loop, UINT64_MAX, on_deadline, sup, &sup->stop_timer) != CDS_OK) {
        cds_fail(&err, CDS_EXHAUSTED, __func__, "There is no memory for an orderly stop.");
        cds_log_err(CDS_LOG_ERROR, "stopping at once", NULL, &err);
        for (int i = 0; i < CDS_PART_COUNT; i++)
            if (sup->parts[i].pid > 0)
                kill(-sup->parts[i].pid, SIGKILL);
    }
    sup->stop_wave = -1;
    cds_supervisor_stop_next(sup);
}

void cds_supervisor_stop_next(struct cds_supervisor *sup)
{
    while (sup->stop_wave < 0 || wave_is_gone(sup, sup->stop_wave)) {
        if (++sup->stop_wave >= CDS_STOP_WAVES) {
            sup->stopped = true;
            return;
        }
        ask_wave(sup);
        arm(sup);
    }
}
