/* apps/cyberdevstudio/database.c: see database.h; and the commands that are little more than a connection. */
#include "apps/cyberdevstudio/database.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "apps/cyberdevstudio/supervisor.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/db/migrate.h"

enum { OPEN_MS = 30000, TRY_MS = 500 };

cds_rc cds_database_open(const struct cds_config *config, bool (*go_on)(void *user), void *user, struct cds_db **ret, struct cds_err *reterr)
{
    char conninfo[2048];
    uint64_t deadline_ms = cds_now_ms() + OPEN_MS;
    cds_db_conninfo(config, conninfo, sizeof(conninfo));
    for (;;) {
        cds_rc rc = cds_db_open(conninfo, cds_now_ms() + TRY_MS, ret, reterr);
        if ((rc != CDS_UNAVAILABLE && rc != CDS_TIMED_OUT) || cds_ms_left(deadline_ms) == 0)
            return rc;
        if (go_on && !go_on(user))
            return cds_fail(reterr, CDS_CANCELLED, __func__, "The wait for the database was interrupted.");
    }
}

/** Lock held: the cluster is ours to start. */
static cds_rc with_own_cluster(const struct cds_command *cmd, cds_database_fn *fn, void *user, struct cds_err *reterr)
{
    static struct cds_supervisor sup;
    CDS_CLEANUP(cds_db_close) struct cds_db *db = NULL;
    CDS_CLEANUP(cds_close_fd) int terminal = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    cds_supervisor_init(&sup, cmd);
    sup.quiet = true;
    sup.starting = true;
    cds_rc rc = cds_supervisor_open(&sup, false, reterr);
    if (rc == CDS_OK)
        rc = cds_supervisor_database(&sup, reterr);
    if (rc == CDS_OK)
        rc = cds_database_open(cmd->config, NULL, NULL, &db, reterr);
    if (rc == CDS_OK)
        rc = fn(user, db, reterr);
    cds_db_close(&db);
    cds_supervisor_end(&sup);
    cds_supervisor_close(&sup);
    if (terminal >= 0)
        dup2(terminal, STDERR_FILENO);
    return rc;
}

cds_rc cds_with_database(const struct cds_command *cmd, cds_database_fn *fn, void *user, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_db_close) struct cds_db *db = NULL;
    bool external = *cds_config_str(cmd->config, CDS_OPT_DB_URL) != '\0';
    if (!external && !cds_home_locked(cds_config_home(cmd->config), NULL))
        return with_own_cluster(cmd, fn, user, reterr);
    cds_rc rc = cds_database_open(cmd->config, NULL, NULL, &db, reterr);
    return rc == CDS_OK ? fn(user, db, reterr) : rc;
}

static void on_step(void *user, const char *name)
{
    int *steps = user;
    (*steps)++;
    printf("  schema  %s\n", name);
    fflush(stdout);
}

static cds_rc migrate(void *user, struct cds_db *db, struct cds_err *reterr)
{
    char program_dir[PATH_MAX], folder[PATH_MAX + 32];
    snprintf(folder, sizeof(folder), "%s/../share/migrations", cds_program_dir(program_dir, sizeof(program_dir)));
    return cds_migrate(db, folder, on_step, user, reterr);
}

enum cds_exit cds_cmd_migrate(const struct cds_command *cmd)
{
    struct cds_err err = {0};
    int steps = 0;
    if (!cds_no_more(cmd))
        return CDS_EXIT_USAGE;
    if (cds_with_database(cmd, migrate, &steps, &err) != CDS_OK)
        return cds_complain(stderr, &err);
    printf(steps ? "The schema is up to date after %d steps.\n" : "The schema was up to date already (%d steps).\n", steps);
    return CDS_EXIT_OK;
}
