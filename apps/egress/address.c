/* apps/egress/address.c: see address.h. */
#include "apps/egress/address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/compiler.h"
#include "lib/base/str.h"

enum { BYTE = 8, V4_BITS = 32, V6_BITS = 128 };

static const struct range4 {
    uint8_t bytes[4];
    unsigned bits;
} closed4[] = {
    {{0, 0, 0, 0}, 8},
    {{10, 0, 0, 0}, 8},
    {{100, 64, 0, 0}, 10},
    {{127, 0, 0, 0}, 8},
    {{168, 63, 129, 16}, 32} /* metadata of Azure */,
    {{169, 254, 0, 0}, 16},
    {{172, 16, 0, 0}, 12},
    {{192, 0, 0, 0}, 24},
    {{192, 0, 2, 0}, 24},
    {{192, 31, 196, 0}, 24},
    {{192, 52, 193, 0}, 24},
    {{192, 88, 99, 0}, 24},
    {{192, 168, 0, 0}, 16},
    {{192, 175, 48, 0}, 24},
    {{198, 18, 0, 0}, 15},
    {{198, 51, 100, 0}, 24},
    {{203, 0, 113, 0}, 24},
    {{224, 0, 0, 0}, 4},
    {{240, 0, 0, 0}, 4},
};

/* Only 2000::/3 is public, and of that not these. */
static const struct range6 {
    uint8_t bytes[6];
    unsigned bits;
} closed6[] = {
    {{0x20, 0x01, 0x00}, 23},             /* 2001::/23: Teredo, benchmarks, ORCHID */
    {{0x20, 0x01, 0x0d, 0xb8}, 32},       /* documentation */
    {{0x20, 0x02}, 16},                   /* 6to4: leads to any IPv4 address */
    {{0x26, 0x20, 0x00, 0x4f, 0x80}, 48}, /* 2620:4f:8000::/48: AS112 */
    {{0x3f, 0xff, 0x00}, 20},             /* documentation */
};

static bool begins_with(const uint8_t *bytes, const uint8_t *prefix, unsigned bits)
{
    unsigned whole = bits / BYTE, rest = bits % BYTE;
    if (memcmp(bytes, prefix, whole) != 0)
        return false;
    return rest == 0 || ((bytes[whole] ^ prefix[whole]) >> (BYTE - rest)) == 0;
}

static const uint8_t *bytes_of(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return (const uint8_t *)&((const struct sockaddr_in *)(const void *)address)->sin_addr;
    if (address->sa_family == AF_INET6)
        return (const uint8_t *)&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    return NULL;
}

bool egress_address_public(const struct sockaddr *address)
{
    static const uint8_t global[] = {0x20};
    const uint8_t *bytes = bytes_of(address);
    if (!bytes)
        return false;
    if (address->sa_family == AF_INET) {
        for (size_t i = 0; i < CDS_ARRAY_LEN(closed4); i++)
            if (begins_with(bytes, closed4[i].bytes, closed4[i].bits))
                return false;
        return true;
    }
    if (!begins_with(bytes, global, 3))
        return false;
    for (size_t i = 0; i < CDS_ARRAY_LEN(closed6); i++)
        if (begins_with(bytes, closed6[i].bytes, closed6[i].bits))
            return false;
    return true;
}

bool egress_address_named(const struct egress_range *ranges, size_t count, const struct sockaddr *address)
{
    const uint8_t *bytes = bytes_of(address);
    for (size_t i = 0; bytes && i < count; i++)
        if (ranges[i].family == address->sa_family && begins_with(bytes, ranges[i].bytes, ranges[i].bits))
            return true;
    return false;
}

bool egress_address_own(const struct sockaddr *address)
{
    struct ifaddrs *all = NULL;
    const uint8_t *bytes = bytes_of(address);
    bool own = false;
    if (!bytes || getifaddrs(&all))
        return true;
    for (const struct ifaddrs *one = all; one && !own; one = one->ifa_next)
        if (one->ifa_addr && one->ifa_addr->sa_family == address->sa_family)
            own = !memcmp(bytes_of(one->ifa_addr), bytes, address->sa_family == AF_INET ? sizeof(struct in_addr) : sizeof(struct in6_addr));
    freeifaddrs(all);
    return own;
}

void egress_address_text(const struct sockaddr *address, char ret[static EGRESS_ADDRESS_TEXT])
{
    const uint8_t *bytes = bytes_of(address);
    if (!bytes || !inet_ntop(address->sa_family, bytes, ret, EGRESS_ADDRESS_TEXT))
        snprintf(ret, EGRESS_ADDRESS_TEXT, "?");
}

static bool parse_one(const char *text, size_t len, struct egress_range *ret)
{
    char copy[EGRESS_ADDRESS_TEXT];
    if (len >= sizeof(copy))
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    char *slash = strchr(copy, '/'), *end = NULL;
    if (slash)
        *slash = '\0';
    *ret = (struct egress_range){.family = strchr(copy, ':') ? AF_INET6 : AF_INET};
    const unsigned most = ret->family == AF_INET6 ? V6_BITS : V4_BITS;
    unsigned long bits = most;
    if (slash && (slash[1] < '0' || slash[1] > '9' || (bits = strtoul(slash + 1, &end, 10)) > most || *end))
        return false;
    ret->bits = (unsigned)bits;
    return bits > 0 && inet_pton(ret->family, copy, ret->bytes) == 1;
}

cds_rc egress_ranges_parse(const char *text, struct egress_range ret[static EGRESS_RANGES_MAX], size_t *ret_count, struct cds_err *reterr)
{
    static const char dividers[] = " ,\t\r\n";
    size_t count = 0;
    for (const char *at = text + strspn(text, dividers); *at; at += strspn(at, dividers)) {
        size_t len = strcspn(at, dividers);
        if (count == EGRESS_RANGES_MAX || !parse_one(at, len, &ret[count])) {
            cds_fail(reterr, CDS_BAD_PARAM, __func__, "egress.allow_addresses: \"%.*s\" is no address or range, or more than %d are named.",
                     len > EGRESS_ADDRESS_TEXT ? EGRESS_ADDRESS_TEXT : (int)len, at, EGRESS_RANGES_MAX);
            return cds_err_hint(reterr, "Write addresses or ranges, e.g. 10.1.2.3/32, 192.168.7.0/24, fd00:1::/64.");
        }
        count++;
        at += len;
    }
    *ret_count = count;
    return CDS_OK;
}
