#include "sandbox/path.h"
#include "tests/support/test.h"

static const char *rule_of(const char *text)
{
    static struct cds_err err;
    struct cds_path path;
    err = (struct cds_err){0};
    return cds_path_parse(text, strlen(text), &path, &err) ? err.rule : "ok";
}

static void names_below_the_project_are_taken_apart(void **state)
{
    struct cds_path path;
    assert_int_equal(cds_path_parse("src/lib/main.py", 15, &path, NULL), CDS_OK);
    assert_int_equal(path.parts, 3);
    assert_string_equal(cds_path_name(&path), "main.py");
    assert_int_equal(path.parent_len, 7);
    assert_int_equal(cds_path_parse("main.py", 7, &path, NULL), CDS_OK);
    assert_int_equal(path.parent_len, 0);
    assert_string_equal(cds_path_name(&path), "main.py");
    assert_int_equal(cds_path_parse("", 0, &path, NULL), CDS_OK);
    assert_int_equal(path.parts, 0);
    assert_int_equal(cds_path_parse_below("", 0, &path, NULL), CDS_DENIED);
    assert_string_equal(rule_of("..."), "ok");
    assert_string_equal(rule_of("a/..b/c..d"), "ok");
    assert_string_equal(rule_of("Straße/日本.txt"), "ok");
}

static void ways_out_of_the_project_are_refused(void **state)
{
    static const char *const out[] = {"..", "../x", "a/../b", "a/..", "/etc/passwd", "/", "//x"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(out); i++)
        assert_string_equal(rule_of(out[i]), "fs.outside_root");
}

static void odd_names_are_refused(void **state)
{
    static const char *const odd[] = {".", "a/./b", "a//b", "a/", "a\nb", "a\x7f", "\x01", "a\xff", ".cds-tmp-0011", "x/.cds-tmp-"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(odd); i++)
        assert_string_equal(rule_of(odd[i]), "fs.name");
    struct cds_path path;
    assert_int_equal(cds_path_parse("a\0b", 3, &path, NULL), CDS_DENIED);
}

static void lengths_are_checked_at_the_edge(void **state)
{
    char text[CDS_PATH_MAX + 2];
    memset(text, 'a', sizeof(text));
    text[255] = '\0';
    assert_string_equal(rule_of(text), "ok");
    text[255] = 'a';
    text[256] = '\0';
    assert_string_equal(rule_of(text), "fs.name");
    for (size_t i = 0; i < 127; i++)
        text[i] = i % 2 ? '/' : 'a';
    text[127] = '\0'; /* 64 parts */
    assert_string_equal(rule_of(text), "ok");
    strcpy(text + 127, "/a");
    assert_string_equal(rule_of(text), "fs.name");
    for (size_t i = 0; i < CDS_PATH_MAX + 1; i++)
        text[i] = i % 200 == 199 ? '/' : 'a';
    text[CDS_PATH_MAX] = '\0';
    assert_string_equal(rule_of(text), "ok");
    text[CDS_PATH_MAX] = 'a';
    text[CDS_PATH_MAX + 1] = '\0';
    assert_string_equal(rule_of(text), "fs.name");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_below_the_project_are_taken_apart),
        cmocka_unit_test(ways_out_of_the_project_are_refused),
        cmocka_unit_test(odd_names_are_refused),
        cmocka_unit_test(lengths_are_checked_at_the_edge),
    };
    return RUN_ALL(tests);
}
