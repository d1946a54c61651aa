#include "apps/llmworker/prompt.h"

#include <stdlib.h>
#include <string.h>

#include "apps/llmworker/guard.h"
#include "apps/llmworker/infill.h"
#include "apps/llmworker/render.h"
#include "apps/llmworker/shift.h"
#include "lib/base/cleanup.h"

/** Refuses a text that cannot fit before it is tokenized: no token covers more than piece_max bytes. */
cds_rc cds_prompt_check_bytes(const struct cds_prompter *prompter, size_t bytes, struct cds_err *reterr)
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
    *ret_tokens = all;
    *ret_count = count;
    all = NULL;
    return CDS_OK;
}

/** Text of the user: control tokens in it stay text. */
static cds_rc text_prompt(const struct cds_prompter *prompter, bool shift, const char *text, size_t len, int32_t **ret_tokens, size_t *ret_count,
                          struct cds_err *reterr)
{
    cds_rc rc = shift ? CDS_OK : cds_prompt_check_bytes(prompter, len, reterr);
    return rc == CDS_OK ? cds_engine_tokenize(prompter->engine, text, len, true, false, ret_tokens, ret_count, reterr) : rc;
}

/** Tokens the client chose itself. */
static cds_rc token_prompt(const struct cds_prompter *prompter, const cds_json *list, int32_t **ret_tokens, size_t *ret_count, struct cds_err *reterr)
{
    size_t count = cds_json_size(list);
    CDS_CLEANUP(cds_free_ptr) int32_t *tokens = calloc(count + 1, sizeof(*tokens));
    if (!tokens)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the prompt.");
    for (size_t i = 0; i < count; i++) {
        tokens[i] = (int32_t)cds_json_i64(cds_json_at(list, i), 0);
        if ((uint32_t)tokens[i] >= prompter->vocabulary) {
            // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
            cds_fail(reterr, CDS_BAD_PARAM, __func__, "The prompt holds the token %d, but the model has %u.", tokens[i], prompter->vocabulary);
            cds_err_pointer(reterr, "/prompt");
            return CDS_BAD_PARAM;
        }
    }
    *ret_tokens = tokens;
    *ret_count = count;
    tokens = NULL;
    return CDS_OK;
}

static cds_rc chat_prompt(const struct cds_prompter *prompter, struct cds_prepare *prepare, int32_t **ret_tokens, size_t *ret_count,
                          struct cds_err *reterr)
{
    char mark[CDS_MARK_LEN + 1];
    CDS_CLEANUP(cds_free_ptr) char *text = NULL;
    cds_rc rc = cds_render_chat(prompter, prepare, mark, &text, reterr);
    return rc == CDS_OK ? tokenize_parts(prompter, text, strlen(text), mark, ret_tokens, ret_count, reterr) : rc;
}

/** Tokens a prompt may have when it has to make room: a part of the context stays for the answer. */
static size_t room_for_prompt(const struct cds_prompter *prompter, const struct cds_prepare *prepare)
{
    uint32_t quarter = prompter->request_tokens / 4;
    return prompter->request_tokens - (prepare->max_tokens < quarter ? prepare->max_tokens : quarter);
}

/** Does the chat fit without so many turns? Nothing of the request is changed. */
static bool fits_without(const struct cds_prompter *prompter, const struct cds_prepare *prepare, unsigned turns)
{
    struct cds_prepare trial = *prepare;
    unsigned dropped;
    CDS_CLEANUP(cds_free_ptr) int32_t *tokens = NULL;
    size_t count = 0;
    CDS_JSON_AUTO messages = cds_shift_drop(prepare->messages, turns, &dropped);
    trial.form = NULL;
    trial.grammar = NULL;
    trial.messages = messages;
    // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
    bool fits = messages && chat_prompt(prompter, &trial, &tokens, &count, NULL) == CDS_OK && count <= room_for_prompt(prompter, prepare);
    cds_json_unref(trial.form);
    free(trial.grammar);
    return fits;
}

/** Drops as few of the oldest turns as it takes. What cannot be made to fit stays as it is, and is refused with its own numbers. */
static cds_rc shift_chat(const struct cds_prompter *prompter, struct cds_prepare *prepare, struct cds_err *reterr)
{
    unsigned low = 0, high = cds_shift_turns(prepare->messages);
    if (high == 0 || fits_without(prompter, prepare, 0) || !fits_without(prompter, prepare, high))
        return CDS_OK;
    while (high - low > 1) {
        unsigned middle = (low + high) / 2;
        if (fits_without(prompter, prepare, middle))
            high = middle;
        else
            low = middle;
    }
    prepare->shifted = cds_shift_drop(prepare->messages, high, &prepare->dropped_messages);
    if (!prepare->shifted)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the messages.");
    prepare->messages = prepare->shifted;
    return CDS_OK;
}

/** Takes the tokens behind the kept beginning out until the rest fits. */
static void shift_text(const struct cds_prompter *prompter, struct cds_prepare *prepare, int32_t *tokens, size_t *count)
{
    size_t room = room_for_prompt(prompter, prepare), keep = prepare->keep < room / 2 ? prepare->keep : room / 2;
    if (*count <= room)
        return;
    size_t dropped = *count - room;
    memmove(tokens + keep, tokens + keep + dropped, (room - keep) * sizeof(*tokens));
    *count = room;
    prepare->dropped_tokens += (uint32_t)dropped;
}

cds_rc cds_prompt_make(const struct cds_prompter *prompter, struct cds_prepare *prepare, size_t index, int32_t **ret_tokens, size_t *ret_count,
                       struct cds_err *reterr)
{
    const cds_json *prompt = cds_json_at(prepare->prompts, index);
    CDS_CLEANUP(cds_free_ptr) int32_t *tokens = NULL;
    size_t count = 0;
    cds_rc rc = prepare->messages && prepare->shift ? shift_chat(prompter, prepare, reterr) : CDS_OK;
    if (rc != CDS_OK)
        return rc;
    if (prepare->messages)
        rc = chat_prompt(prompter, prepare, &tokens, &count, reterr);
    else if (prepare->infill)
        rc = cds_infill_prompt(prompter, prepare, &tokens, &count, reterr);
    else if (cds_json_is(prompt, CDS_JSON_STRING))
        rc = text_prompt(prompter, prepare->shift, cds_json_str(prompt), cds_json_str_len(prompt), &tokens, &count, reterr);
    else
        rc = token_prompt(prompter, prompt, &tokens, &count, reterr);
    if (rc == CDS_OK && prepare->shift && !prepare->messages)
        shift_text(prompter, prepare, tokens, &count);
    if (rc == CDS_OK)
        rc = check_fit(prompter, count, reterr);
    if (rc == CDS_OK && index == 0)
        rc = cds_render_grammar(prepare, reterr);
    if (rc != CDS_OK)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        return rc;
    *ret_tokens = tokens;
    *ret_count = count;
    tokens = NULL;
    return CDS_OK;
}
