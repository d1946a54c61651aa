/* tests/unit/lib/rpc/test_rpc.c: the generated table, checks against it, request envelopes, the OpenRPC document. */
#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/rpc/rpc.h"
#include "tests/support/test.h"

#define PROJECT "01234567-89ab-7cde-8f01-23456789abcd"

static cds_json *parse(const char *text)
{
    cds_json *value = NULL;
    struct cds_err err;
    if (cds_json_parse(text, strlen(text), &value, &err))
        fail_msg("%s: %s", text, err.message);
    return value;
}

static int prepare(void **state)
{
    struct cds_err err;
    if (cds_rpc_table_init(&err)) {
        fprintf(stderr, "%s\n", err.message);
        return -1;
    }
    return cds_rpc_table_init(&err) != CDS_OK; /* a second call does nothing */
}

static void table_is_sorted_and_every_method_is_found(void **state)
{
    assert_true(cds_rpc_method_count >= 21);
    for (size_t i = 0; i < cds_rpc_method_count; i++) {
        if (i)
            assert_true(strcmp(cds_rpc_methods[i - 1].name, cds_rpc_methods[i].name) < 0);
        assert_ptr_equal(cds_rpc_find(cds_rpc_methods[i].name), &cds_rpc_methods[i]);
        assert_true(cds_rpc_methods[i].deadline_ms > 0);
    }
}

static void find_knows_no_other_names(void **state)
{
    static const char *const names[] = {"", "fs", "fs.", "fs.writ", "fs.write2", "FS.WRITE", "zzz", "rpc.discover "};
    for (size_t i = 0; i < CDS_ARRAY_LEN(names); i++)
        assert_null(cds_rpc_find(names[i]));
    assert_null(cds_rpc_find(NULL));
}

static void table_carries_what_the_schema_files_say(void **state)
{
    for (size_t i = 0; i < cds_rpc_method_count; i++) {
        const struct cds_rpc_method *m = &cds_rpc_methods[i];
        CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(1 << 20);
        char path[512];
        snprintf(path, sizeof(path), "%s/schemas/rpc/%s.json", CDS_SOURCE_DIR, m->name);
        assert_int_equal(cds_read_file(path, &text, NULL), CDS_OK);
        CDS_JSON_AUTO file = parse(text.data);
        CDS_JSON_AUTO row = parse(m->schema_json);
        assert_true(cds_json_equal(file, row));
        assert_string_equal(m->leaf, cds_json_get_str(file, "leaf"));
        assert_string_equal(cds_role_name(m->least_role), cds_json_get_str(file, "role"));
        assert_int_equal(m->deadline_ms, cds_json_get_i64(file, "deadline_ms", 0));
        assert_int_equal(m->streams, cds_json_true(cds_json_get(file, "streams"), false));
        assert_int_equal(m->billable, cds_json_true(cds_json_get(file, "billable"), false));
    }
}

static void roles_rise_and_unknown_ones_have_no_rights(void **state)
{
    assert_true(CDS_ROLE_NONE < CDS_ROLE_VIEWER && CDS_ROLE_VIEWER < CDS_ROLE_DEVELOPER && CDS_ROLE_DEVELOPER < CDS_ROLE_ADMIN);
    assert_int_equal(cds_role_parse("admin"), CDS_ROLE_ADMIN);
    assert_int_equal(cds_role_parse("developer"), CDS_ROLE_DEVELOPER);
    assert_int_equal(cds_role_parse("user"), CDS_ROLE_DEVELOPER);
    assert_int_equal(cds_role_parse("viewer"), CDS_ROLE_VIEWER);
    assert_int_equal(cds_role_parse("none"), CDS_ROLE_NONE);
    assert_int_equal(cds_role_parse("Admin"), CDS_ROLE_NONE);
    assert_int_equal(cds_role_parse(""), CDS_ROLE_NONE);
    assert_int_equal(cds_role_parse(NULL), CDS_ROLE_NONE);
    assert_string_equal(cds_role_name((enum cds_role)99), "none");
}

static void check_params_accepts_what_the_schema_describes(void **state)
{
    static const struct {
        const char *method, *params;
    } rows[] = {{"fs.write", "{\"project\":\"" PROJECT "\",\"path\":\"../x\",\"content\":\"\"}"}, /* outside: sandboxd answers 403, not the schema */
                {"run.exec", "{\"project\":\"" PROJECT "\",\"language\":\"c\",\"path\":\"a.c\",\"limits\":{\"wall_ms\":1000}}"},
                {"llm.chat", "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"temperature\":0,\"top_p\":1}"},
                {"rpc.cancel", "{\"id\":\"a\"}"},
                {"rpc.cancel", "{\"id\":7}"},
                {"fs.list", "{\"project\":\"" PROJECT "\",\"path\":\"\"}"}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(rows); i++) {
        CDS_JSON_AUTO params = parse(rows[i].params);
        struct cds_err err;
        if (cds_rpc_check_params(cds_rpc_find(rows[i].method), params, &err))
            fail_msg("%s %s: %s", rows[i].method, rows[i].params, err.message);
    }
    assert_int_equal(cds_rpc_check_params(cds_rpc_find("user.self"), NULL, NULL), CDS_OK);
}

static void check_params_points_at_what_is_wrong(void **state)
{
    static const struct {
        const char *method, *params, *pointer;
    } rows[] = {
        {"fs.read", "{}", "/params/project"},
        {"fs.read", "{\"project\":\"1\",\"path\":\"a\"}", "/params/project"},
        {"fs.read", "{\"project\":\"" PROJECT "\",\"path\":\"\"}", "/params/path"},
        {"fs.read", "{\"project\":\"" PROJECT "\",\"path\":\"a\",\"mode\":1}", "/params/mode"},
        {"fs.read", "[]", "/params"},
        {"user.self", "{\"x\":1}", "/params/x"},
        {"run.exec", "{\"project\":\"" PROJECT "\",\"language\":\"sh\"}", "/params"},
        {"run.exec", "{\"project\":\"" PROJECT "\",\"language\":\"sh\",\"code\":\"a\",\"path\":\"b\"}", "/params"},
        {"run.exec", "{\"project\":\"" PROJECT "\",\"language\":\"sh\",\"code\":\"a\",\"limits\":{\"wall_ms\":600001}}", "/params/limits/wall_ms"},
        {"llm.chat", "{\"messages\":[]}", "/params/messages"},
        {"llm.chat", "{\"messages\":[{\"role\":\"function\",\"content\":\"\"}]}", "/params/messages/0/role"},
        {"llm.chat", "{\"messages\":[{\"role\":\"user\",\"content\":\"\"}],\"max_tokens\":0}", "/params/max_tokens"},
        {"llm.chat", "{\"messages\":[{\"role\":\"user\",\"content\":\"\"}],\"max_tokens\":9223372036854775807}", "/params/max_tokens"},
        {"llm.chat", "{\"messages\":[{\"role\":\"user\",\"content\":\"\"}],\"top_p\":0}", "/params/top_p"},
        {"project.create", "{\"name\":\"a\\nb\",\"template\":\"empty\"}", "/params/name"},
        {"budget.set", "{\"scope\":\"user\",\"email\":\"no address\",\"unit\":\"tokens\",\"window\":\"month\",\"limit\":1}", "/params/email"},
        {"budget.set", "{\"scope\":\"user\",\"email\":\"a@b\",\"unit\":\"tokens\",\"window\":\"month\",\"limit\":-1}", "/params/limit"}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(rows); i++) {
        CDS_JSON_AUTO params = parse(rows[i].params);
        struct cds_err err = {0};
        if (cds_rpc_check_params(cds_rpc_find(rows[i].method), params, &err) != CDS_BAD_PARAM)
            fail_msg("accepted: %s %s", rows[i].method, rows[i].params);
        assert_string_equal(err.pointer, rows[i].pointer);
    }
    assert_int_equal(cds_rpc_check_params(cds_rpc_find("fs.read"), NULL, NULL), CDS_BAD_PARAM);
}

/* 524288 bytes may be written; one more is refused by sandboxd with 403, so the schema must let it pass. */
static void content_of_a_file_that_is_too_long_reaches_sandboxd(void **state)
{
    const struct cds_rpc_method *method = cds_rpc_find("fs.write");
    static const struct {
        size_t len;
        cds_rc rc;
    } rows[] = {{524289, CDS_OK}, {1900000, CDS_OK}, {1900001, CDS_BAD_PARAM}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(rows); i++) {
        CDS_CLEANUP(cds_free_ptr) char *text = malloc(rows[i].len);
        memset(text, 'a', rows[i].len);
        CDS_JSON_AUTO params = cds_json_pack("{s:s, s:s, s:o}", "project", PROJECT, "path", "a", "content", cds_json_stringn(text, rows[i].len));
        assert_int_equal(cds_rpc_check_params(method, params, NULL), rows[i].rc);
    }
}

static void check_result_points_below_result(void **state)
{
    const struct cds_rpc_method *method = cds_rpc_find("fs.delete");
    CDS_JSON_AUTO good = parse("{\"path\":\"a\"}");
    CDS_JSON_AUTO bad = parse("{\"path\":5}");
    struct cds_err err = {0};
    assert_int_equal(cds_rpc_check_result(method, good, &err), CDS_OK);
    assert_int_equal(cds_rpc_check_result(method, bad, &err), CDS_BAD_PARAM);
    assert_string_equal(err.pointer, "/result/path");
    assert_int_equal(cds_rpc_check_result(method, NULL, &err), CDS_BAD_PARAM);
}

static void parse_request_takes_calls_and_notifications(void **state)
{
    static const struct {
        const char *text;
        bool has_id, has_params;
    } rows[] = {{"{\"jsonrpc\":\"2.0\",\"method\":\"a.b\",\"params\":{},\"id\":1}", true, true},
                {"{\"jsonrpc\":\"2.0\",\"method\":\"a.b\",\"id\":\"x\"}", true, false},
                {"{\"jsonrpc\":\"2.0\",\"method\":\"a.b\",\"id\":null}", true, false},
                {"{\"jsonrpc\":\"2.0\",\"method\":\"a.b\",\"id\":-9007199254740991}", true, false},
                {"{\"jsonrpc\":\"2.0\",\"method\":\"a.b\",\"params\":[1],\"more\":0}", false, true}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(rows); i++) {
        CDS_JSON_AUTO message = parse(rows[i].text);
        struct cds_rpc_request request;
        if (cds_rpc_parse_request(message, &request, NULL))
            fail_msg("refused: %s", rows[i].text);
        assert_string_equal(request.method, "a.b");
        assert_int_equal(request.id != NULL, rows[i].has_id);
        assert_int_equal(request.params != NULL, rows[i].has_params);
    }
}

static void parse_request_refuses_what_is_no_request(void **state)
{
    char long_id[300], long_method[300], xs[200];
    memset(xs, 'x', 129);
    xs[129] = '\0';
    snprintf(long_id, sizeof(long_id), "{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"id\":\"%s\"}", xs);
    snprintf(long_method, sizeof(long_method), "{\"jsonrpc\":\"2.0\",\"method\":\"%s\",\"id\":1}", xs);
    const struct {
        const char *text, *pointer;
    } rows[] = {{"1", ""},
                {"[]", ""},
                {"null", ""},
                {"{}", "/jsonrpc"},
                {"{\"jsonrpc\":\"1.0\",\"method\":\"a\"}", "/jsonrpc"},
                {"{\"jsonrpc\":2.0,\"method\":\"a\"}", "/jsonrpc"},
                {"{\"jsonrpc\":\"2.0\"}", "/method"},
                {"{\"jsonrpc\":\"2.0\",\"method\":1}", "/method"},
                {"{\"jsonrpc\":\"2.0\",\"method\":\"\"}", "/method"},
                {long_method, "/method"},
                {"{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"params\":\"x\"}", "/params"},
                {"{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"params\":null}", "/params"},
                {"{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"id\":true}", "/id"},
                {"{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"id\":1.5}", "/id"},
                {"{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"id\":{}}", "/id"},
                {"{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"id\":9007199254740992}", "/id"},
                {"{\"jsonrpc\":\"2.0\",\"method\":\"a\",\"id\":-9223372036854775808}", "/id"},
                {long_id, "/id"}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(rows); i++) {
        CDS_JSON_AUTO message = parse(rows[i].text);
        struct cds_rpc_request request = {.method = "before"};
        struct cds_err err = {0};
        if (cds_rpc_parse_request(message, &request, &err) != CDS_BAD_REQUEST)
            fail_msg("accepted: %s", rows[i].text);
        assert_string_equal(err.pointer, rows[i].pointer);
        assert_string_equal(request.method, "before");
    }
}

static const cds_json *described(const cds_json *document, const char *name)
{
    const cds_json *methods = cds_json_get(document, "methods");
    for (size_t i = 0; i < cds_json_size(methods); i++) {
        if (strcmp(cds_json_get_str(cds_json_at(methods, i), "name"), name) == 0)
            return cds_json_at(methods, i);
    }
    return NULL;
}

static void discover_describes_every_method_as_open_rpc(void **state)
{
    CDS_JSON_AUTO document = cds_rpc_discover();
    assert_string_equal(cds_json_get_str(document, "openrpc"), "1.3.2");
    assert_int_equal(cds_json_size(cds_json_get(document, "methods")), cds_rpc_method_count);
    assert_int_equal(cds_rpc_check_result(cds_rpc_find("rpc.discover"), document, NULL), CDS_OK);
    const cds_json *write = described(document, "fs.write");
    const cds_json *params = cds_json_get(write, "params");
    assert_int_equal(cds_json_size(params), 5);
    assert_string_equal(cds_json_get_str(cds_json_at(params, 0), "name"), "project");
    assert_true(cds_json_true(cds_json_get(cds_json_at(params, 0), "required"), false));
    assert_string_equal(cds_json_get_str(cds_json_at(params, 4), "name"), "if_version");
    assert_false(cds_json_true(cds_json_get(cds_json_at(params, 4), "required"), true));
    assert_string_equal(cds_json_get_str(write, "x-role"), "developer");
    const cds_json *error = cds_json_at(cds_json_get(write, "errors"), 0);
    assert_int_equal(cds_json_get_i64(error, "code", 0), -32004);
    assert_non_null(cds_json_get(cds_json_get(described(document, "run.exec"), "x-notifications"), "run.output"));
    assert_non_null(cds_json_get(described(document, "run.exec"), "x-params-one-of"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_sorted_and_every_method_is_found),
        cmocka_unit_test(find_knows_no_other_names),
        cmocka_unit_test(table_carries_what_the_schema_files_say),
        cmocka_unit_test(roles_rise_and_unknown_ones_have_no_rights),
        cmocka_unit_test(check_params_accepts_what_the_schema_describes),
        cmocka_unit_test(check_params_points_at_what_is_wrong),
        cmocka_unit_test(content_of_a_file_that_is_too_long_reaches_sandboxd),
        cmocka_unit_test(check_result_points_below_result),
        cmocka_unit_test(parse_request_takes_calls_and_notifications),
        cmocka_unit_test(parse_request_refuses_what_is_no_request),
        cmocka_unit_test(discover_describes_every_method_as_open_rpc),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
