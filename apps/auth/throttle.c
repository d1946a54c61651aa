/* apps/auth/throttle.c: see throttle.h. */
#include "apps/auth/throttle.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/random.h"
#include "lib/jwt/jwt.h"

enum { SETS = 2048, WAYS = 4 };

/* One address, account or both. `level` is the spent budget in ms of refill; for an account at an address the failures in a row. */
struct entry {
    uint64_t key; /* 0: free */
    uint64_t touched_ms;
    uint64_t level;
};

typedef struct entry table[SETS][WAYS];

struct cds_throttle {
    table entries;
    table trusted;          /* accounts at addresses they were signed in from; apart, so that no flood of failures pushes them out */
    unsigned char salt[16]; /* so that nobody can choose addresses that share a set */
};

cds_rc cds_throttle_new(struct cds_throttle **ret, struct cds_err *reterr)
{
    struct cds_throttle *throttle = calloc(1, sizeof(*throttle));
    if (!throttle)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory for the login throttle.");
    cds_random(throttle->salt, sizeof(throttle->salt));
    *ret = throttle;
    return CDS_OK;
}

void cds_throttle_free(struct cds_throttle **throttle)
{
    free(*throttle);
    *throttle = NULL;
}

static uint64_t key_of(const struct cds_throttle *throttle, char kind, const void *data, size_t len)
{
    unsigned char text[320], hash[32];
    uint64_t key;
    size_t room = sizeof(text) - sizeof(throttle->salt) - 1;
    if (len > room)
        len = room;
    memcpy(text, throttle->salt, sizeof(throttle->salt));
    text[sizeof(throttle->salt)] = (unsigned char)kind;
    memcpy(text + sizeof(throttle->salt) + 1, data, len);
    cds_sha256(text, sizeof(throttle->salt) + 1 + len, hash);
    memcpy(&key, hash, sizeof(key));
    return key ? key : 1;
}

/* A home has one IPv4 address but 2^64 IPv6 addresses, so the latter count by their network. Returns the length. */
static size_t net_of(const char *ip, unsigned char out[static 48])
{
    unsigned char net[16];
    if (inet_pton(AF_INET6, ip, net) == 1) {
        out[0] = '6';
        memcpy(out + 1, net, 8);
        return 9;
    }
    return (size_t)snprintf((char *)out, 48, "4%.45s", ip);
}

/* What one attempt counts against; 0: nothing. */
struct keys {
    uint64_t address, pair, account, made;
};

static struct keys keys_of(const struct cds_throttle *throttle, const char *ip, const char *account)
{
    unsigned char text[304];
    size_t n = net_of(ip, text), len = account ? strlen(account) : 0;
    struct keys keys = {.address = key_of(throttle, 'i', text, n)};
    if (!account)
        return keys;
    text[n++] = ' ';
    len = len < sizeof(text) - n ? len : sizeof(text) - n;
    memcpy(text + n, account, len); // NOLINT(bugprone-not-null-terminated-result): what is hashed has a length
    keys.pair = key_of(throttle, 'p', text, n + len);
    keys.account = key_of(throttle, 'a', account, len);
    keys.made = key_of(throttle, 'm', account, len);
    return keys;
}

/* The entry of a key; with make, an absent one takes the place of the longest idle of its set. */
static struct entry *find(table *entries, uint64_t key, bool make)
{
    struct entry *set = (*entries)[key % SETS], *oldest = set;
    for (int i = 0; i < WAYS; i++) {
        if (set[i].key == key)
            return &set[i];
        if (!set[i].key || (oldest->key && set[i].touched_ms < oldest->touched_ms))
            oldest = &set[i];
    }
    if (!make)
        return NULL;
    *oldest = (struct entry){.key = key};
    return oldest;
}

/* ---- budgets ---- */
struct budget {
    uint64_t burst, refill_ms;
};
static const struct budget of_address = {CDS_THROTTLE_BURST, CDS_THROTTLE_REFILL_MS};
static const struct budget of_account = {CDS_THROTTLE_ACCOUNT_BURST, CDS_THROTTLE_ACCOUNT_MS};
static const struct budget of_made = {CDS_THROTTLE_MADE_BURST, CDS_THROTTLE_MADE_MS};

static uint64_t spent_ms(const struct entry *e, uint64_t now_ms)
{
    uint64_t idle = e && now_ms > e->touched_ms ? now_ms - e->touched_ms : 0;
    return e && e->level > idle ? e->level - idle : 0;
}

/* 0: there is one left. */
static uint64_t budget_wait_ms(struct cds_throttle *throttle, const struct budget *budget, uint64_t key, uint64_t now_ms)
{
    uint64_t spent = spent_ms(find(&throttle->entries, key, false), now_ms), full = (budget->burst - 1) * budget->refill_ms;
    return spent > full ? spent - full : 0;
}

static void spend(struct cds_throttle *throttle, const struct budget *budget, uint64_t key, uint64_t now_ms)
{
    struct entry *e = find(&throttle->entries, key, true);
    e->level = spent_ms(e, now_ms) + budget->refill_ms;
    e->touched_ms = now_ms;
}

static void give_back(struct cds_throttle *throttle, const struct budget *budget, uint64_t key, uint64_t now_ms)
{
    struct entry *e = find(&throttle->entries, key, false);
    if (!e)
        return;
    uint64_t spent = spent_ms(e, now_ms);
    e->level = spent > budget->refill_ms ? spent - budget->refill_ms : 0;
    e->touched_ms = now_ms;
}

/* ---- failures in a row ---- */
static uint64_t failures(const struct entry *e, uint64_t now_ms)
{
    return e && now_ms < e->touched_ms + CDS_THROTTLE_FORGET_MS ? e->level : 0;
}

static uint64_t row_wait_ms(const struct entry *e, uint64_t now_ms)
{
    uint64_t n = failures(e, now_ms);
    if (n < CDS_THROTTLE_FREE)
        return 0;
    uint64_t doublings = n - CDS_THROTTLE_FREE;
    uint64_t wait = doublings < 5 ? 1000ull << doublings : CDS_THROTTLE_WAIT_MAX_MS;
    uint64_t until = e->touched_ms + wait;
    return until > now_ms ? until - now_ms : 0;
}

static cds_rc refuse(struct cds_err *reterr, const char *rule, const char *message, uint64_t wait_ms)
{
    unsigned seconds = (unsigned)((wait_ms + 999) / 1000);
    cds_fail(reterr, CDS_RATE_LIMITED, "cds_throttle_begin", "%s", message);
    cds_err_rule(reterr, rule);
    cds_err_hint(reterr, "Try again in %u second%s.", seconds, seconds == 1 ? "" : "s");
    if (reterr)
        reterr->retry_after_ms = (uint32_t)wait_ms;
    return CDS_RATE_LIMITED;
}

static cds_rc check_account(struct cds_throttle *throttle, const struct keys *keys, uint64_t now_ms, struct cds_err *reterr)
{
    static const char failed[] = "Too many sign-in attempts for this account failed.";
    uint64_t wait = row_wait_ms(find(&throttle->entries, keys->pair, false), now_ms);
    if (wait)
        return refuse(reterr, "login.account", failed, wait);
    if (!find(&throttle->trusted, keys->pair, false) && (wait = budget_wait_ms(throttle, &of_account, keys->account, now_ms)))
        return refuse(reterr, "login.account", failed, wait);
    if ((wait = budget_wait_ms(throttle, &of_made, keys->made, now_ms)))
        return refuse(reterr, "login.often", "This account was signed in to very often; a program keeps its token, or has an API key.", wait);
    return CDS_OK;
}

cds_rc cds_throttle_begin(struct cds_throttle *throttle, const char *ip, const char *account, uint64_t now_ms, struct cds_err *reterr)
{
    const struct keys keys = keys_of(throttle, ip, account);
    uint64_t wait = budget_wait_ms(throttle, &of_address, keys.address, now_ms);
    if (wait)
        return refuse(reterr, "login.ip", "Too many sign-in attempts from this address failed.", wait);
    cds_rc rc = account ? check_account(throttle, &keys, now_ms, reterr) : CDS_OK;
    if (rc)
        return rc;
    spend(throttle, &of_address, keys.address, now_ms);
    if (!account)
        return CDS_OK;
    struct entry *e = find(&throttle->entries, keys.pair, true);
    e->level = failures(e, now_ms) + 1;
    e->touched_ms = now_ms;
    if (!find(&throttle->trusted, keys.pair, false))
        spend(throttle, &of_account, keys.account, now_ms);
    return CDS_OK;
}

void cds_throttle_succeeded(struct cds_throttle *throttle, const char *ip, const char *account, uint64_t now_ms)
{
    const struct keys keys = keys_of(throttle, ip, account);
    give_back(throttle, &of_address, keys.address, now_ms);
    if (!account)
        return;
    struct entry *e = find(&throttle->entries, keys.pair, false);
    if (e)
        *e = (struct entry){0};
    if (!find(&throttle->trusted, keys.pair, false))
        give_back(throttle, &of_account, keys.account, now_ms);
    find(&throttle->trusted, keys.pair, true)->touched_ms = now_ms;
    spend(throttle, &of_made, keys.made, now_ms);
}

void cds_throttle_undo(struct cds_throttle *throttle, const char *ip, const char *account, uint64_t now_ms)
{
    const struct keys keys = keys_of(throttle, ip, account);
    give_back(throttle, &of_address, keys.address, now_ms);
    struct entry *e = account ? find(&throttle->entries, keys.pair, false) : NULL;
    if (e && e->level)
        e->level--;
    if (account && !find(&throttle->trusted, keys.pair, false))
        give_back(throttle, &of_account, keys.account, now_ms);
}

cds_rc cds_throttle_make(struct cds_throttle *throttle, const char *user_id, uint64_t now_ms, struct cds_err *reterr)
{
    uint64_t key = key_of(throttle, 'k', user_id, strlen(user_id)), wait = budget_wait_ms(throttle, &of_made, key, now_ms);
    if (wait)
        return refuse(reterr, "key.often", "You make API keys faster than anybody could need them.", wait);
    spend(throttle, &of_made, key, now_ms);
    return CDS_OK;
}
