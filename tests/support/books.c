/* tests/support/books.c: see books.h. */
#include "tests/support/books.h"

#include <pthread.h>

#include "tests/support/test.h"

struct books books;

int books_open_empty(void **state)
{
    test_pg_make(&books.pg);
    test_pg_start(&books.pg);
    books.db = test_pg_open(&books.pg);
    return 0;
}

int books_open(void **state)
{
    books_open_empty(state);
    test_pg_migrate(&books.pg);
    books_run(TEST_BUDGETS);
    return 0;
}

int books_close(void **state)
{
    cds_db_close(&books.db);
    test_pg_free(&books.pg);
    return 0;
}

int books_verified(void **state)
{
    test_books(books.db);
    return 0;
}

void books_run(const char *sql)
{
    test_script(books.db, sql);
}

const char *books_get(const char *sql)
{
    static char text[4000];
    return test_sql(books.db, sql, text, sizeof(text));
}

int64_t books_number(const char *sql)
{
    return test_sql_i64(books.db, sql);
}

void books_in_threads(unsigned n, void *(*fn)(void *number))
{
    pthread_t threads[BOOKS_THREADS_MAX];
    assert_in_range(n, 1, BOOKS_THREADS_MAX);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fn, (void *)(uintptr_t)i), 0);
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}
