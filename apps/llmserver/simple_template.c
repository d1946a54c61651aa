#include "apps/llmserver/simple_template.h"

#include <string.h>

#include "lib/base/str.h"

static const char history_mark[] = "{{history}}", completion_mark[] = "{{completion}}", system_mark[] = "{{system}}", message_mark[] = "{{message}}";

static cds_rc wrong(struct cds_err *reterr, const char *why)
{
    cds_fail(reterr, CDS_BAD_PARAM, "template", "\"chat_template\" is no simple template: %s.", why);
    cds_err_pointer(reterr, "/chat_template");
    return cds_err_hint(reterr, "It has {{history}}, behind it {{completion}}, and {{system}} if you like; a Jinja template has {%% ... %%}.");
}

bool cds_simple_is(const char *text)
{
    return strstr(text, history_mark) && !strstr(text, "{%");
}

static unsigned count_of(const char *text, const char *what)
{
    unsigned count = 0;
    for (const char *at = text; (at = strstr(at, what)) != NULL; at += strlen(what))
        count++;
    return count;
}

/** A text as a Jinja expression: nothing in it means anything. @return false: it has a control character that has no way to be written */
static bool add_literal(struct cds_buf *out, const char *text, size_t len)
{
    if (len == 0)
        return true;
    (void)cds_buf_add_str(out, "{{ \"");
    for (size_t i = 0; i < len; i++) {
        const char *escape = text[i] == '\n' ? "\\n" : text[i] == '\t' ? "\\t" : text[i] == '"' ? "\\\"" : text[i] == '\\' ? "\\\\" : NULL;
        if (escape)
            (void)cds_buf_add_str(out, escape);
        else if ((unsigned char)text[i] < ' ')
            return false;
        else
            (void)cds_buf_add(out, text + i, 1);
    }
    (void)cds_buf_add_str(out, "\" }}");
    return true;
}

/** One message of the history: what stands before and behind {{message}}. */
static bool add_message(struct cds_buf *out, const cds_json *forms, const char *role)
{
    static const struct {
        const char *role, *form;
    } usual[] = {{"system", "system: {{message}}\n"}, {"user", "user: {{message}}\n"}, {"assistant", "assistant: {{message}}\n"}};
    const char *form = cds_json_get_str(forms, role);
    for (size_t i = 0; !form && i < CDS_ARRAY_LEN(usual); i++)
        form = cds_streq(usual[i].role, role) ? usual[i].form : NULL;
    const char *at = form ? strstr(form, message_mark) : NULL;
    if (!at || count_of(form, "{{") != 1)
        return false;
    bool good = add_literal(out, form, (size_t)(at - form));
    (void)cds_buf_add_str(out, "{{ m['content'] }}");
    at += sizeof(message_mark) - 1;
    return add_literal(out, at, strlen(at)) && good;
}

static bool add_history(struct cds_buf *out, const cds_json *forms, bool with_system)
{
    (void)cds_buf_add_str(out, "{%- for m in messages -%}{%- if m['role'] == 'assistant' -%}");
    bool good = add_message(out, forms, "assistant");
    (void)cds_buf_add_str(out, "{%- elif m['role'] == 'system' -%}");
    good = (!with_system || add_message(out, forms, "system")) && good;
    (void)cds_buf_add_str(out, "{%- else -%}");
    good = add_message(out, forms, "user") && good;
    (void)cds_buf_add_str(out, "{%- endif -%}{%- endfor -%}");
    return good;
}

static void add_system(struct cds_buf *out)
{
    (void)cds_buf_add_str(out, "{%- set seen = namespace(one=false) -%}{%- for m in messages -%}{%- if m['role'] == 'system' -%}"
                               "{%- if seen.one -%}{{ \"\\n\\n\" }}{%- endif -%}{{ m['content'] }}{%- set seen.one = true -%}"
                               "{%- endif -%}{%- endfor -%}");
}

/** Only the three, each as often as it may be, in their order. */
static cds_rc check(const char *text, struct cds_err *reterr)
{
    const char *history = strstr(text, history_mark), *completion = strstr(text, completion_mark), *system = strstr(text, system_mark);
    if (count_of(text, history_mark) != 1)
        return wrong(reterr, "{{history}} must stand in it once");
    if (count_of(text, completion_mark) != 1 || completion < history)
        return wrong(reterr, "{{completion}} must stand in it once, behind {{history}}");
    if (count_of(text, system_mark) > 1 || (system && system > completion))
        return wrong(reterr, "{{system}} may stand in it once, before {{completion}}");
    if (count_of(text, "{{") != (system ? 3 : 2))
        return wrong(reterr, "it knows {{system}}, {{history}} and {{completion}} only");
    return CDS_OK;
}

/** What lies between two placeholders, and the placeholder behind it. */
static bool add_until(struct cds_buf *out, const char **at, const char *end)
{
    bool good = add_literal(out, *at, (size_t)(end - *at));
    *at = end + strcspn(end, "}") + 2;
    return good;
}

static cds_rc check_forms(const cds_json *forms, struct cds_err *reterr)
{
    static const char *const roles[] = {"system", "user", "assistant"};
    void *iter = NULL;
    const char *name;
    cds_json *value;
    while (forms && cds_json_next(forms, &iter, &name, &value)) {
        bool known = false;
        for (size_t i = 0; i < CDS_ARRAY_LEN(roles); i++)
            known = known || cds_streq(roles[i], name);
        if (!known || !cds_json_str(value) || count_of(cds_json_str(value), message_mark) != 1)
            return wrong(reterr, "its history has texts for system, user and assistant, each with {{message}} once");
    }
    return CDS_OK;
}

cds_rc cds_simple_template(const char *text, const cds_json *forms, struct cds_buf *ret_jinja, char ret_stop[static CDS_SIMPLE_STOP_MAX + 1],
                           struct cds_err *reterr)
{
    cds_rc rc = check(text, reterr);
    if (rc == CDS_OK)
        rc = check_forms(forms, reterr);
    if (rc != CDS_OK)
        return rc;
    const char *system = strstr(text, system_mark), *history = strstr(text, history_mark), *completion = strstr(text, completion_mark), *at = text;
    bool good = true, system_first = system && system < history;
    if (system_first) {
        good = add_until(ret_jinja, &at, system);
        add_system(ret_jinja);
    }
    good = add_until(ret_jinja, &at, history) && good;
    good = add_history(ret_jinja, forms, !system) && good;
    if (system && !system_first) {
        good = add_until(ret_jinja, &at, system) && good;
        add_system(ret_jinja);
    }
    (void)cds_buf_add_str(ret_jinja, "{%- if add_generation_prompt -%}");
    good = add_until(ret_jinja, &at, completion) && good;
    (void)cds_buf_add_str(ret_jinja, "{%- endif -%}");
    if (!good)
        return wrong(reterr, "a text of it has a control character, or a history text has no {{message}}");
    if (strlen(at) > CDS_SIMPLE_STOP_MAX)
        return wrong(reterr, "the text behind {{completion}} ends the answer and is longer than 256 bytes");
    cds_strcpy(ret_stop, CDS_SIMPLE_STOP_MAX + 1, strspn(at, " \t\n") == strlen(at) ? "" : at);
    return ret_jinja->failed ? cds_fail(reterr, CDS_TOO_LARGE, __func__, "\"chat_template\" is too long.") : CDS_OK;
}
