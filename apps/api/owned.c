#include "apps/api/owned.h"

#include <stdio.h>

#include "lib/base/str.h"
#include "lib/db/db.h"

const char *owned_whose(struct call *call, const char *what)
{
    const struct cds_credential *who = call_who(call);
    const char *wanted = cds_json_get_str(call->params, "user_id");
    char list[64];
    struct cds_err err;
    snprintf(list, sizeof(list), "the list of somebody else's %s", what);
    if (!wanted || cds_streq(wanted, who->claims.user_id))
        return who->claims.user_id;
    if (!cds_credential_need(who, CDS_ROLE_ADMIN, list, &err))
        return wanted;
    call_fail(call, &err);
    return NULL;
}

const char *owned_limit(const struct call *call)
{
    const struct cds_credential *who = call_who(call);
    return who->role == CDS_ROLE_ADMIN ? NULL : who->claims.user_id;
}

void owned_ended(void *user, const struct cds_rows *rows, const struct cds_err *err, const char *member, const char *noun, const char *lists)
{
    struct call *call = call_queried(user, err);
    struct cds_err gone;
    if (!call)
        return;
    if (cds_streq(cds_rows_str(rows, 0, 0), "ok")) {
        call_succeed(call, cds_json_pack("{s:s,s:b}", member, cds_json_get_str(call->params, member), "revoked", 1));
        return;
    }
    cds_fail(&gone, CDS_NOT_FOUND, __func__, "There is no such %s, or it has ended already, or it belongs to someone else.", noun);
    cds_err_pointer(&gone, "/params/%s", member);
    cds_err_hint(&gone, "%s names yours.", lists);
    call_fail(call, &gone);
}
