/* apps/auth/store_priv.h: connections of the store, shared by its files.
 *
 * Threads: any worker thread, as store.h: a connection belongs to the thread that took it until it gives it back.
 */
#pragma once

#include "apps/auth/store.h"
#include "lib/db/db.h"

/** Borrows a connection, opening one if need be. */
CDS_MUST_USE cds_rc cds_store_take(struct cds_store *store, struct cds_db **ret, struct cds_err *reterr);
/** Gives it back; good = false closes it (its transaction state is not known). */
void cds_store_give(struct cds_store *store, struct cds_db *db, bool good);

/** Statements that stand or fall together. */
typedef cds_rc cds_store_tx_fn(struct cds_db *db, void *user, struct cds_err *reterr);
/** Runs fn between BEGIN and COMMIT; anything but CDS_OK from it rolls back. */
CDS_MUST_USE cds_rc cds_store_tx(struct cds_store *store, cds_store_tx_fn *fn, void *user, struct cds_err *reterr);

/** One statement on a borrowed connection. ret_rows may be NULL. */
struct cds_statement {
    const char *sql;
    int n;
    const char *const *params;
    bool repeatable; /**< may be run again after a lost connection */
};
CDS_MUST_USE cds_rc cds_store_run(struct cds_store *store, const struct cds_statement *st, struct cds_rows **ret_rows, struct cds_err *reterr);

/** The columns that cds_store_read_user expects, from a table alias "u". */
#define CDS_USER_COLUMNS "u.id, u.email, u.display_name, u.role, u.password_hash, u.status = 'blocked', u.token_version"
enum { CDS_USER_COLUMN_COUNT = 7 };
void cds_store_read_user(const struct cds_rows *rows, int row, struct cds_user *ret);
/** A refusal with its rule and its advice. @return code */
cds_rc cds_store_refuse(struct cds_err *reterr, cds_rc code, const char *rule, const char *message, const char *hint);
/** Ends the sessions of a user beyond CDS_SESSIONS_MAX, those idle longest. */
CDS_MUST_USE cds_rc cds_store_sessions_limit(struct cds_store *store, const char *user_id, struct cds_err *reterr);
/** INSERT of one user. @return CDS_CONFLICT, rule "user.exists" */
CDS_MUST_USE cds_rc cds_store_insert_user(struct cds_db *db, const struct cds_new_user *fresh, struct cds_user *ret, struct cds_err *reterr);
