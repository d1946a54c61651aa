/* lib/base/str.c: see str.h. */
#include "lib/base/str.h"

#include <string.h>

bool cds_streq(const char *a, const char *b)
{
    if (!a || !b)
        return a == b;
    return strcmp(a, b) == 0;
}

bool cds_starts_with(const char *text, const char *prefix)
{
    return text && strncmp(text, prefix, strlen(prefix)) == 0;
}

cds_rc cds_parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
    if (!text || !*text)
        return CDS_BAD_PARAM;
    uint64_t v = 0;
    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9')
            return CDS_BAD_PARAM;
        if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            return CDS_BAD_PARAM;
    }
    if (v < min || v > max)
        return CDS_BAD_PARAM;
    *ret = v;
    return CDS_OK;
}

/* Length of the character that begins with c, 0 if none does (RFC 3629 section 4). */
static size_t utf8_len(unsigned char c)
{
    if (c < 0x80)
        return 1;
    if (c >= 0xc2 && c <= 0xdf)
        return 2;
    if (c >= 0xe0 && c <= 0xef)
        return 3;
    if (c >= 0xf0 && c <= 0xf4)
        return 4;
    return 0;
}

/* Is s[1..have) a possible continuation of s[0]? */
static bool utf8_tail_ok(const unsigned char *s, size_t have)
{
    for (size_t i = 1; i < have; i++)
        if ((s[i] & 0xc0) != 0x80)
            return false;
    if (have < 2)
        return true;
    return !((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f));
}

bool cds_utf8_valid(const char *data, size_t len)
{
    const unsigned char *s = (const unsigned char *)data;
    while (len) {
        size_t n = utf8_len(*s);
        if (n == 0 || n > len || !utf8_tail_ok(s, n))
            return false;
        s += n;
        len -= n;
    }
    return true;
}

size_t cds_utf8_complete(const char *data, size_t len)
{
    const unsigned char *s = (const unsigned char *)data;
    for (size_t back = 1; back <= 3 && back <= len; back++) {
        size_t n = utf8_len(s[len - back]);
        if ((s[len - back] & 0xc0) == 0x80)
            continue;
        return n > back && utf8_tail_ok(s + len - back, back) ? len - back : len;
    }
    return len;
}

char *cds_strcpy(char *dst, size_t size, const char *src)
{
    size_t n = src ? strnlen(src, size - 1) : 0;
    if (n)
        memcpy(dst, src, n);
    dst[n] = '\0';
    return dst;
}

char *cds_shorten(char *dst, size_t size, const char *src)
{
    static const char more[] = " ...";
    cds_strcpy(dst, size, src);
    if (!src || strnlen(src, size) < size)
        return dst;
    size_t at = size - sizeof(more);
    dst[at] = '\0';
    const char *space = src[at] == ' ' ? NULL : strrchr(dst, ' '); /* a word that ends just here is whole */
    at = src[at] == ' ' ? at : space ? (size_t)(space - dst) : cds_utf8_complete(dst, at);
    memcpy(dst + at, more, sizeof(more));
    return dst;
}

static size_t encode(const void *data, size_t len, char *out, const char *alphabet, bool pad)
{
    const unsigned char *s = data;
    size_t o = 0;
    for (size_t i = 0; i < len; i += 3) {
        size_t have = len - i < 3 ? len - i : 3;
        uint32_t v = (uint32_t)s[i] << 16 | (have > 1 ? (uint32_t)s[i + 1] << 8 : 0) | (have > 2 ? s[i + 2] : 0);
        for (size_t k = 0; k < 4; k++) {
            if (k <= have)
                out[o++] = alphabet[v >> (18 - 6 * k) & 63];
            else if (pad)
                out[o++] = '=';
        }
    }
    out[o] = '\0';
    return o;
}

size_t cds_base64_len(size_t len)
{
    return (len + 2) / 3 * 4;
}

size_t cds_base64(const void *data, size_t len, char *out)
{
    return encode(data, len, out, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", true);
}

size_t cds_base64url(const void *data, size_t len, char *out)
{
    return encode(data, len, out, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", false);
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    if (c == '/' || c == '_')
        return 63;
    return -1;
}

cds_rc cds_base64_decode(const char *text, size_t len, unsigned char *out, size_t *ret_len)
{
    size_t digits = len;
    while (digits && text[digits - 1] == '=')
        digits--;
    size_t pad = len - digits;
    if (pad > 2 || digits % 4 == 1 || (pad && (digits + pad) % 4))
        return CDS_BAD_PARAM;
    uint32_t acc = 0;
    unsigned bits = 0;
    size_t o = 0;
    for (size_t i = 0; i < digits; i++) {
        int v = base64_value(text[i]);
        if (v < 0)
            return CDS_BAD_PARAM;
        acc = (acc << 6 | (uint32_t)v) & 0xffffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[o++] = (unsigned char)(acc >> bits);
        }
    }
    if (bits && (acc & ((1u << bits) - 1))) /* leftover bits must be zero, or two texts would mean one value */
        return CDS_BAD_PARAM;
    *ret_len = o;
    return CDS_OK;
}

bool cds_word_in(const char *words, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = words; len && *at; at += strspn(at, " ")) {
        size_t n = strcspn(at, " ");
        if (n == len && !memcmp(at, word, n))
            return true;
        at += n;
    }
    return false;
}
