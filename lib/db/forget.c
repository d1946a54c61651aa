/* lib/db/forget.c: see forget.h. A project handed over to somebody who has one of that name gets the end of its id behind its name. */
#include "lib/db/forget.h"

const char cds_forget_sql[] =
    "WITH asked AS MATERIALIZED (SELECT CASE"
    "  WHEN NOT EXISTS (SELECT FROM users WHERE id = $1::uuid AND status <> 'deleted') THEN 'unknown'"
    "  WHEN $2::uuid = $1::uuid OR $2::uuid IS NOT NULL AND NOT EXISTS (SELECT FROM users WHERE id = $2::uuid AND status IN ('active', 'pending'))"
    "    THEN 'no_heir'"
    "  WHEN $2::uuid IS NOT NULL AND (SELECT count(*) FROM projects WHERE user_id IN ($1::uuid, $2::uuid)) > $4::int THEN 'heir_full'"
    "  WHEN $2::uuid IS NULL AND NOT $3::boolean AND EXISTS (SELECT FROM projects WHERE user_id = $1::uuid) THEN 'projects'"
    "  ELSE user_forget($1::uuid) END AS verdict),"
    " moved AS (UPDATE projects p SET user_id = $2::uuid, name = CASE"
    "    WHEN EXISTS (SELECT FROM projects o WHERE o.user_id = $2::uuid AND o.name = p.name) THEN left(p.name, 85) || ' (' || right(p.id::text, 12) "
    "|| ')'"
    "    ELSE p.name END FROM asked WHERE asked.verdict = 'ok' AND $2::uuid IS NOT NULL AND p.user_id = $1::uuid),"
    " gone AS (DELETE FROM projects p USING asked WHERE asked.verdict = 'ok' AND $2::uuid IS NULL AND p.user_id = $1::uuid RETURNING p.id)"
    " SELECT asked.verdict, (SELECT count(*) FROM projects WHERE user_id = $1::uuid),"
    "  (SELECT coalesce(json_agg(gone.id), '[]') FROM gone) FROM asked";
