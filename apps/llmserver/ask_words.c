#include "apps/llmserver/ask.h"
#include "lib/base/str.h"

enum { TEXT_MAX = 1 << 20, TOKENS_MAX = 1 << 18, PAGE_MAX = 1024, FILES_MAX = 64 };

/** Copies members that are true or false. */
static cds_rc copy_bools(const cds_json *body, const char *const *names, size_t count, cds_json *prompt, struct cds_err *reterr)
{
    cds_rc rc = CDS_OK;
    for (size_t i = 0; i < count && rc == CDS_OK; i++) {
        bool value;
        rc = cds_ask_bool(body, names[i], false, &value, reterr);
        if (rc == CDS_OK && cds_ask_member(body, names[i]))
            cds_json_set(prompt, names[i], cds_json_bool(value));
    }
    return rc;
}

static cds_rc tokenize(const cds_json *body, cds_json *prompt, struct cds_err *reterr)
{
    static const char *const options[] = {"add_special", "parse_special", "with_pieces"};
    cds_json *content = cds_ask_member(body, "content");
    if (!cds_json_str(content) || cds_json_str_len(content) > TEXT_MAX)
        return cds_ask_wrong(reterr, "content", "a text of at most 1 MiB");
    cds_json_set(prompt, "content", cds_json_ref(content));
    cds_json_set(prompt, "task", cds_json_string("tokenize"));
    return copy_bools(body, options, CDS_ARRAY_LEN(options), prompt, reterr);
}

static cds_rc detokenize(const cds_json *body, cds_json *prompt, struct cds_err *reterr)
{
    static const char *const options[] = {"special", "with_pieces"};
    cds_json *tokens = cds_ask_member(body, "tokens");
    bool empty = cds_json_is(tokens, CDS_JSON_ARRAY) && cds_json_size(tokens) == 0;
    if ((!empty && !cds_ask_is_tokens(tokens)) || cds_json_size(tokens) > TOKENS_MAX)
        return cds_ask_wrong(reterr, "tokens", "a list of at most 262144 token ids");
    cds_json_set(prompt, "tokens", cds_json_ref(tokens));
    cds_json_set(prompt, "task", cds_json_string("detokenize"));
    return copy_bools(body, options, CDS_ARRAY_LEN(options), prompt, reterr);
}

static cds_rc vocabulary(const cds_json *body, cds_json *prompt, struct cds_err *reterr)
{
    static const struct {
        const char *name, *expected;
        int64_t most;
    } members[] = {{"from", "a token id", INT32_MAX}, {"count", "an integer from 0 to 1024", PAGE_MAX}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(members); i++) {
        const cds_json *value = cds_ask_member(body, members[i].name);
        int64_t number = cds_json_i64(value, -1);
        if (!value)
            continue;
        if (!cds_json_is(value, CDS_JSON_INTEGER) || number < 0 || number > members[i].most)
            return cds_ask_wrong(reterr, members[i].name, members[i].expected);
        cds_json_set(prompt, members[i].name, cds_json_int(number));
    }
    cds_json_set(prompt, "task", cds_json_string("vocabulary"));
    return CDS_OK;
}

cds_rc cds_ask_words(const cds_json *body, const struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    if (ask->task == CDS_TASK_TOKENIZE)
        return tokenize(body, prompt, reterr);
    return ask->task == CDS_TASK_DETOKENIZE ? detokenize(body, prompt, reterr) : vocabulary(body, prompt, reterr);
}

/* --- infill --------------------------------------------------------------------------------------------------------------- */

/** A text member, "" without one. @return NULL: it is none */
static const char *text_of(const cds_json *body, const char *name)
{
    const cds_json *value = cds_ask_member(body, name);
    return value ? cds_json_str(value) : "";
}

static cds_rc read_files(const cds_json *body, cds_json *infill, struct cds_err *reterr)
{
    static const char expected[] = "a list of at most 64 objects {\"filename\"?: text, \"text\": text}";
    cds_json *files = cds_ask_member(body, "input_extra");
    if (!files)
        return CDS_OK;
    if (!cds_json_is(files, CDS_JSON_ARRAY) || cds_json_size(files) > FILES_MAX)
        return cds_ask_wrong(reterr, "input_extra", expected);
    for (size_t i = 0; i < cds_json_size(files); i++) {
        const cds_json *file = cds_json_at(files, i);
        if (!cds_json_get_str(file, "text") || !text_of(file, "filename"))
            return cds_ask_wrong(reterr, "input_extra", expected);
    }
    cds_json_set(infill, "files", cds_json_ref(files));
    return CDS_OK;
}

cds_rc cds_ask_infill(const cds_json *body, cds_json *prompt, struct cds_err *reterr)
{
    static const char *const names[] = {"input_prefix", "input_suffix", "prompt", "filename", "repository"};
    cds_json *infill = cds_json_object();
    cds_json_set(prompt, "infill", infill);
    for (size_t i = 0; i < CDS_ARRAY_LEN(names); i++)
        if (!text_of(body, names[i]))
            return cds_ask_wrong(reterr, names[i], "a text");
    if (!*text_of(body, "input_prefix") && !*text_of(body, "input_suffix") && !*text_of(body, "prompt"))
        return cds_ask_wrong(reterr, "input_prefix", "a text, unless \"input_suffix\" or \"prompt\" is one: there is nothing around the gap");
    /* What was written behind the prefix already stands before the gap. */
    struct cds_buf before = cds_buf_init(SIZE_MAX / 2);
    (void)cds_buf_add_str(&before, text_of(body, "input_prefix"));
    (void)cds_buf_add_str(&before, text_of(body, "prompt"));
    cds_json_set(infill, "prefix", cds_json_stringn(before.data ? before.data : "", before.len));
    cds_buf_free(&before);
    cds_json_set(infill, "suffix", cds_json_string(text_of(body, "input_suffix")));
    if (*text_of(body, "filename"))
        cds_json_set(infill, "filename", cds_json_string(text_of(body, "filename")));
    if (*text_of(body, "repository"))
        cds_json_set(infill, "repository", cds_json_string(text_of(body, "repository")));
    return read_files(body, infill, reterr);
}

cds_rc cds_ask_suffix(const cds_json *body, const struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    cds_json *suffix = cds_ask_member(body, "suffix"), *prefix = cds_json_at(cds_json_get(prompt, "prompts"), 0);
    if (!suffix || (cds_json_str(suffix) && cds_json_str_len(suffix) == 0))
        return CDS_OK;
    if (!cds_json_str(suffix))
        return cds_ask_wrong(reterr, "suffix", "a text");
    if (ask->prompts != 1 || !cds_json_str(prefix))
        return cds_ask_wrong(reterr, "suffix", "left out unless \"prompt\" is one text");
    cds_json_set(prompt, "infill", cds_json_pack("{s:O,s:O}", "prefix", prefix, "suffix", suffix));
    return CDS_OK;
}
