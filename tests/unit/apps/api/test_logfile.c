/* tests/unit/apps/api/test_logfile.c: a log followed over its rotations, as apps/cyberdevstudio/studiolog.c makes them. */
#include "apps/api/logfile.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/str.h"
#include "tests/support/test.h"

struct fixture {
    char dir[64], path[128];
    int fd; /* of the writer */
    struct logfile file;
    char seen[512 * 1024];
    int64_t seq[64]; /* of the last lines */
    unsigned count, stop_at;
};

static int open_dir(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    strcpy(f->dir, "/tmp/cds-logfile-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof(f->path), "%s/studio.jsonl", f->dir);
    f->file.fd = f->fd = -1;
    *state = f;
    return 0;
}

static int remove_dir(void **state)
{
    struct fixture *f = *state;
    char command[128];
    logfile_close(&f->file);
    if (f->fd >= 0)
        close(f->fd);
    snprintf(command, sizeof(command), "rm -rf %s", f->dir);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static void write_text(struct fixture *f, const char *text)
{
    if (f->fd < 0)
        f->fd = open(f->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    assert_true(f->fd >= 0);
    assert_int_equal(write(f->fd, text, strlen(text)), strlen(text));
}

/* As the supervisor does it, with three kept files. */
static void rotate(struct fixture *f)
{
    char from[160], to[160];
    for (int i = 3; i >= 1; i--) {
        snprintf(to, sizeof(to), "%s.%d", f->path, i);
        snprintf(from, sizeof(from), i > 1 ? "%s.%d" : "%s", f->path, i - 1);
        rename(from, to);
    }
    close(f->fd);
    f->fd = open(f->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    assert_true(f->fd >= 0);
}

static bool take(void *user, const char *line, size_t len, int64_t seq)
{
    struct fixture *f = user;
    if (f->stop_at && f->count == f->stop_at)
        return false;
    f->seq[f->count++ % 64] = seq;
    strncat(f->seen, line, len);
    strcat(f->seen, " ");
    return true;
}

/* Reads until nothing more comes and compares what came. */
static void reads(struct fixture *f, const char *expected)
{
    f->seen[0] = '\0';
    for (int i = 0; i < 16; i++)
        logfile_read(&f->file, take, f);
    assert_string_equal(f->seen, expected);
}

static void a_reader_gets_what_stands_there_and_what_comes(void **state)
{
    struct fixture *f = *state;
    logfile_open(&f->file, f->path, NULL); /* before there is a file */
    reads(f, "");
    write_text(f, "a\nb\n");
    reads(f, "a b ");
    write_text(f, "c\nhal");
    reads(f, "c ");
    write_text(f, "f\n");
    reads(f, "half ");
}

static void lines_that_were_not_read_before_a_rotation_are_not_lost(void **state)
{
    struct fixture *f = *state;
    write_text(f, "a\n");
    logfile_open(&f->file, f->path, NULL);
    reads(f, "a ");
    write_text(f, "b\nc\n");
    rotate(f);
    write_text(f, "d\n");
    rotate(f);
    write_text(f, "e\n");
    rotate(f);
    write_text(f, "f\n");
    reads(f, "b c d e f ");
    write_text(f, "g\n");
    reads(f, "g ");
}

static void a_rotated_file_is_read_to_its_end_however_much_of_it_was_unread(void **state)
{
    struct fixture *f = *state;
    char text[64];
    unsigned lines = 3 * LOGFILE_PIECE / 32;
    write_text(f, "a\n");
    logfile_open(&f->file, f->path, NULL);
    reads(f, "a ");
    for (unsigned i = 0; i < lines; i++) {
        snprintf(text, sizeof(text), "line %026u\n", i); /* 32 bytes */
        write_text(f, text);
    }
    rotate(f);
    write_text(f, "b\n");
    f->seen[0] = '\0';
    f->count = 0;
    for (int i = 0; i < 8; i++)
        logfile_read(&f->file, take, f);
    assert_int_equal(f->count, lines + 1);
    assert_string_equal(f->seen + strlen(f->seen) - 3, " b ");
}

static void a_reader_whose_file_is_not_kept_any_more_goes_on_with_the_oldest(void **state)
{
    struct fixture *f = *state;
    char line[8];
    write_text(f, "a\n");
    logfile_open(&f->file, f->path, NULL);
    write_text(f, "b\n");
    for (int i = 0; i < 5; i++) {
        rotate(f);
        snprintf(line, sizeof(line), "%d\n", i);
        write_text(f, line);
    }
    reads(f, "a b 1 2 3 4 "); /* 0 stood in a file that is gone */
}

static void numbers_lead_back_behind_their_line_also_after_a_rotation(void **state)
{
    struct fixture *f = *state;
    char after[32];
    write_text(f, "a\nb\nc\n");
    logfile_open(&f->file, f->path, NULL);
    reads(f, "a b c ");
    snprintf(after, sizeof(after), "%lld", (long long)f->seq[0]);
    write_text(f, "d\n");
    rotate(f);
    write_text(f, "e\nlonger than all that stood in the old file\n");
    logfile_close(&f->file);
    logfile_open(&f->file, f->path, after);
    reads(f, "b c d e longer than all that stood in the old file ");
}

static void no_two_lines_have_the_same_number_and_javascript_can_hold_them(void **state)
{
    struct fixture *f = *state;
    write_text(f, "a\nb\n");
    logfile_open(&f->file, f->path, NULL);
    reads(f, "a b ");
    rotate(f);
    write_text(f, "c\nd\n");
    reads(f, "c d ");
    for (int i = 0; i < 4; i++) {
        assert_true(f->seq[i] > 0 && f->seq[i] < (int64_t)1 << 53);
        for (int j = 0; j < i; j++)
            assert_int_not_equal(f->seq[i], f->seq[j]);
    }
}

static void a_number_of_no_line_begins_near_the_end_with_a_whole_line(void **state)
{
    struct fixture *f = *state;
    char after[32], text[64];
    for (int i = 0; i < 4000; i++) {
        snprintf(text, sizeof(text), "line %026d\n", i); /* 32 bytes */
        write_text(f, text);
    }
    static const char *const bad[] = {NULL, "", "x", "0", "-1", "99999999999999999999", "5"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(bad) + 1; i++) {
        struct stat st;
        assert_int_equal(stat(f->path, &st), 0);
        /* The last one: the right file, but the middle of a line. */
        snprintf(after, sizeof(after), "%lld", (((long long)st.st_ino & 0x3fffff) << 31) | 69);
        logfile_open(&f->file, f->path, i < CDS_ARRAY_LEN(bad) ? bad[i] : after);
        f->seen[0] = '\0';
        f->count = 0;
        logfile_read(&f->file, take, f);
        assert_true(cds_starts_with(f->seen, "line 0"));
        assert_int_equal(f->count, LOGFILE_BACKLOG / 32 - 1);
        logfile_close(&f->file);
    }
}

static void a_line_that_was_not_taken_comes_again(void **state)
{
    struct fixture *f = *state;
    write_text(f, "a\nb\nc\n");
    logfile_open(&f->file, f->path, NULL);
    f->stop_at = 1;
    reads(f, "a ");
    f->stop_at = 0;
    rotate(f);
    write_text(f, "d\n");
    reads(f, "b c d ");
}

static void a_line_longer_than_a_piece_is_skipped_and_the_next_one_is_read(void **state)
{
    struct fixture *f = *state;
    write_text(f, "a\n");
    logfile_open(&f->file, f->path, NULL);
    reads(f, "a ");
    char *longest = malloc(2 * LOGFILE_PIECE + 1);
    assert_non_null(longest);
    memset(longest, 'x', 2 * LOGFILE_PIECE);
    longest[2 * LOGFILE_PIECE] = '\0';
    write_text(f, longest);
    write_text(f, "\nb\n");
    free(longest);
    f->seen[0] = '\0';
    for (int i = 0; i < 4; i++)
        logfile_read(&f->file, take, f);
    assert_true(strlen(f->seen) < LOGFILE_PIECE);
    assert_string_equal(f->seen + strlen(f->seen) - 3, " b ");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_reader_gets_what_stands_there_and_what_comes),
        TEST(lines_that_were_not_read_before_a_rotation_are_not_lost),
        TEST(a_rotated_file_is_read_to_its_end_however_much_of_it_was_unread),
        TEST(a_reader_whose_file_is_not_kept_any_more_goes_on_with_the_oldest),
        TEST(numbers_lead_back_behind_their_line_also_after_a_rotation),
        TEST(no_two_lines_have_the_same_number_and_javascript_can_hold_them),
        TEST(a_number_of_no_line_begins_near_the_end_with_a_whole_line),
        TEST(a_line_that_was_not_taken_comes_again),
        TEST(a_line_longer_than_a_piece_is_skipped_and_the_next_one_is_read),
    };
    return RUN_ALL(tests);
}
