#include "lib/base/buf.h"
#include "tests/support/test.h"

static void a_buffer_keeps_what_was_added_and_ends_it_with_nul(void **state)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf buf = cds_buf_init(100);
    assert_int_equal(cds_buf_add_str(&buf, "ab"), CDS_OK);
    assert_int_equal(cds_buf_addf(&buf, "%d", 42), CDS_OK);
    assert_string_equal(buf.data, "ab42");
    assert_int_equal(buf.len, 4);
}

static void a_buffer_takes_exactly_its_ceiling(void **state)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf buf = cds_buf_init(4);
    assert_int_equal(cds_buf_add(&buf, "1234", 4), CDS_OK);
    assert_int_equal(buf.len, 4);
}

static void one_byte_over_the_ceiling_is_refused_and_changes_nothing(void **state)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf buf = cds_buf_init(4);
    assert_int_equal(cds_buf_add(&buf, "123", 3), CDS_OK);
    assert_int_equal(cds_buf_add(&buf, "45", 2), CDS_TOO_LARGE);
    assert_string_equal(buf.data, "123");
    assert_true(buf.failed);
    assert_int_equal(cds_buf_add(&buf, "4", 1), CDS_TOO_LARGE); /* a failed builder stays failed */
    cds_buf_clear(&buf);
    assert_int_equal(cds_buf_add(&buf, "4", 1), CDS_OK);
}

static void a_formatted_text_over_the_ceiling_is_refused_whole(void **state)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf buf = cds_buf_init(3);
    assert_int_equal(cds_buf_addf(&buf, "%s", "four"), CDS_TOO_LARGE);
    assert_int_equal(buf.len, 0);
}

static void consume_drops_the_front(void **state)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf buf = cds_buf_init(10);
    assert_int_equal(cds_buf_add_str(&buf, "abcdef"), CDS_OK);
    cds_buf_consume(&buf, 4);
    assert_string_equal(buf.data, "ef");
    cds_buf_consume(&buf, 2);
    assert_int_equal(buf.len, 0);
}

static void steal_hands_over_the_data_and_leaves_an_empty_buffer(void **state)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf buf = cds_buf_init(10);
    size_t len = 9;
    char *empty = cds_buf_steal(&buf, &len);
    assert_string_equal(empty, "");
    assert_int_equal(len, 0);
    free(empty);
    assert_int_equal(cds_buf_add_str(&buf, "x"), CDS_OK);
    char *data = cds_buf_steal(&buf, NULL);
    assert_string_equal(data, "x");
    assert_null(buf.data);
    free(data);
}

static void a_length_near_size_max_is_refused(void **state)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf buf = cds_buf_init(10);
    assert_int_equal(cds_buf_add_str(&buf, "x"), CDS_OK);
    assert_null(cds_buf_reserve(&buf, SIZE_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buffer_keeps_what_was_added_and_ends_it_with_nul),
        cmocka_unit_test(a_buffer_takes_exactly_its_ceiling),
        cmocka_unit_test(one_byte_over_the_ceiling_is_refused_and_changes_nothing),
        cmocka_unit_test(a_formatted_text_over_the_ceiling_is_refused_whole),
        cmocka_unit_test(consume_drops_the_front),
        cmocka_unit_test(steal_hands_over_the_data_and_leaves_an_empty_buffer),
        cmocka_unit_test(a_length_near_size_max_is_refused),
    };
    return RUN_ALL(tests);
}
