/* apps/cyberdevstudio/database.h: a database connection for the command line, with the private cluster started for it when it is down.
 *
 * Threads: main thread only. While it waits it tells so on the terminal every two seconds, and Ctrl+C ends it.
 */
#pragma once

#include "apps/cyberdevstudio/capture.h"
#include "apps/cyberdevstudio/commands.h"
#include "lib/db/db.h"

/** Connects, in short tries with a question between them, for up to 30 s. @return CDS_OK; CDS_CANCELLED; what cds_db_open says */
CDS_MUST_USE cds_rc cds_database_open(const struct cds_config *config, const struct cds_patience *patience, struct cds_db **ret,
                                      struct cds_err *reterr);

/** Applies the migrations that are missing; on_step (may be NULL) hears the name of each. */
CDS_MUST_USE cds_rc cds_database_migrate(const struct cds_command *cmd, struct cds_db *db, void (*on_step)(void *user, const char *name), void *user,
                                         struct cds_err *reterr);

/** What a private cluster must be like before fn gets it; one that a studio runs on is taken as it is. */
enum cds_cluster_need {
    CDS_CLUSTER_THERE,   /**< made by an earlier start */
    CDS_CLUSTER_MADE,    /**< made now when absent */
    CDS_CLUSTER_MIGRATED /**< made now when absent, with the schema of this version */
};
/** What a command does with the database. patience is borrowed: to be asked while it waits for something else than db. */
typedef cds_rc cds_database_fn(void *user, struct cds_db *db, const struct cds_patience *patience, struct cds_err *reterr);
/**
 * Runs fn with a connection. When no studio runs on the data folder, the private cluster is started before and stopped after.
 * The connection may be left unused by fn (user add: cds-auth opens its own).
 * @return what fn says; CDS_NOT_FOUND (need is CDS_CLUSTER_THERE and there is none); CDS_CANCELLED (Ctrl+C); what starting the cluster says
 */
CDS_MUST_USE cds_rc cds_with_database(const struct cds_command *cmd, enum cds_cluster_need need, cds_database_fn *fn, void *user,
                                      struct cds_err *reterr);
