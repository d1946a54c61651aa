#include "apps/llmworker/infill.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"

enum { ANSWER_LEAST = 64 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/** Appends a text's tokens; control texts in it stay text. */
static cds_rc append(const struct cds_prompter *prompter, const char *text, size_t len, int32_t **tokens, size_t *count, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_free_ptr) int32_t *more = NULL;
    size_t n = 0;
    if (len == 0)
        return CDS_OK;
    cds_rc rc = cds_engine_tokenize(prompter->engine, text, len, false, false, &more, &n, reterr);
    if (rc != CDS_OK)
        return rc;
    int32_t *longer = realloc(*tokens, (*count + n + 1) * sizeof(*longer));
    if (!longer)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the prompt.");
    *tokens = longer;
    if (n)
        memcpy(longer + *count, more, n * sizeof(*longer));
    *count += n;
    return CDS_OK;
}

static cds_rc append_mark(int32_t mark, int32_t **tokens, size_t *count, struct cds_err *reterr)
{
    int32_t *longer = realloc(*tokens, (*count + 1) * sizeof(*longer));
    if (!longer)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the prompt.");
    *tokens = longer;
    longer[(*count)++] = mark;
    return CDS_OK;
}

/** One other file: its name behind the model's token for that, if it has one, and its text. */
static cds_rc append_file(const struct cds_prompter *prompter, const struct cds_infill_tokens *marks, const char *name, const cds_json *text,
                          int32_t **tokens, size_t *count, struct cds_err *reterr)
{
    cds_rc rc = marks->file >= 0 ? append_mark(marks->file, tokens, count, reterr) : append(prompter, "\n\n", 2, tokens, count, reterr);
    if (rc == CDS_OK && name)
        rc = append(prompter, name, strlen(name), tokens, count, reterr);
    if (rc == CDS_OK && name)
        rc = append(prompter, "\n", 1, tokens, count, reterr);
    return rc == CDS_OK && text ? append(prompter, cds_json_str(text), cds_json_str_len(text), tokens, count, reterr) : rc;
}

static cds_rc other_files(const struct cds_prompter *prompter, const struct cds_infill_tokens *marks, const cds_json *infill, int32_t **tokens,
                          size_t *count, struct cds_err *reterr)
{
    const cds_json *files = cds_json_get(infill, "files");
    const char *name = cds_json_get_str(infill, "filename"), *repository = cds_json_get_str(infill, "repository");
    cds_rc rc = CDS_OK;
    if (marks->repository >= 0 && repository) {
        rc = append_mark(marks->repository, tokens, count, reterr);
        if (rc == CDS_OK)
            rc = append(prompter, repository, strlen(repository), tokens, count, reterr);
        if (rc == CDS_OK)
            rc = append(prompter, "\n", 1, tokens, count, reterr);
    }
    for (size_t i = 0; rc == CDS_OK && i < cds_json_size(files); i++)
        rc = append_file(prompter, marks, cds_json_get_str(cds_json_at(files, i), "filename"), cds_json_get(cds_json_at(files, i), "text"), tokens,
                         count, reterr);
    if (rc == CDS_OK && name && marks->file >= 0)
        rc = append_file(prompter, marks, name, NULL, tokens, count, reterr);
    return rc;
}

/** Texts that could never fit are refused before they are tokenized. */
static cds_rc check_bytes(const struct cds_prompter *prompter, const cds_json *infill, struct cds_err *reterr)
{
    const cds_json *files = cds_json_get(infill, "files");
    size_t bytes = cds_json_str_len(cds_json_get(infill, "prefix")) + cds_json_str_len(cds_json_get(infill, "suffix"));
    for (size_t i = 0; i < cds_json_size(files); i++)
        bytes += cds_json_str_len(cds_json_get(cds_json_at(files, i), "text"));
    return cds_prompt_check_bytes(prompter, bytes / CDS_INFILL_CUT, reterr);
}

cds_rc cds_infill_prompt(const struct cds_prompter *prompter, const struct cds_prepare *prepare, int32_t **ret_tokens, size_t *ret_count,
                         struct cds_err *reterr)
{
    const cds_json *infill = prepare->infill, *prefix = cds_json_get(infill, "prefix"), *suffix = cds_json_get(infill, "suffix");
    CDS_CLEANUP(cds_free_ptr) int32_t *before = NULL;
    CDS_CLEANUP(cds_free_ptr) int32_t *behind = NULL;
    CDS_CLEANUP(cds_free_ptr) int32_t *others = NULL;
    size_t before_count = 0, behind_count = 0, others_count = 0;
    struct cds_infill_tokens marks;
    cds_vocabulary_infill(prompter->engine, &marks);
    if (marks.prefix < 0 || marks.suffix < 0 || marks.middle < 0) {
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "This model has no tokens for text before and behind a gap, so it cannot fill one.");
        cds_err_pointer(reterr, "/model");
        return cds_err_hint(reterr, "Name a model whose \"infill\" is true in GET /v1/models.");
    }
    cds_rc rc = check_bytes(prompter, infill, reterr);
    if (rc == CDS_OK)
        rc = append(prompter, cds_json_str(prefix) ? cds_json_str(prefix) : "", cds_json_str_len(prefix), &before, &before_count, reterr);
    if (rc == CDS_OK)
        rc = append(prompter, cds_json_str(suffix) ? cds_json_str(suffix) : "", cds_json_str_len(suffix), &behind, &behind_count, reterr);
    if (rc == CDS_OK)
        rc = other_files(prompter, &marks, infill, &others, &others_count, reterr);
    if (rc != CDS_OK)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        return rc;
    /* The answer keeps its room, but never more than half of the context for it. */
    size_t answer = least(prepare->max_tokens > ANSWER_LEAST ? prepare->max_tokens : ANSWER_LEAST, prompter->request_tokens / 2);
    *ret_tokens = cds_infill_join(&marks, cds_vocabulary_bos(prompter->engine), (struct cds_infill_part){before, before_count},
                                  (struct cds_infill_part){behind, behind_count}, (struct cds_infill_part){others, others_count},
                                  prompter->request_tokens - answer, ret_count);
    return *ret_tokens ? CDS_OK : cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the prompt.");
}
