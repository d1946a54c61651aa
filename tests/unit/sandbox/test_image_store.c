/* Images by name: what a name is, what a record must say, what stands in the folder after a crash, and who keeps an image from being removed. */
#include "tests/support/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "sandbox/image_maker.h"
#include "sandbox/image_pull.h"
#include "sandbox/image_store.h"

enum { EROFS_BYTES = 4096 };
static char dir[64];
static struct image_store store;
static struct cds_err err;

/* The least that passes for an image: its superblock is where it has to be. */
static void put_file(const char *name, size_t size)
{
    static char bytes[EROFS_BYTES];
    const uint32_t magic = 0xe0f5e1e2;
    memset(bytes, 0, sizeof(bytes));
    memcpy(bytes + 1024, &magic, sizeof(magic));
    bytes[1024 + 12] = 12;
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_int_equal(cds_write_file_atomic(path, bytes, size, 0600, NULL), CDS_OK);
}

static void put_text(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_int_equal(cds_write_file_atomic(path, text, strlen(text), 0600, NULL), CDS_OK);
}

static bool there(const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

static int open_folder(void **state)
{
    snprintf(dir, sizeof(dir), "/tmp/cds-images-XXXXXX");
    err = (struct cds_err){0};
    return !mkdtemp(dir) || image_store_open(dir, &store, &err);
}

static int close_folder(void **state)
{
    DIR *all = opendir(dir);
    for (const struct dirent *e; all && (e = readdir(all));)
        if (e->d_name[0] != '.')
            unlinkat(dirfd(all), e->d_name, 0);
    if (all)
        closedir(all);
    image_store_close(&store);
    return rmdir(dir);
}

static struct image like(const char *name)
{
    struct image image = {
        .size_bytes = EROFS_BYTES, .tree_bytes = 10, .entries = 2, .added_ms = 1000, .languages = 5, .kind = "archive", .from = "a.tar"};
    cds_strcpy(image.name, sizeof(image.name), name);
    memset(image.digest, 'a', IMAGE_DIGEST_LEN);
    return image;
}

static void commit(const char *name)
{
    const struct image image = like(name);
    put_file("new", EROFS_BYTES);
    assert_int_equal(image_commit(&store, &image, store.dir_fd, "new", &err), CDS_OK);
    assert_int_equal(image_add(&store, &image, &err), CDS_OK);
}

static void open_again(void)
{
    image_store_close(&store);
    assert_int_equal(image_store_open(dir, &store, &err), CDS_OK);
}

static void a_name_is_short_small_and_leads_nowhere(void **state)
{
    static const char *const good[] = {"a", "0", "debian-12.5_x", "a..b"};
    static const char *const bad[] = {"", "A", ".a", "-a", "_a", "a/b", "..", "a b", "a\n", "\xc3\xa4"};
    char longest[IMAGE_NAME_MAX + 2];
    for (size_t i = 0; i < CDS_ARRAY_LEN(good); i++)
        assert_int_equal(image_name_check(good[i], "/params/name", &err), CDS_OK);
    for (size_t i = 0; i < CDS_ARRAY_LEN(bad); i++) {
        assert_int_equal(image_name_check(bad[i], "/params/name", &err), CDS_BAD_PARAM);
        assert_string_equal(err.pointer, "/params/name");
    }
    assert_int_equal(image_name_check(NULL, "", NULL), CDS_BAD_PARAM);
    memset(longest, 'a', sizeof(longest) - 1);
    longest[IMAGE_NAME_MAX + 1] = '\0';
    assert_int_equal(image_name_check(longest, "", NULL), CDS_BAD_PARAM);
    longest[IMAGE_NAME_MAX] = '\0';
    assert_int_equal(image_name_check(longest, "", NULL), CDS_OK);
}

static void what_was_committed_is_there_after_a_restart_in_the_order_of_names(void **state)
{
    commit("b");
    commit("a");
    open_again();
    assert_int_equal(store.count, 2);
    assert_string_equal(store.all->name, "a");
    const struct image *b = image_find(&store, "b");
    assert_non_null(b);
    assert_string_equal(b->from, "a.tar");
    assert_int_equal(b->languages, 5);
    assert_int_equal(b->entries, 2);
    assert_null(image_find(&store, "c"));
    CDS_JSON_AUTO seen = image_json(b, false);
    assert_null(cds_json_get(seen, "from"));
    assert_int_equal(cds_json_size(cds_json_get(seen, "languages")), 2);
}

static void a_crash_between_two_steps_leaves_nothing_that_stays(void **state)
{
    commit("whole");
    put_file("half.erofs", EROFS_BYTES); /* the file was there, its record not yet */
    put_text("odd-file", "x");           /* nobody's */
    open_again();
    assert_int_equal(store.count, 1);
    assert_false(there("half.erofs"));
    assert_false(there("odd-file"));
    assert_true(there("whole.erofs"));
}

static void a_broken_record_or_file_is_not_an_image_and_is_left_alone(void **state)
{
    static const char *const texts[] = {"", "{", "[]", "{\"name\":\"bad\"}"};
    put_file("bad.erofs", EROFS_BYTES);
    for (size_t i = 0; i < CDS_ARRAY_LEN(texts); i++) {
        put_text("bad.json", texts[i]);
        open_again();
        assert_int_equal(store.count, 0);
        assert_true(there("bad.erofs"));
    }
    commit("cut");
    put_file("cut.erofs", EROFS_BYTES / 2); /* not what its record says */
    open_again();
    assert_null(image_find(&store, "cut"));
}

static void a_record_must_say_everything_and_its_own_name(void **state)
{
    static const struct {
        const char *key, *value; /* value NULL: left out */
    } rows[] = {{"name", "\"other\""},   {"digest", "\"abc\""}, {"digest", NULL},         {"size_bytes", "-1"},
                {"size_bytes", "\"1\""}, {"languages", "[]"},   {"languages", "[\"c\"]"}, {"source", "\"0123456789abcdef\""},
                {"source", NULL},        {"from", NULL},        {"entries", NULL},        {"added_ms", "1.5"}};
    const struct image image = like("name");
    struct image read;
    for (size_t i = 0; i < CDS_ARRAY_LEN(rows); i++) {
        CDS_JSON_AUTO record = image_json(&image, true);
        cds_json *value = NULL;
        if (rows[i].value)
            assert_int_equal(cds_json_parse(rows[i].value, strlen(rows[i].value), &value, NULL), CDS_OK);
        if (value)
            cds_json_set(record, rows[i].key, value);
        else
            cds_json_del(record, rows[i].key);
        char *text = cds_json_dumps(record, NULL);
        assert_int_equal(image_record_parse(text, strlen(text), "name", &read, &err), CDS_SYSTEM);
        free(text);
    }
    CDS_JSON_AUTO whole = image_json(&image, true);
    char *text = cds_json_dumps(whole, NULL);
    assert_int_equal(image_record_parse(text, strlen(text), "name", &read, &err), CDS_OK);
    free(text);
}

static void a_run_gets_an_image_that_is_there_whole_and_has_its_language(void **state)
{
    struct image *image = NULL;
    int fd = -1;
    commit("tiny");
    assert_int_equal(image_take(&store, "none", "sh", &image, &fd, &err), CDS_NOT_FOUND);
    assert_string_equal(err.rule, "image.unknown");
    assert_int_equal(image_take(&store, "tiny", "node", &image, &fd, &err), CDS_BAD_PARAM);
    assert_string_equal(err.rule, "image.language");
    assert_non_null(strstr(err.message, "it has python, sh"));
    assert_int_equal(image_take(&store, "tiny", "sh", &image, &fd, &err), CDS_OK);
    assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    close(fd);
    image_give(image);
    put_text("tiny.erofs", "broken on the disk");
    assert_int_equal(image_take(&store, "tiny", "sh", &image, &fd, &err), CDS_DENIED);
    assert_string_equal(err.rule, "micro.image");
}

static void an_image_that_a_run_has_is_not_removed_until_it_is_given_back(void **state)
{
    struct image *image = NULL;
    int fd = -1;
    commit("tiny");
    assert_int_equal(image_take(&store, "tiny", "python", &image, &fd, &err), CDS_OK);
    close(fd);
    assert_int_equal(image_remove(&store, "tiny", &err), CDS_CONFLICT);
    assert_string_equal(err.rule, "image.in_use");
    assert_true(there("tiny.json"));
    image_give(image);
    assert_int_equal(image_remove(&store, "tiny", &err), CDS_OK);
    assert_false(there("tiny.json") || there("tiny.erofs"));
    assert_int_equal(store.count, 0);
    assert_int_equal(image_remove(&store, "tiny", &err), CDS_NOT_FOUND);
}

static void what_the_jail_reports_is_believed_only_in_its_form(void **state)
{
    static const char *const nothing[] = {"",
                                          "{",
                                          "[]",
                                          "{}",
                                          "{\"languages\":[]}",
                                          "{\"languages\":[\"sh\"],\"entries\":1}",
                                          "{\"languages\":[\"c\"],\"entries\":1,\"bytes\":1}",
                                          "{\"languages\":[\"sh\"],\"entries\":-1,\"bytes\":1}",
                                          "{\"rule\":\"fs.quota\",\"message\":\"x\"}",
                                          "{\"rule\":7}"};
    static const char good[] = "{\"languages\":[\"node\",\"sh\"],\"entries\":3,\"bytes\":5}",
                      no[] = "{\"rule\":\"image.entry\",\"message\":\"it leads out\"}";
    struct image_facts facts;
    for (size_t i = 0; i < CDS_ARRAY_LEN(nothing); i++)
        assert_int_equal(image_report_parse(nothing[i], strlen(nothing[i]), &facts, &err), CDS_SYSTEM);
    assert_int_equal(image_report_parse(no, strlen(no), &facts, &err), CDS_DENIED);
    assert_string_equal(err.rule, "image.entry");
    assert_non_null(strstr(err.message, "it leads out"));
    /* Whoever has taken over the jail says nothing to a terminal, and no text that is none. */
    static const char wild[] = "{\"rule\":\"image.entry\",\"message\":\"\\u001b]0;x\\u0007\\n\xc3\xa4\"}";
    char longer[700] = "{\"rule\":\"image.entry\",\"message\":\"";
    assert_int_equal(image_report_parse(wild, strlen(wild), &facts, &err), CDS_DENIED);
    assert_string_equal(err.message, "The image was not taken: ?]0;x????.");
    for (int i = 0; i < 60; i++)
        strcat(longer, "a\xc3\xa4 word ");
    strcat(longer, "\"}");
    assert_int_equal(image_report_parse(longer, strlen(longer), &facts, &err), CDS_DENIED);
    assert_true(cds_utf8_valid(err.message, strlen(err.message)));
    assert_non_null(strstr(err.message, "word ...."));
    assert_int_equal(image_report_parse(good, strlen(good), &facts, &err), CDS_OK);
    assert_int_equal(facts.languages, 6);
    assert_int_equal(facts.tree_bytes, 5);
}

static void a_reference_is_a_word_and_no_option_or_path(void **state)
{
    static const char *const good[] = {"debian:12", "ghcr.io/owner/name:tag", "localhost:5000/a", "name@sha256:0123"};
    static const char *const bad[] = {"", "-q", "--help", "/etc/passwd", "./x", "a b", "a;b", "a\nb", "$(x)"};
    char longest[IMAGE_REFERENCE_MAX + 2];
    for (size_t i = 0; i < CDS_ARRAY_LEN(good); i++)
        assert_int_equal(image_reference_check(good[i], &err), CDS_OK);
    for (size_t i = 0; i < CDS_ARRAY_LEN(bad); i++)
        assert_int_equal(image_reference_check(bad[i], &err), CDS_BAD_PARAM);
    memset(longest, 'a', sizeof(longest) - 1);
    longest[IMAGE_REFERENCE_MAX + 1] = '\0';
    assert_int_equal(image_reference_check(longest, &err), CDS_BAD_PARAM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_short_small_and_leads_nowhere),
        cmocka_unit_test_setup_teardown(what_was_committed_is_there_after_a_restart_in_the_order_of_names, open_folder, close_folder),
        cmocka_unit_test_setup_teardown(a_crash_between_two_steps_leaves_nothing_that_stays, open_folder, close_folder),
        cmocka_unit_test_setup_teardown(a_broken_record_or_file_is_not_an_image_and_is_left_alone, open_folder, close_folder),
        cmocka_unit_test(a_record_must_say_everything_and_its_own_name),
        cmocka_unit_test_setup_teardown(a_run_gets_an_image_that_is_there_whole_and_has_its_language, open_folder, close_folder),
        cmocka_unit_test_setup_teardown(an_image_that_a_run_has_is_not_removed_until_it_is_given_back, open_folder, close_folder),
        cmocka_unit_test(what_the_jail_reports_is_believed_only_in_its_form),
        cmocka_unit_test(a_reference_is_a_word_and_no_option_or_path),
    };
    return RUN_ALL(tests);
}
