#include "apps/llmserver/rates.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/random.h"
#include "lib/base/str.h"

enum { BUCKETS = 4096, MINUTE_MS = 60000, SWEEP_MS = 10000 };

/** Counts in units of 1/60000 of a token, so that a millisecond adds exactly the limit. */
struct bucket {
    uint64_t limit; /**< 0: there is none, and nothing counts */
    uint64_t room;  /**< what may be taken: at most limit * MINUTE_MS */
    uint64_t at_ms;
};
struct subject {
    struct subject *next;
    char id[CDS_UUID_LEN + 2]; /**< "u" or "k" and the id */
    struct bucket requests, tokens;
    uint32_t concurrent, most_concurrent;
};
struct cds_rates {
    unsigned nodes, count;
    uint64_t swept_ms;
    struct subject *subjects[BUCKETS];
};

/* --- buckets ------------------------------------------------------------------------------------------------------------ */

/** Brings it to now, and to another limit: what was taken stays taken. */
static void refresh(struct bucket *b, uint64_t limit, uint64_t now_ms)
{
    uint64_t full = limit * MINUTE_MS;
    if (b->limit == 0) {
        *b = (struct bucket){limit, full, now_ms};
        return;
    }
    if (b->limit != limit) {
        uint64_t taken = b->limit * MINUTE_MS - b->room;
        b->room = taken < full ? full - taken : 0;
        b->limit = limit;
    }
    uint64_t passed = now_ms > b->at_ms ? now_ms - b->at_ms : 0;
    if (passed >= MINUTE_MS || b->room + passed * limit >= full)
        b->room = full;
    else
        b->room += passed * limit;
    b->at_ms = now_ms > b->at_ms ? now_ms : b->at_ms;
}

static uint64_t left(const struct bucket *b)
{
    return b->room / MINUTE_MS;
}

static uint32_t wait_ms(const struct bucket *b, uint64_t n)
{
    uint64_t want = n * MINUTE_MS;
    return b->limit == 0 || want <= b->room ? 0 : (uint32_t)((want - b->room + b->limit - 1) / b->limit);
}

static uint32_t next_ms(const struct bucket *b)
{
    return left(b) < b->limit ? wait_ms(b, left(b) + 1) : (uint32_t)((MINUTE_MS + b->limit - 1) / b->limit);
}

static uint64_t part(const struct cds_rates *rates, uint64_t limit)
{
    uint64_t share = limit / rates->nodes;
    return limit == 0 ? 0 : share ? share : 1;
}

/* --- subjects ----------------------------------------------------------------------------------------------------------- */

static struct subject **place_of(struct cds_rates *rates, const char *id)
{
    uint64_t hash = 1469598103934665603ULL;
    for (const char *c = id; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 1099511628211ULL;
    struct subject **link = &rates->subjects[(hash >> 32) % BUCKETS];
    while (*link && !cds_streq((*link)->id, id))
        link = &(*link)->next;
    return link;
}

static bool idle(struct subject *s, uint64_t now_ms)
{
    refresh(&s->requests, s->requests.limit, now_ms);
    refresh(&s->tokens, s->tokens.limit, now_ms);
    return s->concurrent == 0 && s->requests.room == s->requests.limit * MINUTE_MS && s->tokens.room == s->tokens.limit * MINUTE_MS;
}

/** Forgets who is back at the full minute: a new one begins so as well. */
static void sweep(struct cds_rates *rates, uint64_t now_ms)
{
    if (now_ms < rates->swept_ms + SWEEP_MS && rates->count + 2 <= CDS_RATE_SUBJECTS)
        return;
    rates->swept_ms = now_ms;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct subject **link = &rates->subjects[i]; *link;) {
            struct subject *s = *link;
            if (!idle(s, now_ms)) {
                link = &s->next;
                continue;
            }
            *link = s->next;
            rates->count--;
            free(s);
        }
}

/** NULL: there are too many, or memory is out. */
static struct subject *subject_of(struct cds_rates *rates, char kind, const char *uuid, const struct cds_rate_limits *limits, uint64_t now_ms)
{
    char id[CDS_UUID_LEN + 2];
    snprintf(id, sizeof(id), "%c%.36s", kind, uuid);
    struct subject **link = place_of(rates, id);
    if (!*link) {
        if (rates->count >= CDS_RATE_SUBJECTS || !(*link = calloc(1, sizeof(**link))))
            return NULL;
        cds_strcpy((*link)->id, sizeof((*link)->id), id);
        rates->count++;
    }
    refresh(&(*link)->requests, part(rates, limits->requests_per_minute), now_ms);
    refresh(&(*link)->tokens, part(rates, limits->tokens_per_minute), now_ms);
    (*link)->most_concurrent = (uint32_t)part(rates, limits->concurrent_requests);
    return *link;
}

/** The user, and the key where there is one: the ones that count. @return how many, 0 when there is no room */
static unsigned both(struct cds_rates *rates, const struct cds_rate_who *who, uint64_t now_ms, struct subject *ret[static 2])
{
    sweep(rates, now_ms); /* before both are looked up: it may forget the first */
    ret[0] = subject_of(rates, 'u', who->user_id, &who->user, now_ms);
    ret[1] = *who->key_id ? subject_of(rates, 'k', who->key_id, &who->key, now_ms) : NULL;
    if (!ret[0] || (*who->key_id && !ret[1]))
        return 0;
    return *who->key_id ? 2 : 1;
}

static const char *whose(const struct subject *s)
{
    return *s->id == 'k' ? "key" : "user";
}

static cds_rc no_room(struct cds_err *reterr)
{
    cds_fail(reterr, CDS_BUSY, "rates", "More callers are counted at the moment than this server keeps in mind.");
    if (reterr)
        reterr->retry_after_ms = SWEEP_MS;
    return cds_err_hint(reterr, "Try again in a few seconds.");
}

static cds_rc too_fast(const struct subject *s, const char *what, uint64_t limit, uint32_t ms, struct cds_err *reterr)
{
    char rule[48];
    cds_fail(reterr, CDS_RATE_LIMITED, "rates", "This %s has used up its %" PRIu64 " %s per minute for now; the next can begin in %u.%u s.", whose(s),
             limit, what, ms / 1000, ms % 1000 / 100);
    cds_err_hint(reterr, "Wait as long as Retry-After says, or ask an administrator for more.");
    snprintf(rule, sizeof(rule), "rate.%s.%s", whose(s), what);
    cds_err_rule(reterr, rule);
    if (reterr)
        reterr->retry_after_ms = ms ? ms : 1;
    return CDS_RATE_LIMITED;
}

/** Until all of them have that many: whoever comes back when the first has would only be refused by the other. */
static uint32_t longest_wait(struct subject *const s[], unsigned n, uint64_t want, bool of_tokens)
{
    uint32_t longest = 0;
    for (unsigned i = 0; i < n; i++) {
        uint32_t ms = wait_ms(of_tokens ? &s[i]->tokens : &s[i]->requests, want);
        longest = ms > longest ? ms : longest;
    }
    return longest;
}

static cds_rc too_many(const struct subject *s, uint32_t wait, struct cds_err *reterr)
{
    cds_fail(reterr, CDS_RATE_LIMITED, "rates", "%u requests of this %s run already, and no more may run at the same time.", s->concurrent, whose(s));
    cds_err_hint(reterr, "Wait until one of them has ended, or ask an administrator for more.");
    cds_err_rule(reterr, *s->id == 'k' ? "rate.key.concurrency" : "rate.user.concurrency");
    if (reterr)
        reterr->retry_after_ms = wait > 1000 ? wait : 1000;
    return CDS_RATE_LIMITED;
}

/* --- what requests do --------------------------------------------------------------------------------------------------- */

cds_rc cds_rates_begin(struct cds_rates *rates, const struct cds_rate_who *who, uint64_t now_ms, struct cds_err *reterr)
{
    struct subject *s[2];
    unsigned n = both(rates, who, now_ms, s);
    if (n == 0)
        return no_room(reterr);
    uint32_t wait = longest_wait(s, n, 1, false);
    for (unsigned i = n; i-- > 0;) {
        if (s[i]->most_concurrent && s[i]->concurrent >= s[i]->most_concurrent)
            return too_many(s[i], wait, reterr);
        if (s[i]->requests.limit && left(&s[i]->requests) < 1)
            return too_fast(s[i], "requests", s[i]->requests.limit, wait, reterr);
    }
    for (unsigned i = 0; i < n; i++) {
        s[i]->concurrent++;
        if (s[i]->requests.limit)
            s[i]->requests.room -= MINUTE_MS;
    }
    return CDS_OK;
}

void cds_rates_end(struct cds_rates *rates, const struct cds_rate_who *who, uint64_t now_ms)
{
    struct subject *s[2];
    unsigned n = both(rates, who, now_ms, s);
    for (unsigned i = 0; i < n; i++)
        if (s[i]->concurrent)
            s[i]->concurrent--;
}

cds_rc cds_rates_take(struct cds_rates *rates, const struct cds_rate_who *who, uint64_t least, uint64_t most, uint64_t now_ms, uint64_t *ret_taken,
                      struct cds_err *reterr)
{
    struct subject *s[2];
    uint64_t n_tokens = most;
    unsigned n = both(rates, who, now_ms, s);
    if (n == 0)
        return no_room(reterr);
    for (unsigned i = n; i-- > 0;) {
        const struct bucket *b = &s[i]->tokens;
        if (b->limit && least > b->limit) {
            cds_fail(reterr, CDS_RATE_LIMITED, "rates", "This request needs %" PRIu64 " tokens at once, and this %s may use %" PRIu64 " in a minute.",
                     least, whose(s[i]), b->limit);
            cds_err_hint(reterr, "Send a shorter prompt, or ask an administrator for more.");
            cds_err_rule(reterr, *s[i]->id == 'k' ? "rate.key.too_large" : "rate.user.too_large");
            return CDS_RATE_LIMITED;
        }
    }
    for (unsigned i = n; i-- > 0;) {
        const struct bucket *b = &s[i]->tokens;
        if (b->limit == 0 || left(b) >= n_tokens)
            continue;
        n_tokens = left(b);
        if (n_tokens >= least)
            continue;
        return too_fast(s[i], "tokens", b->limit, longest_wait(s, n, least, true), reterr);
    }
    for (unsigned i = 0; i < n; i++)
        if (s[i]->tokens.limit)
            s[i]->tokens.room -= n_tokens * MINUTE_MS;
    *ret_taken = n_tokens;
    return CDS_OK;
}

void cds_rates_give(struct cds_rates *rates, const struct cds_rate_who *who, uint64_t tokens, uint64_t now_ms)
{
    struct subject *s[2];
    unsigned n = both(rates, who, now_ms, s);
    for (unsigned i = 0; i < n; i++) {
        struct bucket *b = &s[i]->tokens;
        uint64_t missing = b->limit * MINUTE_MS - b->room;
        b->room += tokens * MINUTE_MS < missing ? tokens * MINUTE_MS : missing;
    }
}

static void add_line(struct cds_rate_line *lines, unsigned *n, const char *name, const struct bucket *b)
{
    if (b->limit)
        lines[(*n)++] = (struct cds_rate_line){name, b->limit, left(b), wait_ms(b, b->limit), next_ms(b)};
}

unsigned cds_rates_lines(struct cds_rates *rates, const struct cds_rate_who *who, uint64_t now_ms, struct cds_rate_line lines[static CDS_RATE_LINES])
{
    static const char *const names[2][3] = {{"user-requests", "user-tokens", "user-concurrency"}, {"key-requests", "key-tokens", "key-concurrency"}};
    struct subject *s[2];
    unsigned n = both(rates, who, now_ms, s), count = 0;
    for (unsigned i = n; i-- > 0;) {
        uint32_t most = s[i]->most_concurrent, now = s[i]->concurrent;
        add_line(lines, &count, names[i][0], &s[i]->requests);
        add_line(lines, &count, names[i][1], &s[i]->tokens);
        if (most)
            lines[count++] = (struct cds_rate_line){names[i][2], most, now < most ? most - now : 0, 0, 0};
    }
    return count;
}

unsigned cds_rates_count(const struct cds_rates *rates)
{
    return rates->count;
}

cds_rc cds_rates_new(unsigned nodes, struct cds_rates **ret, struct cds_err *reterr)
{
    struct cds_rates *rates = calloc(1, sizeof(*rates));
    if (!rates)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the limits of rate.");
    rates->nodes = nodes ? nodes : 1;
    *ret = rates;
    return CDS_OK;
}

void cds_rates_free(struct cds_rates **rates)
{
    if (!rates || !*rates)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        while ((*rates)->subjects[i]) {
            struct subject *s = (*rates)->subjects[i];
            (*rates)->subjects[i] = s->next;
            free(s);
        }
    free(*rates);
    *rates = NULL;
}
