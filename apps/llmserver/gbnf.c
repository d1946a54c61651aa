#include "apps/llmserver/gbnf.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"

/** A rule's name: a piece of the text. */
struct rule {
    const char *name;
    size_t len;
    unsigned line; /**< where it is used first, or defined */
    bool defined;
};
struct reader {
    const char *at, *end;
    unsigned line, depth, repeats;
    struct rule *rules;
    unsigned rule_count;
    struct cds_err *reterr;
};

static cds_rc wrong(const struct reader *r, const char *what)
{
    return cds_fail(r->reterr, CDS_BAD_PARAM, "cds_gbnf_check", "The grammar is wrong in line %u: %s.", r->line, what);
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
}

/** Skips blanks and comments, and line ends where a rule may go on. */
static void skip(struct reader *r, bool lines)
{
    for (; r->at < r->end; r->at++) {
        if (*r->at == '#') {
            while (r->at < r->end && *r->at != '\n' && *r->at != '\r')
                r->at++;
            if (r->at == r->end)
                return;
        }
        if (*r->at == '\n' && lines)
            r->line++;
        else if (*r->at != ' ' && *r->at != '\t' && !(*r->at == '\r' && lines))
            return;
    }
}

/** A name that is used or defined. @return NULL: too many */
static struct rule *rule_of(struct reader *r, const char *name, size_t len)
{
    for (unsigned i = 0; i < r->rule_count; i++)
        if (r->rules[i].len == len && memcmp(r->rules[i].name, name, len) == 0)
            return &r->rules[i];
    if (r->rule_count == CDS_GBNF_RULES_MAX)
        return NULL;
    r->rules[r->rule_count] = (struct rule){name, len, r->line, false};
    return &r->rules[r->rule_count++];
}

static size_t word(const struct reader *r)
{
    size_t n = 0;
    while (r->at + n < r->end && is_word(r->at[n]))
        n++;
    return n;
}

/** One character of a literal or a class, escapes included. */
static cds_rc character(struct reader *r)
{
    if (*r->at != '\\') {
        r->at++;
        return CDS_OK;
    }
    if (++r->at == r->end)
        return wrong(r, "it ends inside an escape");
    char c = *r->at++;
    size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (!digits)
        return strchr("tnr\\\"[]-^", c) && c ? CDS_OK
                                             : wrong(r, "there is no such escape; known are \\t \\n \\r \\\\ \\\" \\[ \\] \\xHH \\uHHHH \\UHHHHHHHH");
    for (size_t i = 0; i < digits; i++, r->at++)
        if (r->at == r->end || !strchr("0123456789abcdefABCDEF", *r->at) || !*r->at)
            return wrong(r, "an escape has too few hexadecimal digits");
    return CDS_OK;
}

/** "..." or [...]; at stands behind the opening one. */
static cds_rc until(struct reader *r, char close)
{
    while (r->at < r->end && *r->at != close) {
        if (*r->at == '\n')
            return wrong(r, close == '"' ? "a text does not end in its line" : "a set of characters does not end in its line");
        cds_rc rc = character(r);
        if (rc != CDS_OK)
            return rc;
    }
    if (r->at == r->end)
        return wrong(r, close == '"' ? "a text does not end" : "a set of characters does not end");
    r->at++;
    return CDS_OK;
}

static bool number(struct reader *r, unsigned *ret)
{
    const char *begin = r->at;
    *ret = 0;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9' && *ret <= CDS_GBNF_REPEAT_MAX)
        *ret = *ret * 10 + (unsigned)(*r->at++ - '0');
    return r->at > begin;
}

/** {m}, {m,}, {m,n}; at stands behind the brace. */
static cds_rc repeat(struct reader *r)
{
    unsigned least, most;
    skip(r, false);
    if (!number(r, &least))
        return wrong(r, "a repeat has no number");
    most = least;
    skip(r, false);
    if (r->at < r->end && *r->at == ',') {
        r->at++;
        skip(r, false);
        if (!number(r, &most))
            most = least;
        skip(r, false);
    }
    if (r->at == r->end || *r->at != '}')
        return wrong(r, "a repeat does not end with }");
    r->at++;
    if (most > CDS_GBNF_REPEAT_MAX || most < least)
        return wrong(r, "a repeat counts down, or over 2000");
    r->repeats += most;
    return r->repeats > CDS_GBNF_REPEATS_MAX ? wrong(r, "its repeats together count over 20000") : CDS_OK;
}

static cds_rc alternatives(struct reader *r, bool nested);

static cds_rc group(struct reader *r)
{
    r->at++;
    if (++r->depth > CDS_GBNF_DEPTH_MAX)
        return wrong(r, "its groups are nested over 64 deep");
    skip(r, true);
    cds_rc rc = alternatives(r, true);
    if (rc != CDS_OK)
        return rc;
    r->depth--;
    if (r->at == r->end || *r->at != ')')
        return wrong(r, "a group does not end with )");
    r->at++;
    return CDS_OK;
}

static cds_rc reference(struct reader *r)
{
    size_t len = word(r);
    if (!rule_of(r, r->at, len))
        return wrong(r, "it has over 2048 rules");
    r->at += len;
    return CDS_OK;
}

/** One element without its repeat. *ret_any false: there is none. */
static cds_rc element(struct reader *r, bool *ret_any)
{
    *ret_any = r->at < r->end;
    char c = r->at < r->end ? *r->at : '\0';
    if (c == '"' || c == '[') {
        r->at++;
        return until(r, c == '"' ? '"' : ']');
    }
    if (c == '(')
        return group(r);
    if (c == '.') {
        r->at++;
        return CDS_OK;
    }
    if (is_word(c) && r->at < r->end)
        return reference(r);
    if (c == '<' || c == '!')
        return wrong(r, "it names tokens, which this server does not offer");
    *ret_any = false;
    return CDS_OK;
}

static cds_rc sequence(struct reader *r, bool nested)
{
    for (bool any = true, first = true; any; first = false) {
        cds_rc rc = element(r, &any);
        if (rc != CDS_OK)
            return rc;
        if (!any)
            break;
        skip(r, nested);
        while (rc == CDS_OK && r->at < r->end && strchr("*+?{", *r->at) && *r->at) {
            char c = *r->at++;
            rc = c == '{' ? repeat(r) : CDS_OK;
            skip(r, nested);
        }
        if (rc != CDS_OK)
            return rc;
        (void)first;
    }
    return r->at < r->end && strchr("*+?{", *r->at) && *r->at ? wrong(r, "a repeat has nothing before it") : CDS_OK;
}

static cds_rc alternatives(struct reader *r, bool nested)
{
    cds_rc rc = sequence(r, nested);
    while (rc == CDS_OK && r->at < r->end && *r->at == '|') {
        r->at++;
        skip(r, true);
        rc = sequence(r, nested);
    }
    return rc;
}

static cds_rc define(struct reader *r)
{
    size_t len = word(r);
    if (len == 0)
        return wrong(r, *r->at == '%' ? "this is a grammar of another kind than GBNF" : "a rule must begin with its name");
    struct rule *rule = rule_of(r, r->at, len);
    if (!rule)
        return wrong(r, "it has over 2048 rules");
    if (rule->defined)
        return wrong(r, "a rule is defined twice");
    rule->defined = true;
    r->at += len;
    skip(r, false);
    if (r->end - r->at < 3 || memcmp(r->at, "::=", 3) != 0)
        return wrong(r, "::= is missing behind the name of a rule");
    r->at += 3;
    skip(r, true);
    cds_rc rc = alternatives(r, false);
    if (rc != CDS_OK)
        return rc;
    if (r->at < r->end && *r->at == '\r')
        r->at++;
    if (r->at < r->end && *r->at != '\n')
        return wrong(r, "there is a character that means nothing here");
    skip(r, true);
    return CDS_OK;
}

static cds_rc check_names(struct reader *r)
{
    bool root = false;
    for (unsigned i = 0; i < r->rule_count; i++) {
        const struct rule *rule = &r->rules[i];
        root = root || (rule->len == 4 && memcmp(rule->name, "root", 4) == 0 && rule->defined);
        if (!rule->defined)
            return cds_fail(r->reterr, CDS_BAD_PARAM, __func__, "The grammar is wrong in line %u: there is no rule \"%.*s\".", rule->line,
                            (int)(rule->len < 64 ? rule->len : 64), rule->name);
    }
    return root ? CDS_OK : cds_fail(r->reterr, CDS_BAD_PARAM, __func__, "The grammar has no rule \"root\", with which it begins.");
}

cds_rc cds_gbnf_check(const char *text, size_t len, struct cds_err *reterr)
{
    if (len > CDS_GBNF_BYTES_MAX)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The grammar has %zu bytes; at most %d are taken.", len, CDS_GBNF_BYTES_MAX);
    if (memchr(text, '\0', len))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The grammar holds a NUL byte.");
    CDS_CLEANUP(cds_free_ptr) struct rule *rules = calloc(CDS_GBNF_RULES_MAX, sizeof(*rules));
    if (!rules)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the grammar.");
    struct reader r = {.at = text, .end = text + len, .line = 1, .rules = rules, .reterr = reterr};
    cds_rc rc = CDS_OK;
    skip(&r, true);
    while (rc == CDS_OK && r.at < r.end)
        rc = define(&r);
    // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
    return rc == CDS_OK ? check_names(&r) : rc;
}
