/* lib/db/db.h: PostgreSQL connections. The only folder that includes libpq-fe.h.
 *
 * Two kinds: struct cds_db is blocking (command line, migrations, auth's pool threads); struct cds_dbq is asynchronous on the loop.
 * Parameters are always bound, in text form unless noted; SQL text is static. Results are text.
 * Threads: one connection, one thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/loop.h"

struct cds_db;
struct cds_rows; /**< one result; rows and columns count from 0 */

/** Connection string: option database.url, else $DATABASE_URL, else the private cluster's socket below home. Written to
 *  buf; "" when it does not fit. */
struct cds_config;
char *cds_db_conninfo(const struct cds_config *config, char *buf, size_t size);
enum { CDS_DB_CONNINFO_MAX = 2048 }; /**< bytes of a connection string, with its NUL */
/** The same, with a sentence for the case that it does not fit. @return CDS_OK; CDS_TOO_LARGE */
CDS_MUST_USE cds_rc cds_db_conninfo_whole(const struct cds_config *config, char ret[static CDS_DB_CONNINFO_MAX], struct cds_err *reterr);

/** Who connects: docs/adr/0075-database-roles.md. A server that is not ours (database.url) is connected to as its address says, by services with
 *  database.roles as their role, without the password of the address. */
enum cds_db_role {
    CDS_DB_OWNER, /**< migrations and the command line */
    CDS_DB_APP,   /**< gateway and model server */
    CDS_DB_AUTH,  /**< sign-in */
    CDS_DB_READER /**< charts */
};
/** As cds_db_conninfo_whole, for that role. */
CDS_MUST_USE cds_rc cds_db_conninfo_as(const struct cds_config *config, enum cds_db_role role, char ret[static CDS_DB_CONNINFO_MAX],
                                       struct cds_err *reterr);

/** tools.c: the same connection for pg_dump and pg_restore: a string without the password, which goes into PGPASSWORD ("": none).
 *  @return CDS_OK; CDS_BAD_PARAM; CDS_TOO_LARGE */
CDS_MUST_USE cds_rc cds_db_conninfo_tools(const char *conninfo, char ret[static CDS_DB_CONNINFO_MAX], char ret_password[static CDS_DB_CONNINFO_MAX],
                                          struct cds_err *reterr);
/** tools.c: the same connection as another role, without the password: the passfile, or how the server knows its callers, has to do.
 *  @return as above */
CDS_MUST_USE cds_rc cds_db_conninfo_user(const char *conninfo, const char *user, char ret[static CDS_DB_CONNINFO_MAX], struct cds_err *reterr);

/** Connects, waiting until deadline_ms while the server is still starting (57P03, no socket yet); one try takes at most five seconds.
 *  @return CDS_OK; CDS_UNAVAILABLE; CDS_CONFLICT (the server is older than 15) */
CDS_MUST_USE cds_rc cds_db_open(const char *conninfo, uint64_t deadline_ms, struct cds_db **ret, struct cds_err *reterr);
void cds_db_close(struct cds_db **db);
/** Runs one statement; reconnects and retries on 40001, 40P01, 57P01-57P03 and 08* when retry is true (the statement must be safe to repeat).
 *  ret_rows may be NULL. params: text or NULL for SQL NULL.
 *  @return CDS_OK; CDS_CONFLICT for 23505 (rule = constraint name); CDS_BAD_PARAM for 23514/22*; CDS_UNAVAILABLE; CDS_INTERNAL */
CDS_MUST_USE cds_rc cds_db_exec(struct cds_db *db, const char *sql, int n, const char *const *params, bool retry, struct cds_rows **ret_rows,
                                struct cds_err *reterr);
/** Several statements in one simple-protocol message; for migrations and BEGIN/COMMIT. */
CDS_MUST_USE cds_rc cds_db_script(struct cds_db *db, const char *sql, struct cds_err *reterr);

int cds_rows_count(const struct cds_rows *rows);
const char *cds_rows_str(const struct cds_rows *rows, int row, int col); /**< NULL for SQL NULL; borrowed */
int64_t cds_rows_i64(const struct cds_rows *rows, int row, int col, int64_t otherwise);
bool cds_rows_bool(const struct cds_rows *rows, int row, int col);
void cds_rows_free(struct cds_rows **rows);

/* Asynchronous, on the loop: one connection, a queue of statements, reconnect with back-off (statements sent but unanswered fail with
 * CDS_UNAVAILABLE, rule "db.unknown_outcome"; queued ones wait). Any error without that rule says that the statement changed nothing. */
struct cds_dbq;
/** rows NULL when err is set; borrowed for the call. */
typedef void cds_dbq_done_fn(void *user, const struct cds_rows *rows, const struct cds_err *err);
CDS_MUST_USE cds_rc cds_dbq_open(struct cds_loop *loop, const char *conninfo, size_t queue_max, struct cds_dbq **ret, struct cds_err *reterr);
/** Something was told on the channel, or may have been while there was no connection. A hint: what there is to know is read by a statement. */
typedef void cds_dbq_notify_fn(void *user);
/** Listens to a channel (small letters and "_"), now and on each later connection. Call it right after cds_dbq_open, before the loop runs.
 *  @return CDS_OK; CDS_BAD_PARAM (too late, or no plain name); CDS_EXHAUSTED */
CDS_MUST_USE cds_rc cds_dbq_listen(struct cds_dbq *dbq, const char *channel, cds_dbq_notify_fn *on_notify, void *user, struct cds_err *reterr);
/** Answers everything open with CDS_CANCELLED. Not from inside a done callback. */
void cds_dbq_close(struct cds_dbq **dbq);
/** done is called exactly once unless this returns an error. sql is borrowed (static); params are copied. @return CDS_OK; CDS_BUSY (queue_max) */
CDS_MUST_USE cds_rc cds_dbq_exec(struct cds_dbq *dbq, const char *sql, int n, const char *const *params, uint64_t deadline_ms, cds_dbq_done_fn *done,
                                 void *user);
/** True when connected and not failed: for /readyz. */
bool cds_dbq_ready(const struct cds_dbq *dbq);
/** True when a statement is in flight or queued: the ledger gathers its batch while this is true. */
bool cds_dbq_busy(const struct cds_dbq *dbq);
