#include "apps/llmworker/inputs.h"

#include <stdlib.h>

#include "apps/llmworker/pairs.h"

static cds_rc no_memory(struct cds_err *reterr)
{
    return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the texts.");
}

static cds_rc too_long(const struct cds_prompter *prompter, size_t index, size_t count, const char *unit, struct cds_err *reterr)
{
    cds_fail(reterr, CDS_CONTEXT_LENGTH, __func__, "Input %zu has %zu %s, but a text of this model may have %u tokens.", index, count, unit,
             prompter->request_tokens);
    cds_err_pointer(reterr, "/input/%zu", index);
    return cds_err_hint(reterr, "Cut the text into parts and send each as an input of its own.");
}

static cds_rc input_tokens(const struct cds_prompter *prompter, const cds_json *input, size_t index, struct cds_vectors_text *ret,
                           struct cds_err *reterr)
{
    size_t count = 0;
    int32_t *tokens = NULL;
    if (cds_json_str(input)) {
        size_t len = cds_json_str_len(input);
        /* One token may stand for a word of any length that the model does not know, so bytes alone do not tell; far over the limit they do. */
        if (len > (size_t)prompter->request_tokens * CDS_INPUT_TOKEN_BYTES)
            return too_long(prompter, index, len, "bytes", reterr);
        cds_rc rc = cds_engine_tokenize(prompter->engine, cds_json_str(input), len, true, false, &tokens, &count, reterr);
        if (rc != CDS_OK)
            return rc;
    } else {
        count = cds_json_size(input);
        tokens = calloc(count, sizeof(*tokens));
        for (size_t i = 0; tokens && i < count; i++) {
            tokens[i] = (int32_t)cds_json_i64(cds_json_at(input, i), 0);
            if ((uint32_t)tokens[i] < prompter->vocabulary)
                continue;
            cds_fail(reterr, CDS_BAD_PARAM, __func__, "Input %zu holds the token %d, but the model has %u.", index, tokens[i], prompter->vocabulary);
            cds_err_pointer(reterr, "/input/%zu", index);
            free(tokens);
            return CDS_BAD_PARAM;
        }
        if (!tokens)
            return no_memory(reterr);
    }
    ret->tokens = tokens;
    ret->count = (uint32_t)count;
    if (count > prompter->request_tokens)
        return too_long(prompter, index, count, "tokens", reterr);
    if (count > 0)
        return CDS_OK;
    cds_fail(reterr, CDS_BAD_PARAM, __func__, "Input %zu holds no token of this model.", index);
    cds_err_pointer(reterr, "/input/%zu", index);
    return CDS_BAD_PARAM;
}

static cds_rc make_embed(const struct cds_prompter *prompter, const struct cds_engine_facts *facts, const struct cds_inputs *inputs,
                         struct cds_vectors_spec *spec, struct cds_err *reterr)
{
    size_t count = cds_json_size(inputs->inputs), values = 0;
    if (facts->pooling == CDS_POOL_RANK)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "This model ranks documents; it makes no embeddings. Use it with /v1/rerank."),
               cds_err_pointer(reterr, "/model"), CDS_BAD_PARAM;
    if (inputs->dimensions > facts->width) {
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"dimensions\" must be at most %u, the numbers of a vector of this model.", facts->width);
        cds_err_pointer(reterr, "/dimensions");
        return CDS_BAD_PARAM;
    }
    spec->pooling = inputs->pooling < 0 ? (enum cds_pooling)facts->pooling : (enum cds_pooling)inputs->pooling;
    spec->each_token = spec->pooling == CDS_POOL_NONE;
    spec->width = inputs->dimensions ? inputs->dimensions : facts->width;
    spec->norm = inputs->norm;
    spec->texts = calloc(count, sizeof(*spec->texts));
    if (!spec->texts)
        return no_memory(reterr);
    for (size_t i = 0; i < count; i++) {
        spec->text_count = i + 1;
        cds_rc rc = input_tokens(prompter, cds_json_at(inputs->inputs, i), i, &spec->texts[i], reterr);
        if (rc != CDS_OK)
            return rc;
        values += (spec->each_token ? spec->texts[i].count : 1) * (size_t)spec->width;
    }
    if (values <= CDS_VECTORS_VALUES_MAX)
        return CDS_OK;
    cds_fail(reterr, CDS_BAD_PARAM, __func__, "The answer would hold %zu numbers; one answer may hold %d.", values, CDS_VECTORS_VALUES_MAX);
    cds_err_pointer(reterr, "/input");
    return cds_err_hint(reterr, "Send fewer texts at a time, or ask for fewer dimensions.");
}

cds_rc cds_inputs_make(const struct cds_prompter *prompter, const struct cds_engine_facts *facts, const struct cds_inputs *inputs,
                       struct cds_vectors_spec *ret, struct cds_err *reterr)
{
    *ret = (struct cds_vectors_spec){.id = inputs->id, .kind = inputs->kind, .norm = CDS_NORM_EUCLID, .width = facts->width};
    cds_rc rc = CDS_OK;
    if (!facts->encodes) {
        rc = cds_fail(reterr, CDS_BAD_PARAM, __func__, "This model generates text; it makes no vectors of texts. Name an embedding model.");
        cds_err_pointer(reterr, "/model");
    } else if (inputs->kind == CDS_VECTORS_EMBED) {
        rc = make_embed(prompter, facts, inputs, ret, reterr);
    } else {
        rc = cds_pairs_make(prompter, facts, inputs, ret, reterr);
    }
    if (rc != CDS_OK)
        cds_vectors_spec_clear(ret);
    return rc;
}
