#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "apps/llmworker/think.h"

/** Feeds a text in pieces of n bytes and compares both parts. */
static void check(const char *text, size_t n, bool begun, const char *thought, const char *content)
{
    struct cds_think think;
    struct cds_buf a = cds_buf_init(4096), b = cds_buf_init(4096);
    cds_think_begin(&think, "<think>", "</think>", begun);
    for (size_t at = 0; at < strlen(text); at += n)
        cds_think_feed(&think, text + at, strlen(text) - at < n ? strlen(text) - at : n, false, &a, &b);
    cds_think_feed(&think, "", 0, true, &a, &b);
    assert_string_equal(a.data ? a.data : "", thought);
    assert_string_equal(b.data ? b.data : "", content);
    cds_think_clear(&think);
    cds_buf_free(&a);
    cds_buf_free(&b);
}

static void think_parts_thought_and_text_in_pieces_of_any_size(void **state)
{
    for (size_t n = 1; n < 40; n++) {
        check("<think>\nhm, rain\n</think>\n\nIt rains.", n, false, "hm, rain", "It rains.");
        check("\n<think>a</think>b", n, false, "a", "b");
        check("hm </thin </think> yes", n, true, "hm </thin", "yes");
        check("no thought <think>at all</think>", n, false, "", "no thought <think>at all</think>");
        check("<thing>", n, false, "", "<thing>");
        check("<think>never ends", n, false, "never ends", "");
        check("<think>never ends </thi", n, false, "never ends </thi", "");
        check("", n, false, "", "");
        check("<thi", n, false, "", "<thi");
    }
}

static void think_without_tags_leaves_the_text_alone(void **state)
{
    struct cds_think think;
    struct cds_buf a = cds_buf_init(64), b = cds_buf_init(64);
    cds_think_begin(&think, "", "", false);
    cds_think_feed(&think, " <think>x", 9, true, &a, &b);
    assert_string_equal(b.data, " <think>x");
    assert_int_equal(a.len, 0);
    cds_think_clear(&think);
    cds_buf_free(&a);
    cds_buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(think_parts_thought_and_text_in_pieces_of_any_size),
        cmocka_unit_test(think_without_tags_leaves_the_text_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
