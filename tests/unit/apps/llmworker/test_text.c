#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "apps/llmworker/text.h"

static struct cds_text text;
static struct cds_buf out;

static int fresh(void **state)
{
    cds_text_reset(&text);
    out = cds_buf_init(4096);
    return 0;
}
static int cleared(void **state)
{
    cds_buf_free(&out);
    return 0;
}
static bool feed(const char *piece)
{
    return cds_text_feed(&text, piece, strlen(piece), &out);
}
static void stop_at(const char *stop)
{
    assert_int_equal(cds_text_add_stop(&text, stop, strlen(stop)), CDS_OK);
}
static const char *sent(void)
{
    return out.data ? out.data : "";
}

static void text_without_stop_strings_passes_at_once(void **state)
{
    assert_false(feed("Hello"));
    assert_string_equal(sent(), "Hello");
}

static void text_holds_back_half_a_character_until_it_is_whole(void **state)
{
    feed("a\xE2\x82");
    assert_string_equal(sent(), "a");
    feed("\xAC!");
    assert_string_equal(sent(), "a\xE2\x82\xAC!");
}

static void text_replaces_bytes_that_are_no_character(void **state)
{
    feed("a\xFFz\xC0\xAF.");
    assert_string_equal(sent(), "a\xEF\xBF\xBDz\xEF\xBF\xBD\xEF\xBF\xBD.");
}

static void text_ends_half_a_character_with_a_replacement(void **state)
{
    feed("a\xF0\x9F\x98");
    cds_text_end(&text, &out);
    assert_string_equal(sent(), "a\xEF\xBF\xBD");
}

static void text_cuts_a_stop_string_inside_one_piece(void **state)
{
    stop_at("END");
    assert_true(feed("one END two"));
    assert_string_equal(sent(), "one ");
}

static void text_cuts_a_stop_string_spread_over_pieces(void **state)
{
    stop_at("\n\nUser:");
    assert_false(feed("yes\n"));
    assert_false(feed("\nUs"));
    assert_string_equal(sent(), "yes");
    assert_true(feed("er: no"));
    assert_string_equal(sent(), "yes");
}

static void text_lets_go_what_did_not_become_a_stop_string(void **state)
{
    stop_at("abc");
    feed("xab");
    assert_string_equal(sent(), "x");
    assert_false(feed("d"));
    assert_string_equal(sent(), "xabd");
}

static void text_holds_the_longest_beginning_when_it_repeats(void **state)
{
    stop_at("aab");
    feed("aaa");
    assert_string_equal(sent(), "a");
    assert_true(feed("b"));
    assert_string_equal(sent(), "a");
}

static void text_takes_the_stop_string_that_begins_first(void **state)
{
    stop_at("lo");
    stop_at("ell");
    assert_true(feed("hello"));
    assert_string_equal(sent(), "h");
}

static void text_matches_a_stop_string_with_a_split_character(void **state)
{
    stop_at("\xE2\x82\xAC");
    assert_false(feed("5\xE2"));
    assert_true(feed("\x82\xAC"));
    assert_string_equal(sent(), "5");
}

static void text_gives_the_held_rest_at_the_end(void **state)
{
    stop_at("STOP");
    feed("go STO");
    assert_string_equal(sent(), "go ");
    cds_text_end(&text, &out);
    assert_string_equal(sent(), "go STO");
}

static void text_refuses_a_fifth_an_empty_and_a_too_long_stop_string(void **state)
{
    char longest[CDS_STOP_BYTES_MAX + 1];
    memset(longest, 'x', sizeof(longest));
    assert_int_equal(cds_text_add_stop(&text, "", 0), CDS_BAD_PARAM);
    assert_int_equal(cds_text_add_stop(&text, longest, sizeof(longest)), CDS_BAD_PARAM);
    assert_int_equal(cds_text_add_stop(&text, longest, CDS_STOP_BYTES_MAX), CDS_OK);
    for (int i = 1; i < CDS_STOP_MAX; i++)
        stop_at("s");
    assert_int_equal(cds_text_add_stop(&text, "s", 1), CDS_BAD_PARAM);
    assert_int_equal(text.stop_count, CDS_STOP_MAX);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fresh, cleared)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(text_without_stop_strings_passes_at_once),
        T(text_holds_back_half_a_character_until_it_is_whole),
        T(text_replaces_bytes_that_are_no_character),
        T(text_ends_half_a_character_with_a_replacement),
        T(text_cuts_a_stop_string_inside_one_piece),
        T(text_cuts_a_stop_string_spread_over_pieces),
        T(text_lets_go_what_did_not_become_a_stop_string),
        T(text_holds_the_longest_beginning_when_it_repeats),
        T(text_takes_the_stop_string_that_begins_first),
        T(text_matches_a_stop_string_with_a_split_character),
        T(text_gives_the_held_rest_at_the_end),
        T(text_refuses_a_fifth_an_empty_and_a_too_long_stop_string),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
