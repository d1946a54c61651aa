/* What a copy has changed is taken back by the rules of files; where both sides changed something neither is lost. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/fs_back.h"
#include "sandbox/returned.h"
#include "tests/support/test.h"

static char base[64];
static int project;

static int open_project(void **state)
{
    strcpy(base, "/tmp/cds-test-back-XXXXXX");
    assert_non_null(mkdtemp(base));
    project = open(base, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return project < 0;
}

static int remove_project(void **state)
{
    char command[100];
    close(project);
    snprintf(command, sizeof(command), "rm -rf %s", base);
    return system(command);
}

static void put(const char *name, const char *text)
{
    struct cds_path path;
    struct cds_fs_info info;
    assert_int_equal(cds_path_parse_below(name, strlen(name), &path, NULL), CDS_OK);
    assert_int_equal(cds_fs_write(project, &path, text, strlen(text), NULL, &info, NULL), CDS_OK);
}

static const char *version(const char *name)
{
    static struct cds_fs_info info;
    struct cds_path path;
    assert_int_equal(cds_path_parse_below(name, strlen(name), &path, NULL), CDS_OK);
    assert_int_equal(cds_fs_stat(project, &path, &info, NULL), CDS_OK);
    return info.version;
}

static const char *content(const char *name)
{
    static char text[64];
    int fd = openat(project, name, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n < 0 ? NULL : text;
}

static struct cds_fs_back change(enum cds_fs_back_kind kind, const char *path, const char *data, const char *was)
{
    struct cds_fs_back b = {.kind = kind, .path = path, .path_len = strlen(path), .data = data, .len = data ? strlen(data) : 0};
    strcpy(b.base, was);
    return b;
}

static void what_only_the_copy_changed_is_taken(void **state)
{
    put("a", "old");
    put("b", "old");
    struct cds_fs_back all[] = {change(CDS_BACK_GONE, "b", NULL, version("b")), change(CDS_BACK_FOLDER, "d", NULL, ""),
                                change(CDS_BACK_FILE, "d/new", "new", ""), change(CDS_BACK_FILE, "a", "changed", version("a"))};
    cds_fs_back(project, all, 4, "run-1");
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(all[i].fate, CDS_BACK_DONE);
    assert_null(content("b"));
    assert_string_equal(content("d/new"), "new");
    assert_string_equal(content("a"), "changed");
}

static void both_sides_are_kept_when_both_changed(void **state)
{
    put("a", "old");
    put("b", "old");
    struct cds_fs_back all[] = {change(CDS_BACK_GONE, "b", NULL, version("b")), change(CDS_BACK_FILE, "a", "copy", version("a")),
                                change(CDS_BACK_FILE, "c", "copy", ""), change(CDS_BACK_FILE, "lost/x", "copy", "0123456789abcdef")};
    put("a", "host");
    put("b", "host");
    put("c", "host");
    cds_fs_back(project, all, 4, "run-1");
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(all[i].fate, CDS_BACK_CONFLICT);
    assert_string_equal(content("a"), "host");
    assert_string_equal(content("a.run-1"), "copy");
    assert_string_equal(all[1].kept_as, "a.run-1");
    assert_string_equal(content("b"), "host");
    assert_null(all[0].kept_as);
    assert_string_equal(content("c.run-1"), "copy");
    assert_string_equal(content("lost/x.run-1"), "copy"); /* the project has deleted it, its folder, too */
    for (size_t i = 0; i < 4; i++)
        free(all[i].kept_as);
}

static void the_same_on_both_sides_is_no_conflict_and_no_write(void **state)
{
    put("a", "same");
    char before[CDS_FS_VERSION_LEN + 1];
    strcpy(before, version("a"));
    struct cds_fs_back all[] = {change(CDS_BACK_FILE, "a", "same", ""), change(CDS_BACK_GONE, "never", NULL, "0123456789abcdef")};
    cds_fs_back(project, all, 2, "run-1");
    assert_int_equal(all[0].fate, CDS_BACK_SAME);
    assert_int_equal(all[1].fate, CDS_BACK_SAME);
    assert_string_equal(version("a"), before);
}

static void a_folder_goes_only_when_nothing_else_is_in_it(void **state)
{
    assert_int_equal(mkdirat(project, "d", 0755), 0);
    assert_int_equal(mkdirat(project, "e", 0755), 0);
    put("d/mine", "host");
    struct cds_fs_back all[] = {change(CDS_BACK_GONE_FOLDER, "d", NULL, ""), change(CDS_BACK_GONE_FOLDER, "e", NULL, "")};
    cds_fs_back(project, all, 2, "run-1");
    assert_int_equal(all[0].fate, CDS_BACK_CONFLICT);
    assert_int_equal(all[1].fate, CDS_BACK_DONE);
    assert_string_equal(content("d/mine"), "host");
}

static void no_path_leads_out_and_no_link_is_followed(void **state)
{
    static const struct {
        const char *path, *rule;
    } rows[] = {{"../x", "fs.outside_root"}, {"/tmp/cds-test-back-x", "fs.outside_root"},
                {"a//b", "fs.name"},         {"a\nb", "fs.name"},
                {"\xff", "fs.name"},         {".cds-tmp-1", "fs.name"},
                {"link", "fs.symlink"},      {"out/cds-test-back-x", "fs.symlink"}};
    enum { ROWS = sizeof(rows) / sizeof(*rows) };
    struct cds_fs_back all[ROWS];
    assert_int_equal(symlinkat("/tmp/cds-test-back-target", project, "link"), 0);
    assert_int_equal(symlinkat("/tmp", project, "out"), 0);
    for (size_t i = 0; i < ROWS; i++)
        all[i] = change(CDS_BACK_FILE, rows[i].path, "x", "");
    cds_fs_back(project, all, ROWS, "run-1");
    for (size_t i = 0; i < ROWS; i++) {
        assert_int_equal(all[i].fate, CDS_BACK_REFUSED);
        assert_string_equal(all[i].rule, rows[i].rule);
    }
    assert_int_equal(access("/tmp/cds-test-back-x", F_OK), -1);
    assert_int_equal(access("/tmp/cds-test-back-target", F_OK), -1);
}

static void a_folder_of_the_copy_that_is_a_file_of_the_project_is_put_aside(void **state)
{
    put("d", "host");
    struct cds_fs_back all[] = {change(CDS_BACK_FOLDER, "d", NULL, ""), change(CDS_BACK_FILE, "d/e/x", "copy", "")};
    cds_fs_back(project, all, 2, "run-1");
    assert_int_equal(all[1].fate, CDS_BACK_CONFLICT);
    assert_string_equal(all[1].kept_as, "d.run-1/e/x");
    assert_string_equal(content("d.run-1/e/x"), "copy");
    assert_string_equal(content("d"), "host");
    free(all[1].kept_as);
}

static void a_long_name_is_cut_for_its_suffix(void **state)
{
    char name[CDS_PATH_PART_MAX + 1] = "";
    memset(name, 'n', CDS_PATH_PART_MAX);
    put(name, "host");
    struct cds_fs_back one = change(CDS_BACK_FILE, name, "copy", "");
    cds_fs_back(project, &one, 1, "run-1");
    assert_int_equal(one.fate, CDS_BACK_CONFLICT);
    assert_int_equal(strlen(one.kept_as), CDS_PATH_PART_MAX);
    assert_string_equal(content(one.kept_as), "copy");
    free(one.kept_as);
}

/* ---- what a guest says ---- */
static const char *add(struct returned *r, enum micro_back_kind kind, const char *path)
{
    const struct micro_back head = {.path_len = (uint16_t)strlen(path), .kind = (uint8_t)kind};
    return returned_add(r, &head, path);
}

static void only_what_was_given_can_be_gone(void **state)
{
    struct returned *r = returned_new();
    assert_true(returned_given(r, "d/a", "0123456789abcdef"));
    assert_null(add(r, MICRO_BACK_GONE, "d/a"));
    assert_null(add(r, MICRO_BACK_GONE_FOLDER, "d"));
    assert_non_null(add(r, MICRO_BACK_GONE, "other"));
    assert_non_null(add(r, MICRO_BACK_GONE_FOLDER, "d/a"));
    assert_non_null(add(r, MICRO_BACK_GONE_FOLDER, "e"));
    returned_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_only_the_copy_changed_is_taken, open_project, remove_project),
        cmocka_unit_test_setup_teardown(both_sides_are_kept_when_both_changed, open_project, remove_project),
        cmocka_unit_test_setup_teardown(the_same_on_both_sides_is_no_conflict_and_no_write, open_project, remove_project),
        cmocka_unit_test_setup_teardown(a_folder_goes_only_when_nothing_else_is_in_it, open_project, remove_project),
        cmocka_unit_test_setup_teardown(no_path_leads_out_and_no_link_is_followed, open_project, remove_project),
        cmocka_unit_test_setup_teardown(a_folder_of_the_copy_that_is_a_file_of_the_project_is_put_aside, open_project, remove_project),
        cmocka_unit_test_setup_teardown(a_long_name_is_cut_for_its_suffix, open_project, remove_project),
        cmocka_unit_test(only_what_was_given_can_be_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
