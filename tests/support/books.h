/* tests/support/books.h: the rig of the tests of the books: one throw-away database, one connection of its owner, and what each of those tests does
 * with it. A test file brings what is its own: which rows there are at first, and what it asks for.
 *
 * Source:  database/migrations, tests/support/pg.h
 * Threads: the one of the tests; others open connections of their own (test_pg_join).
 * Errors:  every function asserts, and names the statement with what the database says of it.
 */
#pragma once

#include <stdint.h>

#include "tests/support/budgets.h"
#include "tests/support/pg.h"

/* Ids that are easy to read in a failure. */
#define USER "00000000-0000-7000-8000-0000000000a1"
#define OTHER "00000000-0000-7000-8000-0000000000a2"
#define KEY "00000000-0000-7000-8000-0000000000b1"
#define NO_KEY "00000000-0000-0000-0000-000000000000" /* of a request with a session */
#define NODE "00000000-0000-7000-8000-0000000000c1"
#define NODE2 "00000000-0000-7000-8000-0000000000c2"
#define REQ(n) "00000000-0000-7000-8000-0000000001" #n /* n: two digits */

/** One for the program; made and unmade by the functions below, borrowed by everybody else. */
struct books {
    struct test_pg pg;
    struct cds_db *db;
};
extern struct books books;

/** Set-up of a group: a server, its database with the schema of today and the views of TEST_BUDGETS, the connection. @return 0 */
int books_open(void **state);
/** The same with an empty database, for tests that migrate. */
int books_open_empty(void **state);
/** Tear-down of a group: nothing is left. @return 0 */
int books_close(void **state);
/** Tear-down of a test: whatever it did, every rule of `ledger verify` must hold. @return 0 */
int books_verified(void **state);

/** Statements in one transaction. */
void books_run(const char *sql);
/** The first value of the first row as text, "" for none or NULL. @return valid until the next call; 3999 bytes at most, the rest is cut off */
const char *books_get(const char *sql);
/** The same as a number, -1 for none. */
int64_t books_number(const char *sql);

/** Runs fn in n threads at once, each with its number from 0 on as a pointer, and waits for their ends. n: BOOKS_THREADS_MAX at most */
enum { BOOKS_THREADS_MAX = 32 };
void books_in_threads(unsigned n, void *(*fn)(void *number));
