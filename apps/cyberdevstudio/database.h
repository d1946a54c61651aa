/* apps/cyberdevstudio/database.h: a database connection for the command line, with the private cluster started for it when it is down. */
#pragma once

#include "apps/cyberdevstudio/commands.h"
#include "lib/db/db.h"

/**
 * Connects, in short tries, for up to 30 s.
 * @param go_on  called between tries; false gives up. NULL: no question
 * @return CDS_OK; CDS_CANCELLED; what cds_db_open says
 */
CDS_MUST_USE cds_rc cds_database_open(const struct cds_config *config, bool (*go_on)(void *user), void *user, struct cds_db **ret,
                                      struct cds_err *reterr);

/** What a command does with the database. @return its exit code; a failure that was not told yet goes into *reterr and rc != CDS_OK */
typedef cds_rc cds_database_fn(void *user, struct cds_db *db, struct cds_err *reterr);
/**
 * Runs fn with a connection. When no studio runs on the data folder, the private cluster is started before and stopped after.
 * The connection may be left unused by fn (user add: cds-auth opens its own).
 */
CDS_MUST_USE cds_rc cds_with_database(const struct cds_command *cmd, cds_database_fn *fn, void *user, struct cds_err *reterr);
