#include "apps/api/sse.h"
#include "tests/support/test.h"

struct seen {
    char text[4096];
    int events, stop_after;
};

static bool on_event(void *user, const char *data, size_t len)
{
    struct seen *seen = user;
    strncat(seen->text, data, len);
    strcat(seen->text, "|");
    return ++seen->events != seen->stop_after;
}

static void an_event_is_its_data_lines_joined(void **state)
{
    struct seen seen = {0};
    struct cds_sse sse = cds_sse_init(100);
    const char *stream = ": comment\ndata: a\ndata: b\nevent: x\n\ndata:c\r\n\r\n\n";
    assert_int_equal(cds_sse_feed(&sse, stream, strlen(stream), on_event, &seen), CDS_OK);
    assert_string_equal(seen.text, "a\nb|c|");
    cds_sse_free(&sse);
}

static void the_same_events_come_out_however_the_stream_is_cut(void **state)
{
    const char *stream = "data: one\n\ndata: two\r\n\r\n: x\n\ndata: {\"a\":1}\n\n";
    for (size_t cut = 0; cut <= strlen(stream); cut++)
        for (size_t step = 1; step < 4; step++) {
            struct seen seen = {0};
            struct cds_sse sse = cds_sse_init(100);
            assert_int_equal(cds_sse_feed(&sse, stream, cut, on_event, &seen), CDS_OK);
            for (size_t i = cut; i < strlen(stream); i += step)
                assert_int_equal(cds_sse_feed(&sse, stream + i, strlen(stream) - i < step ? strlen(stream) - i : step, on_event, &seen), CDS_OK);
            assert_string_equal(seen.text, "one|two|{\"a\":1}|");
            cds_sse_free(&sse);
        }
}

static void an_event_over_the_ceiling_is_refused(void **state)
{
    struct seen seen = {0};
    struct cds_sse sse = cds_sse_init(10);
    const char *fits = "data: 0123456789\n\n", *over = "data: 0123456789\ndata: x\n\n";
    assert_int_equal(cds_sse_feed(&sse, fits, strlen(fits), on_event, &seen), CDS_OK);
    assert_int_equal(seen.events, 1);
    assert_int_equal(cds_sse_feed(&sse, over, strlen(over), on_event, &seen), CDS_TOO_LARGE);
    assert_int_equal(seen.events, 1);
    cds_sse_free(&sse);
}

static void a_line_without_end_is_refused(void **state)
{
    struct seen seen = {0};
    struct cds_sse sse = cds_sse_init(10);
    cds_rc rc = CDS_OK;
    for (int i = 0; i < 100 && !rc; i++)
        rc = cds_sse_feed(&sse, "xxxxxxxx", 8, on_event, &seen);
    assert_int_equal(rc, CDS_TOO_LARGE);
    cds_sse_free(&sse);
}

static void the_reader_may_stop_in_the_middle(void **state)
{
    struct seen seen = {.stop_after = 1};
    struct cds_sse sse = cds_sse_init(100);
    const char *stream = "data: a\n\ndata: b\n\n";
    assert_int_equal(cds_sse_feed(&sse, stream, strlen(stream), on_event, &seen), CDS_OK);
    assert_string_equal(seen.text, "a|");
    cds_sse_free(&sse);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_is_its_data_lines_joined),    cmocka_unit_test(the_same_events_come_out_however_the_stream_is_cut),
        cmocka_unit_test(an_event_over_the_ceiling_is_refused), cmocka_unit_test(a_line_without_end_is_refused),
        cmocka_unit_test(the_reader_may_stop_in_the_middle),
    };
    return RUN_ALL(tests);
}
