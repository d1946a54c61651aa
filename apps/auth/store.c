/* apps/auth/store.c: the store's connections and its statements on users. Sessions are in store_session.c, setup links in store_setup.c. */
#include "apps/auth/store.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/auth/store_priv.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/base/str.h"

enum { CONNECT_MS = 500 }; /* a sign-in should hear soon that the database is away */

struct cds_store {
    char *conninfo;
    pthread_mutex_t lock;
    pthread_cond_t returned;
    unsigned most, out, idle; /* idle + out <= most */
    struct cds_db **free_list;
};

cds_rc cds_store_new(const char *conninfo, unsigned connections, struct cds_store **ret, struct cds_err *reterr)
{
    struct cds_store *store = calloc(1, sizeof(*store));
    if (store) {
        pthread_mutex_init(&store->lock, NULL);
        pthread_cond_init(&store->returned, NULL);
        store->most = connections;
        store->conninfo = strdup(conninfo);
        store->free_list = calloc(connections, sizeof(*store->free_list)); // NOLINT(bugprone-sizeof-expression): a list of pointers
    }
    if (!store || !store->conninfo || !store->free_list) {
        cds_store_free(&store);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory for the database connections.");
    }
    *ret = store;
    return CDS_OK;
}

void cds_store_free(struct cds_store **store)
{
    struct cds_store *s = *store;
    *store = NULL;
    if (!s)
        return;
    for (unsigned i = 0; i < s->idle; i++)
        cds_db_close(&s->free_list[i]);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->returned);
    free(s->free_list);
    free(s->conninfo);
    free(s);
}

cds_rc cds_store_take(struct cds_store *store, struct cds_db **ret, struct cds_err *reterr)
{
    struct cds_db *db = NULL;
    pthread_mutex_lock(&store->lock);
    while (store->out == store->most)
        pthread_cond_wait(&store->returned, &store->lock);
    store->out++;
    if (store->idle)
        db = store->free_list[--store->idle];
    pthread_mutex_unlock(&store->lock);
    cds_rc rc = db ? CDS_OK : cds_db_open(store->conninfo, cds_now_ms() + CONNECT_MS, &db, reterr);
    if (rc)
        cds_store_give(store, NULL, false);
    else
        *ret = db;
    return rc;
}

void cds_store_give(struct cds_store *store, struct cds_db *db, bool good)
{
    if (db && !good)
        cds_db_close(&db);
    pthread_mutex_lock(&store->lock);
    store->out--;
    if (db)
        store->free_list[store->idle++] = db;
    pthread_cond_signal(&store->returned);
    pthread_mutex_unlock(&store->lock);
}

/* A connection is kept unless the trouble was with the connection itself. */
static bool still_good(cds_rc rc)
{
    return rc != CDS_UNAVAILABLE && rc != CDS_TIMED_OUT;
}

cds_rc cds_store_run(struct cds_store *store, const struct cds_statement *st, struct cds_rows **ret_rows, struct cds_err *reterr)
{
    struct cds_db *db = NULL;
    cds_rc rc = cds_store_take(store, &db, reterr);
    if (rc)
        return rc;
    rc = cds_db_exec(db, st->sql, st->n, st->params, st->repeatable, ret_rows, reterr);
    cds_store_give(store, db, still_good(rc));
    return rc;
}

/* A connection that lay idle while the database restarted is found broken here, where nothing was done yet: it is given up for another. All idle
 * ones may be broken, so the last try is one that was opened now. */
static cds_rc begin(struct cds_store *store, struct cds_db **ret, struct cds_err *reterr)
{
    cds_rc rc = CDS_UNAVAILABLE;
    for (unsigned i = 0; i <= store->most && rc == CDS_UNAVAILABLE; i++) {
        if ((rc = cds_store_take(store, ret, reterr)))
            return rc;
        if ((rc = cds_db_script(*ret, "BEGIN", reterr)))
            cds_store_give(store, *ret, false);
    }
    return rc;
}

cds_rc cds_store_tx(struct cds_store *store, cds_store_tx_fn *fn, void *user, struct cds_err *reterr)
{
    struct cds_db *db = NULL;
    cds_rc rc = begin(store, &db, reterr);
    if (rc)
        return rc;
    rc = fn(db, user, reterr);
    struct cds_err end_err;
    cds_rc end_rc = cds_db_script(db, rc == CDS_OK ? "COMMIT" : "ROLLBACK", &end_err);
    cds_store_give(store, db, end_rc == CDS_OK && still_good(rc));
    if (rc == CDS_OK && end_rc != CDS_OK) {
        if (reterr)
            *reterr = end_err;
        return end_rc;
    }
    return rc;
}

cds_rc cds_store_ping(struct cds_store *store, struct cds_err *reterr)
{
    const struct cds_statement st = {.sql = "SELECT 1", .repeatable = true};
    return cds_store_run(store, &st, NULL, reterr);
}

cds_rc cds_store_setup_needed(struct cds_store *store, bool *ret, struct cds_err *reterr)
{
    const struct cds_statement st = {.sql = "SELECT NOT EXISTS (SELECT FROM users WHERE role = 'admin')", .repeatable = true};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_store_run(store, &st, &rows, reterr);
    if (!rc)
        *ret = cds_rows_bool(rows, 0, 0);
    return rc;
}

void cds_store_read_user(const struct cds_rows *rows, int row, struct cds_user *ret)
{
    memset(ret, 0, sizeof(*ret));
    cds_strcpy(ret->id, sizeof(ret->id), cds_rows_str(rows, row, 0));
    cds_strcpy(ret->email, sizeof(ret->email), cds_rows_str(rows, row, 1));
    cds_strcpy(ret->display_name, sizeof(ret->display_name), cds_rows_str(rows, row, 2));
    cds_strcpy(ret->role, sizeof(ret->role), cds_rows_str(rows, row, 3));
    cds_strcpy(ret->hash, sizeof(ret->hash), cds_rows_str(rows, row, 4));
    ret->blocked = cds_rows_bool(rows, row, 5);
    ret->token_version = cds_rows_i64(rows, row, 6, 0);
}

cds_rc cds_store_user(struct cds_store *store, const char *email, struct cds_user *ret, struct cds_err *reterr)
{
    const char *const params[] = {email};
    const struct cds_statement st = {"SELECT " CDS_USER_COLUMNS " FROM users u WHERE u.email = $1", 1, params, true};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_store_run(store, &st, &rows, reterr);
    if (rc)
        return rc;
    if (!cds_rows_count(rows))
        return cds_fail(reterr, CDS_NOT_FOUND, __func__, "There is no user with this mail address.");
    cds_store_read_user(rows, 0, ret);
    return CDS_OK;
}

cds_rc cds_store_insert_user(struct cds_db *db, const struct cds_new_user *fresh, struct cds_user *ret, struct cds_err *reterr)
{
    char id[CDS_UUID_LEN + 1], tokens[24];
    cds_uuid7(id);
    snprintf(tokens, sizeof(tokens), "%" PRIu64, fresh->month_tokens);
    const char *const params[] = {id, fresh->email, fresh->display_name, fresh->hash, fresh->role, tokens};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_db_exec(db,
                            "WITH u AS (INSERT INTO users (id, email, display_name, password_hash, role) VALUES ($1, $2, $3, $4, $5) RETURNING *) "
                            "SELECT " CDS_USER_COLUMNS ", budget_begin('user', u.id, NULL, $6::bigint, NULL) FROM u",
                            6, params, false, &rows, reterr);
    if (rc == CDS_CONFLICT) {
        cds_fail(reterr, CDS_CONFLICT, __func__, "A user with this mail address exists already.");
        cds_err_rule(reterr, "user.exists");
        cds_err_hint(reterr, "Choose another address, or sign in with this one.");
    }
    if (!rc)
        cds_store_read_user(rows, 0, ret);
    return rc;
}

cds_rc cds_store_user_add(struct cds_store *store, const struct cds_new_user *fresh, struct cds_user *ret, struct cds_err *reterr)
{
    struct cds_db *db = NULL;
    cds_rc rc = cds_store_take(store, &db, reterr);
    if (rc)
        return rc;
    rc = cds_store_insert_user(db, fresh, ret, reterr);
    cds_store_give(store, db, still_good(rc));
    return rc;
}

cds_rc cds_store_dearest(struct cds_store *store, unsigned *ret, struct cds_err *reterr)
{
    const struct cds_statement st = {
        .sql = "SELECT coalesce(least(max(substr(password_hash, 5, 2))::int, 15), 0) FROM users WHERE password_hash ~ '^\\$2b\\$[0-9]{2}\\$'",
        .repeatable = true};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_store_run(store, &st, &rows, reterr);
    if (!rc)
        *ret = (unsigned)cds_rows_i64(rows, 0, 0, 0);
    return rc;
}

cds_rc cds_store_rehash(struct cds_store *store, const char *user_id, const char *old_hash, const char *new_hash, struct cds_err *reterr)
{
    const char *const params[] = {user_id, old_hash, new_hash};
    const struct cds_statement st = {"UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2", 3, params, true};
    return cds_store_run(store, &st, NULL, reterr);
}
