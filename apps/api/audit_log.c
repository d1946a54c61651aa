/* apps/api/audit_log.c: audit.list, audit.export: the audit log read back. */
#include <stdio.h>

#include "apps/api/message.h"
#include "lib/base/str.h"

enum { LIST_LINES = 50, EXPORT_LINES = 500 };

/* One more than a page is read, so that the last page knows that it is the last. Details of a size that nobody reads are cut by the page, not here.
 */
static const char list_sql[] =
    "WITH l AS (SELECT * FROM audit_log WHERE ($1::bigint IS NULL OR seq < $1::bigint) AND ($2::uuid IS NULL OR actor = $2::uuid)"
    "   AND ($3::text IS NULL OR starts_with(action, $3::text)) ORDER BY seq DESC LIMIT $4::int + 1),"
    " p AS (SELECT * FROM l ORDER BY seq DESC LIMIT $4::int)"
    " SELECT json_build_object('lines', coalesce((SELECT json_agg(json_build_object('seq', p.seq, 'at', to_char(p.at AT TIME ZONE 'UTC',"
    "   'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), 'phase', p.phase, 'source', p.source, 'actor', p.actor,"
    "   'actor_name', CASE WHEN u.status <> 'deleted' THEN u.email END, 'actor_key', p.actor_key, 'action', p.action, 'request_id', p.request_id,"
    "   'detail', left(p.detail::text, 65536)) ORDER BY p.seq DESC) FROM p LEFT JOIN users u ON u.id = p.actor), '[]'),"
    "  'next_before', CASE WHEN (SELECT count(*) FROM l) > $4::int THEN (SELECT min(seq) FROM p) END)";

static const char export_sql[] =
    "WITH l AS (SELECT * FROM audit_log WHERE seq > $1::bigint ORDER BY seq LIMIT $2::int + 1), p AS (SELECT * FROM l ORDER BY seq LIMIT $2::int)"
    " SELECT json_build_object('lines', coalesce((SELECT json_agg(json_build_object('seq', seq, 'prev', encode(prev, 'hex'),"
    "   'text', audit_text(p::audit_log), 'hash', encode(hash, 'hex')) ORDER BY seq) FROM p), '[]'),"
    "  'head', (SELECT json_build_object('seq', seq, 'hash', encode(hash, 'hex')) FROM audit_head),"
    "  'next_after', CASE WHEN (SELECT count(*) FROM l) > $2::int THEN (SELECT max(seq) FROM p) END)";

static const char *number(const struct call *call, const char *name, int64_t otherwise, char ret[static 24])
{
    snprintf(ret, 24, "%lld", (long long)cds_json_get_i64(call->params, name, otherwise));
    return ret;
}

void audit_list(struct call *call)
{
    char before[24], limit[24];
    const char *params[] = {cds_json_get(call->params, "before") ? number(call, "before", 0, before) : NULL, cds_json_get_str(call->params, "actor"),
                            cds_json_get_str(call->params, "action"), number(call, "limit", LIST_LINES, limit)};
    call_query(call, list_sql, CDS_ARRAY_LEN(params), params, call_give);
}

void audit_export(struct call *call)
{
    char after[24], limit[24];
    const char *params[] = {number(call, "after", 0, after), number(call, "limit", EXPORT_LINES, limit)};
    call_query(call, export_sql, CDS_ARRAY_LEN(params), params, call_give);
}
