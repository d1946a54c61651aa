/* Every allocation fails once: the libraries answer EXHAUSTED, keep nothing, and leave outputs as they were. */
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/loop.h"
#include "lib/config/config.h"
#include "lib/json/pattern.h"
#include "lib/jwt/jwt.h"
#include "lib/metrics/metrics.h"
#include "lib/rpc/frame.h"
#include "lib/rpc/rpc.h"
#include "tests/support/test.h"
#include "tests/support/torture.h"

static char folder[64];

static int set_up(void **state)
{
    strcpy(folder, "/tmp/cds-torture-XXXXXX");
    return mkdtemp(folder) && !cds_rpc_table_init(NULL) ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command);
}

static cds_rc in_memory(const void *made)
{
    return made ? CDS_OK : CDS_EXHAUSTED;
}

/* ---- lib/base ---- */
static cds_rc a_buffer(void)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf buf = cds_buf_init(1 << 20);
    cds_rc rc = cds_buf_add_str(&buf, "first");
    for (int i = 0; i < 400 && !rc; i++)
        rc = cds_buf_addf(&buf, " and %d more words than a first block holds", i);
    assert_int_equal(buf.failed, rc != CDS_OK);
    if (buf.data)
        assert_int_equal(buf.data[buf.len], '\0');
    return rc;
}

static cds_rc files(void)
{
    char path[128];
    struct cds_err err = {0};
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(64);
    snprintf(path, sizeof(path), "%s/a/b", folder);
    cds_rc rc = cds_mkdir_p(path, 0700, &err);
    snprintf(path, sizeof(path), "%s/a/b/file", folder);
    if (!rc)
        rc = cds_write_file_atomic(path, "words", 5, 0600, &err);
    if (!rc)
        rc = cds_read_file(path, &text, &err);
    if (!rc)
        assert_string_equal(text.data, "words");
    unlink(path);
    return rc;
}

static void count(void *user)
{
    ++*(int *)user;
}

static cds_rc a_loop(void)
{
    struct cds_loop *loop = NULL;
    struct cds_timer *timers[40] = {NULL};
    int fired = 0, posted = 0;
    cds_rc rc = cds_loop_new(&loop, NULL);
    assert_true((loop == NULL) == (rc != CDS_OK));
    for (size_t i = 0; i < CDS_ARRAY_LEN(timers) && !rc; i++)
        rc = cds_timer_add(loop, cds_now_ms(), count, &fired, &timers[i]);
    if (!rc)
        rc = cds_loop_post(loop, count, &posted);
    if (!rc) {
        cds_loop_once(loop, 50);
        cds_loop_once(loop, 0);
        assert_int_equal(fired, CDS_ARRAY_LEN(timers));
        assert_int_equal(posted, 1);
    }
    for (size_t i = 0; i < CDS_ARRAY_LEN(timers); i++)
        cds_timer_remove(&timers[i]);
    cds_loop_free(&loop);
    return rc;
}

static void base_keeps_nothing_when_memory_ends(void **state)
{
    assert_true(torture(a_buffer) > 2);
    torture(files);
    assert_true(torture(a_loop) > 40);
}

/* ---- lib/json ---- */
static const char text_of_all[] = "{\"a\":[1,2.5,true,null,\"x\\u00e9\"],\"b\":{\"c\":{\"d\":[{},{\"e\":\"f\"}]}},\"g\":-9223372036854775808}";

static cds_json *all_kinds, *schema_source, *schema_value; /* read before memory ends */

static cds_json *read_text(const char *text)
{
    cds_json *value = NULL;
    assert_int_equal(cds_json_parse(text, strlen(text), &value, NULL), CDS_OK);
    return value;
}

static cds_rc json_read(void)
{
    CDS_JSON_AUTO value = NULL;
    return cds_json_parse(text_of_all, sizeof(text_of_all) - 1, &value, NULL);
}

static cds_rc json_copied_and_written(void)
{
    const cds_json *value = all_kinds;
    CDS_JSON_AUTO copy = cds_json_copy(value);
    if (!copy)
        return CDS_EXHAUSTED;
    assert_true(cds_json_equal(value, copy));
    size_t len = 0;
    CDS_CLEANUP(cds_free_ptr) char *text = cds_json_dumps(copy, &len);
    if (text)
        assert_int_equal(len, strlen(text));
    return in_memory(text);
}

static cds_rc json_built(void)
{
    CDS_JSON_AUTO object = cds_json_object();
    CDS_JSON_AUTO packed = cds_json_pack("{s:s,s:[i,b,n],s:{s:I}}", "a", "text", "b", 1, 1, "c", "d", (int64_t)5);
    if (!object || !packed)
        return CDS_EXHAUSTED;
    if (cds_json_set(object, "list", cds_json_array()) || cds_json_append(cds_json_get(object, "list"), cds_json_string("one")) ||
        cds_json_set(object, "n", cds_json_int(7)) || cds_json_set(object, "packed", cds_json_ref(packed)))
        return CDS_EXHAUSTED;
    CDS_CLEANUP(cds_buf_free) struct cds_buf buf = cds_buf_init(4096);
    return cds_json_dump(object, &buf);
}

static cds_rc a_schema(void)
{
    CDS_CLEANUP(cds_schema_free) struct cds_schema *schema = NULL;
    cds_rc rc = cds_schema_compile(schema_source, &schema, NULL);
    assert_true((schema == NULL) == (rc != CDS_OK));
    return rc ? rc : cds_schema_validate(schema, schema_value, NULL);
}

static void json_keeps_nothing_when_memory_ends(void **state)
{
    all_kinds = read_text(text_of_all);
    schema_source = read_text("{\"type\":\"object\",\"required\":[\"a\"],\"additionalProperties\":false,\"properties\":{\"a\":{\"type\":\"array\","
                              "\"items\":{\"$ref\":\"#/definitions/x\"},\"uniqueItems\":true},\"b\":{\"anyOf\":[{\"type\":\"string\","
                              "\"pattern\":\"^[a-z]{2,9}$\"},{\"enum\":[1,2,3]}]}},\"definitions\":{\"x\":{\"type\":\"integer\",\"minimum\":0}}}");
    schema_value = read_text("{\"a\":[1,2,3],\"b\":\"abc\"}");
    assert_true(torture(json_copied_and_written) > 20);
    assert_true(torture(json_built) > 10);
    assert_true(torture(a_schema) > 20);
    cds_json_unref(all_kinds);
    cds_json_unref(schema_source);
    cds_json_unref(schema_value);
}

/* The reader of jansson would write behind its buffer: see json.c. */
static void reading_json_ends_the_process_cleanly_when_memory_ends(void **state)
{
    assert_true(torture_apart(json_read, 1) > 20);
}

/* ---- lib/rpc ---- */
static cds_rc envelopes(void)
{
    struct cds_err refusal = {0};
    cds_fail(&refusal, CDS_CONFLICT, __func__, "Somebody was faster.");
    cds_err_hint(&refusal, "Read it again.");
    cds_err_pointer(&refusal, "/params/path");
    CDS_JSON_AUTO id = cds_json_int(7);
    if (!id)
        return CDS_EXHAUSTED;
    CDS_JSON_AUTO result = cds_rpc_result(id, cds_json_string("fine"));
    CDS_JSON_AUTO error = cds_rpc_error(id, &refusal, "0197a000-0000-7000-8000-000000000001");
    CDS_JSON_AUTO note = cds_rpc_notification("run.output", cds_json_object());
    CDS_JSON_AUTO call = cds_rpc_call(7, "fs.stat", cds_json_pack("{s:s,s:s}", "project", "0197a000-0000-7000-8000-000000000001", "path", "a"));
    struct cds_rpc_request request;
    if (!result || !error || !note || !call)
        return CDS_EXHAUSTED;
    cds_rc rc = cds_rpc_parse_request(call, &request, NULL);
    return rc || !request.params ? rc : cds_rpc_check_params(cds_rpc_find(request.method), request.params, NULL);
}

static size_t table_len; /* of the document when memory is there */

static cds_rc the_whole_table(void)
{
    size_t len = 0;
    CDS_JSON_AUTO document = cds_rpc_discover();
    CDS_CLEANUP(cds_free_ptr) char *text = document ? cds_json_dumps(document, &len) : NULL;
    if (text && table_len && len != table_len)
        return CDS_INTERNAL; /* a part of it is missing */
    return in_memory(text);
}

struct talk {
    int requests, dones, closes;
    cds_rc rc;
    struct cds_peer *near, *far;
};

static void on_request(void *user, struct cds_peer *peer, const struct cds_rpc_request *request, cds_json *message)
{
    struct talk *talk = user;
    talk->requests++;
    CDS_JSON_AUTO answer = cds_rpc_result(request->id, cds_json_string("yes"));
    cds_rc rc = answer ? cds_peer_send(peer, answer) : CDS_EXHAUSTED;
    if (rc)
        talk->rc = rc;
}

static void on_close(void *user, struct cds_peer *peer, const char *reason)
{
    struct talk *talk = user;
    talk->closes++;
    *(peer == talk->near ? &talk->near : &talk->far) = NULL;
}

static void on_done(void *user, cds_json *result, const struct cds_err *err)
{
    struct talk *talk = user;
    talk->dones++;
    if (err)
        talk->rc = CDS_EXHAUSTED; /* closed or timed out: the other end had no memory */
}

static cds_rc a_conversation(void)
{
    static const struct cds_peer_ops ops = {on_request, on_close};
    struct talk talk = {0};
    struct cds_loop *loop = NULL;
    int pair[2];
    int64_t call = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    cds_rc rc = cds_loop_new(&loop, NULL);
    if (!rc)
        rc = cds_peer_new(loop, pair[0], 65536, 65536, &ops, &talk, &talk.near, NULL);
    if (!talk.near)
        close(pair[0]);
    if (!rc)
        rc = cds_peer_new(loop, pair[1], 65536, 65536, &ops, &talk, &talk.far, NULL);
    if (!talk.far)
        close(pair[1]);
    if (!rc) {
        call = cds_peer_call(talk.near, "ask", cds_json_object(), cds_now_ms() + 60000, on_done, NULL, &talk);
        rc = call ? CDS_OK : CDS_EXHAUSTED;
    }
    /* What could not be answered is answered by the end of the other side. */
    for (uint64_t end_ms = cds_now_ms() + 60000; !rc && !talk.rc && !talk.dones && cds_ms_left(end_ms) > 0;)
        cds_loop_once(loop, 5);
    cds_peer_close(&talk.near);
    cds_peer_close(&talk.far);
    cds_loop_free(&loop);
    if (!rc) {
        assert_int_equal(talk.dones, 1); /* exactly once, whatever happened */
        rc = talk.rc;
    }
    return rc;
}

static void rpc_keeps_nothing_and_answers_each_call_when_memory_ends(void **state)
{
    assert_true(torture(envelopes) > 40);
    assert_true(torture_apart(a_conversation, 1) > 10);
}

static void the_table_is_described_whole_or_not_at_all(void **state)
{
    CDS_JSON_AUTO document = cds_rpc_discover();
    CDS_CLEANUP(cds_free_ptr) char *text = cds_json_dumps(document, &table_len);
    assert_non_null(text);
    assert_true(torture_apart(the_whole_table, 37) > 100);
}

/* ---- lib/config, lib/metrics, lib/jwt ---- */
static cds_rc a_configuration(void)
{
    static char flag1[] = "--ui.port=7001", name[] = "test", word[] = "up";
    static char flag2[128];
    snprintf(flag2, sizeof(flag2), "--config=%s/studio.ini", folder);
    char *argv[] = {name, flag1, flag2, word, NULL};
    int argc = 4;
    struct cds_config *config = NULL;
    cds_rc rc = cds_config_load(&argc, argv, "test", &config, NULL);
    assert_true((config == NULL) == (rc != CDS_OK));
    if (!rc) {
        assert_int_equal(cds_config_u64(config, CDS_OPT_UI_PORT), 7001);
        assert_string_equal(cds_config_str(config, CDS_OPT_BIND), "::1");
    }
    cds_config_free(&config);
    return rc;
}

static cds_rc the_metrics(void)
{
    static const enum cds_metric always[] = {CDS_M_COUNT};
    CDS_CLEANUP(cds_buf_free) struct cds_buf buf = cds_buf_init(1 << 20);
    return cds_metrics_text(&buf, always);
}

static struct cds_signer *signer;

static cds_rc a_token(void)
{
    struct cds_claims claims = {.role = "viewer", .email = "a@b.test", .issued_s = 1800000000, .expires_s = 1800000600, .version = 1};
    strcpy(claims.user_id, "0197a000-0000-7000-8000-000000000001");
    strcpy(claims.session_id, "0197a000-0000-7000-8000-000000000002");
    CDS_CLEANUP(cds_free_ptr) char *token = NULL;
    CDS_CLEANUP(cds_keyset_free) struct cds_keyset *keyset = NULL;
    CDS_JSON_AUTO jwks = cds_signer_jwks(signer);
    struct cds_claims said;
    if (!jwks)
        return CDS_EXHAUSTED;
    cds_rc rc = cds_keyset_parse(jwks, &keyset, NULL);
    if (!rc)
        rc = cds_jwt_sign(signer, &claims, &token, NULL);
    if (!rc)
        rc = cds_jwt_verify(keyset, token, strlen(token), 1800000001, &said, NULL);
    if (!rc)
        assert_string_equal(said.user_id, claims.user_id);
    /* OpenSSL does not say that it was memory: a key or token that could not be looked at is refused, and that is what matters. */
    return rc ? CDS_EXHAUSTED : CDS_OK;
}

static void configuration_keeps_nothing_when_memory_ends(void **state)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/studio.ini", folder);
    assert_int_equal(cds_write_file_atomic(path, "[studio]\nbind = ::1\n", 20, 0600, NULL), CDS_OK);
    assert_true(torture(a_configuration) >= 3);
}

static void metrics_keep_nothing_when_memory_ends(void **state)
{
    cds_metric_add(CDS_M_HTTP_REQUESTS, "200", 1);
    assert_true(torture(the_metrics) > 0);
}

static void tokens_keep_nothing_when_memory_ends(void **state)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/jwt.pem", folder);
    assert_int_equal(cds_signer_open(path, &signer, NULL), CDS_OK);
    assert_true(torture_apart(a_token, 1) > 20);
    cds_signer_free(&signer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base_keeps_nothing_when_memory_ends),
        cmocka_unit_test(json_keeps_nothing_when_memory_ends),
        cmocka_unit_test(reading_json_ends_the_process_cleanly_when_memory_ends),
        cmocka_unit_test(rpc_keeps_nothing_and_answers_each_call_when_memory_ends),
        cmocka_unit_test(the_table_is_described_whole_or_not_at_all),
        cmocka_unit_test(configuration_keeps_nothing_when_memory_ends),
        cmocka_unit_test(metrics_keep_nothing_when_memory_ends),
        cmocka_unit_test(tokens_keep_nothing_when_memory_ends),
    };
    return cmocka_run_group_tests_name(__FILE__, tests, set_up, tear_down);
}
