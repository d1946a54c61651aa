/* Tests of apps/studio-ui/server/files.c: only what was in the folder at the start is served, by its exact path, in a coding that the client takes.
 */
#include "tests/support/test.h"

#include <sys/stat.h>

#include "apps/studio-ui/server/files.h"
#include "lib/base/cleanup.h"
#include "tests/unit/lib/http/rig.h"

#define IMMUTABLE "Cache-Control: public, max-age=31536000, immutable\r\n"

static char folder[64];
static struct rig rig;
static struct files *files;

static void put(const char *name, const char *text)
{
    char path[200];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(cds_write_file_atomic(path, text, strlen(text), 0644, NULL), CDS_OK);
}

static void on_request(void *user, struct cds_http_req *req)
{
    if (!files_serve(files, req, cds_http_path(req)))
        cds_http_reply(req, 404, "text/plain", "none", 4);
}

static int setup(void **state)
{
    char path[200];
    strcpy(folder, "/tmp/cds-files-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/assets", folder);
    assert_int_equal(mkdir(path, 0755), 0);
    put("index.html", "<title>page</title>");
    put("assets/app.js", "plain script");
    put("assets/app.js.gz", "gzip script");
    put("assets/app.js.br", "brotli script");
    put("assets/only.css", "plain style");
    put("assets/only.css.gz", "gzip style");
    put("a b.txt", "blank");
    put("odd.xyz", "bytes");
    struct cds_err err = {0};
    if (files_open(folder, &files, &err))
        fail_msg("%s", err.message);
    rig_open(&rig, on_request);
    return 0;
}

static int teardown(void **state)
{
    char command[100];
    rig_close(&rig);
    files_free(&files);
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
    return 0;
}

/* The whole answer to GET target, with this Accept-Encoding when it is not NULL. */
static const char *get(const char *target, const char *accept)
{
    char request[600];
    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n%s%s%s\r\n", target, accept ? "Accept-Encoding: " : "",
             accept ? accept : "", accept ? "\r\n" : "");
    rig_ask(&rig, request);
    return rig.text;
}

static const char *body(const char *target, const char *accept)
{
    const char *end = strstr(get(target, accept), "\r\n\r\n");
    assert_non_null(end);
    return end + 4;
}

static void file_is_served_by_its_exact_path(void **state)
{
    assert_string_equal(body("/index.html", NULL), "<title>page</title>");
    assert_true(rig_has(&rig, "HTTP/1.1 200 "));
    assert_true(rig_has(&rig, "Content-Length: 19\r\n"));
    assert_string_equal(body("/a%20b.txt", NULL), "blank");
    assert_string_equal(body("/assets/app.js?v=1", NULL), "plain script");
}

static void every_other_spelling_is_not_there(void **state)
{
    static const char *const targets[] = {"/",
                                          "/index",
                                          "/index.html/",
                                          "//index.html",
                                          "/./index.html",
                                          "/assets/../index.html",
                                          "/assets/%2e%2e/index.html",
                                          "/assets/..%2findex.html",
                                          "/../../../etc/passwd",
                                          "/..%2f..%2fetc/passwd",
                                          "/%2fetc/passwd",
                                          "/assets",
                                          "/assets/",
                                          "/INDEX.HTML",
                                          "/index.html%00.js",
                                          "/assets/app.js%00",
                                          "/assets\\app.js",
                                          "/assets/app",
                                          "/ssets/app.js"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(targets); i++) {
        get(targets[i], "gzip, br");
        if (!rig_has(&rig, "HTTP/1.1 404 ") && !rig_has(&rig, "HTTP/1.1 400 "))
            fail_msg("%s: %.200s", targets[i], rig.text);
    }
}

static void file_that_came_later_is_not_there(void **state)
{
    put("later.html", "later");
    get("/later.html", NULL);
    assert_true(rig_has(&rig, "HTTP/1.1 404 "));
}

static void file_that_went_away_is_not_there(void **state)
{
    char path[200];
    snprintf(path, sizeof(path), "%s/odd.xyz", folder);
    assert_int_equal(unlink(path), 0);
    get("/odd.xyz", NULL);
    assert_true(rig_has(&rig, "HTTP/1.1 404 "));
}

static void link_is_never_followed(void **state)
{
    char path[200];
    files_free(&files);
    put("target.txt", "secret");
    snprintf(path, sizeof(path), "%s/link.txt", folder);
    assert_int_equal(symlink("target.txt", path), 0);
    assert_int_equal(files_open(folder, &files, NULL), CDS_OK);
    get("/link.txt", NULL);
    assert_true(rig_has(&rig, "HTTP/1.1 404 "));
    /* Nor one that took a file's place after the start. */
    snprintf(path, sizeof(path), "%s/odd.xyz", folder);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("target.txt", path), 0);
    get("/odd.xyz", NULL);
    assert_true(rig_has(&rig, "HTTP/1.1 404 "));
}

static void best_coding_that_the_client_takes_is_used(void **state)
{
    static const struct {
        const char *accept, *body, *coding;
    } rows[] = {
        {"gzip, deflate, br", "brotli script", "br"},
        {"br;q=0.5, gzip", "brotli script", "br"},
        {"gzip", "gzip script", "gzip"},
        {"gzip;q=1.0", "gzip script", "gzip"},
        {"GZIP", "gzip script", "gzip"},
        {"deflate,\tgzip ; q=0.001", "gzip script", "gzip"},
        {"gzip, br;q=0", "gzip script", "gzip"},
        {"gzip, br;q=0.0", "gzip script", "gzip"},
        {"gzip, br; q=0.000", "gzip script", "gzip"},
        {"gzip, br;Q=0", "gzip script", "gzip"},
        {"gzip;q=0, br;q=0", "plain script", NULL},
        {"identity", "plain script", NULL},
        {"brotli, gzipped, xgzip", "plain script", NULL},
        {"", "plain script", NULL},
        {NULL, "plain script", NULL},
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(rows); i++) {
        char header[60];
        const char *got = body("/assets/app.js", rows[i].accept);
        if (strcmp(got, rows[i].body))
            fail_msg("Accept-Encoding: %s gave %s", rows[i].accept ? rows[i].accept : "(none)", got);
        snprintf(header, sizeof(header), "Content-Encoding: %s\r\n", rows[i].coding ? rows[i].coding : "");
        assert_true(rig_has(&rig, rows[i].coding ? header : "HTTP/1.1 200 "));
        assert_true(rows[i].coding || !rig_has(&rig, "Content-Encoding"));
        assert_true(rig_has(&rig, "Vary: Accept-Encoding\r\n"));
        assert_true(rig_has(&rig, "Content-Type: text/javascript; charset=utf-8\r\n"));
    }
}

static void coding_that_was_not_built_is_not_used(void **state)
{
    assert_string_equal(body("/assets/only.css", "br, gzip"), "gzip style");
    assert_string_equal(body("/assets/only.css", "br"), "plain style");
    assert_string_equal(body("/index.html", "br, gzip"), "<title>page</title>");
}

static void hashed_names_are_kept_for_a_year_and_the_page_is_asked_for_again(void **state)
{
    get("/assets/app.js", NULL);
    assert_true(rig_has(&rig, IMMUTABLE));
    get("/index.html", NULL);
    assert_true(rig_has(&rig, "Cache-Control: no-cache\r\n"));
    assert_false(rig_has(&rig, "immutable"));
}

static void unknown_ending_is_plain_bytes(void **state)
{
    get("/odd.xyz", NULL);
    assert_true(rig_has(&rig, "Content-Type: application/octet-stream\r\n"));
    get("/index.html", NULL);
    assert_true(rig_has(&rig, "Content-Type: text/html; charset=utf-8\r\n"));
}

static void folder_without_index_html_is_refused_with_the_remedy(void **state)
{
    char path[200];
    struct files *none = NULL;
    struct cds_err err = {0};
    snprintf(path, sizeof(path), "%s/assets", folder);
    assert_int_equal(files_open(path, &none, &err), CDS_NOT_FOUND);
    assert_null(none);
    assert_non_null(strstr(err.message, path));
    assert_non_null(strstr(err.hint, "make build"));
}

static void folder_that_is_not_there_is_refused_with_the_remedy(void **state)
{
    struct files *none = NULL;
    struct cds_err err = {0};
    assert_int_not_equal(files_open("/nonexistent/page", &none, &err), CDS_OK);
    assert_null(none);
    assert_non_null(strstr(err.hint, "ui.dir"));
}

/* A page that is cut silently would miss scripts in the browser. */
static void folder_with_more_files_than_the_table_holds_is_refused(void **state)
{
    char command[300];
    struct files *none = NULL;
    struct cds_err err = {0};
    snprintf(command, sizeof(command), "cd %s && mkdir many && touch index.html many/index.html && seq -f 'many/%%.0f' %d | xargs touch", folder,
             FILES_MAX);
    assert_int_equal(system(command), 0);
    snprintf(command, sizeof(command), "%s/many", folder);
    assert_int_equal(files_open(command, &none, &err), CDS_TOO_LARGE);
    assert_null(none);
    assert_non_null(strstr(err.message, command));
}

int main(void)
{
#define ROW(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        ROW(file_is_served_by_its_exact_path),
        ROW(every_other_spelling_is_not_there),
        ROW(file_that_came_later_is_not_there),
        ROW(file_that_went_away_is_not_there),
        ROW(link_is_never_followed),
        ROW(best_coding_that_the_client_takes_is_used),
        ROW(coding_that_was_not_built_is_not_used),
        ROW(hashed_names_are_kept_for_a_year_and_the_page_is_asked_for_again),
        ROW(unknown_ending_is_plain_bytes),
        ROW(folder_without_index_html_is_refused_with_the_remedy),
        ROW(folder_that_is_not_there_is_refused_with_the_remedy),
        ROW(folder_with_more_files_than_the_table_holds_is_refused),
    };
    return RUN_ALL(tests);
}
