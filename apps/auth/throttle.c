/* apps/auth/throttle.c: see throttle.h. */
#include "apps/auth/throttle.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/random.h"
#include "lib/jwt/jwt.h"

enum { SETS = 1024, WAYS = 4 };

/* One address or one account. For addresses `level` is the spent budget in ms of refill; for accounts the failures in a row. */
struct entry {
    uint64_t key; /* 0: free */
    uint64_t touched_ms;
    uint64_t level;
};

struct cds_throttle {
    struct entry entries[SETS][WAYS];
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

/* A home has one IPv4 address but 2^64 IPv6 addresses, so the latter count by their network. */
static uint64_t ip_key(const struct cds_throttle *throttle, const char *ip)
{
    unsigned char net[16];
    if (inet_pton(AF_INET6, ip, net) == 1)
        return key_of(throttle, '6', net, 8);
    return key_of(throttle, '4', ip, strlen(ip));
}

static uint64_t account_key(const struct cds_throttle *throttle, const char *account)
{
    return key_of(throttle, 'a', account, strlen(account));
}

/* The entry of a key; with make, an absent one takes the place of the longest idle of its set. */
static struct entry *find(struct cds_throttle *throttle, uint64_t key, bool make)
{
    struct entry *set = throttle->entries[key % SETS], *oldest = set;
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

/* Spent budget of an address now. */
static uint64_t spent_ms(const struct entry *e, uint64_t now_ms)
{
    uint64_t idle = e && now_ms > e->touched_ms ? now_ms - e->touched_ms : 0;
    return e && e->level > idle ? e->level - idle : 0;
}

static uint64_t failures(const struct entry *e, uint64_t now_ms)
{
    return e && now_ms < e->touched_ms + CDS_THROTTLE_FORGET_MS ? e->level : 0;
}

static uint64_t account_wait_ms(const struct entry *e, uint64_t now_ms)
{
    uint64_t n = failures(e, now_ms);
    if (n < CDS_THROTTLE_FREE)
        return 0;
    uint64_t doublings = n - CDS_THROTTLE_FREE;
    uint64_t wait = doublings < 5 ? 1000ull << doublings : CDS_THROTTLE_WAIT_MAX_MS;
    uint64_t until = e->touched_ms + wait;
    return until > now_ms ? until - now_ms : 0;
}

static cds_rc refuse(struct cds_err *reterr, const char *rule, const char *whose, uint64_t wait_ms)
{
    unsigned seconds = (unsigned)((wait_ms + 999) / 1000);
    cds_fail(reterr, CDS_RATE_LIMITED, "cds_throttle_begin", "Too many sign-in attempts %s failed.", whose);
    cds_err_rule(reterr, rule);
    cds_err_hint(reterr, "Try again in %u second%s.", seconds, seconds == 1 ? "" : "s");
    if (reterr)
        reterr->retry_after_ms = (uint32_t)wait_ms;
    return CDS_RATE_LIMITED;
}

cds_rc cds_throttle_begin(struct cds_throttle *throttle, const char *ip, const char *account, uint64_t now_ms, struct cds_err *reterr)
{
    uint64_t address = ip_key(throttle, ip), person = account ? account_key(throttle, account) : 0;
    uint64_t spent = spent_ms(find(throttle, address, false), now_ms);
    uint64_t full = (uint64_t)(CDS_THROTTLE_BURST - 1) * CDS_THROTTLE_REFILL_MS;
    if (spent > full)
        return refuse(reterr, "login.ip", "from this address", spent - full);
    uint64_t wait = account ? account_wait_ms(find(throttle, person, false), now_ms) : 0;
    if (wait)
        return refuse(reterr, "login.account", "for this account", wait);
    struct entry *e = find(throttle, address, true);
    e->level = spent + CDS_THROTTLE_REFILL_MS;
    e->touched_ms = now_ms;
    if (account) {
        e = find(throttle, person, true);
        e->level = failures(e, now_ms) + 1;
        e->touched_ms = now_ms;
    }
    return CDS_OK;
}

static void give_back(struct cds_throttle *throttle, const char *ip, uint64_t now_ms)
{
    struct entry *e = find(throttle, ip_key(throttle, ip), false);
    if (!e)
        return;
    uint64_t spent = spent_ms(e, now_ms);
    e->level = spent > CDS_THROTTLE_REFILL_MS ? spent - CDS_THROTTLE_REFILL_MS : 0;
    e->touched_ms = now_ms;
}

void cds_throttle_succeeded(struct cds_throttle *throttle, const char *ip, const char *account, uint64_t now_ms)
{
    give_back(throttle, ip, now_ms);
    struct entry *e = account ? find(throttle, account_key(throttle, account), false) : NULL;
    if (e)
        *e = (struct entry){0};
}

void cds_throttle_undo(struct cds_throttle *throttle, const char *ip, const char *account, uint64_t now_ms)
{
    give_back(throttle, ip, now_ms);
    struct entry *e = account ? find(throttle, account_key(throttle, account), false) : NULL;
    if (e && e->level)
        e->level--;
}
