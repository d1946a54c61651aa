/* lib/json/pattern.c: reads a pattern by recursive descent and writes steps; see pattern.h for the language. */
#include "lib/json/pattern.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/str.h"
#include "lib/json/pattern_code.h"

enum { REPEAT_MAX = CDS_PATTERN_STEPS_MAX, NO_LIMIT = -1 };

struct reader {
    const char *text;
    size_t len, at;
    int groups;
    struct cds_pattern *code;
    struct cds_err *reterr;
};

static cds_rc refuse(struct reader *r, const char *why)
{
    return cds_fail(r->reterr, CDS_BAD_PARAM, "cds_pattern_compile", "The pattern %.80s is refused at byte %zu: %s.", r->text, r->at, why);
}

static bool looking_at(const struct reader *r, char c)
{
    return r->at < r->len && r->text[r->at] == c;
}

static bool take(struct reader *r, char c)
{
    if (!looking_at(r, c))
        return false;
    r->at++;
    return true;
}

/* --- writing steps ------------------------------------------------------------------------------------------------------- */

static cds_rc emit(struct reader *r, enum step_op op, int32_t a, int32_t b)
{
    struct cds_pattern *code = r->code;
    if (code->step_count == CDS_PATTERN_STEPS_MAX - 1) /* one is kept for STEP_MATCH */
        return refuse(r, "it has too many steps");
    code->steps[code->step_count++] = (struct step){op, a, b};
    return CDS_OK;
}

/** Makes room for one step before the piece that starts at `from`. */
static cds_rc insert(struct reader *r, size_t from, enum step_op op, int32_t a, int32_t b)
{
    cds_rc rc = emit(r, op, 0, 0);
    if (rc)
        return rc;
    struct step *steps = r->code->steps;
    memmove(&steps[from + 1], &steps[from], (r->code->step_count - 1 - from) * sizeof(*steps));
    steps[from] = (struct step){op, a, b};
    return CDS_OK;
}

static cds_rc copy_piece(struct reader *r, size_t from, size_t count)
{
    cds_rc rc = CDS_OK;
    for (size_t i = 0; i < count && !rc; i++) {
        struct step s = r->code->steps[from + i];
        rc = emit(r, s.op, s.a, s.b);
    }
    return rc;
}

static cds_rc add_range(struct reader *r, uint32_t low, uint32_t high)
{
    struct cds_pattern *code = r->code;
    if (low > high)
        return refuse(r, "a range runs backwards");
    if (code->range_count == CDS_PATTERN_RANGES_MAX)
        return refuse(r, "it has too many ranges");
    code->ranges[code->range_count++] = (struct range){low, high};
    return CDS_OK;
}

/* --- classes ------------------------------------------------------------------------------------------------------------- */

/** \d \w \s as ECMA-262 lists them. */
static cds_rc add_named(struct reader *r, char name)
{
    static const struct range digit[] = {{'0', '9'}}, word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}},
                              space[] = {{'\t', '\r'},     {' ', ' '},       {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a},
                                         {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}};
    const struct range *list = name == 'd' ? digit : name == 'w' ? word : space;
    size_t count = name == 'd' ? CDS_ARRAY_LEN(digit) : name == 'w' ? CDS_ARRAY_LEN(word) : CDS_ARRAY_LEN(space);
    cds_rc rc = CDS_OK;
    for (size_t i = 0; i < count && !rc; i++)
        rc = add_range(r, list[i].low, list[i].high);
    return rc;
}

static cds_rc read_hex(struct reader *r, int digits, uint32_t *ret)
{
    uint32_t value = 0;
    for (int i = 0; i < digits; i++) {
        char c = r->at < r->len ? r->text[r->at] : '\0';
        const char *all = "0123456789abcdef";
        char low = c >= 'A' && c <= 'F' ? (char)(c + 32) : c;
        const char *found = low ? strchr(all, low) : NULL;
        if (!found)
            return refuse(r, "\\x needs two and \\u four hexadecimal digits");
        value = value * 16 + (uint32_t)(found - all);
        r->at++;
    }
    *ret = value;
    return CDS_OK;
}

/** After a backslash that is not one of \d \w \s and their opposites. */
static cds_rc read_escape(struct reader *r, bool in_class, uint32_t *ret)
{
    static const char controls[] = "t\tn\nr\rf\fv\v";
    char c = r->at < r->len ? r->text[r->at] : '\0';
    if (c == 'x' || c == 'u') {
        r->at++;
        return read_hex(r, c == 'x' ? 2 : 4, ret);
    }
    for (size_t i = 0; c && i + 1 < sizeof(controls); i += 2) {
        if (controls[i] == c) {
            r->at++;
            *ret = (uint32_t)controls[i + 1];
            return CDS_OK;
        }
    }
    if (!c || !(strchr("^$\\.*+?()[]{}|/", c) || (in_class && c == '-')))
        return refuse(r, "this escape is not part of the language");
    r->at++;
    *ret = (uint32_t)c;
    return CDS_OK;
}

static bool at_named(const struct reader *r, const char *names)
{
    return r->at + 1 < r->len && r->text[r->at] == '\\' && strchr(names, r->text[r->at + 1]);
}

/** One character of a class, not \d \w \s. */
static cds_rc read_member(struct reader *r, uint32_t *ret)
{
    if (take(r, '\\'))
        return read_escape(r, true, ret);
    *ret = cds_pattern_next(r->text, r->len, &r->at);
    return CDS_OK;
}

static cds_rc read_class(struct reader *r)
{
    bool other = take(r, '^');
    size_t first = r->code->range_count;
    cds_rc rc = CDS_OK;
    while (!rc && r->at < r->len && !looking_at(r, ']')) {
        if (at_named(r, "dws")) {
            rc = add_named(r, r->text[r->at + 1]);
            r->at += 2;
            continue;
        }
        uint32_t low, high;
        rc = read_member(r, &low);
        if (rc)
            break;
        high = low;
        /* A minus at the end of a class stands for itself. */
        if (looking_at(r, '-') && r->at + 1 < r->len && r->text[r->at + 1] != ']') {
            r->at++;
            rc = at_named(r, "dwsDWS") ? refuse(r, "a range must end in a character") : read_member(r, &high);
        }
        if (!rc)
            rc = add_range(r, low, high);
    }
    if (rc)
        return rc;
    if (!take(r, ']'))
        return refuse(r, "a [ is not closed");
    return emit(r, other ? STEP_OTHER : STEP_CLASS, (int32_t)first, (int32_t)(r->code->range_count - first));
}

/* --- grammar ------------------------------------------------------------------------------------------------------------- */

static cds_rc read_choice(struct reader *r);

static cds_rc read_group(struct reader *r)
{
    if (take(r, '?') && !take(r, ':'))
        return refuse(r, "only (?: may follow a bracket");
    if (++r->groups > CDS_PATTERN_GROUPS_MAX)
        return refuse(r, "it has too many groups");
    cds_rc rc = read_choice(r);
    if (rc)
        return rc;
    return take(r, ')') ? CDS_OK : refuse(r, "a ( is not closed");
}

static cds_rc read_atom(struct reader *r)
{
    if (at_named(r, "dwsDWS")) {
        char name = r->text[r->at + 1];
        size_t first = r->code->range_count;
        r->at += 2;
        cds_rc rc = add_named(r, name >= 'a' ? name : (char)(name + 32));
        return rc ? rc : emit(r, name >= 'a' ? STEP_CLASS : STEP_OTHER, (int32_t)first, (int32_t)(r->code->range_count - first));
    }
    uint32_t c = 0;
    if (take(r, '\\')) {
        cds_rc rc = read_escape(r, false, &c);
        return rc ? rc : emit(r, STEP_CHAR, (int32_t)c, 0);
    }
    if (take(r, '('))
        return read_group(r);
    if (take(r, '['))
        return read_class(r);
    if (take(r, '.'))
        return emit(r, STEP_ANY, 0, 0);
    if (strchr("*+?{}]", r->text[r->at]))
        return refuse(r, "this character must be escaped, or there is nothing to repeat");
    c = cds_pattern_next(r->text, r->len, &r->at);
    return emit(r, STEP_CHAR, (int32_t)c, 0);
}

static cds_rc read_number(struct reader *r, int *ret)
{
    int value = 0, digits = 0;
    for (; r->at < r->len && r->text[r->at] >= '0' && r->text[r->at] <= '9'; r->at++, digits++) {
        value = value * 10 + (r->text[r->at] - '0');
        if (value > REPEAT_MAX)
            return refuse(r, "a repeat count is too large");
    }
    if (!digits)
        return refuse(r, "a repeat count is missing");
    *ret = value;
    return CDS_OK;
}

/** What follows an atom; low = high = 1 when nothing does. */
static cds_rc read_repeat(struct reader *r, int *low, int *high)
{
    *low = *high = 1;
    if (take(r, '*')) {
        *low = 0;
        *high = NO_LIMIT;
    } else if (take(r, '+')) {
        *high = NO_LIMIT;
    } else if (take(r, '?')) {
        *low = 0;
    } else if (take(r, '{')) {
        cds_rc rc = read_number(r, low);
        if (rc)
            return rc;
        *high = *low;
        if (take(r, ','))
            rc = looking_at(r, '}') ? (*high = NO_LIMIT, CDS_OK) : read_number(r, high);
        if (rc)
            return rc;
        if (!take(r, '}') || (*high != NO_LIMIT && *high < *low))
            return refuse(r, "a repeat must read {n}, {n,} or {n,m}");
    }
    return CDS_OK;
}

/** The piece [from, end of code) has been written once; repeats it low to high times. */
static cds_rc write_repeat(struct reader *r, size_t from, int low, int high)
{
    size_t size = r->code->step_count - from;
    int32_t len = (int32_t)size;
    cds_rc rc = CDS_OK;
    if (low == 1 && high == 1)
        return CDS_OK;
    if (high == 0) {
        r->code->step_count = from;
        return CDS_OK;
    }
    if (low == 0) { /* the first copy becomes optional, and loops when there is no limit */
        rc = insert(r, from, STEP_SPLIT, 1, high == NO_LIMIT ? len + 2 : len + 1);
        if (!rc && high == NO_LIMIT)
            return emit(r, STEP_JUMP, -(len + 1), 0);
        from++;
    }
    for (int i = 1; i < low && !rc; i++)
        rc = copy_piece(r, from, size);
    if (high == NO_LIMIT)
        return rc ? rc : emit(r, STEP_SPLIT, -len, 1);
    for (int i = low > 1 ? low : 1; i < high && !rc; i++) {
        rc = emit(r, STEP_SPLIT, 1, len + 1);
        if (!rc)
            rc = copy_piece(r, from, size);
    }
    return rc;
}

static cds_rc read_sequence(struct reader *r)
{
    while (r->at < r->len && !looking_at(r, '|') && !looking_at(r, ')')) {
        cds_rc rc;
        if (looking_at(r, '^') || looking_at(r, '$')) {
            rc = emit(r, r->text[r->at] == '^' ? STEP_BEGIN : STEP_END, 0, 0);
            r->at++;
        } else {
            size_t from = r->code->step_count;
            int low, high;
            rc = read_atom(r);
            if (!rc)
                rc = read_repeat(r, &low, &high);
            if (!rc)
                rc = write_repeat(r, from, low, high);
        }
        if (rc)
            return rc;
    }
    return CDS_OK;
}

/** a|b|c, right to left: SPLIT a (JUMP end) (b|c). */
static cds_rc read_choice(struct reader *r)
{
    size_t from = r->code->step_count, jumps[CDS_PATTERN_STEPS_MAX / 2], jump_count = 0;
    cds_rc rc = read_sequence(r);
    while (!rc && take(r, '|')) {
        int32_t len = (int32_t)(r->code->step_count - from);
        rc = insert(r, from, STEP_SPLIT, 1, len + 2);
        if (!rc) {
            jumps[jump_count++] = r->code->step_count;
            rc = emit(r, STEP_JUMP, 0, 0);
        }
        from = r->code->step_count;
        if (!rc)
            rc = read_sequence(r);
    }
    for (size_t i = 0; i < jump_count && !rc; i++)
        r->code->steps[jumps[i]].a = (int32_t)(r->code->step_count - jumps[i]);
    return rc;
}

cds_rc cds_pattern_compile(const char *text, struct cds_pattern **ret, struct cds_err *reterr)
{
    struct reader r = {.text = text, .len = strlen(text), .reterr = reterr};
    if (!cds_utf8_valid(text, r.len))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The pattern is not UTF-8.");
    r.code = calloc(1, sizeof(*r.code));
    if (!r.code)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for a pattern.");
    cds_rc rc = read_choice(&r);
    if (!rc && r.at < r.len)
        rc = refuse(&r, "a ) has no (");
    if (rc) {
        cds_pattern_free(&r.code);
        return rc;
    }
    r.code->steps[r.code->step_count++] = (struct step){STEP_MATCH, 0, 0};
    *ret = r.code;
    return CDS_OK;
}

void cds_pattern_free(struct cds_pattern **pattern)
{
    free(*pattern);
    *pattern = NULL;
}
