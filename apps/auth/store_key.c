/* apps/auth/store_key.c: see store_key.h. */
#include "apps/auth/store_key.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "apps/auth/store_priv.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "lib/jwt/jwt.h"

#define TIME_OF(column) "coalesce(to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), '')"

cds_rc cds_store_key_add(struct cds_store *store, const struct cds_new_key *fresh, char ret_expires_at[static 32], struct cds_err *reterr)
{
    char most[16];
    snprintf(most, sizeof(most), "%d", CDS_KEYS_MAX);
    const char *const params[] = {fresh->user_id,
                                  fresh->id,
                                  fresh->hash,
                                  fresh->name,
                                  fresh->role,
                                  fresh->scopes,
                                  fresh->models,
                                  fresh->expires_in_s,
                                  fresh->requests_per_minute,
                                  fresh->tokens_per_minute,
                                  most,
                                  fresh->concurrent_requests,
                                  fresh->month_tokens};
    const struct cds_statement st = {
        "WITH k AS (INSERT INTO api_keys (user_id, id, hash, name, role, scopes, models, expires_at, requests_per_minute, tokens_per_minute, "
        "  concurrent_requests) "
        "SELECT $1::uuid, $2::uuid, $3, $4, $5, $6::text[], $7::text[], now() + make_interval(secs => $8::double precision), $9::int, $10::bigint, "
        "  $12::int "
        "WHERE (SELECT count(*) FROM api_keys o WHERE o.user_id = $1::uuid AND o.revoked_at IS NULL AND (o.expires_at IS NULL OR o.expires_at > "
        "now())) "
        "< $11::int RETURNING *) SELECT " TIME_OF("k.expires_at") ", CASE WHEN $13::bigint IS NOT NULL THEN "
                                                                  "  budget_begin('key', k.user_id, k.id, $13::bigint, k.user_id)::text END FROM k",
        13, params, false};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_store_run(store, &st, &rows, reterr);
    if (rc)
        return rc;
    if (!cds_rows_count(rows))
        return cds_store_refuse(reterr, CDS_CONFLICT, "key.count", "You have 100 API keys, the most there may be.",
                                "Revoke one that is no longer needed.");
    cds_strcpy(ret_expires_at, 32, cds_rows_str(rows, 0, 0));
    return CDS_OK;
}

enum {
    COL_KEY_ROLE = CDS_USER_COLUMN_COUNT,
    COL_STATUS,
    COL_REVOKED,
    COL_EXPIRED,
    COL_SCOPES,
    COL_MODELS,
    COL_EXPIRES,
    COL_RPM,
    COL_TPM,
    COL_CONCURRENT,
    COL_HASH
};

static cds_rc check(const struct cds_rows *rows, const char *hash, struct cds_err *reterr)
{
    /* The hash is compared here and not in SQL: an id that exists costs the same as one that does not. */
    const char *stored = cds_rows_count(rows) ? cds_rows_str(rows, 0, COL_HASH) : hash;
    bool same = strlen(stored) == 64 && cds_equal_ct(stored, hash, 64);
    if (!cds_rows_count(rows) || !same)
        return cds_store_refuse(reterr, CDS_UNAUTHENTICATED, "key.unknown", "There is no such API key.", "Copy it again, or make a new one.");
    if (cds_rows_bool(rows, 0, COL_REVOKED))
        return cds_store_refuse(reterr, CDS_UNAUTHENTICATED, "key.revoked", "This API key was revoked.", "Use another one.");
    if (cds_rows_bool(rows, 0, COL_EXPIRED))
        return cds_store_refuse(reterr, CDS_UNAUTHENTICATED, "key.expired", "This API key has expired.", "Use another one.");
    const char *status = cds_rows_str(rows, 0, COL_STATUS);
    if (cds_streq(status, "deleted"))
        return cds_store_refuse(reterr, CDS_UNAUTHENTICATED, "user.gone", "The account of this API key does not exist any more.", "Use another one.");
    if (!cds_streq(status, "active"))
        return cds_store_refuse(reterr, CDS_DENIED, "user.blocked", "The account of this API key is blocked.", "Ask an admin of this studio.");
    return CDS_OK;
}

cds_rc cds_store_key_use(struct cds_store *store, const char *id, const char *hash, struct cds_key *ret, struct cds_err *reterr)
{
    const char *const params[] = {id};
    const struct cds_statement st = {
        "SELECT " CDS_USER_COLUMNS ", CASE WHEN k.role = 'viewer' OR u.role = 'viewer' THEN 'viewer' "
        "WHEN k.role = 'developer' OR u.role = 'developer' THEN 'developer' ELSE 'admin' END, u.status, k.revoked_at IS NOT NULL, "
        "k.expires_at IS NOT NULL AND k.expires_at <= now(), array_to_string(k.scopes, ' '), array_to_string(k.models, ' '), "
        "extract(epoch FROM k.expires_at)::bigint, k.requests_per_minute, k.tokens_per_minute, k.concurrent_requests, k.hash FROM api_keys k JOIN "
        "users u ON u.id = k.user_id WHERE k.id = $1::uuid",
        1, params, true};
    const struct cds_statement use = {"UPDATE api_keys SET last_used_at = date_trunc('minute', now()) WHERE id = $1::uuid "
                                      "AND last_used_at IS DISTINCT FROM date_trunc('minute', now())",
                                      1, params, true};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_store_run(store, &st, &rows, reterr);
    if (!rc)
        rc = check(rows, hash, reterr);
    if (!rc)
        rc = cds_store_run(store, &use, NULL, reterr);
    if (rc)
        return rc;
    cds_store_read_user(rows, 0, &ret->user);
    cds_strcpy(ret->id, sizeof(ret->id), id);
    cds_strcpy(ret->role, sizeof(ret->role), cds_rows_str(rows, 0, COL_KEY_ROLE));
    cds_strcpy(ret->scopes, sizeof(ret->scopes), cds_rows_str(rows, 0, COL_SCOPES));
    cds_strcpy(ret->models, sizeof(ret->models), cds_rows_str(rows, 0, COL_MODELS));
    ret->expires_s = cds_rows_i64(rows, 0, COL_EXPIRES, INT64_MAX);
    ret->requests_per_minute = (uint32_t)cds_rows_i64(rows, 0, COL_RPM, 0);
    ret->tokens_per_minute = (uint64_t)cds_rows_i64(rows, 0, COL_TPM, 0);
    ret->concurrent_requests = (uint32_t)cds_rows_i64(rows, 0, COL_CONCURRENT, 0);
    return CDS_OK;
}

cds_rc cds_store_key_owner(struct cds_store *store, const char *id, char ret_user_id[static 37], struct cds_err *reterr)
{
    const char *const params[] = {id};
    const struct cds_statement st = {"SELECT user_id FROM api_keys WHERE id = $1::uuid", 1, params, true};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_store_run(store, &st, &rows, reterr);
    if (rc)
        return rc;
    if (!cds_rows_count(rows))
        return cds_store_refuse(reterr, CDS_NOT_FOUND, "key.unknown", "There is no API key with this id.", "\"cyberdevstudio key list\" shows all.");
    cds_strcpy(ret_user_id, 37, cds_rows_str(rows, 0, 0));
    return CDS_OK;
}

static cds_rc not_rotated(struct cds_store *store, const char *user_id, const char *old_id, struct cds_err *reterr)
{
    const char *const params[] = {user_id, old_id};
    const struct cds_statement st = {"SELECT FROM api_keys WHERE user_id = $1::uuid AND id = $2::uuid AND revoked_at IS NULL "
                                     "AND (expires_at IS NULL OR expires_at > now())",
                                     2, params, true};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_store_run(store, &st, &rows, reterr);
    if (rc)
        return rc;
    if (cds_rows_count(rows))
        return cds_store_refuse(reterr, CDS_CONFLICT, "key.count", "You have 100 API keys, the most there may be.",
                                "Revoke one that is no longer needed, or rotate without an overlap (overlap_s 0).");
    cds_store_refuse(reterr, CDS_NOT_FOUND, "key.unknown", "You have no live API key with this id.", "key.list names your keys.");
    cds_err_pointer(reterr, "/params/key_id");
    return CDS_NOT_FOUND;
}

cds_rc cds_store_key_rotate(struct cds_store *store, const char *user_id, const char *old_id, const struct cds_new_key *fresh, const char *overlap_s,
                            char ret_old_until[static 32], char ret_expires_at[static 32], struct cds_err *reterr)
{
    char most[16];
    snprintf(most, sizeof(most), "%d", CDS_KEYS_MAX);
    const char *const params[] = {user_id, old_id, fresh->id, fresh->hash, overlap_s, most};
    const struct cds_statement st = {
        "WITH old AS (UPDATE api_keys SET expires_at = least(expires_at, greatest(now(), created_at + interval '1 millisecond') + "
        "  make_interval(secs => $5::double precision)) WHERE user_id = $1::uuid AND id = $2::uuid AND revoked_at IS NULL "
        "  AND (expires_at IS NULL OR expires_at > now()) "
        /* Without an overlap the new one takes the place of the old one. */
        "  AND (SELECT count(*) FROM api_keys l WHERE l.user_id = $1::uuid AND l.revoked_at IS NULL AND (l.expires_at IS NULL OR l.expires_at > "
        "  now()) AND (l.id <> $2::uuid OR $5::double precision > 0)) < $6::int RETURNING *), "
        "was AS (SELECT expires_at, created_at FROM api_keys WHERE user_id = $1::uuid AND id = $2::uuid) "
        /* It counts in the budgets of the first key of its line. */
        "INSERT INTO api_keys AS k (user_id, id, hash, name, role, scopes, models, expires_at, requests_per_minute, tokens_per_minute, "
        "  concurrent_requests, budget_key, rotated_from) "
        "SELECT o.user_id, $3::uuid, $4, o.name, o.role, o.scopes, o.models, CASE WHEN w.expires_at IS NULL THEN NULL "
        "  ELSE now() + (w.expires_at - w.created_at) END, o.requests_per_minute, o.tokens_per_minute, o.concurrent_requests, "
        "  coalesce(o.budget_key, o.id), o.id FROM old o, was w "
        "RETURNING (SELECT " TIME_OF("old.expires_at") " FROM old), " TIME_OF("k.expires_at"),
        6, params, false};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_store_run(store, &st, &rows, reterr);
    if (rc)
        return rc;
    if (!cds_rows_count(rows))
        return not_rotated(store, user_id, old_id, reterr);
    cds_strcpy(ret_old_until, 32, cds_rows_str(rows, 0, 0));
    cds_strcpy(ret_expires_at, 32, cds_rows_str(rows, 0, 1));
    return CDS_OK;
}

cds_rc cds_store_key_set_rates(struct cds_store *store, const char *id, const char *owner, const struct cds_key_rates *rates, struct cds_err *reterr)
{
    const char *const params[] = {id, owner, rates->requests_per_minute, rates->tokens_per_minute, rates->concurrent_requests};
    const struct cds_statement st = {
        "UPDATE api_keys SET requests_per_minute = $3::int, tokens_per_minute = $4::bigint, concurrent_requests = $5::int WHERE id = $1::uuid "
        "  AND ($2::uuid IS NULL OR user_id = $2::uuid) AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) RETURNING 1",
        5, params, true};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_store_run(store, &st, &rows, reterr);
    if (rc || cds_rows_count(rows))
        return rc;
    cds_store_refuse(reterr, CDS_NOT_FOUND, "key.unknown", "There is no live API key with this id.", "key.list names the keys.");
    cds_err_pointer(reterr, "/params/key_id");
    return CDS_NOT_FOUND;
}
