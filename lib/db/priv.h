/* lib/db/priv.h: what the files of this folder share. Not for others.
 *
 * Threads: one connection, one thread at a time.
 */
#pragma once

#include <libpq-fe.h>

#include "lib/db/db.h"

/** A result wrapped for the callers; owns pg. NULL when out of memory (pg is freed then). */
struct cds_rows *db_rows_wrap(PGresult *pg);
/** Translates a failed result or connection. */
cds_rc db_error(const char *state, const char *message, const char *constraint, struct cds_err *reterr);
cds_rc db_result_error(const PGresult *result, struct cds_err *reterr);
/** A failure after which the same statement may succeed: serialisation, deadlock, server restart, lost connection. */
bool db_is_transient(const char *state);
/** Opens a connection with the studio's defaults; wait false: PQconnectStart. NULL when out of memory. */
PGconn *db_connect(const char *conninfo, bool wait);
/** Settings of every connection, sent once. */
extern const char db_session_sql[];
/** @return CDS_OK when the server is 15 or newer; CDS_CONFLICT */
cds_rc db_check_version(PGconn *pg, struct cds_err *reterr);
