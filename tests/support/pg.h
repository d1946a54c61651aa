/* tests/support/pg.h: a real, throw-away PostgreSQL cluster for tests, made and run by the product's own code (apps/cyberdevstudio/pg.h).
 *
 * Every function asserts: a test that cannot have its database has failed. As root the server runs as cds-db, as in the product.
 */
#pragma once

#include "apps/cyberdevstudio/pg.h"
#include "lib/db/db.h"

struct test_pg {
    struct cds_config *config;
    struct cds_home home;
    struct cds_pg *pg;
    pid_t pid; /**< postmaster, 0 when down */
    int log_fd;
    char conninfo[600];
};

/** Makes the cluster in a new folder of /tmp; it is not started. */
void test_pg_make(struct test_pg *t);
/** Starts it and waits until it is ready. */
void test_pg_start(struct test_pg *t);
/** Sends a signal to the postmaster (SIGINT: fast shutdown) and waits for its end. @return its wait status */
int test_pg_stop(struct test_pg *t, int signo);
/** SIGKILL for the postmaster and all its processes at once, as a power cut of the process family. They are gone when it returns. */
void test_pg_kill_all(struct test_pg *t);
/** Stops it when it runs, and removes the folder. */
void test_pg_free(struct test_pg *t);
/** A connection; the caller closes it. */
struct cds_db *test_pg_open(const struct test_pg *t);
/** The same for a thread, where an assertion cannot be made, and patient. @return false: there is none */
bool test_pg_join(const struct test_pg *t, struct cds_db **ret);
/** Lets it wait for locks and answers as long as a busy machine needs: for tests of what many connections do at once. @return db */
struct cds_db *test_patient(struct cds_db *db);
/** Where an hour, and so perhaps a day or a month, ends within the next half minute, waits until it has: for tests that count in the window of now.
 */
void test_early_in_the_hour(void);
/** Applies database/migrations. */
void test_pg_migrate(const struct test_pg *t);

/** One value of the first row as text, "" for none or NULL. @return ret */
char *test_sql(struct cds_db *db, const char *sql, char *ret, size_t size);
/** The same as a number, -1 for none. */
int64_t test_sql_i64(struct cds_db *db, const char *sql);
/** The same with parameters, for threads, where an assertion cannot be made; repeat: as of cds_db_exec. -1 for an error, too. */
int64_t test_number(struct cds_db *db, const char *sql, int n, const char *const *params, bool repeat);
/** Statements in one transaction. */
void test_script(struct cds_db *db, const char *sql);
/** Every rule of `ledger verify` must hold. */
void test_books(struct cds_db *db);
/** How many deadlocks the database has had; what this session did counts at once. */
int64_t test_deadlocks(struct cds_db *db);
