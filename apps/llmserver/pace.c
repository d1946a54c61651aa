#include "apps/llmserver/pace.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/db/db.h"
#include "lib/log/log.h"

/* Rows are never removed, so what has changed is what is newer; a transaction that was slow to commit is looked for as long. */
static const char changed_sql[] = "SELECT user_id, coalesce(requests_per_minute, 0), coalesce(tokens_per_minute, 0), coalesce(concurrent_requests, 0)"
                                  " FROM rate_limits WHERE $1::bigint = 0 OR set_at > now() - interval '1 minute'";
enum { BUCKETS = 1024, LOOK_MS = 1000, RETRY_MS = 200, ASK_MS = 5000, HEADER_MAX = 400 };

struct own {
    struct own *next;
    char user_id[CDS_UUID_LEN + 1];
    struct cds_rate_limits limits; /**< 0: the default holds */
};
struct cds_pace {
    struct cds_rates *rates;
    struct cds_rate_limits defaults;
    struct cds_dbq *db;
    struct cds_timer *timer;
    bool known;
    struct own *own[BUCKETS];
};

/* --- limits of users ---------------------------------------------------------------------------------------------------- */

static struct own **place_of(struct cds_pace *pace, const char *user_id)
{
    uint64_t hash = 1469598103934665603ULL;
    for (const char *c = user_id; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 1099511628211ULL;
    struct own **link = &pace->own[(hash >> 32) % BUCKETS];
    while (*link && !cds_streq((*link)->user_id, user_id))
        link = &(*link)->next;
    return link;
}

static void take_row(struct cds_pace *pace, const struct cds_rows *rows, int row)
{
    const char *user_id = cds_rows_str(rows, row, 0);
    struct own **link = place_of(pace, user_id);
    if (!*link && !(*link = calloc(1, sizeof(**link))))
        abort(); /* limits that do not hold for want of memory are worse than a restart */
    cds_strcpy((*link)->user_id, sizeof((*link)->user_id), user_id);
    (*link)->limits = (struct cds_rate_limits){.requests_per_minute = (uint32_t)cds_rows_i64(rows, row, 1, 0),
                                               .tokens_per_minute = (uint64_t)cds_rows_i64(rows, row, 2, 0),
                                               .concurrent_requests = (uint32_t)cds_rows_i64(rows, row, 3, 0)};
}

static void on_rows(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct cds_pace *pace = user;
    if (err && err->code == CDS_CANCELLED)
        return;
    for (int i = 0; !err && i < cds_rows_count(rows); i++)
        take_row(pace, rows, i);
    /* After an error everything is read again: a minute may have passed. */
    pace->known = !err;
    cds_timer_set(pace->timer, cds_now_ms() + (err ? RETRY_MS : LOOK_MS));
}

static void look(void *user)
{
    struct cds_pace *pace = user;
    const char *params[] = {pace->known ? "1" : "0"};
    if (cds_dbq_exec(pace->db, changed_sql, 1, params, cds_now_ms() + ASK_MS, on_rows, pace) != CDS_OK) /* the answer may come before it returns */
        cds_timer_set(pace->timer, cds_now_ms() + RETRY_MS);
}

/** Each limit by itself: one that is set for a user takes no default of another kind away. */
static struct cds_rate_limits limits_of(struct cds_pace *pace, const char *user_id)
{
    const struct own *own = *place_of(pace, user_id);
    struct cds_rate_limits limits = pace->defaults;
    if (own && own->limits.requests_per_minute)
        limits.requests_per_minute = own->limits.requests_per_minute;
    if (own && own->limits.tokens_per_minute)
        limits.tokens_per_minute = own->limits.tokens_per_minute;
    if (own && own->limits.concurrent_requests)
        limits.concurrent_requests = own->limits.concurrent_requests;
    return limits;
}

static struct cds_rate_who who_of(struct cds_pace *pace, const struct cds_credential *credential)
{
    return (struct cds_rate_who){.user_id = credential->claims.user_id,
                                 .key_id = credential->claims.key_id,
                                 .user = limits_of(pace, credential->claims.user_id),
                                 .key = {.requests_per_minute = credential->claims.requests_per_minute,
                                         .tokens_per_minute = credential->claims.tokens_per_minute,
                                         .concurrent_requests = credential->claims.concurrent_requests}};
}

/* --- what clients are told ---------------------------------------------------------------------------------------------- */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && cds_streq(text + n - m, end);
}

/** OpenAI's names have one limit of a kind: the one that is nearest to its end, measured in what is left. */
static void add_openai(struct cds_http_req *req, const char *kind, const struct cds_rate_line *lines, unsigned n)
{
    const struct cds_rate_line *tightest = NULL;
    for (unsigned i = 0; i < n; i++)
        if (ends_with(lines[i].name, kind) && (!tightest || lines[i].left < tightest->left))
            tightest = &lines[i];
    if (!tightest)
        return;
    char name[64], value[32];
    snprintf(name, sizeof(name), "x-ratelimit-limit-%s", kind);
    snprintf(value, sizeof(value), "%" PRIu64, tightest->limit);
    cds_http_add_header(req, name, value);
    snprintf(name, sizeof(name), "x-ratelimit-remaining-%s", kind);
    snprintf(value, sizeof(value), "%" PRIu64, tightest->left);
    cds_http_add_header(req, name, value);
    snprintf(name, sizeof(name), "x-ratelimit-reset-%s", kind);
    if (tightest->full_in_ms >= 1000)
        snprintf(value, sizeof(value), "%u.%03us", tightest->full_in_ms / 1000, tightest->full_in_ms % 1000);
    else
        snprintf(value, sizeof(value), "%ums", tightest->full_in_ms);
    cds_http_add_header(req, name, value);
}

static void add_headers(struct cds_pace *pace, const struct cds_rate_who *who, struct cds_http_req *req)
{
    struct cds_rate_line lines[CDS_RATE_LINES];
    unsigned n = cds_rates_lines(pace->rates, who, cds_now_ms(), lines);
    char policy[HEADER_MAX] = "", now[HEADER_MAX] = "";
    size_t p = 0, r = 0;
    for (unsigned i = 0; i < n; i++) {
        const char *comma = i ? ", " : "";
        bool concurrency = ends_with(lines[i].name, "concurrency"), tokens = ends_with(lines[i].name, "tokens");
        p += (size_t)snprintf(policy + p, HEADER_MAX - p, "%s\"%s\";q=%" PRIu64 "%s", comma, lines[i].name, lines[i].limit,
                              concurrency ? ";qu=\"concurrent-requests\""
                              : tokens    ? ";qu=\"tokens\";w=60"
                                          : ";w=60");
        r += (size_t)snprintf(now + r, HEADER_MAX - r, "%s\"%s\";r=%" PRIu64, comma, lines[i].name, lines[i].left);
        if (!concurrency)
            r += (size_t)snprintf(now + r, HEADER_MAX - r, ";t=%u", (lines[i].next_in_ms + 999) / 1000);
    }
    if (n == 0)
        return;
    cds_http_add_header(req, "RateLimit-Policy", policy);
    cds_http_add_header(req, "RateLimit", now);
    add_openai(req, "requests", lines, n);
    add_openai(req, "tokens", lines, n);
}

/* --- requests ----------------------------------------------------------------------------------------------------------- */

cds_rc cds_pace_begin(struct cds_pace *pace, const struct cds_credential *credential, struct cds_http_req *req, struct cds_err *reterr)
{
    if (!pace->known) {
        cds_fail(reterr, CDS_UNAVAILABLE, __func__, "The database does not answer, so it is not known how often you may ask.");
        cds_err_rule(reterr, "rate.unknown");
        if (reterr)
            reterr->retry_after_ms = 1000;
        return cds_err_hint(reterr, "Try again in a few seconds.");
    }
    struct cds_rate_who who = who_of(pace, credential);
    cds_rc rc = cds_rates_begin(pace->rates, &who, cds_now_ms(), reterr);
    if (rc != CDS_OK)
        add_headers(pace, &who, req);
    return rc;
}

void cds_pace_cancel(struct cds_pace *pace, const struct cds_credential *credential)
{
    struct cds_rate_who who = who_of(pace, credential);
    cds_rates_end(pace->rates, &who, cds_now_ms());
}

/** Whoever reads on in its stream: it counts for who asked. The limits are those of its begin. */
static struct cds_rate_who who_asked(const struct cds_gen *gen)
{
    return (struct cds_rate_who){.user_id = gen->user_id, .key_id = gen->key_id, .user = gen->pace.user, .key = gen->pace.key};
}

void cds_pace_adopt(struct cds_gen *gen)
{
    struct cds_rate_who who = who_of(gen->app->pace, &gen->who);
    gen->pace.user = who.user;
    gen->pace.key = who.key;
    gen->pace.open = true;
}

cds_rc cds_pace_first(struct cds_gen *gen, struct cds_err *reterr)
{
    struct cds_rate_who who = who_asked(gen);
    uint64_t slice = gen->slices.granted, each = gen->choice_count, taken = 0, least = gen->prompt_tokens + (slice ? each : 0);
    if (gen->pace.taken)
        return CDS_OK; /* it is reserved again under another id */
    cds_rc rc = cds_rates_take(gen->app->pace->rates, &who, least, gen->prompt_tokens + slice * each, cds_now_ms(), &taken, reterr);
    if (rc != CDS_OK)
        return rc;
    gen->pace.taken = taken;
    if (each && taken < gen->prompt_tokens + slice * each)
        gen->slices.granted = (uint32_t)((taken - gen->prompt_tokens) / each);
    return CDS_OK;
}

cds_rc cds_pace_more(struct cds_gen *gen, uint32_t tokens, uint32_t *ret_tokens, struct cds_err *reterr)
{
    struct cds_rate_who who = who_asked(gen);
    uint64_t each = gen->choice_count, taken = 0;
    cds_rc rc = cds_rates_take(gen->app->pace->rates, &who, each, tokens * each, cds_now_ms(), &taken, reterr);
    if (rc != CDS_OK)
        return rc;
    gen->pace.taken += taken;
    *ret_tokens = (uint32_t)(taken / each);
    return CDS_OK;
}

void cds_pace_end(struct cds_gen *gen)
{
    struct cds_rate_who who = who_asked(gen);
    uint64_t used = (uint64_t)gen->end.prompt_tokens + gen->end.completion_tokens;
    if (!gen->pace.open)
        return;
    gen->pace.open = false;
    cds_rates_end(gen->app->pace->rates, &who, cds_now_ms());
    if (gen->pace.taken > used)
        cds_rates_give(gen->app->pace->rates, &who, gen->pace.taken - used, cds_now_ms());
}

void cds_pace_tell(struct cds_gen *gen)
{
    struct cds_rate_who who = who_asked(gen);
    if (gen->pace.told || !gen->req || gen->streaming)
        return;
    gen->pace.told = true;
    add_headers(gen->app->pace, &who, gen->req);
}

/* --- life --------------------------------------------------------------------------------------------------------------- */

cds_rc cds_pace_new(const struct cds_pace_options *options, struct cds_pace **ret, struct cds_err *reterr)
{
    struct cds_pace *pace = calloc(1, sizeof(*pace));
    if (!pace)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the limits of rate.");
    pace->defaults = options->defaults;
    cds_rc rc = cds_rates_new(options->nodes, &pace->rates, reterr);
    if (rc == CDS_OK)
        rc = cds_dbq_open(options->loop, options->conninfo, 4, &pace->db, reterr);
    if (rc == CDS_OK && cds_timer_add(options->loop, cds_now_ms(), look, pace, &pace->timer) != CDS_OK)
        rc = cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the limits of rate.");
    if (rc != CDS_OK) {
        cds_pace_free(&pace);
        return rc;
    }
    *ret = pace;
    return CDS_OK;
}

void cds_pace_free(struct cds_pace **pace)
{
    if (!pace || !*pace)
        return;
    if ((*pace)->db)
        cds_dbq_close(&(*pace)->db);
    cds_timer_remove(&(*pace)->timer);
    cds_rates_free(&(*pace)->rates);
    for (size_t i = 0; i < BUCKETS; i++)
        while ((*pace)->own[i]) {
            struct own *own = (*pace)->own[i];
            (*pace)->own[i] = own->next;
            free(own);
        }
    free(*pace);
    *pace = NULL;
}
