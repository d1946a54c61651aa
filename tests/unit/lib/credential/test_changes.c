/* The table of the last changes of rights. */
#include "lib/credential/changes.h"

#include <stdio.h>

#include "tests/support/test.h"

static struct cds_standing_change change_of(unsigned subject, int64_t version, int64_t at_s)
{
    struct cds_standing_change change = {.kind = CDS_STANDING_USER, .role = CDS_ROLE_VIEWER, .active = true, .version = version, .at_s = at_s};
    snprintf(change.subject, sizeof(change.subject), "%08x-0000-7000-8000-000000000000", subject);
    snprintf(change.user_id, sizeof(change.user_id), "%s", change.subject);
    return change;
}

static const struct cds_standing_change *find(const struct changes *changes, unsigned subject)
{
    struct cds_standing_change wanted = change_of(subject, 0, 0);
    return changes_find(changes, wanted.subject);
}

static void the_newest_change_of_a_subject_counts(void **state)
{
    struct changes *changes = changes_new();
    struct cds_standing_change one = change_of(1, 1, 100), again = change_of(1, 2, 200);
    changes_put(changes, &one);
    changes_put(changes, &again);
    assert_int_equal(find(changes, 1)->version, 2);
    assert_null(find(changes, 2));
    assert_null(changes_find(changes, ""));
    assert_int_equal(changes_floor(changes), 0);
    changes_free(&changes);
}

static void a_full_table_forgets_the_oldest_and_says_from_when_on_it_can_be_trusted(void **state)
{
    struct changes *changes = changes_new();
    for (unsigned i = 0; i < CDS_STANDING_MAX; i++) {
        struct cds_standing_change change = change_of(i, 1, 1000 + i);
        changes_put(changes, &change);
    }
    assert_int_equal(changes_floor(changes), 0);
    assert_non_null(find(changes, 0));
    for (unsigned i = 0; i < 3; i++) {
        struct cds_standing_change change = change_of(CDS_STANDING_MAX + i, 1, 900000);
        changes_put(changes, &change);
        assert_null(find(changes, i));
        assert_int_equal(changes_floor(changes), 1000 + i + 1);
    }
    for (unsigned i = 3; i < CDS_STANDING_MAX + 3; i++)
        assert_non_null(find(changes, i));
    changes_free(&changes);
}

static void count(void *user, const struct cds_standing_change *change)
{
    *(unsigned *)user += (unsigned)change->version;
}

static void each_change_is_told_once(void **state)
{
    struct changes *changes = changes_new();
    unsigned sum = 0;
    for (unsigned i = 0; i < 10; i++) {
        struct cds_standing_change change = change_of(i % 5, i, 1);
        changes_put(changes, &change);
    }
    changes_each(changes, count, &sum);
    assert_int_equal(sum, 5 + 6 + 7 + 8 + 9);
    changes_free(&changes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_change_of_a_subject_counts),
        cmocka_unit_test(a_full_table_forgets_the_oldest_and_says_from_when_on_it_can_be_trusted),
        cmocka_unit_test(each_change_is_told_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
