/* apps/auth/password.c: see password.h. The only file that calls crypt(3). */
#include "apps/auth/password.h"

#include <crypt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/jwt/jwt.h"

static const char *const common[] = {
#include "apps/auth/common_passwords.def"
};

static cds_rc refuse(struct cds_err *reterr, const char *rule, const char *message, const char *hint)
{
    cds_fail(reterr, CDS_BAD_PARAM, "cds_password_policy", "%s", message);
    cds_err_pointer(reterr, "/password");
    cds_err_rule(reterr, rule);
    cds_err_hint(reterr, "%s", hint);
    return CDS_BAD_PARAM;
}

static size_t count_chars(const char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

/* Fewer than four different bytes: "aaaaaaaaaaaa", "121212121212". */
static bool is_monotonous(const char *password, size_t len)
{
    bool seen[256] = {false};
    size_t kinds = 0;
    for (size_t i = 0; i < len; i++) {
        kinds += !seen[(unsigned char)password[i]];
        seen[(unsigned char)password[i]] = true;
    }
    return kinds < 4;
}

static bool is_common(const char *password)
{
    for (size_t i = 0; i < CDS_ARRAY_LEN(common); i++)
        if (!strcasecmp(common[i], password))
            return true;
    return false;
}

cds_rc cds_password_policy(const char *password, size_t len, const char *email, struct cds_err *reterr)
{
    if (memchr(password, '\0', len) || !cds_utf8_valid(password, len))
        return refuse(reterr, "password.text", "The password holds a NUL or is not UTF-8 text.", "Choose a password of ordinary characters.");
    if (count_chars(password, len) < CDS_PASSWORD_MIN_CHARS)
        return refuse(reterr, "password.short", "The password has fewer than 12 characters.", "Choose a longer one; three or four words do well.");
    if (len > CDS_PASSWORD_MAX_BYTES)
        return refuse(reterr, "password.long", "The password has more than 72 bytes, and what lies behind would not count.",
                      "Choose a shorter one; letters outside A-Z count two to four bytes.");
    if (is_common(password) || is_monotonous(password, len) || (email && !strcasecmp(password, email)))
        return refuse(reterr, "password.common", "This password is among the first that an attacker tries.", "Choose one that nobody would guess.");
    return CDS_OK;
}

/* One bcrypt run. false: crypt refused or no memory. out must hold CDS_HASH_SIZE. */
static bool run_crypt(const char *password, const char *setting, char *out)
{
    struct crypt_data *data = calloc(1, sizeof(*data)); /* 32 KiB: too much for a thread's stack */
    if (!data)
        return false;
    const char *hash = crypt_rn(password, setting, data, sizeof(*data));
    bool ok = hash && hash[0] == '$' && strlen(hash) < CDS_HASH_SIZE;
    if (ok)
        cds_strcpy(out, CDS_HASH_SIZE, hash);
    cds_wipe(data, sizeof(*data));
    free(data);
    return ok;
}

cds_rc cds_password_hash(const char *password, size_t len, unsigned cost, char out[static CDS_HASH_SIZE], struct cds_err *reterr)
{
    char setting[CRYPT_GENSALT_OUTPUT_SIZE], salt[16], hash[CDS_HASH_SIZE];
    if (len > CDS_PASSWORD_MAX_BYTES || strlen(password) != len || cost < 4 || cost > 15)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The password cannot be hashed: over 72 bytes, a NUL inside, or a cost out of range.");
    cds_random(salt, sizeof(salt));
    if (!crypt_gensalt_rn("$2b$", cost, salt, sizeof(salt), setting, sizeof(setting)))
        return cds_fail(reterr, CDS_INTERNAL, __func__, "The system's password library has no bcrypt.");
    if (!run_crypt(password, setting, hash))
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory while hashing a password.");
    cds_strcpy(out, CDS_HASH_SIZE, hash);
    return CDS_OK;
}

bool cds_password_verify(const char *password, size_t len, const char *hash)
{
    char again[CDS_HASH_SIZE] = "";
    /* Beyond 72 bytes bcrypt would compare the beginning only; such a password gets the same work and never matches. */
    bool possible = len <= CDS_PASSWORD_MAX_BYTES && strlen(password) == len && strlen(hash) < CDS_HASH_SIZE;
    if (!run_crypt(possible ? password : "", hash, again) || !possible || strlen(again) != strlen(hash))
        return false;
    return cds_equal_ct(again, hash, strlen(hash));
}

bool cds_password_stale(const char *hash, unsigned cost)
{
    return cds_password_cost(hash) < cost;
}

unsigned cds_password_cost(const char *hash)
{
    bool bcrypt = cds_starts_with(hash, "$2b$") && hash[4] >= '0' && hash[4] <= '3' && hash[5] >= '0' && hash[5] <= '9' && hash[6] == '$';
    return bcrypt ? (unsigned)(hash[4] - '0') * 10 + (unsigned)(hash[5] - '0') : 0;
}

void cds_password_pad(const char *hash, unsigned cost)
{
    char dummy[CDS_HASH_SIZE], again[CDS_HASH_SIZE];
    /* 2^c + 2^c + 2^(c+1) + ... + 2^(cost-1) = 2^cost: together with the check of a cheaper hash it is the work of one at our cost. */
    unsigned from = cds_password_cost(hash);
    for (unsigned c = from < 4 ? cost : from; c < cost; c++)
        if (!cds_password_dummy(c, dummy, NULL))
            run_crypt("", dummy, again);
}

unsigned cds_password_tune(unsigned target_ms)
{
    enum { PROBE = 8, TRIES = 3 };
    char dummy[CDS_HASH_SIZE], again[CDS_HASH_SIZE];
    uint64_t best_ns = UINT64_MAX;
    if (cds_password_dummy(PROBE, dummy, NULL))
        return CDS_COST_MIN;
    for (int i = 0; i < TRIES; i++) { /* the quickest of them: others may use the machine meanwhile */
        uint64_t begin = cds_now_ns();
        run_crypt("", dummy, again);
        uint64_t took = cds_now_ns() - begin;
        best_ns = took < best_ns ? took : best_ns;
    }
    unsigned cost = CDS_COST_MIN;
    /* Each step doubles; the next one is nearer as long as it is below 4/3 of the target. */
    while (cost < CDS_COST_MAX && (best_ns << (cost + 1 - PROBE)) * 3 <= (uint64_t)target_ms * 1000000 * 4)
        cost++;
    return cost;
}

cds_rc cds_password_set_cost(uint64_t wanted, unsigned *ret, struct cds_err *reterr)
{
    if (wanted && wanted < 10) {
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "auth.bcrypt_cost is 0 (measured at the start) or 10 to 15, not %u.", (unsigned)wanted);
        return cds_err_hint(reterr, "A lower cost would let stolen hashes be guessed too quickly.");
    }
    *ret = wanted ? (unsigned)wanted : cds_password_tune(CDS_HASH_TARGET_MS);
    return CDS_OK;
}

cds_rc cds_password_dummy(unsigned cost, char out[static CDS_HASH_SIZE], struct cds_err *reterr)
{
    char setting[CRYPT_GENSALT_OUTPUT_SIZE], salt[16], result[24], text[33];
    cds_random(salt, sizeof(salt));
    cds_random(result, sizeof(result));
    if (cost < 4 || cost > 15 || !crypt_gensalt_rn("$2b$", cost, salt, sizeof(salt), setting, sizeof(setting)))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The cost of password hashes is out of range.");
    /* bcrypt reads the cost and the salt; the 31 characters of the result are random, and no password leads to them. */
    cds_base64url(result, sizeof(result), text);
    snprintf(out, CDS_HASH_SIZE, "%.29s%.31s", setting, text);
    return CDS_OK;
}
