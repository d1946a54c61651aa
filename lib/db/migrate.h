/* lib/db/migrate.h: forward-only migrations NNNN_name.sql, each in its own transaction, recorded with its SHA-256.
 *
 * Safe when two processes start at once (a lease row in schema_migrations_lock decides; the other waits). A file that was applied and
 * then changed is refused. A database newer than the files is refused with one sentence.
 * Threads: one thread, that of the connection. It blocks.
 */
#pragma once

#include "lib/db/db.h"

/** @param dir folder of the files. @param on_step called with each name before it is applied; may be NULL. */
CDS_MUST_USE cds_rc cds_migrate(struct cds_db *db, const char *dir, void (*on_step)(void *user, const char *name), void *user,
                                struct cds_err *reterr);
