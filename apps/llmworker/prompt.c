#include "apps/llmworker/prompt.h"

#include <stdlib.h>
#include <string.h>

#include "apps/llmworker/guard.h"
#include "lib/base/cleanup.h"

/** Refuses a text that cannot fit before it is tokenized: no token covers more than piece_max bytes. */
static cds_rc check_least(const struct cds_prompter *prompter, size_t bytes, struct cds_err *reterr)
{
    size_t least = bytes / prompter->piece_max;
    if (least < prompter->request_tokens)
        return CDS_OK;
    cds_fail(reterr, CDS_CONTEXT_LENGTH, __func__, "The prompt has at least %zu tokens, but a request of this model may have %u in all.", least,
             prompter->request_tokens);
    return cds_err_hint(reterr, "Shorten the messages or drop older ones.");
}

static cds_rc check_fit(const struct cds_prompter *prompter, size_t tokens, struct cds_err *reterr)
{
    if (tokens == 0)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The prompt is empty.");
    if (tokens < prompter->request_tokens)
        return CDS_OK;
    cds_fail(reterr, CDS_CONTEXT_LENGTH, __func__, "The prompt has %zu tokens, but a request of this model may have %u in all, answer included.",
             tokens, prompter->request_tokens);
    return cds_err_hint(reterr, "Shorten the messages or drop older ones.");
}

/** The first mark that no message contains. @return false if the messages use all of them */
static bool choose_mark(const cds_json *messages, char mark[static CDS_MARK_LEN + 1])
{
    unsigned used = 0;
    for (size_t i = 0; i < cds_json_size(messages); i++) {
        const cds_json *content = cds_json_get(cds_json_at(messages, i), "content");
        used |= cds_guard_marks_in(cds_json_str(content), cds_json_str_len(content));
    }
    for (unsigned n = 0; n < CDS_MARKS; n++) {
        if (used & (1U << n))
            continue;
        cds_guard_mark(n, mark);
        return true;
    }
    return false;
}

/** Messages with their control texts broken, as JSON text. */
static cds_rc guarded_messages(const struct cds_prompter *prompter, const cds_json *messages, const char *mark, struct cds_buf *out,
                               struct cds_err *reterr)
{
    CDS_JSON_AUTO list = cds_json_array();
    size_t bytes = 0;
    for (size_t i = 0; i < cds_json_size(messages); i++) {
        const cds_json *message = cds_json_at(messages, i);
        const cds_json *content = cds_json_get(message, "content");
        size_t len = cds_json_str_len(content);
        bytes += len;
        CDS_CLEANUP(cds_buf_free) struct cds_buf broken = cds_buf_init(len * (1 + CDS_MARK_LEN) + 1);
        cds_rc rc = cds_guard_break(cds_json_str(content), len, cds_engine_controls(prompter->engine), mark, &broken);
        cds_json *copy = cds_json_object();
        if (rc != CDS_OK || cds_json_set(copy, "role", cds_json_ref(cds_json_get(message, "role"))) != 0 ||
            cds_json_set(copy, "content", cds_json_stringn(broken.data ? broken.data : "", broken.len)) != 0 || cds_json_append(list, copy) != 0)
            return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the messages.");
    }
    cds_rc rc = check_least(prompter, bytes, reterr);
    if (rc != CDS_OK)
        return rc;
    rc = cds_json_dump(list, out);
    return rc == CDS_OK ? rc : cds_fail(reterr, rc, __func__, "The messages are too long.");
}

/** Tokenizes the parts between marks and joins them. */
static cds_rc tokenize_parts(const struct cds_prompter *prompter, const char *text, size_t len, const char *mark, int32_t **ret_tokens,
                             size_t *ret_count, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_free_ptr) int32_t *all = NULL;
    size_t count = 0, at = 0, part_len;
    const char *part;
    bool first = true;
    while (cds_guard_next(text, len, mark, &at, &part, &part_len)) {
        CDS_CLEANUP(cds_free_ptr) int32_t *tokens = NULL;
        size_t n;
        cds_rc rc = cds_engine_tokenize(prompter->engine, part, part_len, first, true, &tokens, &n, reterr);
        if (rc != CDS_OK)
            // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
            return rc;
        first = false;
        int32_t *longer = realloc(all, (count + n + 1) * sizeof(*all));
        if (!longer)
            return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the prompt.");
        all = longer;
        memcpy(all + count, tokens, n * sizeof(*all));
        count += n;
    }
    cds_rc rc = check_fit(prompter, count, reterr);
    if (rc != CDS_OK)
        return rc;
    *ret_tokens = all;
    *ret_count = count;
    all = NULL;
    return CDS_OK;
}

static cds_rc chat(const struct cds_prompter *prompter, const struct cds_prepare *prepare, int32_t **ret_tokens, size_t *ret_count,
                   struct cds_err *reterr)
{
    if (!prompter->shim) {
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "The model file has no chat template that works, so it cannot chat.");
        return cds_err_hint(reterr, "Use /v1/completions with this model.");
    }
    char mark[CDS_MARK_LEN + 1];
    if (!choose_mark(prepare->messages, mark))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The messages hold every one of the noncharacters U+FDD0 to U+FDEF; remove one of them.");
    CDS_CLEANUP(cds_buf_free) struct cds_buf json = cds_buf_init((size_t)CDS_PROMPT_BYTES_MAX * 8);
    cds_rc rc = guarded_messages(prompter, prepare->messages, mark, &json, reterr);
    if (rc != CDS_OK)
        return rc;
    char why[256] = "";
    CDS_CLEANUP(cds_free_ptr) char *text = cds_shim_render(prompter->shim, json.data, prompter->add_bos, prompter->add_eos, why, sizeof(why));
    if (!text) {
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "The chat template of the model does not accept these messages.");
        cds_err_detail(reterr, "%s", why);
        cds_err_pointer(reterr, "/messages");
        return CDS_BAD_PARAM;
    }
    return tokenize_parts(prompter, text, strlen(text), mark, ret_tokens, ret_count, reterr);
}

cds_rc cds_prompt_make(const struct cds_prompter *prompter, const struct cds_prepare *prepare, int32_t **ret_tokens, size_t *ret_count,
                       struct cds_err *reterr)
{
    if (prepare->messages)
        return chat(prompter, prepare, ret_tokens, ret_count, reterr);
    cds_rc rc = check_least(prompter, prepare->prompt_len, reterr);
    CDS_CLEANUP(cds_free_ptr) int32_t *tokens = NULL;
    size_t count = 0;
    if (rc == CDS_OK)
        rc = cds_engine_tokenize(prompter->engine, prepare->prompt, prepare->prompt_len, true, false, &tokens, &count, reterr);
    if (rc == CDS_OK)
        rc = check_fit(prompter, count, reterr);
    if (rc != CDS_OK)
        return rc;
    *ret_tokens = tokens;
    *ret_count = count;
    tokens = NULL;
    return CDS_OK;
}
