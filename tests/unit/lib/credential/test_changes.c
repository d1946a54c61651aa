/* The table of the last changes of rights. */
#include "lib/credential/changes.h"

#include <stdio.h>

#include "lib/base/str.h"
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
    assert_int_equal(changes_floor(changes, again.user_id), 0);
    changes_free(&changes);
}

static void a_full_table_forgets_the_oldest_and_says_from_when_on_it_can_be_trusted(void **state)
{
    struct changes *changes = changes_new();
    for (unsigned i = 0; i < CDS_STANDING_MAX; i++) {
        struct cds_standing_change change = change_of(i, 1, 1000 + i);
        changes_put(changes, &change);
    }
    assert_int_equal(changes_floor(changes, "anybody"), 0);
    assert_non_null(find(changes, 0));
    for (unsigned i = 0; i < 3; i++) {
        struct cds_standing_change change = change_of(CDS_STANDING_MAX + i, 1, 900000);
        changes_put(changes, &change);
        assert_null(find(changes, i));
        assert_int_equal(changes_floor(changes, "anybody"), 1000 + i + 1);
    }
    for (unsigned i = 3; i < CDS_STANDING_MAX + 3; i++)
        assert_non_null(find(changes, i));
    changes_free(&changes);
}

static void a_change_of_an_old_subject_is_as_young_as_its_last(void **state)
{
    struct changes *changes = changes_new();
    for (unsigned i = 0; i < CDS_STANDING_MAX; i++) {
        struct cds_standing_change change = change_of(i, 1, 1000 + i);
        changes_put(changes, &change);
    }
    struct cds_standing_change again = change_of(0, 2, 900000), more = change_of(CDS_STANDING_MAX, 1, 900001);
    changes_put(changes, &again);
    changes_put(changes, &more);
    assert_int_equal(find(changes, 0)->version, 2);
    assert_null(find(changes, 1));
    assert_int_equal(changes_floor(changes, "anybody"), 1002);
    changes_free(&changes);
}

static void who_makes_changes_without_end_pushes_out_his_own_only(void **state)
{
    struct changes *changes = changes_new();
    struct cds_standing_change blocked = change_of(1, 7, 100), of_other = change_of(2, 1, 101);
    of_other.kind = CDS_STANDING_SESSION;
    cds_strcpy(of_other.user_id, sizeof(of_other.user_id), "somebody");
    changes_put(changes, &blocked);
    changes_put(changes, &of_other);
    for (unsigned i = 0; i < 3 * CDS_STANDING_MAX; i++) {
        struct cds_standing_change own = change_of(100 + i, 1, 1000 + i);
        own.kind = i % 2 ? CDS_STANDING_SESSION : CDS_STANDING_KEY;
        cds_strcpy(own.user_id, sizeof(own.user_id), "flooder");
        changes_put(changes, &own);
    }
    assert_int_equal(find(changes, 1)->version, 7);
    assert_non_null(find(changes, 2));
    assert_int_equal(changes_floor(changes, "somebody"), 0);
    assert_int_equal(changes_floor(changes, "anybody"), 0);
    unsigned last = 3 * CDS_STANDING_MAX;
    assert_int_equal(changes_floor(changes, "flooder"), 1000 + (int)last - CDS_STANDING_OWN_MAX);
    assert_non_null(find(changes, 100 + last - CDS_STANDING_OWN_MAX));
    assert_null(find(changes, 100 + last - CDS_STANDING_OWN_MAX - 1));
    changes_free(&changes);
}

static void what_a_user_lost_sight_of_stays_doubtful_when_all_of_his_changes_are_gone(void **state)
{
    struct changes *changes = changes_new();
    for (unsigned i = 0; i < CDS_STANDING_OWN_MAX + 5; i++) {
        struct cds_standing_change own = change_of(i, 1, 1000 + i);
        own.kind = CDS_STANDING_SESSION;
        cds_strcpy(own.user_id, sizeof(own.user_id), "flooder");
        changes_put(changes, &own);
    }
    int64_t floor_s = changes_floor(changes, "flooder");
    for (unsigned i = 0; i < 2 * CDS_STANDING_MAX; i++) {
        struct cds_standing_change change = change_of(100000 + i, 1, 5000);
        changes_put(changes, &change);
        assert_true(changes_floor(changes, "flooder") >= floor_s);
    }
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
        cmocka_unit_test(a_change_of_an_old_subject_is_as_young_as_its_last),
        cmocka_unit_test(who_makes_changes_without_end_pushes_out_his_own_only),
        cmocka_unit_test(what_a_user_lost_sight_of_stays_doubtful_when_all_of_his_changes_are_gone),
        cmocka_unit_test(each_change_is_told_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
