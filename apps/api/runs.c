/* apps/api/runs.c: what was run: a row when a run starts, completed when it ends, and run.history.
 *
 * The rows are written beside the run: no run waits for them, and one that cannot be written is a line in the log. */
#include <stdio.h>
#include <string.h>

#include "apps/api/message.h"
#include "apps/api/runs.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

enum { GRACE_MS = 5000, PAGE = 20 };

/* The newest 500 of a project stay. */
static const char start_sql[] =
    "WITH old AS (DELETE FROM runs WHERE user_id = $1::uuid AND project_id = $3::uuid AND id <"
    "   (SELECT id FROM runs WHERE user_id = $1::uuid AND project_id = $3::uuid ORDER BY id DESC OFFSET 498 LIMIT 1) RETURNING 1)"
    " INSERT INTO runs (user_id, id, project_id, request_id, engine, language, source, deadline_at)"
    " SELECT $1::uuid, $2::uuid, $3::uuid, $4::uuid, $5, $6, $7, now() + $8::interval WHERE (SELECT count(*) FROM old) >= 0"
    " ON CONFLICT DO NOTHING";
static const char end_sql[] =
    "UPDATE runs SET ended_at = now(), end_state = $3, backend = $4, boundary = $5, exit_code = $6::int, signo = $7::int, wall_ms = $8::bigint,"
    " cpu_ms = $9::bigint, peak_memory_bytes = $10::bigint WHERE user_id = $1::uuid AND id = $2::uuid AND end_state IS NULL";
static const char gone_sql[] = "UPDATE runs SET ended_at = now(), end_state = $3 WHERE user_id = $1::uuid AND id = $2::uuid AND end_state IS NULL";
static const char history_sql[] =
    "SELECT coalesce(json_agg(r ORDER BY run_id DESC), '[]') FROM (SELECT id AS run_id, request_id, engine, backend, boundary, language,"
    " nullif(source, '') AS path, to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') AS started_at,"
    " CASE WHEN end_state IS NOT NULL THEN 'ended' WHEN deadline_at < now() THEN 'lost' ELSE 'running' END AS state, end_state AS \"end\","
    " exit_code, signo AS signal, wall_ms, cpu_ms, peak_memory_bytes FROM runs WHERE user_id = $1::uuid AND project_id = $2::uuid"
    " AND ($3::uuid IS NULL OR id < $3::uuid) ORDER BY id DESC LIMIT $4::int) r";

static void on_written(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    if (err)
        cds_log_err(CDS_LOG_WARN, "a run could not be noted in the history", NULL, err);
}

static void write_row(struct call *call, const char *sql, int n, const char *const *params)
{
    if (cds_dbq_exec(call->api->db, sql, n, params, cds_now_ms() + API_DB_MS, on_written, NULL))
        cds_log(CDS_LOG_WARN, "a run could not be noted in the history: too much waits for the database", CDS_LS("request_id", call->request_id));
}

void runs_started(struct call *call, const cds_json *note)
{
    const cds_json *p = call->params;
    const char *engine = cds_json_get_str(p, "engine"), *colon = engine ? strchr(engine, ':') : NULL;
    const char *language = colon ? colon + 1 : cds_json_get_str(p, "language"), *path = cds_json_get_str(p, "path");
    char left[32];
    /* Without a limit of its own the longest one: a run is called lost late rather than too early. */
    snprintf(left, sizeof(left), "%lld ms", (long long)cds_json_get_i64(cds_json_get(p, "limits"), "wall_ms", call->method->deadline_ms) + GRACE_MS);
    const char *params[] = {call_who(call)->claims.user_id,
                            cds_json_get_str(note, "run_id"),
                            cds_json_get_str(p, "project"),
                            call->request_id,
                            cds_json_get_str(note, "engine"),
                            language ? language : "",
                            path ? path : "",
                            left};
    write_row(call, start_sql, 8, params);
}

/* A JSON integer as text; NULL (SQL's) for null. */
static const char *number(const cds_json *result, const char *key, char out[static 24])
{
    const cds_json *value = cds_json_get(result, key);
    snprintf(out, 24, "%lld", (long long)cds_json_i64(value, 0));
    return cds_json_is(value, CDS_JSON_NULL) ? NULL : out;
}

void runs_ended(struct call *call, const cds_json *result)
{
    char text[5][24];
    const char *params[] = {call_who(call)->claims.user_id,       cds_json_get_str(result, "run_id"),
                            cds_json_get_str(result, "end"),      cds_json_get_str(result, "backend"),
                            cds_json_get_str(result, "boundary"), number(result, "exit_code", text[0]),
                            number(result, "signal", text[1]),    number(result, "wall_ms", text[2]),
                            number(result, "cpu_ms", text[3]),    number(result, "peak_memory_bytes", text[4])};
    write_row(call, end_sql, 10, params);
}

void runs_gone(struct call *call, const char *run_id, const char *end)
{
    const char *params[] = {call_who(call)->claims.user_id, run_id, end};
    write_row(call, gone_sql, 3, params);
}

/* ---- run.history ---- */
static void on_history(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = call_queried(user, err);
    if (call)
        call_succeed_text(call, "runs", cds_rows_str(rows, 0, 0));
}

static void query_history(struct call *call)
{
    char limit[24];
    snprintf(limit, sizeof(limit), "%lld", (long long)cds_json_get_i64(call->params, "limit", PAGE));
    const char *params[] = {call_who(call)->claims.user_id, cds_json_get_str(call->params, "project"), cds_json_get_str(call->params, "before"),
                            limit};
    call_query(call, history_sql, 4, params, on_history);
}

void run_history(struct call *call)
{
    project_check(call, query_history);
}
