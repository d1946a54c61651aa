#include "apps/llmworker/words.h"

#include <stdlib.h>
#include <string.h>

#include "apps/llmworker/param.h"
#include "apps/llmworker/render.h"
#include "apps/llmworker/vocabulary.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"

static cds_rc no_memory(struct cds_err *reterr)
{
    return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the answer.");
}

static bool wants(const cds_json *params, const char *name, bool otherwise)
{
    return cds_json_true(cds_json_get(params, name), otherwise);
}

static cds_json *list_of(const struct cds_prompter *prompter, const int32_t *tokens, size_t count, bool pieces)
{
    cds_json *list = cds_json_array();
    for (size_t i = 0; i < count; i++)
        cds_json_append(list, pieces ? cds_json_pack("{s:i,s:o}", "id", (int)tokens[i], "piece", cds_vocabulary_piece(prompter->engine, tokens[i]))
                                     : cds_json_int(tokens[i]));
    return list;
}

static cds_rc tokenize(const struct cds_prompter *prompter, const cds_json *params, cds_json **ret, struct cds_err *reterr)
{
    const cds_json *content = cds_json_get(params, "content");
    CDS_CLEANUP(cds_free_ptr) int32_t *tokens = NULL;
    size_t count = 0, len = cds_json_str_len(content);
    if (!cds_json_str(content) || len > CDS_WORDS_TEXT_MAX)
        return cds_param_wrong(reterr, "content");
    cds_rc rc = cds_engine_tokenize(prompter->engine, cds_json_str(content), len, wants(params, "add_special", false),
                                    wants(params, "parse_special", true), &tokens, &count, reterr);
    if (rc != CDS_OK)
        return rc;
    *ret = cds_json_pack("{s:o,s:I}", "tokens", list_of(prompter, tokens, count, wants(params, "with_pieces", false)), "count", (long long)count);
    return *ret ? CDS_OK : no_memory(reterr);
}

/** Bytes that are no UTF-8 become U+FFFD, NUL too: JSON cannot carry them. */
static cds_json *clean_text(const char *text, size_t len)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf clean = cds_buf_init(len * 3 + 1);
    for (size_t at = 0; at < len;) {
        size_t n = 1;
        while (n <= 4 && at + n <= len && !cds_utf8_valid(text + at, n))
            n++;
        bool good = n <= 4 && at + n <= len && text[at] != '\0';
        (void)cds_buf_add(&clean, good ? text + at : "\xEF\xBF\xBD", good ? n : 3);
        at += good ? n : 1;
    }
    return clean.failed ? NULL : cds_json_stringn(clean.data ? clean.data : "", clean.len);
}

static cds_rc detokenize(const struct cds_prompter *prompter, const cds_json *params, cds_json **ret, struct cds_err *reterr)
{
    const cds_json *list = cds_json_get(params, "tokens");
    size_t count = cds_json_size(list), len = 0;
    if (!cds_json_is(list, CDS_JSON_ARRAY) || count > CDS_WORDS_TOKENS_MAX)
        return cds_param_wrong(reterr, "tokens");
    CDS_CLEANUP(cds_free_ptr) int32_t *tokens = calloc(count + 1, sizeof(*tokens));
    if (!tokens)
        return no_memory(reterr);
    for (size_t i = 0; i < count; i++) {
        int64_t token = cds_json_i64(cds_json_at(list, i), -1);
        if (token < 0 || token >= prompter->vocabulary) {
            // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
            cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"tokens\" holds %lld, but the model has %u tokens.", (long long)token, prompter->vocabulary);
            cds_err_pointer(reterr, "/tokens/%zu", i);
            return CDS_BAD_PARAM;
        }
        tokens[i] = (int32_t)token;
    }
    CDS_CLEANUP(cds_free_ptr) char *text = cds_vocabulary_text(prompter->engine, tokens, count, wants(params, "special", true), &len);
    cds_json *content = text ? clean_text(text, len) : NULL;
    *ret = content ? cds_json_pack("{s:o}", "content", content) : NULL;
    if (*ret && wants(params, "with_pieces", false))
        cds_json_set(*ret, "tokens", list_of(prompter, tokens, count, true));
    return *ret ? CDS_OK : no_memory(reterr);
}

static cds_rc vocabulary(const struct cds_prompter *prompter, const cds_json *params, cds_json **ret, struct cds_err *reterr)
{
    int64_t from = cds_json_get_i64(params, "from", 0), count = cds_json_get_i64(params, "count", 256);
    if (from < 0 || from > INT32_MAX)
        return cds_param_wrong(reterr, "from");
    if (count < 0 || count > CDS_VOCABULARY_PAGE)
        return cds_param_wrong(reterr, "count");
    *ret = cds_json_pack("{s:I,s:o,s:o}", "size", (long long)prompter->vocabulary, "special", cds_vocabulary_special(prompter->engine), "tokens",
                         cds_vocabulary_list(prompter->engine, (uint32_t)from, (uint32_t)count));
    return *ret ? CDS_OK : no_memory(reterr);
}

/** The text of a chat, with the marks that keep texts of users from becoming control tokens taken out. */
static cds_rc apply_template(const struct cds_prompter *prompter, const cds_json *params, cds_json **ret, struct cds_err *reterr)
{
    struct cds_prepare prepare = {0}, counted = {0};
    char mark[CDS_MARK_LEN + 1];
    CDS_CLEANUP(cds_free_ptr) char *text = NULL;
    CDS_CLEANUP(cds_free_ptr) int32_t *tokens = NULL;
    size_t count = 0;
    cds_rc rc = cds_message_prepare(params, &prepare, reterr);
    if (rc != CDS_OK)
        return rc;
    rc = cds_render_chat(prompter, &prepare, mark, &text, reterr);
    if (rc == CDS_OK)
        rc = cds_message_prepare(params, &counted, reterr);
    if (rc == CDS_OK)
        rc = cds_prompt_make(prompter, &counted, 0, &tokens, &count, reterr);
    cds_prepare_clear(&counted);
    size_t len = 0;
    for (char *at = text; rc == CDS_OK && *at;) {
        bool marked = strncmp(at, mark, CDS_MARK_LEN) == 0;
        if (!marked)
            text[len++] = *at;
        at += marked ? CDS_MARK_LEN : 1;
    }
    if (rc == CDS_OK)
        *ret = cds_json_pack("{s:o,s:I}", "prompt", clean_text(text, len), "count", (long long)count);
    cds_prepare_clear(&prepare);
    return rc != CDS_OK || *ret ? rc : no_memory(reterr);
}

static const struct {
    const char *task;
    cds_rc (*answer)(const struct cds_prompter *prompter, const cds_json *params, cds_json **ret, struct cds_err *reterr);
} questions[] = {{"tokenize", tokenize}, {"detokenize", detokenize}, {"vocabulary", vocabulary}, {"template", apply_template}};

bool cds_words_meant(const cds_json *params)
{
    const char *task = cds_json_get_str(params, "task");
    for (size_t i = 0; i < CDS_ARRAY_LEN(questions); i++)
        if (cds_streq(task, questions[i].task))
            return true;
    return false;
}

cds_rc cds_words_answer(const struct cds_prompter *prompter, const cds_json *params, cds_json **ret, struct cds_err *reterr)
{
    const char *task = cds_json_get_str(params, "task");
    *ret = NULL;
    for (size_t i = 0; i < CDS_ARRAY_LEN(questions); i++)
        if (cds_streq(task, questions[i].task))
            return questions[i].answer(prompter, params, ret, reterr);
    return cds_param_wrong(reterr, "task");
}
