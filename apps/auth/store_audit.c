/* apps/auth/store_audit.c: lines of the audit log for the acts that are done here. */
#include "apps/auth/store_account.h"
#include "apps/auth/store_priv.h"
#include "lib/base/str.h"

cds_rc cds_store_audit(struct cds_store *store, const struct cds_audit_line *line, struct cds_err *reterr)
{
    const char *const params[] = {line->phase, line->user_id, line->action, line->request_id, line->detail};
    /* Not repeatable: a line that came twice would say that the act did. */
    const struct cds_statement st = {
        .sql = "SELECT audit_add($1::text, 'auth', $2::uuid, NULL, $3::text, $4::uuid, $5::jsonb)", .n = CDS_ARRAY_LEN(params), .params = params};
    return cds_store_run(store, &st, NULL, reterr);
}

cds_rc cds_store_seal(struct cds_store *store, struct cds_err *reterr)
{
    const struct cds_statement st = {.sql = "SELECT ledger_seal()", .repeatable = true};
    return cds_store_run(store, &st, NULL, reterr);
}
