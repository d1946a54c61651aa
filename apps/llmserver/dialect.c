#include "apps/llmserver/dialect.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/str.h"

void cds_dialect_event(struct cds_buf *events, const char *name, cds_json *value)
{
    CDS_JSON_AUTO owned = value;
    if (name)
        (void)cds_buf_addf(events, "event: %s\n", name);
    (void)cds_buf_add_str(events, "data: ");
    if (!owned || cds_json_dump(owned, events) != CDS_OK)
        events->failed = true;
    (void)cds_buf_add_str(events, "\n\n");
}

/** Replaces the first `from` behind that mark. */
static void rename_in_sentence(char *text, size_t size, char mark, const char *from, const char *to)
{
    char marked[96], copy[sizeof(((struct cds_err *)0)->message)];
    snprintf(marked, sizeof(marked), "%c%s", mark, from);
    char *at = strstr(text, marked);
    if (!at || size > sizeof(copy))
        return;
    snprintf(copy, sizeof(copy), "%.*s%c%s%s", (int)(at - text), text, mark, to, at + strlen(marked));
    cds_strcpy(text, size, copy);
}

static void with_slashes(char *buf, size_t size, const char *member)
{
    cds_strcpy(buf, size, member);
    for (char *dot = buf; (dot = strchr(dot, '.')) != NULL;)
        *dot = '/';
}

/** Is path, or a beginning of it that ends at a "/", the pointer of that member ("a.b" is /a/b)? @return its length, 0: no */
static size_t points_at(const char *path, const char *member)
{
    size_t len = strlen(member);
    if (*path != '/' || strlen(path) < len + 1)
        return 0;
    for (size_t i = 0; i < len; i++)
        if (path[i + 1] != (member[i] == '.' ? '/' : member[i]))
            return 0;
    return path[len + 1] == '\0' || path[len + 1] == '/' ? len + 1 : 0;
}

void cds_dialect_rename(struct cds_err *err, const struct cds_dialect_name *names, size_t count)
{
    char *function = strstr(err->pointer, "/function/");
    if (cds_starts_with(err->pointer, "/tools/") && function)
        memmove(function, function + sizeof("/function") - 1, strlen(function + sizeof("/function") - 1) + 1);
    char *inside = strstr(err->message, ".function/");
    if (inside)
        memmove(inside + 1, inside + sizeof(".function/") - 1, strlen(inside + sizeof(".function/") - 1) + 1);
    for (size_t i = 0; i < count; i++) {
        size_t len = points_at(err->pointer, names[i].chat);
        if (!len)
            continue;
        char rest[sizeof(err->pointer)], chat[64], own[64];
        cds_strcpy(rest, sizeof(rest), err->pointer + len);
        with_slashes(chat, sizeof(chat), names[i].chat);
        with_slashes(own, sizeof(own), names[i].own);
        cds_err_pointer(err, "/%s%s", own, rest);
        rename_in_sentence(err->message, sizeof(err->message), '"', names[i].chat, names[i].own);
        rename_in_sentence(err->message, sizeof(err->message), '/', chat, own);
        return;
    }
}

cds_rc cds_dialect_wrong(struct cds_err *reterr, const char *expected, const char *place, ...)
{
    char text[96], pointer[96];
    size_t len = 0;
    va_list args;
    va_start(args, place);
    vsnprintf(text, sizeof(text), place, args);
    va_end(args);
    for (const char *c = text; *c && len + 1 < sizeof(pointer); c++)
        if (*c != ']')
            pointer[len++] = *c == '[' || *c == '.' ? '/' : *c;
    pointer[len] = '\0';
    cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"%s\" must be %s.", text, expected);
    cds_err_pointer(reterr, "/%s", pointer);
    return CDS_BAD_PARAM;
}

cds_json *cds_dialect_text_of(const cds_json *content, const char *const *types)
{
    if (cds_json_is(content, CDS_JSON_STRING))
        return cds_json_copy(content);
    if (!cds_json_is(content, CDS_JSON_ARRAY))
        return NULL;
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(SIZE_MAX / 2);
    for (size_t i = 0; i < cds_json_size(content); i++) {
        const cds_json *part = cds_json_at(content, i),
                       *piece = cds_json_get(part, cds_streq(cds_json_get_str(part, "type"), "refusal") ? "refusal" : "text");
        bool known = false;
        for (const char *const *type = types; *type; type++)
            known = known || cds_streq(cds_json_get_str(part, "type"), *type);
        if (!known || !cds_json_str(piece) || cds_buf_add(&text, cds_json_str(piece), cds_json_str_len(piece)) != CDS_OK)
            return NULL;
    }
    return cds_json_stringn(text.data ? text.data : "", text.len);
}
