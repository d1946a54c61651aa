/* lib/rpc/audit.c: which calls the audit log gets, and what of them. See rpc.h. */
#include <string.h>

#include "lib/base/str.h"
#include "lib/rpc/rpc.h"

bool cds_rpc_audited(const struct cds_rpc_method *method, enum cds_role caller)
{
    return method->audit == CDS_AUDIT_ALWAYS || (method->audit == CDS_AUDIT_ADMINS && caller == CDS_ROLE_ADMIN);
}

static bool shown(const char *list, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = list; len && (at = strstr(at, name)); at += len)
        if ((at == list || at[-1] == ',') && (at[len] == ',' || at[len] == '\0'))
            return true;
    return false;
}

cds_json *cds_rpc_audit_params(const struct cds_rpc_method *method, const cds_json *params)
{
    cds_json *kept = cds_json_object();
    const char *name;
    cds_json *value;
    void *at = NULL;
    while (cds_json_next(params, &at, &name, &value))
        cds_json_set(kept, name, shown(method->audit_shown, name) ? cds_json_copy(value) : cds_json_string("(not kept)"));
    return kept;
}
