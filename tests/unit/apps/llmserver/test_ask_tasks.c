#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "apps/llmserver/request.h"
#include "apps/llmserver/tasks.h"
#include "lib/base/buf.h"

static cds_rc parse(enum cds_task task, const char *body, struct cds_ask *ask, struct cds_err *err)
{
    return cds_ask_parse(body, strlen(body), task, ask, err);
}

static void an_embedding_request_takes_all_forms_of_input(void **state)
{
    static const struct {
        const char *body;
        size_t inputs;
    } cases[] = {
        {"{\"input\":\"a\"}", 1},       {"{\"input\":[\"a\",\"b\"]}", 2}, {"{\"input\":[1,2,3]}", 1},
        {"{\"input\":[[1,2],[3]]}", 2}, {"{\"input\":[\"a\",[1]]}", 2},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cds_ask ask = {0};
        assert_int_equal(parse(CDS_TASK_EMBED, cases[i].body, &ask, NULL), CDS_OK);
        assert_int_equal(cds_json_size(cds_json_get(ask.prompt, "inputs")), cases[i].inputs);
        assert_string_equal(cds_json_get_str(ask.prompt, "task"), "embed");
        assert_int_equal(cds_json_get_i64(ask.prompt, "norm", 9), 2);
        assert_false(ask.base64);
        cds_ask_clear(&ask);
    }
}

static void a_ranking_takes_texts_and_objects_with_a_text(void **state)
{
    struct cds_ask ask = {0};
    assert_int_equal(parse(CDS_TASK_RANK,
                           "{\"query\":\"q\",\"documents\":[\"a\",{\"text\":\"b\"}],\"top_n\":1,\"method\":\"cosine\",\"return_documents\":true}",
                           &ask, NULL),
                     CDS_OK);
    assert_string_equal(cds_json_str(cds_json_at(cds_json_get(ask.prompt, "documents"), 1)), "b");
    assert_int_equal(ask.top, 1);
    assert_true(ask.cosine && ask.return_documents);
    cds_ask_clear(&ask);
    assert_int_equal(parse(CDS_TASK_RANK, "{\"query\":\"q\",\"documents\":[\"a\",\"b\"]}", &ask, NULL), CDS_OK);
    assert_int_equal(ask.top, 2);
    assert_false(ask.cosine);
    cds_ask_clear(&ask);
}

static void what_is_written_behind_the_prefix_stands_before_the_gap(void **state)
{
    struct cds_ask ask = {0};
    assert_int_equal(
        parse(CDS_TASK_INFILL, "{\"input_prefix\":\"a\",\"prompt\":\"b\",\"input_suffix\":\"c\",\"stream\":true,\"max_tokens\":3}", &ask, NULL),
        CDS_OK);
    const cds_json *infill = cds_json_get(ask.prompt, "infill");
    assert_string_equal(cds_json_get_str(infill, "prefix"), "ab");
    assert_string_equal(cds_json_get_str(infill, "suffix"), "c");
    assert_true(ask.stream && !ask.chat);
    assert_int_equal(ask.max_tokens, 3);
    cds_ask_clear(&ask);
    assert_int_equal(parse(CDS_TASK_TEXT, "{\"prompt\":\"a\",\"suffix\":\"c\",\"echo\":true}", &ask, NULL), CDS_OK);
    assert_string_equal(cds_json_get_str(cds_json_get(ask.prompt, "infill"), "prefix"), "a");
    assert_string_equal(cds_json_str(cds_json_at(cds_json_get(ask.prompt, "prompts"), 0)), "a");
    cds_ask_clear(&ask);
}

static void wrong_members_are_named(void **state)
{
    static const struct {
        enum cds_task task;
        const char *body, *pointer;
    } cases[] = {
        {CDS_TASK_EMBED, "{}", "/input"},
        {CDS_TASK_EMBED, "{\"input\":[\"a\",{}]}", "/input/1"},
        {CDS_TASK_EMBED, "{\"input\":\"a\",\"encoding_format\":7}", "/encoding_format"},
        {CDS_TASK_EMBED, "{\"input\":\"a\",\"dimensions\":65537}", "/dimensions"},
        {CDS_TASK_RANK, "{\"documents\":[\"a\"]}", "/query"},
        {CDS_TASK_RANK, "{\"query\":\"q\",\"documents\":[[]]}", "/documents/0"},
        {CDS_TASK_RANK, "{\"query\":\"q\",\"documents\":[\"a\"],\"rank_template\":\"{document}\"}", "/rank_template"},
        {CDS_TASK_TOKENIZE, "{\"content\":[]}", "/content"},
        {CDS_TASK_DETOKENIZE, "{\"tokens\":[2147483648]}", "/tokens"},
        {CDS_TASK_VOCABULARY, "{\"from\":\"a\"}", "/from"},
        {CDS_TASK_TEMPLATE, "{\"messages\":[]}", "/messages"},
        {CDS_TASK_INFILL, "{\"input_suffix\":1}", "/input_suffix"},
        {CDS_TASK_INFILL, "{\"input_prefix\":\"a\",\"input_extra\":[{\"text\":\"b\",\"filename\":1}]}", "/input_extra"},
        {CDS_TASK_TEXT, "{\"prompt\":[\"a\",\"b\"],\"suffix\":\"c\"}", "/suffix"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cds_ask ask = {0};
        struct cds_err err = {0};
        assert_int_equal(parse(cases[i].task, cases[i].body, &ask, &err), CDS_BAD_PARAM);
        assert_string_equal(err.pointer, cases[i].pointer);
        assert_null(ask.prompt);
    }
}

static void a_request_has_at_most_2048_texts(void **state)
{
    static const struct {
        enum cds_task task;
        const char *begin, *pointer;
    } cases[] = {{CDS_TASK_EMBED, "{\"input\":[\"a\"", "/input"}, {CDS_TASK_RANK, "{\"query\":\"q\",\"documents\":[\"a\"", "/documents"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (int count = 2048; count <= 2049; count++) {
            struct cds_ask ask = {0};
            struct cds_err err = {0};
            struct cds_buf body = cds_buf_init(1 << 20);
            assert_int_equal(cds_buf_add_str(&body, cases[i].begin), CDS_OK);
            for (int n = 1; n < count; n++)
                assert_int_equal(cds_buf_add_str(&body, ",\"a\""), CDS_OK);
            assert_int_equal(cds_buf_add_str(&body, "]}"), CDS_OK);
            assert_int_equal(parse(cases[i].task, body.data, &ask, &err), count == 2048 ? CDS_OK : CDS_BAD_PARAM);
            assert_string_equal(err.pointer, count == 2048 ? "" : cases[i].pointer);
            if (count == 2048)
                cds_ask_clear(&ask);
            cds_buf_free(&body);
        }
}

static void each_task_is_found_by_its_path(void **state)
{
    static const struct {
        const char *path;
        enum cds_task task;
    } cases[] = {{"/v1/infill", CDS_TASK_INFILL},          {"/v1/embeddings", CDS_TASK_EMBED},      {"/v1/rerank", CDS_TASK_RANK},
                 {"/v1/tokenize", CDS_TASK_TOKENIZE},      {"/v1/detokenize", CDS_TASK_DETOKENIZE}, {"/v1/vocabulary", CDS_TASK_VOCABULARY},
                 {"/v1/apply-template", CDS_TASK_TEMPLATE}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_non_null(cds_task_dialect(cases[i].path));
        assert_int_equal(cds_task_dialect(cases[i].path)->task, cases[i].task);
        assert_string_equal(cds_task_dialect(cases[i].path)->path, cases[i].path);
        assert_non_null(cds_task_what(cases[i].task));
    }
    assert_null(cds_task_dialect("/v1/embedding"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_embedding_request_takes_all_forms_of_input),
        cmocka_unit_test(a_ranking_takes_texts_and_objects_with_a_text),
        cmocka_unit_test(what_is_written_behind_the_prefix_stands_before_the_gap),
        cmocka_unit_test(wrong_members_are_named),
        cmocka_unit_test(a_request_has_at_most_2048_texts),
        cmocka_unit_test(each_task_is_found_by_its_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
