/* apps/cyberdevstudio/up.c: `cyberdevstudio up`: everything in order, one line per ready part, then the address; until Ctrl+C. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "apps/cyberdevstudio/commands.h"
#include "apps/cyberdevstudio/database.h"
#include "apps/cyberdevstudio/firstadmin.h"
#include "apps/cyberdevstudio/supervisor.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/db/migrate.h"
#include "lib/log/log.h"

/** While a step of the database blocks: the loop turns, progress is told. Never stops by itself. */
struct wait {
    struct cds_supervisor *sup;
    struct cds_progress progress;
};

static bool on_wait(void *user)
{
    struct wait *wait = user;
    cds_loop_once(wait->sup->loop, 0);
    cds_progress_look(&wait->progress);
    return !wait->sup->stopping;
}

static void on_migration(void *user, const char *name)
{
    struct wait *wait = user;
    cds_say(wait->sup, "  schema  %s", name);
    cds_progress_look(&wait->progress);
}

/** What is connected, for `status`. */
static cds_rc look_at_database(struct cds_supervisor *sup, struct cds_db *db, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_db_exec(db, "SELECT current_setting('server_version'), cds_ml.pgml_version()", 0, NULL, true, &rows, reterr);
    if (rc != CDS_OK)
        return rc;
    cds_strcpy(sup->db_version, sizeof(sup->db_version), cds_rows_str(rows, 0, 0));
    cds_strcpy(sup->pgml, sizeof(sup->pgml), cds_rows_str(rows, 0, 1));
    if (*sup->pgml)
        cds_log(CDS_LOG_INFO, "the database has PostgresML", CDS_LS("version", sup->pgml),
                CDS_LS("used", cds_config_u64(sup->config, CDS_OPT_ML_PGML) ? "yes" : "no: ml.pgml is 0"));
    return CDS_OK;
}

/** Schema and, when nobody can sign in yet, the link for the first admin. */
static cds_rc prepare_database(struct cds_supervisor *sup, char *link, size_t link_size, struct cds_err *reterr)
{
    char folder[PATH_MAX + 32];
    struct wait wait = {sup, cds_progress_begin(sup, "waiting for the database")};
    const struct cds_patience patience = {on_wait, &wait};
    CDS_CLEANUP(cds_db_close) struct cds_db *db = NULL;
    snprintf(folder, sizeof(folder), "%s/../share/migrations", sup->program_dir);
    cds_rc rc = cds_database_open(sup->config, &patience, &db, reterr);
    if (rc != CDS_OK)
        return sup->stopping ? cds_interrupted(reterr) : rc;
    wait.progress = cds_progress_begin(sup, "the schema is being updated");
    rc = cds_migrate(db, folder, on_migration, &wait, reterr);
    if (rc == CDS_OK)
        rc = look_at_database(sup, db, reterr);
    return rc == CDS_OK ? cds_first_admin_link(db, sup->config, link, link_size, reterr) : rc;
}

static cds_rc start_all(struct cds_supervisor *sup, struct cds_err *reterr)
{
    char link[CDS_SETUP_LINK_MAX] = "", url[512];
    sup->starting = true;
    cds_rc rc = cds_supervisor_database(sup, reterr);
    if (rc == CDS_OK)
        rc = prepare_database(sup, link, sizeof(link), reterr);
    for (int i = CDS_PART_AUTH; i < CDS_PART_COUNT && rc == CDS_OK; i++)
        rc = cds_part_bring_up(&sup->parts[i], reterr);
    sup->starting = false;
    if (rc != CDS_OK)
        return rc;
    cds_log(CDS_LOG_INFO, "studio ready", CDS_LI("ms", cds_now_ms() - sup->started_ms));
    cds_say(sup, "\nCyberDevStudio is ready after %.1f s: %s", (double)(cds_now_ms() - sup->started_ms) / 1000,
            cds_public_url(sup->config, url, sizeof(url)));
    if (*link)
        cds_say(sup, "Create the first admin with this link, it works once: %s", link);
    cds_say(sup, "Log: %s   Stop: Ctrl+C", cds_studiolog_path(sup->log));
    explicit_bzero(link, sizeof(link));
    return CDS_OK;
}

enum cds_exit cds_cmd_up(const struct cds_command *cmd)
{
    static struct cds_supervisor sup;
    struct cds_err err = {0};
    if (!cds_no_more(cmd))
        return CDS_EXIT_USAGE;
    /* The terminal stays reachable for the one sentence of a failure after stderr has become the log. */
    CDS_CLEANUP(cds_close_file) FILE *terminal = fdopen(fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3), "w");
    if (!terminal)
        return CDS_EXIT_FAILED;
    cds_supervisor_init(&sup, cmd);
    cds_rc rc = cds_supervisor_open(&sup, true, &err);
    if (rc == CDS_OK)
        rc = start_all(&sup, &err);
    while (rc == CDS_OK && !sup.stopped)
        cds_loop_once(sup.loop, -1);
    if (rc != CDS_OK && sup.log)
        cds_log_err(CDS_LOG_ERROR, "start failed", NULL, &err);
    cds_supervisor_end(&sup);
    bool asked = rc == CDS_OK || rc == CDS_CANCELLED;
    if (asked)
        cds_say(&sup, "Stopped after %llu ms.", (unsigned long long)(cds_now_ms() - sup.stop_started_ms));
    cds_supervisor_close(&sup);
    return asked ? CDS_EXIT_OK : cds_complain(terminal, &err);
}
