#include "apps/llmserver/gbnf.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"

/** A rule: its name is a piece of the text. */
struct rule {
    const char *name;
    size_t len;
    unsigned line; /**< where it is used first, or defined */
    bool defined;
    unsigned body;                          /**< its node */
    unsigned empty;                         /**< ways to be empty: 0, 1, or 2 for more */
    enum { UNKNOWN, IN_WORK, KNOWN } state; /**< of paths */
    unsigned paths;                         /**< places a text may begin at, for the parser that tries all of them */
};
/** A part of a rule. Children are a list; 0 ends it. */
struct node {
    enum { TERMINAL, NOTHING, REFERENCE, SEQUENCE, ALTERNATIVES, OPTIONAL } kind;
    unsigned first, next, rule, line;
};
struct reader {
    const char *at, *end;
    unsigned line, depth, repeats;
    struct rule *rules;
    unsigned rule_count;
    struct node *nodes;
    unsigned node_count;
    struct cds_err *reterr;
};

static cds_rc wrong(const struct reader *r, const char *what)
{
    return cds_fail(r->reterr, CDS_BAD_PARAM, "cds_gbnf_check", "The grammar is wrong in line %u: %s.", r->line, what);
}

/** A new node behind the ones there are. 0: too many. */
static unsigned node_new(struct reader *r, int kind)
{
    if (r->node_count == CDS_GBNF_NODES_MAX)
        return 0;
    r->nodes[r->node_count] = (struct node){.kind = kind, .line = r->line};
    return r->node_count++;
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
    r->rules[r->rule_count] = (struct rule){.name = name, .len = len, .line = r->line};
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
static cds_rc repeat(struct reader *r, bool *ret_optional)
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
    *ret_optional = least == 0;
    return r->repeats > CDS_GBNF_REPEATS_MAX ? wrong(r, "its repeats together count over 20000") : CDS_OK;
}

static cds_rc alternatives(struct reader *r, bool nested, unsigned *ret);

static cds_rc group(struct reader *r, unsigned *ret)
{
    r->at++;
    if (++r->depth > CDS_GBNF_DEPTH_MAX)
        return wrong(r, "its groups are nested over 64 deep");
    skip(r, true);
    cds_rc rc = alternatives(r, true, ret);
    if (rc != CDS_OK)
        return rc;
    r->depth--;
    if (r->at == r->end || *r->at != ')')
        return wrong(r, "a group does not end with )");
    r->at++;
    return CDS_OK;
}

static cds_rc reference(struct reader *r, unsigned *ret)
{
    size_t len = word(r);
    const struct rule *rule = rule_of(r, r->at, len);
    if (!rule)
        return wrong(r, "it has over 2048 rules");
    *ret = node_new(r, REFERENCE);
    r->nodes[*ret].rule = (unsigned)(rule - r->rules);
    r->at += len;
    return CDS_OK;
}

/** One element without its repeat. *ret 0 with CDS_OK: there is none. */
static cds_rc element(struct reader *r, unsigned *ret)
{
    char c = r->at < r->end ? *r->at : '\0';
    *ret = 0;
    if (r->node_count + 4 > CDS_GBNF_NODES_MAX)
        return wrong(r, "it has over 32768 parts");
    if (c == '"' || c == '[') {
        bool nothing = c == '"' && r->at + 1 < r->end && r->at[1] == '"';
        r->at++;
        *ret = node_new(r, nothing ? NOTHING : TERMINAL);
        return until(r, c == '"' ? '"' : ']');
    }
    if (c == '(')
        return group(r, ret);
    if (c == '.') {
        r->at++;
        *ret = node_new(r, TERMINAL);
        return CDS_OK;
    }
    if (is_word(c) && r->at < r->end)
        return reference(r, ret);
    return c == '<' || c == '!' ? wrong(r, "it names tokens, which this server does not offer") : CDS_OK;
}

/** Repeats behind an element. */
static cds_rc repeats(struct reader *r, bool nested, unsigned *node)
{
    cds_rc rc = CDS_OK;
    skip(r, nested);
    while (rc == CDS_OK && r->at < r->end && strchr("*+?{", *r->at) && *r->at) {
        char c = *r->at++;
        bool optional = c == '*' || c == '?';
        rc = c == '{' ? repeat(r, &optional) : CDS_OK;
        unsigned outer = rc == CDS_OK && optional ? node_new(r, OPTIONAL) : 0;
        if (outer) {
            r->nodes[outer].first = *node;
            *node = outer;
        }
        skip(r, nested);
    }
    return rc;
}

static cds_rc sequence(struct reader *r, bool nested, unsigned *ret)
{
    unsigned node = 0, last = 0;
    *ret = node_new(r, SEQUENCE);
    if (!*ret)
        return wrong(r, "it has over 32768 parts");
    for (;;) {
        cds_rc rc = element(r, &node);
        if (rc == CDS_OK && node)
            rc = repeats(r, nested, &node);
        if (rc != CDS_OK)
            return rc;
        if (!node)
            break;
        /* A group's node may be in a list of its own: a wrapper keeps the two apart. */
        unsigned item = node_new(r, ALTERNATIVES);
        if (!item)
            return wrong(r, "it has over 32768 parts");
        r->nodes[item].first = node;
        *(last ? &r->nodes[last].next : &r->nodes[*ret].first) = item;
        last = item;
    }
    return r->at < r->end && strchr("*+?{", *r->at) && *r->at ? wrong(r, "a repeat has nothing before it") : CDS_OK;
}

static cds_rc alternatives(struct reader *r, bool nested, unsigned *ret)
{
    unsigned one = 0;
    cds_rc rc = sequence(r, nested, &one);
    unsigned all = rc == CDS_OK ? node_new(r, ALTERNATIVES) : 0, last = one;
    r->nodes[all].first = one;
    while (rc == CDS_OK && all && r->at < r->end && *r->at == '|') {
        r->at++;
        skip(r, true);
        rc = sequence(r, nested, &one);
        r->nodes[last].next = one;
        last = one;
    }
    *ret = all;
    return rc == CDS_OK && !all ? wrong(r, "it has over 32768 parts") : rc;
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
    unsigned index = (unsigned)(rule - r->rules);
    cds_rc rc = alternatives(r, false, &r->rules[index].body);
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

/* --- what the parser would have to try ---------------------------------------------------------------------------------- */

static unsigned most(unsigned a, unsigned limit)
{
    return a < limit ? a : limit;
}

/** Ways a part can be empty, 2 for more than one. */
static unsigned empty(const struct reader *r, unsigned index)
{
    const struct node *node = &r->nodes[index];
    unsigned ways = node->kind == SEQUENCE;
    switch (node->kind) {
    case NOTHING:
        return 1;
    case REFERENCE:
        return r->rules[node->rule].empty;
    case OPTIONAL:
        return most(empty(r, node->first) + 1, 2);
    case SEQUENCE:
        for (unsigned i = node->first; i && ways; i = r->nodes[i].next)
            ways = most(ways * empty(r, i), 2);
        return ways;
    case ALTERNATIVES:
        for (unsigned i = node->first; i; i = r->nodes[i].next)
            ways = most(ways + empty(r, i), 2);
        return ways;
    default:
        return 0;
    }
}

/** A part that is empty in two ways doubles the work of the parser wherever it stands. */
static cds_rc check_empty(struct reader *r)
{
    bool changed = true;
    /* Each round settles at least one rule for good, and each has three values. */
    for (unsigned round = 0; changed && round < CDS_GBNF_ROUNDS_MAX; round++) {
        changed = false;
        for (unsigned i = 0; i < r->rule_count; i++) {
            unsigned ways = empty(r, r->rules[i].body);
            changed = changed || ways != r->rules[i].empty;
            r->rules[i].empty = ways;
        }
    }
    for (unsigned i = 1; i < r->node_count; i++) {
        r->line = r->nodes[i].line;
        if (empty(r, i) > 1)
            return wrong(r, "a part of it can be empty in more than one way, and all of them would be tried");
    }
    return changed ? wrong(r, "its rules can be empty through too many others") : CDS_OK;
}

/** Places a text that begins with this part may begin at. @return false: it begins with itself, or there are too many */
static bool paths(struct reader *r, unsigned index, unsigned *ret)
{
    const struct node *node = &r->nodes[index];
    struct rule *rule = &r->rules[node->rule];
    unsigned one, sum = node->kind == TERMINAL || node->kind == NOTHING;
    r->line = node->line;
    if (node->kind == REFERENCE) {
        if (rule->state == UNKNOWN) {
            rule->state = IN_WORK;
            if (!paths(r, rule->body, &rule->paths))
                return false;
            rule->state = KNOWN;
        }
        *ret = rule->paths;
        r->line = node->line;
        return rule->state == KNOWN;
    }
    bool follows = true;
    unsigned weight = 1;
    for (unsigned i = node->first; i && follows; i = r->nodes[i].next) {
        if (!paths(r, i, &one) || weight > CDS_GBNF_PATHS_MAX)
            return false;
        sum += one * weight;
        weight *= node->kind == SEQUENCE ? 2 : 1; /* the parser follows what comes behind an empty part with and without it */
        follows = node->kind != SEQUENCE || empty(r, i) > 0;
        if (sum > CDS_GBNF_PATHS_MAX)
            return false;
    }
    *ret = sum;
    return true;
}

/** From every place in it: the rest of a sequence begins where the part before it ended. */
static cds_rc check_paths(struct reader *r)
{
    for (unsigned i = 1; i < r->node_count; i++) {
        unsigned sum = 0, one;
        for (unsigned k = r->nodes[i].kind == SEQUENCE ? r->nodes[i].first : 0; k; k = r->nodes[k].next) {
            if (!paths(r, k, &one))
                return wrong(r, "a rule begins with itself, or a text may go on in too many ways");
            sum = empty(r, k) ? 2 * sum + one : one;
            if (sum > CDS_GBNF_PATHS_MAX)
                return wrong(r, "a text may go on in too many ways");
        }
    }
    return CDS_OK;
}

cds_rc cds_gbnf_check(const char *text, size_t len, struct cds_err *reterr)
{
    if (len > CDS_GBNF_BYTES_MAX)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The grammar has %zu bytes; at most %d are taken.", len, CDS_GBNF_BYTES_MAX);
    if (memchr(text, '\0', len))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The grammar holds a NUL byte.");
    CDS_CLEANUP(cds_free_ptr) struct rule *rules = calloc(CDS_GBNF_RULES_MAX, sizeof(*rules));
    CDS_CLEANUP(cds_free_ptr) struct node *nodes = calloc(CDS_GBNF_NODES_MAX, sizeof(*nodes));
    if (!rules || !nodes)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the grammar.");
    struct reader r = {.at = text, .end = text + len, .line = 1, .rules = rules, .nodes = nodes, .node_count = 1, .reterr = reterr};
    cds_rc rc = CDS_OK;
    skip(&r, true);
    while (rc == CDS_OK && r.at < r.end)
        rc = define(&r);
    if (rc == CDS_OK)
        rc = check_names(&r);
    if (rc == CDS_OK)
        rc = check_empty(&r);
    if (rc == CDS_OK)
        rc = check_paths(&r);
    // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
    return rc;
}
