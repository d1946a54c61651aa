/* apps/api/usage_export.c: usage.export: the lines of the ledger, page by page. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/api/csv.h"
#include "apps/api/message.h"
#include "apps/api/usage_range.h"
#include "lib/base/str.h"

enum { CSV_MAX = 4000000 /* as the schema says */, LINES_DEFAULT = 1000 };

/* Columns; the first seven are text, the others whole numbers. at stands in micro-seconds, so that a cursor is exact. */
enum { AT, REQUEST, USER, EMAIL, KEY, KEY_NAME, MODEL, N_IN, N_CACHED, N_OUT, COST, COLUMNS };
static const char *const names[COLUMNS] = {
    "at", "request_id", "user_id", "email", "key_id", "key_name", "model", "prompt_tokens", "cached_tokens", "completion_tokens", "cost_micro"};

/* $6..$8 the line before (time, user, request) or NULL, $9 lines of a page. One line more is read, so that the last page knows that it is the last.
 */
static const char export_sql[] =
    "SELECT to_char(l.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), l.request_id, l.user_id, o.email,"
    " nullif(l.key_id, " USAGE_NO_KEY "), a.name, l.model, l.n_in, l.n_cached, l.n_out, l.cost_micro"
    " FROM (SELECT e.* FROM " USAGE_LINES " WHERE $6::timestamptz IS NULL OR (e.created_at, e.user_id, e.request_id) > ($6::timestamptz, $7::uuid,"
    "   $8::uuid) ORDER BY e.created_at, e.user_id, e.request_id LIMIT $9::int + 1) l"
    " LEFT JOIN users o ON o.id = l.user_id LEFT JOIN api_keys a ON a.user_id = l.user_id AND a.id = l.key_id"
    " ORDER BY l.created_at, l.user_id, l.request_id";

static void csv_line(struct cds_buf *out, const struct cds_rows *rows, int row)
{
    for (int column = 0; column < COLUMNS; column++) {
        if (column)
            csv_next(out);
        if (column == EMAIL || column == KEY_NAME || column == MODEL)
            csv_text(out, cds_rows_str(rows, row, column));
        else
            csv_plain(out, cds_rows_str(rows, row, column));
    }
    csv_end(out);
}

static cds_json *csv_of(const struct call *call, const struct cds_rows *rows, int count)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf out = cds_buf_init(CSV_MAX);
    if (!cds_json_get(call->params, "cursor")) {
        for (int column = 0; column < COLUMNS; column++) {
            if (column)
                csv_next(&out);
            csv_plain(&out, names[column]);
        }
        csv_end(&out);
    }
    for (int row = 0; row < count; row++)
        csv_line(&out, rows, row);
    return out.failed ? NULL : cds_json_stringn(out.data ? out.data : "", out.len);
}

static cds_json *lines_of(const struct cds_rows *rows, int count)
{
    cds_json *lines = cds_json_array();
    for (int row = 0; row < count; row++) {
        cds_json *line = cds_json_object();
        for (int column = 0; column < COLUMNS; column++) {
            const char *text = cds_rows_str(rows, row, column);
            cds_json_set(line, names[column],
                         !text            ? cds_json_null()
                         : column >= N_IN ? cds_json_int(cds_rows_i64(rows, row, column, 0))
                                          : cds_json_string(text));
        }
        cds_json_append(lines, line);
    }
    return lines;
}

static void on_export(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = usage_queried(user, err);
    struct cds_err failed;
    char cursor[128];
    if (!call)
        return;
    int most = (int)cds_json_get_i64(call->params, "limit", LINES_DEFAULT), count = cds_rows_count(rows);
    bool more = count > most, csv = cds_streq(cds_json_get_str(call->params, "format"), "csv");
    count = more ? most : count;
    if (more)
        snprintf(cursor, sizeof(cursor), "%s %s %s", cds_rows_str(rows, count - 1, AT), cds_rows_str(rows, count - 1, USER),
                 cds_rows_str(rows, count - 1, REQUEST));
    cds_json *data = csv ? csv_of(call, rows, count) : lines_of(rows, count);
    if (!data) {
        cds_fail(&failed, CDS_TOO_LARGE, __func__, "This page of the export is too long to be sent in one piece.");
        cds_err_hint(&failed, "Ask for fewer lines at a time (limit).");
        call_fail(call, &failed);
        return;
    }
    call_succeed(call, cds_json_pack("{s:s,s:o,s:o,s:s?}", "format", csv ? "csv" : "json", "csv", csv ? data : cds_json_null(), "lines",
                                     csv ? cds_json_null() : data, "next_cursor", more ? cursor : NULL));
}

void usage_export(struct call *call)
{
    enum { UUID_LEN = 36 };
    struct usage_range range;
    char limit[16], at[64] = "", of_user[UUID_LEN + 1] = "", of_request[UUID_LEN + 1] = "";
    const char *cursor = cds_json_get_str(call->params, "cursor");
    if (!usage_range_read(call, &range))
        return;
    /* The schema has checked its shape. */
    if (cursor && sscanf(cursor, "%63s %36s %36s", at, of_user, of_request) != 3)
        at[0] = '\0';
    snprintf(limit, sizeof(limit), "%lld", (long long)cds_json_get_i64(call->params, "limit", LINES_DEFAULT));
    const char *params[] = {range.user_id,           range.from, range.to, range.time_zone, range.model, *at ? at : NULL, *at ? of_user : NULL,
                            *at ? of_request : NULL, limit};
    call_query(call, export_sql, 9, params, on_export);
}
