#include "apps/llmworker/render.h"

#include <stdlib.h>
#include <string.h>

#include "apps/llmworker/calls.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"

static cds_rc no_memory(struct cds_err *reterr)
{
    return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the messages.");
}

/* --- texts of the user -------------------------------------------------------------------------------------------------- */

/** Marks that occur in any text of a value. */
static unsigned marks_in(const cds_json *value)
{
    void *iter = NULL;
    const char *key;
    cds_json *member;
    unsigned used = cds_guard_marks_in(cds_json_str(value), cds_json_str_len(value));
    for (size_t i = 0; cds_json_is(value, CDS_JSON_ARRAY) && i < cds_json_size(value); i++)
        used |= marks_in(cds_json_at(value, i));
    while (cds_json_is(value, CDS_JSON_OBJECT) && cds_json_next(value, &iter, &key, &member))
        used |= marks_in(member);
    return used;
}

/** The first mark that no message contains, and that is not `taken` (NULL: none is). @return false if the messages use all of them */
static bool choose_mark(const cds_json *messages, const char *taken, char mark[static CDS_MARK_LEN + 1])
{
    unsigned used = marks_in(messages) | (taken ? cds_guard_marks_in(taken, strlen(taken)) : 0);
    for (unsigned n = 0; n < CDS_MARKS; n++) {
        if (used & (1U << n))
            continue;
        cds_guard_mark(n, mark);
        return true;
    }
    return false;
}

/** Copy of a value with the control texts in all its texts broken; bytes counts them. NULL when memory is out. */
static cds_json *guarded(const struct cds_prompter *prompter, const cds_json *value, const char *mark, size_t *bytes)
{
    void *iter = NULL;
    const char *key;
    cds_json *member, *copy;
    if (cds_json_is(value, CDS_JSON_STRING)) {
        size_t len = cds_json_str_len(value);
        *bytes += len;
        CDS_CLEANUP(cds_buf_free) struct cds_buf broken = cds_buf_init(len * (1 + CDS_MARK_LEN) + 1);
        if (cds_guard_break(cds_json_str(value), len, cds_engine_controls(prompter->engine), mark, &broken) != CDS_OK)
            return NULL;
        return cds_json_stringn(broken.data ? broken.data : "", broken.len);
    }
    if (cds_json_is(value, CDS_JSON_ARRAY)) {
        copy = cds_json_array();
        for (size_t i = 0; copy && i < cds_json_size(value); i++)
            if (cds_json_append(copy, guarded(prompter, cds_json_at(value, i), mark, bytes)) != 0)
                return cds_json_unref(copy), NULL;
        return copy;
    }
    if (!cds_json_is(value, CDS_JSON_OBJECT))
        return cds_json_copy(value);
    copy = cds_json_object();
    while (copy && cds_json_next(value, &iter, &key, &member))
        if (cds_json_set(copy, key, guarded(prompter, member, mark, bytes)) != 0)
            return cds_json_unref(copy), NULL;
    return copy;
}

/** Is there a control text in any text or key of a value? Tools name things that come back literally, so they cannot be broken by a mark. */
static bool has_control(const struct cds_prompter *prompter, const cds_json *value)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init((size_t)CDS_PROMPT_BYTES_MAX * 2);
    CDS_CLEANUP(cds_buf_free) struct cds_buf broken = cds_buf_init((size_t)CDS_PROMPT_BYTES_MAX * 8);
    if (!value)
        return false;
    return cds_json_dump(value, &text) != CDS_OK ||
           cds_guard_break(text.data, text.len, cds_engine_controls(prompter->engine), "\xEF\xB7\x90", &broken) != CDS_OK || broken.len != text.len;
}

/* --- tools for a model whose template knows none ------------------------------------------------------------------------ */

/** Calls and results of the history in the words such a model was taught; roles it knows. */
static cds_json *plain_message(const cds_json *message)
{
    const cds_json *calls = cds_json_get(message, "tool_calls"), *content = cds_json_get(message, "content");
    const char *role = cds_json_get_str(message, "role");
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init((size_t)CDS_PROMPT_BYTES_MAX * 2);
    if (cds_streq(role, "tool")) {
        (void)cds_buf_addf(&text, "Result of the function: ");
        (void)cds_buf_add(&text, cds_json_str(content), cds_json_str_len(content));
        return text.failed ? NULL : cds_json_pack("{s:s,s:o}", "role", "user", "content", cds_json_stringn(text.data, text.len));
    }
    if (cds_json_size(calls) == 0)
        return cds_json_pack("{s:O,s:O}", "role", cds_json_get(message, "role"), "content", content);
    (void)cds_buf_add(&text, cds_json_str(content), cds_json_str_len(content));
    (void)cds_buf_add_str(&text, "{\"tool_calls\":[");
    for (size_t i = 0; i < cds_json_size(calls); i++) {
        const cds_json *function = cds_json_get(cds_json_at(calls, i), "function");
        CDS_JSON_AUTO name = cds_json_string(cds_json_get_str(function, "name"));
        (void)cds_buf_add_str(&text, i ? ",{\"name\":" : "{\"name\":");
        if (!name || cds_json_dump(name, &text) != CDS_OK)
            return NULL;
        (void)cds_buf_addf(&text, ",\"arguments\":%s}", cds_json_get_str(function, "arguments"));
    }
    (void)cds_buf_add_str(&text, "]}");
    return text.failed ? NULL : cds_json_pack("{s:s,s:o}", "role", "assistant", "content", cds_json_stringn(text.data, text.len));
}

/** Messages with the tools explained in front, and without what the template does not know. */
static cds_json *plain_messages(const struct cds_prepare *prepare, bool explain)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init((size_t)CDS_PROMPT_BYTES_MAX * 2);
    cds_json *list = cds_json_array();
    const cds_json *first = cds_json_at(prepare->messages, 0);
    bool has_system = cds_streq(cds_json_get_str(first, "role"), "system");
    if (explain) {
        if (has_system)
            (void)cds_buf_addf(&text, "%s\n\n", cds_json_get_str(first, "content"));
        if (cds_calls_explain(prepare->tools, prepare->documents, cds_streq(prepare->tool_choice, "required"), prepare->max_calls > 1, &text) !=
            CDS_OK)
            return cds_json_unref(list), NULL;
        cds_json_append(list, cds_json_pack("{s:s,s:o}", "role", "system", "content", cds_json_stringn(text.data, text.len)));
    }
    for (size_t i = explain && has_system; i < cds_json_size(prepare->messages); i++)
        if (cds_json_append(list, plain_message(cds_json_at(prepare->messages, i))) != 0)
            return cds_json_unref(list), NULL;
    return list;
}

/** The grammar that holds the model to the format of calls.h. */
static cds_rc plain_grammar(struct cds_prepare *prepare, struct cds_err *reterr)
{
    char why[256] = "";
    CDS_JSON_AUTO schema = cds_calls_schema(prepare->tools, prepare->max_calls);
    CDS_CLEANUP(cds_free_ptr) char *text = schema ? cds_json_dumps(schema, NULL) : NULL;
    if (!text)
        return no_memory(reterr);
    prepare->grammar = cds_shim_schema(text, why, sizeof(why));
    if (!prepare->grammar) {
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "The parameters of a tool cannot be turned into a grammar: %s", why);
        cds_err_pointer(reterr, "/tools");
        return CDS_BAD_PARAM;
    }
    prepare->sampling.grammar = prepare->grammar;
    prepare->sampling.grammar_lazy = !cds_streq(prepare->tool_choice, "required");
    if (prepare->sampling.grammar_lazy) {
        prepare->sampling.triggers[0] = cds_calls_trigger;
        prepare->sampling.trigger_count = 1;
    }
    prepare->shape.kind = CDS_SHAPE_CALLS;
    return CDS_OK;
}

/* --- what the template says about the answer ---------------------------------------------------------------------------- */

static const char *text_of(const cds_json *form, const char *name)
{
    const char *text = cds_json_get_str(form, name);
    return text ? text : "";
}

/** Does the rendered prompt end inside a thought? */
static bool ends_inside(const char *prompt, const char *start, const char *end)
{
    const char *last_start = NULL, *last_end = NULL;
    if (!*start || !*end)
        return false;
    size_t len = strlen(prompt), look = len > 256 ? len - 256 : 0;
    for (const char *p = prompt + look; (p = strstr(p, start)) != NULL; p++)
        last_start = p;
    for (const char *p = prompt + look; (p = strstr(p, end)) != NULL; p++)
        last_end = p;
    if (!last_start || (last_end && last_end > last_start))
        return false;
    for (const char *c = last_start + strlen(start); *c; c++)
        if (*c != ' ' && *c != '\n')
            return false;
    return true;
}

static void take_list(const cds_json *list, const char **ret, unsigned most, unsigned *ret_count)
{
    *ret_count = 0;
    for (size_t i = 0; i < cds_json_size(list) && *ret_count < most; i++)
        ret[(*ret_count)++] = cds_json_str(cds_json_at(list, i));
}

/** Grammar and reader of a template that knows tools. */
static void take_native(struct cds_prepare *prepare)
{
    const cds_json *form = prepare->form;
    struct cds_sampling *s = &prepare->sampling;
    if (*text_of(form, "grammar")) {
        s->grammar = text_of(form, "grammar");
        s->grammar_lazy = cds_json_true(cds_json_get(form, "grammar_lazy"), false);
        s->grammar_prefill = text_of(form, "generation_prompt");
        take_list(cds_json_get(form, "triggers"), s->triggers, CDS_TRIGGERS_MAX, &s->trigger_count);
    }
    prepare->shape.kind = CDS_SHAPE_NATIVE;
    prepare->shape.parser = text_of(form, "parser");
    prepare->shape.format = (int)cds_json_get_i64(form, "format", 0);
    prepare->shape.generation_prompt = text_of(form, "generation_prompt");
}

static void take_form(struct cds_prepare *prepare, bool native)
{
    const cds_json *form = prepare->form;
    struct cds_sampling *s = &prepare->sampling;
    const char *start = text_of(form, "thinking_start"), *end = text_of(form, "thinking_end");
    bool begun = ends_inside(text_of(form, "prompt"), start, end);
    prepare->shape.thinking_start = s->thinking_start = start;
    prepare->shape.thinking_end = s->thinking_end = end;
    prepare->shape.thinking_begun = s->thinking_begun = begun;
    take_list(cds_json_get(form, "preserved"), s->preserved, CDS_PRESERVED_MAX, &s->preserved_count);
    const cds_json *stops = cds_json_get(form, "stops");
    for (size_t i = 0; i < cds_json_size(stops); i++)
        if (cds_text_add_stop(&prepare->text, cds_json_str(cds_json_at(stops, i)), cds_json_str_len(cds_json_at(stops, i))) != CDS_OK)
            break; /* the request has named as many itself */
    if (native)
        take_native(prepare);
    else if (prepare->shape.kind == CDS_SHAPE_TEXT && *start && !prepare->raw && !prepare->sampling.grammar && !prepare->schema)
        prepare->shape.kind = CDS_SHAPE_THINK;
}

static cds_json *ask_of(const struct cds_prompter *prompter, const struct cds_prepare *prepare, cds_json *messages, bool native)
{
    bool constrained = prepare->schema || prepare->sampling.grammar;
    cds_json *ask = cds_json_pack("{s:o,s:b,s:b,s:b,s:b}", "messages", messages, "thinking", prepare->thinking && !constrained, "continue",
                                  prepare->continues, "add_bos", prompter->add_bos, "add_eos", prompter->add_eos);
    if (prepare->kwargs)
        cds_json_set(ask, "kwargs", cds_json_copy(prepare->kwargs));
    if (native) {
        cds_json *tools = cds_json_copy(prepare->tools);
        if (!prepare->documents)
            cds_calls_undescribe(tools);
        cds_json_set(ask, "tools", tools);
        cds_json_set(ask, "tool_choice", cds_json_string(prepare->tool_choice));
        cds_json_set(ask, "parallel_tool_calls", cds_json_bool(prepare->max_calls > 1));
    }
    return ask;
}

static cds_rc refuse_template(struct cds_err *reterr, const char *why)
{
    cds_fail(reterr, CDS_BAD_PARAM, __func__, "The chat template of the model does not accept these messages.");
    cds_err_detail(reterr, "%s", why);
    cds_err_pointer(reterr, "/messages");
    return CDS_BAD_PARAM;
}

static cds_rc apply(const struct cds_shim *shim, const cds_json *ask, struct cds_prepare *prepare, struct cds_err *reterr)
{
    char why[256] = "";
    CDS_CLEANUP(cds_free_ptr) char *text = ask ? cds_json_dumps(ask, NULL) : NULL;
    if (!text)
        return no_memory(reterr);
    CDS_CLEANUP(cds_free_ptr) char *said = cds_shim_apply(shim, text, why, sizeof(why));
    if (!said)
        return refuse_template(reterr, why);
    return cds_json_parse(said, strlen(said), &prepare->form, reterr) == CDS_OK ? CDS_OK : refuse_template(reterr, "it gives no text");
}

/** Puts a mark behind the last message: where the user stopped typing. @return false: memory is out, or no mark is left */
static bool mark_end(const struct cds_prepare *prepare, const char *mark, cds_json *messages, char end[static CDS_MARK_LEN + 1])
{
    cds_json *last = cds_json_at(messages, cds_json_size(messages) - 1);
    const cds_json *content = cds_json_get(last, "content");
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init((size_t)CDS_PROMPT_BYTES_MAX * 8);
    if (!choose_mark(prepare->messages, mark, end) || !cds_json_str(content))
        return false;
    (void)cds_buf_add(&text, cds_json_str(content), cds_json_str_len(content));
    (void)cds_buf_add_str(&text, end);
    return !text.failed && cds_json_set(last, "content", cds_json_stringn(text.data, text.len)) == 0;
}

/** The rendered text up to where the user stopped typing. */
static cds_rc cut_end(struct cds_prepare *prepare, const char *end, struct cds_err *reterr)
{
    const char *whole = text_of(prepare->form, "prompt"), *last = NULL;
    for (const char *at = whole; (at = strstr(at, end)) != NULL; at++)
        last = at;
    if (!last)
        return refuse_template(reterr, "it leaves the last message out");
    cds_json_set(prepare->form, "prompt", cds_json_stringn(whole, (size_t)(last - whole)));
    return CDS_OK;
}

static cds_rc render_with(const struct cds_prompter *prompter, const struct cds_shim *shim, struct cds_prepare *prepare, const char *mark,
                          struct cds_err *reterr)
{
    bool knows = cds_shim_knows_tools(shim), offered = prepare->tools && !cds_streq(prepare->tool_choice, "none");
    bool native = offered && knows;
    size_t bytes = 0;
    if (offered && has_control(prompter, prepare->tools)) {
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"tools\" holds a text that is a control token of the model; take it out.");
        cds_err_pointer(reterr, "/tools");
        return CDS_BAD_PARAM;
    }
    CDS_JSON_AUTO plain = knows ? NULL : plain_messages(prepare, offered);
    if (!knows && !plain)
        return no_memory(reterr);
    cds_json *messages = guarded(prompter, knows ? prepare->messages : plain, mark, &bytes);
    if (!messages)
        return no_memory(reterr);
    char end[CDS_MARK_LEN + 1] = "";
    if (prepare->half && !mark_end(prepare, mark, messages, end)) {
        cds_json_unref(messages);
        return no_memory(reterr);
    }
    CDS_JSON_AUTO ask = ask_of(prompter, prepare, messages, native);
    cds_rc rc = cds_prompt_check_bytes(prompter, bytes, reterr);
    if (rc == CDS_OK)
        rc = apply(shim, ask, prepare, reterr);
    if (rc == CDS_OK && prepare->half)
        rc = cut_end(prepare, end, reterr);
    if (rc == CDS_OK && offered && !native)
        rc = plain_grammar(prepare, reterr);
    if (rc == CDS_OK)
        take_form(prepare, native);
    return rc;
}

cds_rc cds_render_chat(const struct cds_prompter *prompter, struct cds_prepare *prepare, char ret_mark[static CDS_MARK_LEN + 1], char **ret_text,
                       struct cds_err *reterr)
{
    struct cds_shim *own = NULL;
    char why[256] = "";
    if (prepare->chat_template) {
        own = cds_shim_open(prepare->chat_template, prompter->bos, prompter->eos, why, sizeof(why));
        if (!own) {
            cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"chat_template\" cannot be read: %s", why);
            cds_err_pointer(reterr, "/chat_template");
            return CDS_BAD_PARAM;
        }
    } else if (!prompter->shim) {
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "The model file has no chat template that works, so it cannot chat.");
        return cds_err_hint(reterr, "Use /v1/completions with this model.");
    }
    cds_rc rc = CDS_OK;
    if (!choose_mark(prepare->messages, NULL, ret_mark))
        rc = cds_fail(reterr, CDS_BAD_PARAM, __func__, "The messages hold every one of the noncharacters U+FDD0 to U+FDEF; remove one of them.");
    if (rc == CDS_OK)
        rc = render_with(prompter, own ? own : prompter->shim, prepare, ret_mark, reterr);
    cds_shim_close(own);
    if (rc != CDS_OK)
        return rc;
    *ret_text = strdup(text_of(prepare->form, "prompt"));
    return *ret_text ? CDS_OK : no_memory(reterr);
}

cds_rc cds_render_grammar(struct cds_prepare *prepare, struct cds_err *reterr)
{
    char why[256] = "";
    if (!prepare->schema || prepare->sampling.grammar)
        return CDS_OK;
    CDS_CLEANUP(cds_free_ptr) char *text = cds_json_dumps(prepare->schema, NULL);
    if (!text)
        return no_memory(reterr);
    prepare->grammar = cds_shim_schema(text, why, sizeof(why));
    if (!prepare->grammar) {
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "The JSON schema cannot be used: %s", why);
        cds_err_pointer(reterr, "/response_format/json_schema/schema");
        return CDS_BAD_PARAM;
    }
    prepare->sampling.grammar = prepare->grammar;
    return CDS_OK;
}
