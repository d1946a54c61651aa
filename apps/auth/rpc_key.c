/* apps/auth/rpc_key.c: key.create, key.rotate, key.set_rates. On a worker thread. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "apps/auth/rpc.h"
#include "apps/auth/store_key.h"
#include "lib/base/cleanup.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/jwt/apikey.h"

/* The schema has checked the items: no quote or backslash can be in them. Quoted, because a bare NULL would be no text. */
static char *array_of(const cds_json *list, char *out, size_t size)
{
    size_t n = (size_t)snprintf(out, size, "{");
    for (size_t i = 0; i < cds_json_size(list) && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s\"%s\"", i ? "," : "", cds_json_str(cds_json_at(list, i)));
    if (n < size)
        snprintf(out + n, size - n, "}");
    return out;
}

static const char *number_of(const struct cds_auth_rpc *call, const char *name, char *out, size_t size)
{
    if (!cds_json_is(cds_json_get(call->params, name), CDS_JSON_INTEGER))
        return NULL;
    snprintf(out, size, "%" PRId64, cds_json_get_i64(call->params, name, 0));
    return out;
}

struct secret {
    char id[37], key[CDS_APIKEY_LEN + 1], hash[65];
};

static void make_key(const struct cds_auth *auth, struct secret *out)
{
    unsigned char raw[32];
    char text[CDS_APIKEY_SECRET + 1];
    cds_random(raw, sizeof(raw));
    cds_base64url(raw, sizeof(raw), text);
    cds_uuid7(out->id);
    cds_apikey_make(out->id, text, out->key);
    cds_apikey_hash(auth->pepper, out->key, out->hash);
    cds_wipe(raw, sizeof(raw));
    cds_wipe(text, sizeof(text));
}

/* A key is never more than who makes it; what its maker loses later it loses at the same moment (store_key.c, standing.c). */
static cds_rc check_role(const struct cds_auth_rpc *call, const char *role, struct cds_err *reterr)
{
    if (cds_role_parse(role) <= call->role)
        return CDS_OK;
    cds_fail(reterr, CDS_DENIED, __func__, "A key cannot have the role %s: yours is %s.", role, cds_role_name(call->role));
    cds_err_rule(reterr, "key.role");
    cds_err_pointer(reterr, "/params/role");
    return CDS_DENIED;
}

static cds_json *time_or_null(const char *text)
{
    return *text ? cds_json_string(text) : cds_json_null();
}

cds_rc cds_auth_rpc_key_create(struct cds_auth_rpc *call, struct cds_err *reterr)
{
    char scopes[256], models[700], days[24], requests[24], tokens[24], together[24], month[24], expires[32];
    struct secret secret;
    const char *role = cds_json_get_str(call->params, "role");
    if (!role)
        role = cds_role_name(call->role);
    cds_rc rc = check_role(call, role, reterr);
    if (!rc)
        rc = cds_name_check(cds_json_get_str(call->params, "name"), reterr);
    if (rc)
        return rc;
    make_key(call->auth, &secret);
    const struct cds_new_key fresh = {.user_id = call->who.user_id,
                                      .id = secret.id,
                                      .hash = secret.hash,
                                      .name = cds_json_get_str(call->params, "name"),
                                      .role = role,
                                      .scopes = array_of(cds_json_get(call->params, "scopes"), scopes, sizeof(scopes)),
                                      .models = array_of(cds_json_get(call->params, "models"), models, sizeof(models)),
                                      .expires_in_s = number_of(call, "expires_in_s", days, sizeof(days)),
                                      .requests_per_minute = number_of(call, "requests_per_minute", requests, sizeof(requests)),
                                      .tokens_per_minute = number_of(call, "tokens_per_minute", tokens, sizeof(tokens)),
                                      .concurrent_requests = number_of(call, "concurrent_requests", together, sizeof(together)),
                                      .month_tokens = number_of(call, "month_tokens", month, sizeof(month))};
    rc = cds_store_key_add(call->auth->store, &fresh, expires, reterr);
    if (!rc)
        call->result = cds_json_pack("{s:s,s:s,s:o}", "key_id", secret.id, "key", secret.key, "expires_at", time_or_null(expires));
    cds_wipe(&secret, sizeof(secret));
    return rc;
}

cds_rc cds_auth_rpc_key_rotate(struct cds_auth_rpc *call, struct cds_err *reterr)
{
    char overlap[24], until[32], expires[32];
    struct secret secret;
    make_key(call->auth, &secret);
    const struct cds_new_key fresh = {.id = secret.id, .hash = secret.hash};
    snprintf(overlap, sizeof(overlap), "%" PRId64, cds_json_get_i64(call->params, "overlap_s", 86400));
    cds_rc rc =
        cds_store_key_rotate(call->auth->store, call->who.user_id, cds_json_get_str(call->params, "key_id"), &fresh, overlap, until, expires, reterr);
    if (!rc)
        call->result =
            cds_json_pack("{s:s,s:s,s:o,s:s}", "key_id", secret.id, "key", secret.key, "expires_at", time_or_null(expires), "old_until", until);
    cds_wipe(&secret, sizeof(secret));
    return rc;
}

cds_rc cds_auth_rpc_key_set_rates(struct cds_auth_rpc *call, struct cds_err *reterr)
{
    char requests[24], tokens[24], together[24];
    const char *key_id = cds_json_get_str(call->params, "key_id");
    const struct cds_key_rates rates = {.requests_per_minute = number_of(call, "requests_per_minute", requests, sizeof(requests)),
                                        .tokens_per_minute = number_of(call, "tokens_per_minute", tokens, sizeof(tokens)),
                                        .concurrent_requests = number_of(call, "concurrent_requests", together, sizeof(together))};
    cds_rc rc = cds_store_key_set_rates(call->auth->store, key_id, call->role == CDS_ROLE_ADMIN ? NULL : call->who.user_id, &rates, reterr);
    if (!rc)
        call->result = cds_json_pack("{s:s,s:b}", "key_id", key_id, "set", 1);
    return rc;
}
