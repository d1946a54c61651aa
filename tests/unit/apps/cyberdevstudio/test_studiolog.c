/* Tests of apps/cyberdevstudio/studiolog.c. */
#include "tests/support/test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apps/cyberdevstudio/studiolog.h"
#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/json/json.h"

static char folder[64];

static int setup(void **state)
{
    strcpy(folder, "/tmp/cds-log-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    static const char *const names[] = {"", ".1", ".2", ".3", ".4"};
    char path[128];
    for (size_t i = 0; i < CDS_ARRAY_LEN(names); i++) {
        snprintf(path, sizeof(path), "%s/studio.jsonl%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

static struct cds_studiolog *open_log(uint64_t rotate_bytes)
{
    struct cds_studiolog *log = NULL;
    struct cds_err err;
    assert_int_equal(cds_studiolog_open(folder, (gid_t)-1, rotate_bytes, 3, &log, &err), CDS_OK);
    return log;
}

static void say(struct cds_studiolog *log, const char *text)
{
    cds_studiolog_line(log, "cds-test", text, strlen(text), false);
}

static struct cds_buf content(const char *suffix)
{
    char path[128];
    struct cds_buf buf = cds_buf_init(1 << 20);
    snprintf(path, sizeof(path), "%s/studio.jsonl%s", folder, suffix);
    if (cds_read_file(path, &buf, NULL) != CDS_OK)
        cds_buf_free(&buf);
    return buf;
}

/** Line number at (from 0) of the log as a JSON object; owned. */
static cds_json *line_at(int at)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf buf = content("");
    const char *line = buf.data;
    while (at-- > 0 && line)
        line = strchr(line, '\n') + 1;
    cds_json *value = NULL;
    struct cds_err err;
    assert_non_null(line);
    assert_int_equal(cds_json_parse(line, strcspn(line, "\n"), &value, &err), CDS_OK);
    return value;
}

static void log_keeps_json_lines_as_they_are(void **state)
{
    struct cds_studiolog *log = open_log(1 << 20);
    say(log, "{\"ts\":\"t\",\"level\":\"info\",\"msg\":\"x\",\"n\":1}");
    cds_studiolog_close(&log);
    CDS_CLEANUP(cds_buf_free) struct cds_buf buf = content("");
    assert_string_equal(buf.data, "{\"ts\":\"t\",\"level\":\"info\",\"msg\":\"x\",\"n\":1}\n");
}

static void log_wraps_text_with_odd_characters_into_valid_json(void **state)
{
    struct cds_studiolog *log = open_log(1 << 20);
    say(log, "say \"hi\"\\ \t \x01 \xc3\xa4");
    say(log, "broken \xff utf-8");
    say(log, "{\"not\": closed");
    say(log, "{\"a\":1,}");
    cds_studiolog_close(&log);
    CDS_JSON_AUTO first = line_at(0);
    CDS_JSON_AUTO second = line_at(1);
    CDS_JSON_AUTO third = line_at(2);
    CDS_JSON_AUTO fourth = line_at(3);
    assert_string_equal(cds_json_get_str(first, "msg"), "say \"hi\"\\ \t \x01 \xc3\xa4");
    assert_string_equal(cds_json_get_str(first, "proc"), "cds-test");
    assert_string_equal(cds_json_get_str(second, "msg"), "broken ? utf-8");
    assert_string_equal(cds_json_get_str(third, "msg"), "{\"not\": closed");
    assert_string_equal(cds_json_get_str(fourth, "msg"), "{\"a\":1,}");
}

static void log_takes_the_level_from_the_database_server(void **state)
{
    struct cds_studiolog *log = open_log(1 << 20);
    say(log, "2026-11-21 05:00:00 UTC [77] FATAL:  the database system is starting up");
    say(log, "2026-11-21 05:00:00 UTC [77] LOG:  checkpoint complete");
    cds_studiolog_close(&log);
    CDS_JSON_AUTO first = line_at(0);
    CDS_JSON_AUTO second = line_at(1);
    assert_string_equal(cds_json_get_str(first, "level"), "error");
    assert_string_equal(cds_json_get_str(second, "level"), "info");
}

static void log_rotates_and_keeps_three_old_files(void **state)
{
    struct cds_studiolog *log = open_log(200);
    for (int i = 0; i < 20; i++) {
        char text[128];
        snprintf(text, sizeof(text), "{\"line\":%d,\"pad\":\"%080d\"}", i, 0);
        say(log, text);
    }
    cds_studiolog_close(&log);
    CDS_CLEANUP(cds_buf_free) struct cds_buf now = content("");
    CDS_CLEANUP(cds_buf_free) struct cds_buf third = content(".3");
    CDS_CLEANUP(cds_buf_free) struct cds_buf fourth = content(".4");
    assert_non_null(strstr(now.data, "\"line\":19"));
    assert_non_null(third.data);
    assert_null(fourth.data);
    assert_true(now.len <= 200);
}

static void log_is_readable_by_nobody_else(void **state)
{
    struct cds_studiolog *log = open_log(1 << 20);
    struct stat st;
    assert_int_equal(stat(cds_studiolog_path(log), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    cds_studiolog_close(&log);
}

static void log_refuses_a_link_in_its_place(void **state)
{
    char path[128], elsewhere[128];
    struct cds_studiolog *log = NULL;
    struct cds_err err = {0};
    snprintf(path, sizeof(path), "%s/studio.jsonl", folder);
    snprintf(elsewhere, sizeof(elsewhere), "%s/studio.jsonl.1", folder);
    assert_int_equal(symlink(elsewhere, path), 0);
    assert_int_not_equal(cds_studiolog_open(folder, (gid_t)-1, 1 << 20, 3, &log, &err), CDS_OK);
    assert_null(log);
    assert_non_null(strstr(err.message, path));
    assert_int_not_equal(access(elsewhere, F_OK), 0);
}

/* ---- lines from a pipe ---- */

struct piped {
    struct cds_studiolog *log;
    struct cds_loop *loop;
    struct cds_logsource *source;
    int fd;
};

static struct piped open_pipe(void)
{
    struct piped p = {.log = open_log(1 << 24)};
    struct cds_err err;
    assert_int_equal(cds_loop_new(&p.loop, &err), CDS_OK);
    assert_int_equal(cds_logsource_open(p.log, p.loop, "cds-child", &p.source, &p.fd, &err), CDS_OK);
    return p;
}

static void feed(struct piped *p, const char *data, size_t len)
{
    while (len > 0) {
        size_t part = len < 4096 ? len : 4096;
        assert_int_equal(write(p->fd, data, part), part);
        cds_loop_once(p->loop, 0);
        data += part;
        len -= part;
    }
}

static void close_pipe(struct piped *p)
{
    close(p->fd);
    cds_logsource_close(&p->source);
    cds_loop_free(&p->loop);
    cds_studiolog_close(&p->log);
}

static void source_joins_pieces_of_a_line(void **state)
{
    struct piped p = open_pipe();
    feed(&p, "first ha", 8);
    feed(&p, "lf\nsec", 6);
    assert_string_equal(cds_logsource_last(p.source), "first half");
    feed(&p, "ond", 3);
    close_pipe(&p);
    CDS_JSON_AUTO first = line_at(0);
    CDS_JSON_AUTO second = line_at(1);
    assert_string_equal(cds_json_get_str(first, "msg"), "first half");
    assert_string_equal(cds_json_get_str(second, "msg"), "second");
    assert_string_equal(cds_json_get_str(second, "proc"), "cds-child");
}

static void source_remembers_the_message_of_a_json_line(void **state)
{
    struct piped p = open_pipe();
    assert_string_equal(cds_logsource_last(p.source), "");
    feed(&p, "{\"level\":\"error\",\"msg\":\"no key\"}\n", 33);
    assert_string_equal(cds_logsource_last(p.source), "no key");
    close_pipe(&p);
}

static void source_passes_a_line_of_the_longest_length_whole(void **state)
{
    static char line[CDS_LOGLINE_MAX + 1];
    memset(line, 'a', CDS_LOGLINE_MAX);
    line[CDS_LOGLINE_MAX] = '\n';
    struct piped p = open_pipe();
    feed(&p, line, sizeof(line));
    close_pipe(&p);
    CDS_JSON_AUTO first = line_at(0);
    assert_null(cds_json_get(first, "cut"));
    assert_int_equal(cds_json_str_len(cds_json_get(first, "msg")), CDS_LOGLINE_MAX);
}

static void source_cuts_a_longer_line_and_goes_on_with_the_next(void **state)
{
    static char line[3 * CDS_LOGLINE_MAX];
    memset(line, 'a', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    struct piped p = open_pipe();
    feed(&p, line, sizeof(line));
    feed(&p, "next\n", 5);
    close_pipe(&p);
    CDS_JSON_AUTO first = line_at(0);
    CDS_JSON_AUTO second = line_at(1);
    assert_true(cds_json_true(cds_json_get(first, "cut"), false));
    assert_int_equal(cds_json_str_len(cds_json_get(first, "msg")), CDS_LOGLINE_MAX);
    assert_string_equal(cds_json_get_str(second, "msg"), "next");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(log_keeps_json_lines_as_they_are, setup, teardown),
        cmocka_unit_test_setup_teardown(log_wraps_text_with_odd_characters_into_valid_json, setup, teardown),
        cmocka_unit_test_setup_teardown(log_takes_the_level_from_the_database_server, setup, teardown),
        cmocka_unit_test_setup_teardown(log_rotates_and_keeps_three_old_files, setup, teardown),
        cmocka_unit_test_setup_teardown(log_is_readable_by_nobody_else, setup, teardown),
        cmocka_unit_test_setup_teardown(log_refuses_a_link_in_its_place, setup, teardown),
        cmocka_unit_test_setup_teardown(source_joins_pieces_of_a_line, setup, teardown),
        cmocka_unit_test_setup_teardown(source_remembers_the_message_of_a_json_line, setup, teardown),
        cmocka_unit_test_setup_teardown(source_passes_a_line_of_the_longest_length_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(source_cuts_a_longer_line_and_goes_on_with_the_next, setup, teardown),
    };
    return RUN_ALL(tests);
}
