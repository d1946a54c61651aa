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

cds_rc cds_database_open(const struct cds_config *config, const struct cds_patience *patience, struct cds_db **ret, struct cds_err *reterr)
{
    char conninfo[2048];
    uint64_t deadline_ms = cds_now_ms() + OPEN_MS;
    cds_db_conninfo(config, conninfo, sizeof(conninfo));
    for (;;) {
        cds_rc rc = cds_db_open(conninfo, cds_now_ms() + TRY_MS, ret, reterr);
        if ((rc != CDS_UNAVAILABLE && rc != CDS_TIMED_OUT) || cds_ms_left(deadline_ms) == 0)
            return rc;
        if (patience->go_on && !patience->go_on(patience->user))
            return cds_fail(reterr, CDS_CANCELLED, __func__, "The wait for the database was interrupted.");
    }
}

cds_rc cds_database_migrate(const struct cds_command *cmd, struct cds_db *db, void (*on_step)(void *user, const char *name), void *user,
                            struct cds_err *reterr)
{
    char program_dir[PATH_MAX], folder[PATH_MAX + 32];
    snprintf(folder, sizeof(folder), "%s/../share/migrations", cds_program_dir(program_dir, sizeof(program_dir)));
    return cds_migrate(db, folder, on_step, user, reterr);
}

/** A command that waits: sup.terminal hears of it, and sup.loop of Ctrl+C when the cluster is ours. */
struct wait {
    struct cds_supervisor *sup;
    struct cds_progress progress;
};

static bool on_wait(void *user)
{
    struct wait *wait = user;
    cds_progress_look(&wait->progress);
    if (wait->sup->loop)
        cds_loop_once(wait->sup->loop, 0);
    return !wait->sup->stopping;
}

static void on_schema_step(void *user, const char *name)
{
    on_wait(user);
}

static cds_rc check_is_there(const struct cds_config *config, struct cds_err *reterr)
{
    char path[PATH_MAX];
    if (access(cds_config_path(config, "pg", path, sizeof(path)), F_OK) == 0)
        return CDS_OK;
    cds_fail(reterr, CDS_NOT_FOUND, __func__, "There is no database in %s yet.", cds_config_home(config));
    cds_err_hint(reterr, "Start the studio once with \"cyberdevstudio up\", or name its data folder with --studio.home=FOLDER.");
    return CDS_NOT_FOUND;
}

/** Lock held: the cluster is ours to start. */
static cds_rc with_own_cluster(const struct cds_command *cmd, enum cds_cluster_need need, struct cds_supervisor *sup, cds_database_fn *fn, void *user,
                               struct cds_err *reterr)
{
    CDS_CLEANUP(cds_db_close) struct cds_db *db = NULL;
    struct wait wait = {sup, cds_progress_begin(sup, "waiting for the database")};
    const struct cds_patience patience = {on_wait, &wait};
    sup->starting = true;
    cds_rc rc = cds_supervisor_open(sup, false, reterr);
    if (rc == CDS_OK)
        rc = cds_supervisor_database(sup, reterr);
    /* From here on the loop may turn while fn waits for a helper of its own. */
    sup->preparing = true;
    if (rc == CDS_OK)
        rc = cds_database_open(cmd->config, &patience, &db, reterr);
    if (rc == CDS_OK && need == CDS_CLUSTER_MIGRATED)
        rc = cds_database_migrate(cmd, db, on_schema_step, &wait, reterr);
    wait.progress = cds_progress_begin(sup, "working");
    if (rc == CDS_OK && !sup->stopping)
        rc = fn(user, db, &patience, reterr);
    sup->preparing = false;
    if (sup->stopping && rc != CDS_OK)
        rc = cds_fail(reterr, CDS_CANCELLED, __func__, "Interrupted; the database is stopped again.");
    cds_db_close(&db);
    cds_supervisor_end(sup);
    cds_supervisor_close(sup);
    return rc;
}

cds_rc cds_with_database(const struct cds_command *cmd, enum cds_cluster_need need, cds_database_fn *fn, void *user, struct cds_err *reterr)
{
    static struct cds_supervisor sup;
    CDS_CLEANUP(cds_db_close) struct cds_db *db = NULL;
    CDS_CLEANUP(cds_close_fd) int terminal = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    CDS_CLEANUP(cds_close_file) FILE *out = terminal >= 0 ? fdopen(fcntl(terminal, F_DUPFD_CLOEXEC, 3), "w") : NULL;
    bool external = *cds_config_str(cmd->config, CDS_OPT_DB_URL) != '\0';
    cds_supervisor_init(&sup, cmd);
    sup.quiet = true;
    sup.terminal = out;
    if (out)
        setlinebuf(out);
    if (!external && !cds_home_locked(cds_config_home(cmd->config), NULL)) {
        cds_rc rc = need == CDS_CLUSTER_THERE ? check_is_there(cmd->config, reterr) : CDS_OK;
        if (rc == CDS_OK)
            rc = with_own_cluster(cmd, need, &sup, fn, user, reterr);
        if (terminal >= 0)
            dup2(terminal, STDERR_FILENO); /* it was the log meanwhile */
        return rc;
    }
    struct wait wait = {&sup, cds_progress_begin(&sup, "waiting for the database")};
    const struct cds_patience patience = {on_wait, &wait};
    cds_rc rc = cds_database_open(cmd->config, &patience, &db, reterr);
    wait.progress = cds_progress_begin(&sup, "working");
    return rc == CDS_OK ? fn(user, db, &patience, reterr) : rc;
}

static void on_step(void *user, const char *name)
{
    int *steps = user;
    (*steps)++;
    printf("  schema  %s\n", name);
    fflush(stdout);
}

struct migration {
    const struct cds_command *cmd;
    int steps;
};

static cds_rc migrate(void *user, struct cds_db *db, const struct cds_patience *patience, struct cds_err *reterr)
{
    struct migration *all = user;
    return cds_database_migrate(all->cmd, db, on_step, &all->steps, reterr);
}

enum cds_exit cds_cmd_migrate(const struct cds_command *cmd)
{
    struct cds_err err = {0};
    struct migration all = {cmd, 0};
    if (!cds_no_more(cmd))
        return CDS_EXIT_USAGE;
    if (cds_with_database(cmd, CDS_CLUSTER_MADE, migrate, &all, &err) != CDS_OK)
        return cds_complain(stderr, &err);
    printf(all.steps ? "The schema is up to date after %d steps.\n" : "The schema was up to date already (%d steps).\n", all.steps);
    return CDS_EXIT_OK;
}
