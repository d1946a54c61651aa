/* apps/auth/rpc_user.c: user.invite, user.link, user.login, user.password.change. On a worker thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/auth/password.h"
#include "apps/auth/rpc.h"
#include "apps/auth/store_account.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"

static const char *param(const struct cds_auth_rpc *call, const char *name)
{
    const char *text = cds_json_get_str(call->params, name);
    return text ? text : "";
}

static cds_json *link_json(const struct cds_auth *auth, const char *token)
{
    char link[sizeof(auth->page) + sizeof("/invite#token=") + CDS_TOKEN_TEXT];
    snprintf(link, sizeof(link), "%s/invite#token=%s", auth->page, token);
    cds_json *text = cds_json_string(link);
    cds_wipe(link, sizeof(link));
    return text;
}

cds_rc cds_auth_rpc_invite(struct cds_auth_rpc *call, struct cds_err *reterr)
{
    struct cds_auth *auth = call->auth;
    char email[CDS_EMAIL_MAX + 1], token[CDS_TOKEN_TEXT + 1], hash[65];
    struct cds_invite invite;
    cds_rc rc = cds_email_fold(param(call, "email"), email, reterr);
    if (rc) {
        cds_err_pointer(reterr, "/params/email");
        return rc;
    }
    if ((rc = cds_name_check(param(call, "display_name"), reterr))) {
        cds_err_pointer(reterr, "/params/display_name");
        return rc;
    }
    cds_auth_token(token, hash);
    const struct cds_new_user fresh = {email, param(call, "display_name"), CDS_NO_PASSWORD, param(call, "role"), auth->month_tokens};
    rc = cds_store_invite(auth->store, &fresh, hash, auth->invite_s, call->who.user_id, &invite, reterr);
    if (!rc)
        call->result = cds_json_pack("{s:s,s:s,s:s,s:o,s:s}", "user_id", invite.user.id, "email", invite.user.email, "role", invite.user.role, "link",
                                     link_json(auth, token), "expires_at", invite.expires_at);
    cds_wipe(token, sizeof(token));
    return rc;
}

cds_rc cds_auth_rpc_link(struct cds_auth_rpc *call, struct cds_err *reterr)
{
    struct cds_auth *auth = call->auth;
    char token[CDS_TOKEN_TEXT + 1], hash[65];
    struct cds_invite invite;
    cds_auth_token(token, hash);
    cds_rc rc = cds_store_link(auth->store, param(call, "user_id"), hash, auth->invite_s, call->who.user_id, &invite, reterr);
    if (!rc)
        call->result = cds_json_pack("{s:s,s:s,s:o,s:s}", "user_id", invite.user.id, "kind", invite.kind, "link", link_json(auth, token),
                                     "expires_at", invite.expires_at);
    cds_wipe(token, sizeof(token));
    return rc;
}

/* ---- passwords ---- */
/* A password as it came: JSON texts may hold a NUL, which bcrypt would take for the end. */
static const char *password_of(const struct cds_auth_rpc *call, const char *name, size_t *ret_len)
{
    const cds_json *text = cds_json_get(call->params, name);
    *ret_len = cds_json_str_len(text);
    return cds_json_str(text);
}

cds_rc cds_auth_rpc_login(struct cds_auth_rpc *call, struct cds_err *reterr)
{
    struct cds_auth *auth = call->auth;
    struct cds_user user;
    char session[37];
    CDS_CLEANUP(cds_free_ptr) char *access = NULL;
    size_t len;
    const char *password = password_of(call, "password", &len);
    cds_rc rc = cds_auth_check_password(auth, call->account, password, len, &user, reterr);
    if (!rc)
        rc = cds_store_session_plain(auth->store, &user, auth->access_s, call->device, call->ip, session, reterr);
    if (!rc)
        rc = cds_auth_sign(auth, &user, session, &access, reterr);
    if (!rc)
        call->result = cds_json_pack("{s:s,s:s,s:I,s:{s:s,s:s,s:s,s:s}}", "access_token", access, "token_type", "Bearer", "expires_in",
                                     (long long)auth->access_s, "user", "id", user.id, "email", user.email, "role", user.role, "display_name",
                                     user.display_name);
    if (!rc)
        cds_strcpy(call->who.user_id, sizeof(call->who.user_id), user.id); /* for the log */
    return rc;
}

cds_rc cds_auth_rpc_password(struct cds_auth_rpc *call, struct cds_err *reterr)
{
    struct cds_auth *auth = call->auth;
    struct cds_user user;
    char hash[CDS_HASH_SIZE];
    int64_t ended = 0;
    size_t old_len, new_len;
    const char *old = password_of(call, "old_password", &old_len), *fresh = password_of(call, "new_password", &new_len);
    cds_rc rc = cds_store_user_by_id(auth->store, call->who.user_id, &user, reterr);
    if (!rc && (rc = cds_password_policy(fresh, new_len, user.email, reterr)))
        cds_err_pointer(reterr, "/params/new_password");
    if (rc)
        return rc;
    if (!cds_password_verify(old, old_len, user.hash)) {
        cds_fail(reterr, CDS_DENIED, __func__, "The present password is wrong.");
        cds_err_rule(reterr, "password.wrong");
        cds_err_pointer(reterr, "/params/old_password");
        cds_err_hint(reterr, "Type it again; an admin can make a link to set a new one.");
        return CDS_DENIED;
    }
    rc = cds_password_hash(fresh, new_len, auth->bcrypt_cost, hash, reterr);
    if (!rc)
        rc = cds_store_password(auth->store, user.id, user.hash, hash, call->who.session_id, &ended, reterr);
    if (!rc)
        call->result = cds_json_pack("{s:I}", "ended_sessions", (long long)ended);
    return rc;
}
