#include "apps/llmserver/ask.h"

#include <string.h>

#include "lib/base/str.h"

enum { NORM_MOST = 64, TEMPLATE_MAX = 4096, OVERLAP_MOST = 131072 };

bool cds_ask_is_tokens(const cds_json *value)
{
    if (!cds_json_is(value, CDS_JSON_ARRAY) || cds_json_size(value) < 1)
        return false;
    for (size_t i = 0; i < cds_json_size(value); i++) {
        const cds_json *token = cds_json_at(value, i);
        if (!cds_json_is(token, CDS_JSON_INTEGER) || cds_json_i64(token, -1) < 0 || cds_json_i64(token, -1) > INT32_MAX)
            return false;
    }
    return true;
}

/** An integer member in a range; *ret is untouched without one. */
static cds_rc read_integer(const cds_json *body, const char *name, int64_t from, int64_t to, const char *expected, int64_t *ret,
                           struct cds_err *reterr)
{
    const cds_json *value = cds_ask_member(body, name);
    int64_t number = cds_json_i64(value, from - 1);
    if (value && (!cds_json_is(value, CDS_JSON_INTEGER) || number < from || number > to))
        return cds_ask_wrong(reterr, name, expected);
    if (value)
        *ret = number;
    return CDS_OK;
}

/** A member that is one of two words. @param ret  true: the second one */
static cds_rc read_choice(const cds_json *body, const char *name, const char *first, const char *second, bool *ret, struct cds_err *reterr)
{
    const cds_json *value = cds_ask_member(body, name);
    const char *text = cds_json_str(value);
    *ret = cds_streq(text, second);
    if (!value || *ret || cds_streq(text, first))
        return CDS_OK;
    cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"%s\" must be \"%s\" or \"%s\".", name, first, second);
    cds_err_pointer(reterr, "/%s", name);
    return CDS_BAD_PARAM;
}

/* --- embeddings ----------------------------------------------------------------------------------------------------------- */

static cds_rc read_input(const cds_json *body, cds_json *prompt, struct cds_err *reterr)
{
    static const char expected[] = "a string that is not empty, a list of token ids, or a list of at most 2048 of them";
    cds_json *given = cds_ask_member(body, "input"), *list = cds_json_array();
    cds_json_set(prompt, "inputs", list);
    if (cds_json_str_len(given) > 0 || cds_ask_is_tokens(given)) {
        cds_json_append(list, cds_json_ref(given));
        return CDS_OK;
    }
    if (!cds_json_is(given, CDS_JSON_ARRAY) || cds_json_size(given) < 1 || cds_json_size(given) > CDS_ASK_INPUTS_MAX)
        return cds_ask_wrong(reterr, "input", expected);
    for (size_t i = 0; i < cds_json_size(given); i++) {
        cds_json *one = cds_json_at(given, i);
        if (cds_json_str_len(one) == 0 && !cds_ask_is_tokens(one)) {
            cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"input\" must be %s; its entry %zu is none of these.", expected, i);
            cds_err_pointer(reterr, "/input/%zu", i);
            return CDS_BAD_PARAM;
        }
        cds_json_append(list, cds_json_ref(one));
    }
    return CDS_OK;
}

static cds_rc read_form(const cds_json *body, cds_json *prompt, struct cds_err *reterr)
{
    static const char *const poolings[] = {"none", "mean", "cls", "last"};
    int64_t dimensions = 0, norm = 2;
    cds_rc rc = read_integer(body, "dimensions", 1, CDS_ASK_DIMENSIONS_MAX, "an integer of 1 or more, at most the numbers of the model's vectors",
                             &dimensions, reterr);
    if (rc == CDS_OK)
        rc = read_integer(body, "embd_normalize", -1, NORM_MOST,
                          "-1 (as it is), 0 (largest number to 32760), 1 (taxicab), 2 (Euclid) or the p of a p-norm, at most 64", &norm, reterr);
    if (rc != CDS_OK)
        return rc;
    if (dimensions)
        cds_json_set(prompt, "dimensions", cds_json_int(dimensions));
    cds_json_set(prompt, "norm", cds_json_int(norm));
    cds_json *pooling = cds_ask_member(body, "pooling");
    if (!pooling)
        return CDS_OK;
    for (size_t i = 0; i < CDS_ARRAY_LEN(poolings); i++)
        if (cds_streq(cds_json_str(pooling), poolings[i])) {
            cds_json_set(prompt, "pooling", cds_json_ref(pooling));
            return CDS_OK;
        }
    return cds_ask_wrong(reterr, "pooling", "\"none\" (a vector for each token), \"mean\", \"cls\" or \"last\"; left out: as the model was trained");
}

cds_rc cds_ask_embed(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    const cds_json *user = cds_ask_member(body, "user");
    cds_rc rc = read_input(body, prompt, reterr);
    if (rc == CDS_OK)
        rc = read_choice(body, "encoding_format", "float", "base64", &ask->base64, reterr);
    if (rc == CDS_OK)
        rc = read_form(body, prompt, reterr);
    if (rc == CDS_OK && user && !cds_json_str(user))
        rc = cds_ask_wrong(reterr, "user", "a string");
    cds_json_set(prompt, "task", cds_json_string("embed"));
    return rc;
}

/* --- ranking -------------------------------------------------------------------------------------------------------------- */

/** Strings, or objects with a text. */
static cds_rc read_documents(const cds_json *body, cds_json *prompt, struct cds_err *reterr)
{
    static const char expected[] = "a list of 1 to 2048 texts that are not empty";
    const cds_json *given = cds_ask_member(body, "documents");
    cds_json *list = cds_json_array();
    cds_json_set(prompt, "documents", list);
    if (!cds_json_is(given, CDS_JSON_ARRAY) || cds_json_size(given) < 1 || cds_json_size(given) > CDS_ASK_INPUTS_MAX)
        return cds_ask_wrong(reterr, "documents", expected);
    for (size_t i = 0; i < cds_json_size(given); i++) {
        cds_json *one = cds_json_at(given, i), *text = cds_json_is(one, CDS_JSON_OBJECT) ? cds_json_get(one, "text") : one;
        if (cds_json_str_len(text) == 0) {
            cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"documents\" must be %s; its entry %zu is none.", expected, i);
            cds_err_pointer(reterr, "/documents/%zu", i);
            return CDS_BAD_PARAM;
        }
        cds_json_append(list, cds_json_ref(text));
    }
    return CDS_OK;
}

static cds_rc read_template(const cds_json *body, cds_json *prompt, struct cds_err *reterr)
{
    cds_json *form = cds_ask_member(body, "rank_template");
    const char *text = cds_json_str(form);
    if (!form)
        return CDS_OK;
    if (!text || cds_json_str_len(form) > TEMPLATE_MAX || !strstr(text, "{query}") || !strstr(text, "{document}"))
        return cds_ask_wrong(reterr, "rank_template", "a text of at most 4096 bytes with {query} and {document} in it");
    cds_json_set(prompt, "form", cds_json_ref(form));
    return CDS_OK;
}

cds_rc cds_ask_rank(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    cds_json *query = cds_ask_member(body, "query");
    int64_t top = 0, overlap = 0;
    bool chunks = false;
    if (cds_json_str_len(query) == 0)
        return cds_ask_wrong(reterr, "query", "a text that is not empty");
    cds_json_set(prompt, "query", cds_json_ref(query));
    cds_rc rc = read_documents(body, prompt, reterr);
    if (rc == CDS_OK)
        rc = read_integer(body, "top_n", 1, INT32_MAX, "an integer of 1 or more", &top, reterr);
    if (rc == CDS_OK)
        rc = cds_ask_bool(body, "return_documents", false, &ask->return_documents, reterr);
    if (rc == CDS_OK)
        rc = cds_ask_bool(body, "normalize", false, &ask->sigmoid, reterr);
    if (rc == CDS_OK)
        rc = read_choice(body, "method", "rank", "cosine", &ask->cosine, reterr);
    if (rc == CDS_OK)
        rc = read_choice(body, "overflow", "error", "best_chunk", &chunks, reterr);
    if (rc == CDS_OK)
        rc = read_integer(body, "overlap", 0, OVERLAP_MOST, "an integer from 0 to 131072: tokens that two parts of a document have in common",
                          &overlap, reterr);
    if (rc == CDS_OK)
        rc = read_template(body, prompt, reterr);
    ask->top = top > 0 ? (unsigned)top : (unsigned)cds_json_size(cds_json_get(prompt, "documents"));
    cds_json_set(prompt, "task", cds_json_string("rank"));
    cds_json_set(prompt, "chunks", cds_json_bool(chunks));
    cds_json_set(prompt, "overlap", cds_json_int(overlap));
    if (ask->cosine)
        cds_json_set(prompt, "method", cds_json_string("cosine"));
    return rc;
}
