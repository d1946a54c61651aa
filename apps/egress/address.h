/* apps/egress/address.h: which addresses a job may be connected to: those of the public internet, and named private ranges.
 *
 * Refused: loopback, private, link-local (169.254.169.254, the metadata service of clouds, is one), shared (CGNAT), documentation, benchmarks,
 * multicast, broadcast, unspecified, reserved; of IPv6 all outside 2000::/3 (so ULA, mapped, compatible, NAT64) and inside it Teredo, 6to4
 * and documentation; metadata services with public addresses; and every address of this machine.
 *
 * Source:  IANA IPv4 and IPv6 Special-Purpose Address Registries; RFC 6890, 4193, 6598, 6052, 3056.
 * Threads: safe; values only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "lib/base/err.h"

enum { EGRESS_RANGES_MAX = 32, EGRESS_ADDRESS_TEXT = 64 };

/** ADDRESS/BITS. */
struct egress_range {
    int family; /**< AF_INET, AF_INET6 */
    uint8_t bytes[16];
    unsigned bits;
};

/** A list divided by spaces or commas, of ADDRESS or ADDRESS/BITS. @return CDS_OK; CDS_BAD_PARAM */
CDS_MUST_USE cds_rc egress_ranges_parse(const char *text, struct egress_range ret[static EGRESS_RANGES_MAX], size_t *ret_count,
                                        struct cds_err *reterr);
/** Is it an address of the public internet? */
bool egress_address_public(const struct sockaddr *address);
/** Is it in one of the ranges? */
bool egress_address_named(const struct egress_range *ranges, size_t count, const struct sockaddr *address);
/** Does this machine have it on an interface? True when that cannot be found out. */
bool egress_address_own(const struct sockaddr *address);
/** As text without the port; ret: "?" when it is of another family. */
void egress_address_text(const struct sockaddr *address, char ret[static EGRESS_ADDRESS_TEXT]);
