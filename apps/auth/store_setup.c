/* apps/auth/store_setup.c: the one-time link of the first admin. */
#include "apps/auth/store_priv.h"
#include "lib/base/cleanup.h"

static cds_rc refuse(struct cds_err *reterr, const char *rule, const char *message)
{
    cds_fail(reterr, CDS_DENIED, "cds_store_setup", "%s", message);
    cds_err_rule(reterr, rule);
    cds_err_hint(reterr, "%s",
                 rule[6] == 'u' && rule[7] == 's' ? "Sign in with the admin's account instead."
                                                  : "Start the studio again: it prints a fresh link while no admin exists.");
    return CDS_DENIED;
}

/* Used up is told before expired: it is what the second of two people needs to know. */
static cds_rc check(struct cds_db *db, const char *token_hash, struct cds_err *reterr)
{
    const char *const params[] = {token_hash};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_db_exec(db,
                            "SELECT t.used_at IS NOT NULL OR EXISTS (SELECT FROM users WHERE role = 'admin'), t.expires_at <= now() "
                            "FROM setup_tokens t WHERE t.token_hash = $1",
                            1, params, false, &rows, reterr);
    if (rc)
        return rc;
    if (!cds_rows_count(rows))
        return refuse(reterr, "setup.unknown", "This setup link is not valid.");
    if (cds_rows_bool(rows, 0, 0))
        return refuse(reterr, "setup.used", "This setup link has been used: the first admin exists.");
    if (cds_rows_bool(rows, 0, 1))
        return refuse(reterr, "setup.expired", "This setup link has expired.");
    return CDS_OK;
}

cds_rc cds_store_setup_check(struct cds_store *store, const char *token_hash, struct cds_err *reterr)
{
    struct cds_db *db = NULL;
    cds_rc rc = cds_store_take(store, &db, reterr);
    if (rc)
        return rc;
    rc = check(db, token_hash, reterr);
    cds_store_give(store, db, rc != CDS_UNAVAILABLE);
    return rc;
}

struct redeem {
    const char *token_hash;
    const struct cds_new_user *fresh;
    struct cds_user user;
};

static cds_rc redeem(struct cds_db *db, void *user, struct cds_err *reterr)
{
    struct redeem *r = user;
    const char *const params[] = {r->token_hash};
    /* The lock conflicts with itself, so redemptions run one after the other, also those of two different links: the later one sees the
     * admin that the earlier one made. */
    cds_rc rc = cds_db_exec(db, "LOCK TABLE setup_tokens IN SHARE ROW EXCLUSIVE MODE", 0, NULL, false, NULL, reterr);
    if (!rc)
        rc = check(db, r->token_hash, reterr);
    if (!rc)
        rc = cds_store_insert_user(db, r->fresh, &r->user, reterr);
    if (!rc)
        rc = cds_db_exec(db, "UPDATE setup_tokens SET used_at = now() WHERE token_hash = $1", 1, params, false, NULL, reterr);
    return rc;
}

cds_rc cds_store_setup_redeem(struct cds_store *store, const char *token_hash, const struct cds_new_user *fresh, struct cds_user *ret,
                              struct cds_err *reterr)
{
    struct redeem r = {.token_hash = token_hash, .fresh = fresh};
    cds_rc rc = cds_store_tx(store, redeem, &r, reterr);
    if (!rc)
        *ret = r.user;
    return rc;
}
