#include "lib/base/str.h"
#include "tests/support/test.h"

static void a_number_is_read_within_its_range(void **state)
{
    uint64_t v = 0;
    assert_int_equal(cds_parse_u64("18446744073709551615", 0, UINT64_MAX, &v), CDS_OK);
    assert_true(v == UINT64_MAX);
    assert_int_equal(cds_parse_u64("007", 0, 10, &v), CDS_OK);
    assert_int_equal(v, 7);
}

static void odd_numbers_are_refused_and_the_output_stays(void **state)
{
    static const char *const odd[] = {"", "-1", "+1", " 1", "1 ", "0x10", "1e3", "18446744073709551616", "11", "1.0", NULL};
    for (size_t i = 0; i < CDS_ARRAY_LEN(odd); i++) {
        uint64_t v = 77;
        assert_int_equal(cds_parse_u64(odd[i], 0, 10, &v), CDS_BAD_PARAM);
        assert_int_equal(v, 77);
    }
}

static void utf8_is_accepted_and_its_forgeries_are_not(void **state)
{
    assert_true(cds_utf8_valid("a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 10));
    static const char *const bad[] = {"\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80",
                                      "\x80",     "\xc3",         "\xe2\x82"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(bad); i++)
        assert_false(cds_utf8_valid(bad[i], strlen(bad[i])));
}

static void a_chunk_never_ends_inside_a_character(void **state)
{
    const char *euro = "x\xe2\x82\xac";
    assert_int_equal(cds_utf8_complete(euro, 4), 4);
    assert_int_equal(cds_utf8_complete(euro, 3), 1);
    assert_int_equal(cds_utf8_complete(euro, 2), 1);
    assert_int_equal(cds_utf8_complete(euro, 1), 1);
    assert_int_equal(cds_utf8_complete("", 0), 0);
    /* Bytes that can never become a character are not held back for ever. */
    assert_int_equal(cds_utf8_complete("\xff", 1), 1);
    assert_int_equal(cds_utf8_complete("\x80\x80\x80\x80", 4), 4);
}

static void base64_follows_the_vectors_of_rfc_4648(void **state)
{
    static const char *const rows[][2] = {
        {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(rows); i++) {
        char text[32];
        unsigned char back[32];
        size_t n = 99;
        assert_int_equal(cds_base64(rows[i][0], strlen(rows[i][0]), text), strlen(rows[i][1]));
        assert_string_equal(text, rows[i][1]);
        assert_int_equal(cds_base64_len(strlen(rows[i][0])), strlen(rows[i][1]));
        assert_int_equal(cds_base64_decode(text, strlen(text), back, &n), CDS_OK);
        assert_int_equal(n, strlen(rows[i][0]));
        assert_memory_equal(back, rows[i][0], n);
    }
    char url[8];
    assert_int_equal(cds_base64url("\xff\xfe", 2, url), 3);
    assert_string_equal(url, "__4");
}

static void base64_that_is_not_canonical_is_refused(void **state)
{
    static const char *const bad[] = {"Z", "Zg=", "Zg===", "Zh==", "Zm9=", "Zm 9v", "Zm9v=", "====", "Zg==Zg=="};
    for (size_t i = 0; i < CDS_ARRAY_LEN(bad); i++) {
        unsigned char out[32];
        size_t n;
        assert_int_equal(cds_base64_decode(bad[i], strlen(bad[i]), out, &n), CDS_BAD_PARAM);
    }
}

static void a_copy_is_cut_and_terminated(void **state)
{
    char dst[4];
    assert_string_equal(cds_strcpy(dst, sizeof(dst), "abcdef"), "abc");
    assert_string_equal(cds_strcpy(dst, sizeof(dst), NULL), "");
}

static void a_sentence_that_does_not_fit_ends_behind_a_whole_word(void **state)
{
    static const struct {
        const char *text, *wanted;
    } rows[] = {{"one two", "one two"},
                {"fifteen bytes..", "fifteen bytes.."},
                {"one two three four", "one two ..."},
                {"sixteen byt and", "sixteen byt and"},
                {"sixteen byt and x", "sixteen byt ..."},
                {"0123456789abcdefgh", "0123456789a ..."},
                {"0123456789\xc3\xa4"
                 "cdefgh",
                 "0123456789 ..."},
                {"", ""},
                {NULL, ""}};
    char dst[16];
    for (size_t i = 0; i < CDS_ARRAY_LEN(rows); i++)
        assert_string_equal(cds_shorten(dst, sizeof(dst), rows[i].text), rows[i].wanted);
}

static void null_equals_only_null(void **state)
{
    assert_true(cds_streq(NULL, NULL));
    assert_false(cds_streq("", NULL));
    assert_true(cds_streq("a", "a"));
    assert_false(cds_starts_with(NULL, "a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_is_read_within_its_range),
        cmocka_unit_test(odd_numbers_are_refused_and_the_output_stays),
        cmocka_unit_test(utf8_is_accepted_and_its_forgeries_are_not),
        cmocka_unit_test(a_chunk_never_ends_inside_a_character),
        cmocka_unit_test(base64_follows_the_vectors_of_rfc_4648),
        cmocka_unit_test(base64_that_is_not_canonical_is_refused),
        cmocka_unit_test(a_copy_is_cut_and_terminated),
        cmocka_unit_test(a_sentence_that_does_not_fit_ends_behind_a_whole_word),
        cmocka_unit_test(null_equals_only_null),
    };
    return RUN_ALL(tests);
}
