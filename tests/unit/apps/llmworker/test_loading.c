#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "apps/llmworker/loading.h"

struct tries {
    uint32_t fits, seen[16];
    unsigned count;
};

/** Works with at most so many cells. */
static void *make(void *user, uint32_t cells)
{
    struct tries *tries = user;
    tries->seen[tries->count++] = cells;
    return cells <= tries->fits ? tries : NULL;
}

static void loading_halves_the_context_until_it_fits(void **state)
{
    struct tries tries = {.fits = 2500};
    assert_ptr_equal(cds_loading_try(make, &tries, 8192, 1024), &tries);
    assert_int_equal(tries.count, 3);
    assert_int_equal(tries.seen[2], 2048);
}

static void loading_tries_the_least_context_last(void **state)
{
    struct tries tries = {.fits = 3000};
    assert_ptr_equal(cds_loading_try(make, &tries, 8192, 3000), &tries);
    assert_int_equal(tries.seen[tries.count - 1], 3000);
    tries = (struct tries){.fits = 2999};
    assert_null(cds_loading_try(make, &tries, 8192, 3000));
    assert_int_equal(tries.count, 3);
}

static void loading_tries_once_without_a_least_context(void **state)
{
    struct tries tries = {.fits = 10};
    assert_null(cds_loading_try(make, &tries, 8192, 0));
    assert_int_equal(tries.count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loading_halves_the_context_until_it_fits),
        cmocka_unit_test(loading_tries_the_least_context_last),
        cmocka_unit_test(loading_tries_once_without_a_least_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
