/* apps/cyberdevstudio/session.c: begin and end of a supervisor, shared by `up` and by commands that need the database for a moment.
 *
 * What can be told before anything starts (a second studio, a taken port, a full disk) is told before anything starts.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/cyberdevstudio/commands.h"
#include "apps/cyberdevstudio/ports.h"
#include "apps/cyberdevstudio/services.h"
#include "apps/cyberdevstudio/supervisor.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

enum { PORTS_MS = 1500, LOG_KEEP = 3, TURN_MS = 100, SWEEPS_MAX = 100 };
static const uint64_t log_rotate_bytes = 32ULL << 20;

void cds_say(const struct cds_supervisor *sup, const char *fmt, ...)
{
    va_list args;
    if (sup->quiet)
        return;
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

struct cds_progress cds_progress_begin(const struct cds_supervisor *sup, const char *what)
{
    return (struct cds_progress){sup, what, cds_now_ms(), cds_now_ms() + CDS_PROGRESS_MS};
}

void cds_progress_look(struct cds_progress *progress)
{
    if (cds_now_ms() < progress->next_ms)
        return;
    unsigned long long passed_s = (cds_now_ms() - progress->begin_ms) / 1000;
    if (!progress->sup->quiet)
        cds_say(progress->sup, "  ...     %s, %llu s so far", progress->what, passed_s);
    else if (progress->sup->terminal)
        fprintf(progress->sup->terminal, "  ...     %s, %llu s so far\n", progress->what, passed_s);
    progress->next_ms += CDS_PROGRESS_MS;
}

static void on_stop_signal(void *user, int signo)
{
    struct cds_supervisor *sup = user;
    if (!sup->stopping)
        cds_say(sup, "\nStopping.");
    cds_supervisor_stop(sup);
}

static void on_child(void *user, int signo)
{
    cds_supervisor_reap(user);
}

static cds_rc watch_signals(struct cds_supervisor *sup, struct cds_err *reterr)
{
    static const int stop_signals[] = {SIGINT, SIGTERM, SIGHUP};
    cds_rc rc = CDS_OK;
    for (size_t i = 0; i < CDS_ARRAY_LEN(stop_signals) && rc == CDS_OK; i++)
        rc = cds_loop_signal(sup->loop, stop_signals[i], on_stop_signal, sup, reterr);
    if (rc == CDS_OK)
        rc = cds_loop_signal(sup->loop, SIGCHLD, on_child, sup, reterr);
    /* Processes whose parent dies come to us, so that none is left behind. */
    if (rc == CDS_OK && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
        rc = cds_fail_errno(reterr, errno, __func__, "The supervisor cannot look after orphaned processes.");
    return rc;
}

cds_rc cds_interrupted(struct cds_err *reterr)
{
    return cds_fail(reterr, CDS_CANCELLED, __func__, "The start was interrupted.");
}

static cds_rc open_log_and_loop(struct cds_supervisor *sup, struct cds_err *reterr)
{
    char folder[PATH_MAX + 8];
    snprintf(folder, sizeof(folder), "%s/logs", sup->home.path);
    cds_rc rc = cds_studiolog_open(folder, sup->services.change ? sup->services.gid : (gid_t)-1, log_rotate_bytes, LOG_KEEP, &sup->log, reterr);
    if (rc == CDS_OK)
        rc = cds_studiolog_take_stderr(sup->log, reterr);
    if (rc == CDS_OK)
        rc = cds_loop_new(&sup->loop, reterr);
    if (rc == CDS_OK)
        rc = watch_signals(sup, reterr);
    return rc;
}

void cds_supervisor_init(struct cds_supervisor *sup, const struct cds_command *cmd)
{
    *sup = (struct cds_supervisor){.config = cmd->config, .home.lock_fd = -1, .started_ms = cds_now_ms()};
    for (int i = 0; i < CDS_PART_COUNT; i++)
        sup->parts[i] = (struct cds_part){.def = &cds_part_defs[i], .sup = sup, .ready_fd = -1};
    for (int i = 0; i < cmd->flag_count && sup->flag_count < CDS_FLAGS_MAX; i++)
        sup->flags[sup->flag_count++] = cmd->flags[i];
}

cds_rc cds_supervisor_open(struct cds_supervisor *sup, bool with_servers, struct cds_err *reterr)
{
    char note[CDS_SENTENCE_MAX];
    cds_program_dir(sup->program_dir, sizeof(sup->program_dir));
    cds_rc rc = cds_home_make(sup->config, &sup->home, reterr);
    if (rc == CDS_OK)
        rc = cds_home_lock(&sup->home, reterr);
    if (rc == CDS_OK && with_servers)
        rc = cds_ports_check(sup->config, cds_now_ms() + PORTS_MS, reterr);
    if (rc == CDS_OK)
        rc = cds_home_disk_check(sup->home.path, reterr);
    if (rc != CDS_OK)
        return rc;
    cds_services_identity(sup->config, sup->home.path, sup->program_dir, true, &sup->services, note, sizeof(note));
    if (*note)
        cds_say(sup, "  note    %s", note);
    rc = cds_home_folders(&sup->home, &sup->services, reterr);
    if (rc == CDS_OK)
        rc = open_log_and_loop(sup, reterr);
    if (rc == CDS_OK && with_servers)
        rc = cds_control_listen(sup, reterr);
    return rc;
}

static void say_ready(const struct cds_part *part)
{
    const struct cds_supervisor *sup = part->sup;
    char where[160] = "-", host[128];
    const struct cds_config *config = sup->config;
    if (part->def->port < CDS_OPT_COUNT)
        snprintf(where, sizeof(where), "%s:%u", cds_url_host(cds_config_str(config, CDS_OPT_BIND), host, sizeof(host)),
                 (unsigned)cds_config_u64(config, part->def->port));
    else if (part->def == &cds_part_defs[CDS_PART_SANDBOXD])
        cds_strcpy(where, sizeof(where), "run/sandboxd.sock");
    else if (part->def == &cds_part_defs[CDS_PART_EGRESS])
        cds_strcpy(where, sizeof(where), "run/egress.sock");
    else
        cds_strcpy(where, sizeof(where), "run/pg");
    cds_say(sup, "  ready   %-11s %-22s %5u ms", part->def->name, where, part->ready_after_ms);
}

cds_rc cds_part_bring_up(struct cds_part *part, struct cds_err *reterr)
{
    struct cds_supervisor *sup = part->sup;
    char what[64];
    snprintf(what, sizeof(what), "%s is starting", part->def->name);
    struct cds_progress progress = cds_progress_begin(sup, what);
    cds_rc rc = cds_part_start(part, reterr);
    while (rc == CDS_OK && part->state != CDS_PART_READY) {
        cds_loop_once(sup->loop, TURN_MS);
        cds_progress_look(&progress);
        if (sup->stopping)
            rc = cds_interrupted(reterr);
        else if (part->state == CDS_PART_FAILED)
            rc = cds_fail(reterr, CDS_SYSTEM, __func__, "%s did not start: %s", part->def->name, part->failure);
    }
    if (rc == CDS_OK)
        say_ready(part);
    return rc;
}

struct tick {
    struct cds_supervisor *sup;
    struct cds_progress progress;
};

/** Called by pg.h while it waits for initdb. @return false: give up */
static bool on_tick(void *user, const char *step)
{
    struct tick *tick = user;
    cds_loop_once(tick->sup->loop, 0);
    tick->progress.what = step;
    cds_progress_look(&tick->progress);
    return !tick->sup->stopping;
}

cds_rc cds_supervisor_database(struct cds_supervisor *sup, struct cds_err *reterr)
{
    struct cds_part *part = &sup->parts[CDS_PART_POSTGRES];
    if (*cds_config_str(sup->config, CDS_OPT_DB_URL)) {
        part->state = CDS_PART_EXTERNAL;
        cds_say(sup, "  ready   %-11s %-22s", part->def->name, "external");
        return CDS_OK;
    }
    struct tick tick = {sup, cds_progress_begin(sup, "postgres is being prepared")};
    sup->preparing = true;
    cds_rc rc = cds_pg_prepare(sup->config, &sup->home, &sup->services, on_tick, &tick, &sup->pg, reterr);
    sup->preparing = false;
    if (sup->stopping)
        return cds_interrupted(reterr);
    return rc == CDS_OK ? cds_part_bring_up(part, reterr) : rc;
}

/** Orphans that were handed to us: killed and collected until none is left. */
static void end_orphans(struct cds_supervisor *sup)
{
    for (int i = 0; i < SWEEPS_MAX; i++) {
        int found = cds_supervisor_sweep(sup);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        if (found == 0)
            return;
        poll(NULL, 0, 2);
    }
}

void cds_supervisor_end(struct cds_supervisor *sup)
{
    if (!sup->loop)
        return;
    if (!sup->stopping)
        cds_supervisor_stop(sup);
    while (!sup->stopped)
        cds_loop_once(sup->loop, TURN_MS);
    end_orphans(sup);
    for (int i = 0; i < CDS_PART_COUNT; i++)
        cds_timer_remove(&sup->parts[i].timer);
    cds_timer_remove(&sup->stop_timer);
}

void cds_supervisor_close(struct cds_supervisor *sup)
{
    cds_pg_free(&sup->pg);
    cds_control_close(sup);
    cds_loop_free(&sup->loop);
    cds_studiolog_close(&sup->log);
    cds_home_unlock(&sup->home);
}
