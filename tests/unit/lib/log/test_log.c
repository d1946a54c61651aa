#include <unistd.h>

#include "lib/log/log.h"
#include "tests/support/test.h"

/* Runs a statement with stderr in a pipe and keeps what it wrote. */
static char got[20000];
static int saved, reader;

static void begin(void)
{
    int p[2];
    assert_int_equal(pipe(p), 0);
    saved = dup(2);
    dup2(p[1], 2);
    close(p[1]);
    reader = p[0];
}

static const char *end(void)
{
    dup2(saved, 2);
    close(saved);
    ssize_t n = read(reader, got, sizeof(got) - 1);
    got[n > 0 ? n : 0] = '\0';
    close(reader);
    return got;
}

static void a_line_is_one_json_object_with_its_fields(void **state)
{
    cds_log_init("cds-test", CDS_LOG_INFO);
    begin();
    cds_log(CDS_LOG_INFO, "request", CDS_LS("request_id", "r1"), CDS_LI("status", 200), CDS_LS("absent", NULL));
    const char *line = end();
    assert_non_null(strstr(line, "\"level\":\"info\",\"proc\":\"cds-test\",\"msg\":\"request\",\"request_id\":\"r1\",\"status\":200}\n"));
    assert_int_equal(line[0], '{');
}

static void lines_below_the_level_are_not_written(void **state)
{
    cds_log_init("cds-test", CDS_LOG_WARN);
    begin();
    cds_log(CDS_LOG_INFO, "quiet");
    cds_log(CDS_LOG_WARN, "loud");
    const char *line = end();
    assert_null(strstr(line, "quiet"));
    assert_non_null(strstr(line, "loud"));
    cds_log_init("cds-test", CDS_LOG_INFO);
}

static void secrets_never_reach_the_log(void **state)
{
    static const char jwt[] = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJlLWNhbmFyeQ";
    static const char key[] = "cds_user_01hx_CANARYCANARYCANARYCANARYCANARYCANARY_1a2b";
    begin();
    cds_log(CDS_LOG_INFO, "login", CDS_LS("password", "CANARYpass"), CDS_LS("Authorization", "Bearer CANARY"), CDS_LS("refresh_token", "CANARY"),
            CDS_LS("text", jwt), CDS_LS("more", key), CDS_LS("Set-Cookie", "CANARY"));
    const char *line = end();
    assert_null(strstr(line, "CANARY"));
    assert_null(strstr(line, "signature"));
    assert_null(strstr(line, "c2lnbmF0dXJl"));
    assert_non_null(strstr(line, "[redacted]"));
    assert_non_null(strstr(line, "\"text\":\"eyJhbGciOiJF...\""));
}

static void token_counts_are_not_secrets(void **state)
{
    begin();
    cds_log(CDS_LOG_INFO, "settled", CDS_LS("prompt_tokens", "12"));
    assert_non_null(strstr(end(), "\"prompt_tokens\":\"12\""));
}

static void hostile_text_cannot_break_out_of_its_line(void **state)
{
    begin();
    cds_log(CDS_LOG_INFO, "a\"b\\c\nd\x01", CDS_LS("x", "\"},{\"y\":1\n\xff\xc3"));
    const char *line = end();
    assert_int_equal(strchr(line, '\n') - line, (ptrdiff_t)strlen(line) - 1); /* one line */
    assert_non_null(strstr(line, "a\\\"b\\\\c\\u000ad\\u0001"));
    assert_non_null(strstr(line, "\"x\":\"\\\"},{\\\"y\\\":1\\u000a??\""));
}

static void a_line_never_exceeds_its_ceiling_and_still_ends(void **state)
{
    char big[9000];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    begin();
    cds_log(CDS_LOG_INFO, big, CDS_LS("a", big), CDS_LS("b", big), CDS_LS("c", big), CDS_LS("d", big), CDS_LS("e", big), CDS_LI("n", 1));
    const char *line = end();
    size_t len = strlen(line);
    assert_true(len <= 8192);
    assert_string_equal(line + len - 2, "}\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_one_json_object_with_its_fields),
        cmocka_unit_test(lines_below_the_level_are_not_written),
        cmocka_unit_test(secrets_never_reach_the_log),
        cmocka_unit_test(token_counts_are_not_secrets),
        cmocka_unit_test(hostile_text_cannot_break_out_of_its_line),
        cmocka_unit_test(a_line_never_exceeds_its_ceiling_and_still_ends),
    };
    return RUN_ALL(tests);
}
