/* lib/jwt/apikey.c: see apikey.h. */
#include "lib/jwt/apikey.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char prefix[] = "cds_key_";
enum { PREFIX = sizeof(prefix) - 1, HEX = 32, SECRET_AT = PREFIX + HEX + 1, CHECK_AT = SECRET_AT + CDS_APIKEY_SECRET + 1 };

static uint32_t crc32_of(const char *text, size_t len)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < len; i++) {
        crc ^= (unsigned char)text[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

bool cds_apikey_is(const char *text, size_t len)
{
    return len >= PREFIX && !strncmp(text, prefix, PREFIX);
}

void cds_apikey_make(const char *id, const char *secret, char out[static CDS_APIKEY_LEN + 1])
{
    size_t n = PREFIX;
    memcpy(out, prefix, PREFIX);
    for (const char *c = id; *c && n < PREFIX + HEX; c++)
        if (*c != '-')
            out[n++] = *c;
    out[n++] = '_';
    memcpy(out + n, secret, CDS_APIKEY_SECRET);
    n += CDS_APIKEY_SECRET;
    snprintf(out + n, CDS_APIKEY_LEN + 1 - n, "_%08x", crc32_of(out, n));
}

static bool all_of(const char *text, size_t len, const char *alphabet)
{
    for (size_t i = 0; i < len; i++)
        if (!text[i] || !strchr(alphabet, text[i]))
            return false;
    return true;
}

static bool is_whole(const char *text, size_t len)
{
    static const char hex[] = "0123456789abcdef", url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char check[9];
    if (len != CDS_APIKEY_LEN || !cds_apikey_is(text, len) || !all_of(text + PREFIX, HEX, hex) || text[PREFIX + HEX] != '_' ||
        !all_of(text + SECRET_AT, CDS_APIKEY_SECRET, url) || text[CHECK_AT - 1] != '_' || !all_of(text + CHECK_AT, 8, hex))
        return false;
    snprintf(check, sizeof(check), "%08x", crc32_of(text, CHECK_AT - 1));
    return !memcmp(check, text + CHECK_AT, 8);
}

cds_rc cds_apikey_parse(const char *text, size_t len, char ret_id[static 37], struct cds_err *reterr)
{
    if (!is_whole(text, len)) {
        cds_fail(reterr, CDS_UNAUTHENTICATED, __func__, "This API key is not complete, or it was mistyped.");
        cds_err_rule(reterr, "key.malformed");
        cds_err_hint(reterr, "Copy the whole key again: %d characters that begin with %s.", CDS_APIKEY_LEN, prefix);
        return CDS_UNAUTHENTICATED;
    }
    const char *h = text + PREFIX;
    snprintf(ret_id, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", h, h + 8, h + 12, h + 16, h + 20);
    return CDS_OK;
}

void cds_apikey_hash(const unsigned char pepper[static 32], const char *key, char out[static 65])
{
    unsigned char mac[32];
    unsigned len = sizeof(mac);
    /* A MAC of memory cannot fail but for lack of memory; going on with an unset one would be worse than to stop. */
    if (!HMAC(EVP_sha256(), pepper, 32, (const unsigned char *)key, strlen(key), mac, &len) || len != sizeof(mac))
        abort();
    for (size_t i = 0; i < sizeof(mac); i++)
        snprintf(out + 2 * i, 3, "%02x", mac[i]);
}
