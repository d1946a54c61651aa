#include "apps/llmworker/pairs.h"

#include <stdlib.h>
#include <string.h>

#include "apps/llmworker/vocabulary.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"

enum { CDS_DOCUMENT_BYTES_MAX = 1 << 20 };

/** Tokens, growing. */
struct list {
    int32_t *tokens;
    size_t count;
    bool failed;
};

static void list_clear(struct list *list)
{
    free(list->tokens);
    *list = (struct list){0};
}

static void add(struct list *list, const int32_t *tokens, size_t count)
{
    int32_t *longer = list->failed || count == 0 ? NULL : realloc(list->tokens, (list->count + count) * sizeof(*longer));
    if (count == 0)
        return;
    list->failed = list->failed || !longer;
    if (!longer)
        return;
    memcpy(longer + list->count, tokens, count * sizeof(*longer));
    list->tokens = longer;
    list->count += count;
}

static void add_one(struct list *list, int32_t token)
{
    if (token >= 0)
        add(list, &token, 1);
}

/** @param own  text of a template, whose control tokens are meant; the texts of a request never become control tokens */
static cds_rc add_text(const struct cds_prompter *prompter, struct list *list, const char *text, size_t len, bool own, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_free_ptr) int32_t *tokens = NULL;
    size_t count = 0;
    if (len == 0)
        return CDS_OK;
    cds_rc rc = cds_engine_tokenize(prompter->engine, text, len, false, own, &tokens, &count, reterr);
    if (rc == CDS_OK)
        add(list, tokens, count);
    return rc == CDS_OK && list->failed ? cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the texts.") : rc;
}

/** What stands before and behind the document. */
struct frame {
    struct list before, after;
};

static cds_rc from_template(const struct cds_prompter *prompter, const struct cds_inputs *inputs, const char *form, struct frame *frame,
                            struct cds_err *reterr)
{
    static const char query[] = "{query}", document[] = "{document}";
    struct list *list = &frame->before;
    cds_rc rc = CDS_OK;
    while (rc == CDS_OK && *form) {
        size_t len = 0;
        while (form[len] && !cds_starts_with(form + len, query) && (list == &frame->after || !cds_starts_with(form + len, document)))
            len++;
        rc = add_text(prompter, list, form, len, true, reterr);
        form += len;
        if (rc == CDS_OK && cds_starts_with(form, query)) {
            rc = add_text(prompter, list, inputs->query, strlen(inputs->query), false, reterr);
            form += sizeof(query) - 1;
        } else if (*form) {
            list = &frame->after;
            form += sizeof(document) - 1;
        }
    }
    return rc;
}

static cds_rc make_frame(const struct cds_prompter *prompter, const struct cds_engine_facts *facts, const struct cds_inputs *inputs,
                         struct frame *frame, struct cds_err *reterr)
{
    const char *form = inputs->form ? inputs->form : facts->rank_template;
    int32_t bos = cds_vocabulary_bos(prompter->engine), eos = cds_vocabulary_eos(prompter->engine);
    cds_rc rc = CDS_OK;
    if (inputs->kind == CDS_VECTORS_RANK && form)
        return from_template(prompter, inputs, form, frame, reterr);
    add_one(&frame->before, bos);
    if (inputs->kind == CDS_VECTORS_RANK) {
        rc = add_text(prompter, &frame->before, inputs->query, strlen(inputs->query), false, reterr);
        add_one(&frame->before, eos);
        add_one(&frame->before, cds_vocabulary_separator(prompter->engine));
    }
    add_one(&frame->after, eos);
    if (rc == CDS_OK && (frame->before.failed || frame->after.failed))
        rc = cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the texts.");
    return rc;
}

static cds_rc add_pair(struct cds_vectors_spec *spec, const struct frame *frame, const int32_t *tokens, size_t count, uint32_t owner,
                       struct cds_err *reterr)
{
    struct list all = {0};
    if (spec->text_count >= CDS_VECTORS_TEXTS_MAX)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The documents have more than %d parts.", CDS_VECTORS_TEXTS_MAX);
    struct cds_vectors_text *longer = realloc(spec->texts, (spec->text_count + 1) * sizeof(*longer));
    if (longer)
        spec->texts = longer;
    add(&all, frame->before.tokens, frame->before.count);
    add(&all, tokens, count);
    add(&all, frame->after.tokens, frame->after.count);
    if (!longer || all.failed || all.count == 0) {
        list_clear(&all);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the texts.");
    }
    spec->texts[spec->text_count++] = (struct cds_vectors_text){.tokens = all.tokens, .count = (uint32_t)all.count, .owner = owner};
    return CDS_OK;
}

/** Bytes that are worth tokenizing: parts of so many tokens are as many as one request may have. */
static bool is_endless(const struct cds_prompter *prompter, const struct cds_inputs *inputs, size_t len)
{
    return len > (inputs->chunks ? CDS_DOCUMENT_BYTES_MAX : (size_t)prompter->request_tokens * CDS_INPUT_TOKEN_BYTES);
}

static cds_rc too_long(size_t index, size_t tokens, size_t room, struct cds_err *reterr)
{
    cds_fail(reterr, CDS_CONTEXT_LENGTH, __func__, "Document %zu has %zu tokens, but beside the query there is room for %zu.", index, tokens, room);
    cds_err_pointer(reterr, "/documents/%zu", index);
    return cds_err_hint(reterr, "Ask with \"overflow\": \"best_chunk\", or shorten the document.");
}

static cds_rc add_document(const struct cds_prompter *prompter, const struct cds_inputs *inputs, const struct frame *frame, size_t index,
                           struct cds_vectors_spec *spec, struct cds_err *reterr)
{
    const cds_json *document = cds_json_at(inputs->documents, index);
    CDS_CLEANUP(cds_free_ptr) int32_t *tokens = NULL;
    size_t count = 0, room = prompter->request_tokens - frame->before.count - frame->after.count;
    size_t len = cds_json_str_len(document);
    if (is_endless(prompter, inputs, len)) {
        cds_fail(reterr, CDS_CONTEXT_LENGTH, __func__, "Document %zu has %zu bytes, which is more than this model ranks.", index, len);
        cds_err_pointer(reterr, "/documents/%zu", index);
        return cds_err_hint(reterr, "Send its parts as documents of their own.");
    }
    cds_rc rc = cds_engine_tokenize(prompter->engine, cds_json_str(document), len, false, false, &tokens, &count, reterr);
    if (rc != CDS_OK)
        return rc;
    if (count <= room)
        return add_pair(spec, frame, tokens, count, (uint32_t)index, reterr);
    if (!inputs->chunks)
        return too_long(index, count, room, reterr);
    size_t overlap = inputs->overlap < room / 2 ? inputs->overlap : room / 2, at = 0;
    for (; rc == CDS_OK; at += room - overlap) {
        size_t part = count - at < room ? count - at : room;
        rc = add_pair(spec, frame, tokens + at, part, (uint32_t)index, reterr);
        if (at + part == count)
            break;
    }
    return rc;
}

/** The query of a cosine ranking is a text like another. */
static cds_rc add_query(const struct cds_prompter *prompter, const struct cds_inputs *inputs, const struct frame *frame,
                        struct cds_vectors_spec *spec, struct cds_err *reterr)
{
    struct list query = {0};
    cds_rc rc = add_text(prompter, &query, inputs->query, strlen(inputs->query), false, reterr);
    if (rc == CDS_OK && query.count + frame->before.count + frame->after.count > prompter->request_tokens) {
        rc = cds_fail(reterr, CDS_CONTEXT_LENGTH, __func__, "The query has %zu tokens, but a text of this model may have %u.", query.count,
                      prompter->request_tokens);
        cds_err_pointer(reterr, "/query");
    }
    if (rc == CDS_OK)
        rc = add_pair(spec, frame, query.tokens, query.count, 0, reterr);
    list_clear(&query);
    return rc;
}

static cds_rc check_model(const struct cds_engine_facts *facts, const struct cds_inputs *inputs, struct cds_err *reterr)
{
    bool head = facts->pooling == CDS_POOL_RANK;
    if (head == (inputs->kind == CDS_VECTORS_RANK))
        return CDS_OK;
    if (head)
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "This model ranks with a head of its own; it makes no vectors whose cosine could be taken.");
    else
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "This model has no head for ranking.");
    cds_err_pointer(reterr, head ? "/method" : "/model");
    return cds_err_hint(reterr,
                        head ? "Leave \"method\" out." : "Name a model for reranking, or ask with \"method\": \"cosine\" to rank by its vectors.");
}

cds_rc cds_pairs_make(const struct cds_prompter *prompter, const struct cds_engine_facts *facts, const struct cds_inputs *inputs,
                      struct cds_vectors_spec *ret, struct cds_err *reterr)
{
    struct frame frame = {0};
    ret->owners = (uint32_t)cds_json_size(inputs->documents);
    ret->pooling = (enum cds_pooling)facts->pooling;
    cds_rc rc = check_model(facts, inputs, reterr);
    if (rc == CDS_OK)
        rc = make_frame(prompter, facts, inputs, &frame, reterr);
    if (rc == CDS_OK && inputs->kind == CDS_VECTORS_COSINE)
        rc = add_query(prompter, inputs, &frame, ret, reterr);
    if (rc == CDS_OK && frame.before.count + frame.after.count + CDS_RANK_ROOM_MIN > prompter->request_tokens) {
        rc = cds_fail(reterr, CDS_CONTEXT_LENGTH, __func__,
                      "The query takes %zu tokens, and a text of this model may have %u: too few are left for a document.",
                      frame.before.count + frame.after.count, prompter->request_tokens);
        cds_err_pointer(reterr, "/query");
    }
    for (size_t i = 0; rc == CDS_OK && i < ret->owners; i++)
        rc = add_document(prompter, inputs, &frame, i, ret, reterr);
    list_clear(&frame.before);
    list_clear(&frame.after);
    return rc;
}
