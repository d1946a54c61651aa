/* Tests of apps/llmserver/live.c. */
#include "tests/support/test.h"

#include "apps/llmserver/live.h"

enum { MANY = 5000 };

static void count(void *user, const struct cds_live *live)
{
    ++*(int *)user;
}

static void set_knows_a_request_by_user_and_id(void **state)
{
    static struct cds_live_set set;
    assert_null(cds_live_find(&set, "u", "r"));
    cds_live_drop(&set, "u", "r");
    assert_non_null(cds_live_add(&set, "u", "r", 7));
    assert_int_equal(cds_live_find(&set, "u", "r")->held_tokens, 7);
    assert_null(cds_live_find(&set, "u", "s"));
    assert_null(cds_live_find(&set, "v", "r"));
    assert_null(cds_live_find(&set, "ur", ""));
    cds_live_drop(&set, "v", "r");
    assert_non_null(cds_live_find(&set, "u", "r"));
    cds_live_drop(&set, "u", "r");
    assert_null(cds_live_find(&set, "u", "r"));
    cds_live_clear(&set);
}

static void set_holds_more_than_it_has_buckets(void **state)
{
    static struct cds_live_set set;
    char id[32];
    int granted = 0;
    for (int i = 0; i < MANY; i++) {
        snprintf(id, sizeof(id), "%d", i);
        struct cds_live *live = cds_live_add(&set, "u", id, (uint32_t)i);
        assert_non_null(live);
        live->granted = i % 5 == 0;
    }
    for (int i = 0; i < MANY; i += 2) {
        snprintf(id, sizeof(id), "%d", i);
        cds_live_drop(&set, "u", id);
    }
    for (int i = 0; i < MANY; i++) {
        snprintf(id, sizeof(id), "%d", i);
        const struct cds_live *live = cds_live_find(&set, "u", id);
        assert_true((live != NULL) == (i % 2 == 1));
        if (live)
            assert_int_equal(live->held_tokens, i);
    }
    cds_live_each_granted(&set, count, &granted);
    assert_int_equal(granted, MANY / 10);
    cds_live_clear(&set);
    granted = 0;
    cds_live_each_granted(&set, count, &granted);
    assert_int_equal(granted, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_knows_a_request_by_user_and_id),
        cmocka_unit_test(set_holds_more_than_it_has_buckets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
