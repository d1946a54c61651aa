/* lib/db/db.c: blocking connections, results, and what errors mean. See db.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/config/config.h"
#include "lib/db/priv.h"

enum { RETRIES = 5, PAUSE_US = 50000, OLDEST = 150000, RECONNECT_MS = 5000 };

/* One try to connect, in seconds, and how long what was sent may stay unconfirmed by the other machine, in ms: a host that vanished without a word
 * is noticed then, not after the kernel's quarter of an hour. A connection string may say otherwise; sockets of this machine have neither. */
#define CONNECT_S "5"
#define UNCONFIRMED_MS "10000"
#define SILENT_S "10" /* an idle connection is asked whether it lives after this long, and again twice */

struct cds_db {
    PGconn *pg;
};
struct cds_rows {
    PGresult *pg;
};

/* A forgotten transaction must not keep rows locked; a lock that is not had in time is an error, not a wait without end. */
const char db_session_sql[] =
    "SET client_encoding = 'UTF8'; SET client_min_messages = warning; SET lock_timeout = '2s'; SET statement_timeout = '10s'; "
    "SET idle_in_transaction_session_timeout = '30s'; SET TimeZone = 'UTC'";

static const char *const role_names[] = {
    [CDS_DB_OWNER] = "studio", [CDS_DB_APP] = "cds_app", [CDS_DB_AUTH] = "cds_auth", [CDS_DB_READER] = "cds_reader"};

/* In quotes, as libpq's connection strings have them: a home folder may hold blanks. */
static void private_conninfo(const char *home, enum cds_db_role role, char *buf, size_t size)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(size - 1);
    cds_buf_add_str(&text, "host='");
    for (const char *c = home; *c; c++)
        cds_buf_addf(&text, *c == '\'' || *c == '\\' ? "\\%c" : "%c", *c);
    cds_buf_addf(&text, "/run/pg' user=%s dbname=studio", role_names[role]);
    cds_strcpy(buf, size, text.failed ? "" : text.data);
}

static char *conninfo_as(const struct cds_config *config, enum cds_db_role role, char *buf, size_t size)
{
    const char *url = cds_config_str(config, CDS_OPT_DB_URL);
    if (*url)
        cds_strcpy(buf, size, strlen(url) < size ? url : "");
    else
        private_conninfo(cds_config_home(config), role, buf, size);
    return buf;
}

char *cds_db_conninfo(const struct cds_config *config, char *buf, size_t size)
{
    return conninfo_as(config, CDS_DB_OWNER, buf, size);
}

cds_rc cds_db_conninfo_whole(const struct cds_config *config, char ret[static CDS_DB_CONNINFO_MAX], struct cds_err *reterr)
{
    return cds_db_conninfo_as(config, CDS_DB_OWNER, ret, reterr);
}

cds_rc cds_db_conninfo_as(const struct cds_config *config, enum cds_db_role role, char ret[static CDS_DB_CONNINFO_MAX], struct cds_err *reterr)
{
    char text[CDS_DB_CONNINFO_MAX];
    if (!*conninfo_as(config, role, text, sizeof(text))) {
        cds_fail(reterr, CDS_TOO_LARGE, __func__, "The connection string of the database is longer than %d bytes.", CDS_DB_CONNINFO_MAX - 1);
        return cds_err_hint(reterr, "Choose a shorter data folder with studio.home, or shorten database.url.");
    }
    if (role != CDS_DB_OWNER && *cds_config_str(config, CDS_OPT_DB_URL) && cds_config_u64(config, CDS_OPT_DB_ROLES))
        return cds_db_conninfo_user(text, role_names[role], ret, reterr);
    cds_strcpy(ret, CDS_DB_CONNINFO_MAX, text);
    return CDS_OK;
}

/* ---- errors ---- */
bool db_is_transient(const char *state)
{
    return !state || !*state || !strncmp(state, "08", 2) || !strcmp(state, "40001") || !strcmp(state, "40P01") || !strcmp(state, "57P01") ||
           !strcmp(state, "57P02") || !strcmp(state, "57P03");
}

cds_rc db_error(const char *state, const char *message, const char *constraint, struct cds_err *reterr)
{
    static const struct {
        const char *prefix;
        cds_rc code;
        const char *text;
    } rows[] = {
        {"23505", CDS_CONFLICT, "There is such an entry already."},
        {"23", CDS_BAD_PARAM, "The database refused a value."},
        {"22", CDS_BAD_PARAM, "The database refused a value."},
        {"57014", CDS_TIMED_OUT, "The database did not answer in time."},
        {"55P03", CDS_TIMED_OUT, "The database did not answer in time."},
        {"57P", CDS_UNAVAILABLE, "The database is not reachable at the moment."},
        {"08", CDS_UNAVAILABLE, "The database is not reachable at the moment."},
        {"53", CDS_EXHAUSTED, "The database has run out of memory, disk or connections."},
        {"40", CDS_BUSY, "The database could not order two changes; try again."},
    };
    cds_rc code = state && *state ? CDS_INTERNAL : CDS_UNAVAILABLE;
    const char *text = code == CDS_INTERNAL ? "The database refused a statement." : "The database is not reachable at the moment.";
    for (size_t i = 0; state && *state && i < CDS_ARRAY_LEN(rows); i++)
        if (cds_starts_with(state, rows[i].prefix)) {
            code = rows[i].code;
            text = rows[i].text;
            break;
        }
    cds_fail(reterr, code, __func__, "%s", text);
    cds_err_detail(reterr, "%s %s", state ? state : "", message ? message : "");
    if (constraint)
        cds_err_rule(reterr, constraint);
    if (reterr && (code == CDS_UNAVAILABLE || code == CDS_BUSY))
        reterr->retry_after_ms = 1000;
    return code;
}

cds_rc db_result_error(const PGresult *result, struct cds_err *reterr)
{
    return db_error(PQresultErrorField(result, PG_DIAG_SQLSTATE), PQresultErrorMessage(result), PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME),
                    reterr);
}

cds_rc db_check_version(PGconn *pg, struct cds_err *reterr)
{
    int version = PQserverVersion(pg);
    if (version >= OLDEST)
        return CDS_OK;
    /* Not CDS_UNAVAILABLE: waiting does not help. */
    cds_fail(reterr, CDS_CONFLICT, __func__, "The database is PostgreSQL %d and 15 is the oldest that works.", version / 10000);
    cds_err_hint(reterr, "Upgrade it, or leave database.url empty to use the private cluster.");
    return CDS_CONFLICT;
}

/* ---- results ---- */
struct cds_rows *db_rows_wrap(PGresult *pg)
{
    struct cds_rows *rows = malloc(sizeof(*rows));
    if (!rows) {
        PQclear(pg);
        return NULL;
    }
    rows->pg = pg;
    return rows;
}

int cds_rows_count(const struct cds_rows *rows)
{
    return rows ? PQntuples(rows->pg) : 0;
}

const char *cds_rows_str(const struct cds_rows *rows, int row, int col)
{
    return PQgetisnull(rows->pg, row, col) ? NULL : PQgetvalue(rows->pg, row, col);
}

int64_t cds_rows_i64(const struct cds_rows *rows, int row, int col, int64_t otherwise)
{
    const char *text = cds_rows_str(rows, row, col);
    char *end = NULL;
    long long value = text ? strtoll(text, &end, 10) : 0;
    return text && *text && !*end ? value : otherwise;
}

bool cds_rows_bool(const struct cds_rows *rows, int row, int col)
{
    return cds_streq(cds_rows_str(rows, row, col), "t");
}

void cds_rows_free(struct cds_rows **rows)
{
    if (!*rows)
        return;
    PQclear((*rows)->pg);
    free(*rows);
    *rows = NULL;
}

/* ---- connection ---- */
static cds_rc prepare_session(PGconn *pg, struct cds_err *reterr)
{
    cds_rc rc = db_check_version(pg, reterr);
    if (rc)
        return rc;
    PGresult *result = PQexec(pg, db_session_sql);
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        rc = db_result_error(result, reterr);
    PQclear(result);
    return rc;
}

static void ignore_notice(void *user, const PGresult *result)
{
    (void)user, (void)result; /* notices would break the one-JSON-line rule of stderr */
}

PGconn *db_connect(const char *conninfo, bool wait)
{
    /* What the connection string says comes later and wins. */
    static const char *const names[] = {"connect_timeout",  "tcp_user_timeout", "keepalives_idle", "keepalives_interval",
                                        "keepalives_count", "application_name", "dbname",          NULL};
    const char *const values[] = {CONNECT_S, UNCONFIRMED_MS, SILENT_S, "5", "2", "cyberdevstudio", conninfo, NULL};
    return wait ? PQconnectdbParams(names, values, 1) : PQconnectStartParams(names, values, 1);
}

static cds_rc connect_until(struct cds_db *db, const char *conninfo, uint64_t deadline_ms, struct cds_err *reterr)
{
    for (;;) {
        db->pg = db_connect(conninfo, true);
        if (PQstatus(db->pg) == CONNECTION_OK) {
            PQsetNoticeReceiver(db->pg, ignore_notice, NULL);
            return prepare_session(db->pg, reterr);
        }
        if (cds_ms_left(deadline_ms) == 0)
            break;
        PQfinish(db->pg);
        db->pg = NULL;
        usleep(20000);
    }
    cds_fail(reterr, CDS_UNAVAILABLE, __func__, "The database cannot be reached.");
    cds_err_detail(reterr, "%s", PQerrorMessage(db->pg));
    cds_err_hint(reterr, "Check that it runs and that database.url is right.");
    return CDS_UNAVAILABLE;
}

cds_rc cds_db_open(const char *conninfo, uint64_t deadline_ms, struct cds_db **ret, struct cds_err *reterr)
{
    struct cds_db *db = calloc(1, sizeof(*db));
    if (!db)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    cds_rc rc = connect_until(db, conninfo, deadline_ms, reterr);
    if (rc) {
        cds_db_close(&db);
        return rc;
    }
    *ret = db;
    return CDS_OK;
}

void cds_db_close(struct cds_db **db)
{
    if (!*db)
        return;
    if ((*db)->pg)
        PQfinish((*db)->pg);
    free(*db);
    *db = NULL;
}

/* A connection that broke is opened again, with its session settings. */
static void revive(struct cds_db *db)
{
    uint64_t until = cds_now_ms() + RECONNECT_MS;
    while (PQstatus(db->pg) != CONNECTION_OK && cds_ms_left(until)) {
        PQreset(db->pg);
        if (PQstatus(db->pg) == CONNECTION_OK && !prepare_session(db->pg, NULL))
            return;
        usleep(PAUSE_US);
    }
}

cds_rc cds_db_exec(struct cds_db *db, const char *sql, int n, const char *const *params, bool retry, struct cds_rows **ret_rows,
                   struct cds_err *reterr)
{
    for (int round = 0;; round++) {
        if (PQstatus(db->pg) != CONNECTION_OK)
            revive(db); /* nothing is in flight here, so this is safe for every statement */
        PGresult *result = PQexecParams(db->pg, sql, n, NULL, params, NULL, NULL, 0);
        ExecStatusType status = PQresultStatus(result);
        if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
            struct cds_rows *rows = db_rows_wrap(result);
            if (!rows)
                return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
            if (ret_rows)
                *ret_rows = rows;
            else
                cds_rows_free(&rows);
            return CDS_OK;
        }
        bool again = retry && round < RETRIES && db_is_transient(PQresultErrorField(result, PG_DIAG_SQLSTATE));
        cds_rc rc = again ? CDS_OK : db_result_error(result, reterr);
        PQclear(result);
        if (!again)
            return rc;
        usleep(PAUSE_US * (unsigned)(round + 1));
    }
}

cds_rc cds_db_script(struct cds_db *db, const char *sql, struct cds_err *reterr)
{
    PGresult *result = PQexec(db->pg, sql);
    ExecStatusType status = PQresultStatus(result);
    cds_rc rc = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY ? CDS_OK : db_result_error(result, reterr);
    PQclear(result);
    return rc;
}
