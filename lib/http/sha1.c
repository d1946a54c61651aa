/* lib/http/sha1.c: see sha1.h. */
#include "lib/http/sha1.h"

#include <assert.h>
#include <string.h>

static uint32_t roll(uint32_t x, unsigned bits)
{
    return x << bits | x >> (32 - bits);
}

static void round_of(uint32_t state[5], uint32_t mixed, uint32_t constant, uint32_t word)
{
    uint32_t sum = roll(state[0], 5) + mixed + state[4] + constant + word;
    state[4] = state[3];
    state[3] = state[2];
    state[2] = roll(state[1], 30);
    state[1] = state[0];
    state[0] = sum;
}

static void block(uint32_t hash[5], const uint8_t *in)
{
    uint32_t w[80], s[5];
    for (size_t i = 0; i < 16; i++)
        w[i] = (uint32_t)in[4 * i] << 24 | (uint32_t)in[4 * i + 1] << 16 | (uint32_t)in[4 * i + 2] << 8 | in[4 * i + 3];
    for (unsigned i = 16; i < 80; i++)
        w[i] = roll(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    memcpy(s, hash, sizeof(s));
    for (unsigned i = 0; i < 20; i++)
        round_of(s, (s[1] & s[2]) | (~s[1] & s[3]), 0x5a827999, w[i]);
    for (unsigned i = 20; i < 40; i++)
        round_of(s, s[1] ^ s[2] ^ s[3], 0x6ed9eba1, w[i]);
    for (unsigned i = 40; i < 60; i++)
        round_of(s, (s[1] & s[2]) | (s[1] & s[3]) | (s[2] & s[3]), 0x8f1bbcdc, w[i]);
    for (unsigned i = 60; i < 80; i++)
        round_of(s, s[1] ^ s[2] ^ s[3], 0xca62c1d6, w[i]);
    for (unsigned i = 0; i < 5; i++)
        hash[i] += s[i];
}

void http_sha1(const void *data, size_t len, uint8_t out[static SHA1_LEN])
{
    uint32_t hash[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    uint8_t text[128] = {0};
    assert(len <= SHA1_TEXT_MAX);
    size_t blocks = len + 9 <= 64 ? 1 : 2;
    memcpy(text, data, len);
    text[len] = 0x80;
    text[blocks * 64 - 2] = (uint8_t)(len * 8 >> 8);
    text[blocks * 64 - 1] = (uint8_t)(len * 8);
    for (size_t i = 0; i < blocks; i++)
        block(hash, text + 64 * i);
    for (unsigned i = 0; i < SHA1_LEN; i++)
        out[i] = (uint8_t)(hash[i / 4] >> (24 - 8 * (i % 4)));
}
