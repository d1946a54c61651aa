/* lib/json/pattern_match.c: runs all ways through a pattern side by side, one code point at a time: time is steps x characters. */
#include "lib/json/pattern_code.h"

#include <string.h>

/** A set of steps, kept in the order of arrival. */
struct place_set {
    size_t count;
    uint16_t places[CDS_PATTERN_STEPS_MAX];
    bool in[CDS_PATTERN_STEPS_MAX];
};

uint32_t cds_pattern_next(const char *text, size_t len, size_t *at)
{
    const unsigned char *p = (const unsigned char *)text + *at;
    size_t left = len - *at, more = p[0] >= 0xf0 ? 3 : p[0] >= 0xe0 ? 2 : p[0] >= 0xc0 ? 1 : 0;
    if (more >= left)
        more = 0;
    uint32_t c = more == 3 ? p[0] & 0x07u : more == 2 ? p[0] & 0x0fu : more == 1 ? p[0] & 0x1fu : p[0];
    for (size_t i = 1; i <= more; i++)
        c = c << 6 | (p[i] & 0x3fu);
    *at += more + 1;
    return c;
}

/** Places that were found but not looked at yet; each enters at most once per set. */
struct waiting {
    size_t count;
    uint16_t places[CDS_PATTERN_STEPS_MAX];
};

static void visit(struct place_set *set, struct waiting *waiting, size_t place)
{
    if (set->in[place])
        return;
    set->in[place] = true;
    waiting->places[waiting->count++] = (uint16_t)place;
}

/** Adds a place and all that can be reached from it without a character. True when the end of the pattern is among them. */
static bool add_place(const struct cds_pattern *p, struct place_set *set, size_t place, bool at_begin, bool at_end)
{
    struct waiting waiting;
    bool matched = false;
    waiting.count = 0;
    visit(set, &waiting, place);
    while (waiting.count) {
        size_t at = waiting.places[--waiting.count];
        const struct step *s = &p->steps[at];
        switch (s->op) {
        case STEP_SPLIT:
            visit(set, &waiting, (size_t)((ptrdiff_t)at + s->a));
            visit(set, &waiting, (size_t)((ptrdiff_t)at + s->b));
            break;
        case STEP_JUMP:
            visit(set, &waiting, (size_t)((ptrdiff_t)at + s->a));
            break;
        case STEP_BEGIN:
            if (at_begin)
                visit(set, &waiting, at + 1);
            break;
        case STEP_END:
            if (at_end)
                visit(set, &waiting, at + 1);
            break;
        case STEP_MATCH:
            matched = true;
            break;
        default:
            set->places[set->count++] = (uint16_t)at;
        }
    }
    return matched;
}

static bool in_ranges(const struct cds_pattern *p, const struct step *s, uint32_t c)
{
    for (int32_t i = s->a; i < s->a + s->b; i++) {
        if (c >= p->ranges[i].low && c <= p->ranges[i].high)
            return true;
    }
    return false;
}

static bool accepts(const struct cds_pattern *p, const struct step *s, uint32_t c)
{
    switch (s->op) {
    case STEP_CHAR:
        return c == (uint32_t)s->a;
    case STEP_ANY:
        return c != '\n' && c != '\r' && c != 0x2028 && c != 0x2029;
    case STEP_CLASS:
        return in_ranges(p, s, c);
    case STEP_OTHER:
        return !in_ranges(p, s, c);
    default:
        return false;
    }
}

static void clear(const struct cds_pattern *p, struct place_set *set)
{
    set->count = 0;
    memset(set->in, 0, p->step_count * sizeof(set->in[0]));
}

bool cds_pattern_match(const struct cds_pattern *pattern, const char *text, size_t len)
{
    struct place_set sets[2], *now = &sets[0], *then = &sets[1];
    clear(pattern, now);
    if (add_place(pattern, now, 0, true, len == 0))
        return true;
    for (size_t at = 0; at < len;) {
        uint32_t c = cds_pattern_next(text, len, &at);
        clear(pattern, then);
        for (size_t i = 0; i < now->count; i++) {
            size_t place = now->places[i];
            if (accepts(pattern, &pattern->steps[place], c) && add_place(pattern, then, place + 1, false, at == len))
                return true;
        }
        /* A match may begin at any character. */
        if (add_place(pattern, then, 0, false, at == len))
            return true;
        struct place_set *swap = now;
        now = then;
        then = swap;
    }
    return false;
}
