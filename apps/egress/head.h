/* apps/egress/head.h: the head of a proxy request: CONNECT host:port, or METHOD http://host/path, which becomes METHOD /path.
 *
 * Strict, since a head that two readers understand in two ways reaches what only one of them has checked: lines end with CRLF, no folded lines, no
 * space before a colon, one Host that names the target, one length, no transfer coding.
 *
 * Source:  RFC 9110 sections 7.2, 7.6.1 and 9.3.6, RFC 9112 sections 3.2.2, 3.2.3 and 6.3.
 * Threads: safe; no state.
 */
#pragma once

#include "lib/base/buf.h"
#include "lib/http/host_rule.h"

enum { EGRESS_HEAD_MAX = 16 * 1024, EGRESS_ASKED_MAX = 256, EGRESS_HEADERS_MAX = 100 };

struct egress_head {
    bool connect;                 /**< a tunnel; else a request that is forwarded */
    bool good_host;               /**< host is set; else asked is no name that could be on a list (an IPv6 address, a number) */
    char host[CDS_HOST_MAX + 1];  /**< from cds_host_name; "" */
    char asked[EGRESS_ASKED_MAX]; /**< host as it was written, for texts: printable ASCII, cut */
    uint16_t port;
    size_t len;          /**< bytes of the head; what follows belongs to the tunnel, or is the body */
    uint64_t body_bytes; /**< of a forwarded request */
};

/**
 * @param rewritten  gets the head for the origin when it is not a tunnel; its ceiling must be above EGRESS_HEAD_MAX by 1 KiB
 * @return CDS_OK; CDS_BUSY: not complete yet; CDS_TOO_LARGE: longer than EGRESS_HEAD_MAX; CDS_BAD_REQUEST with a sentence
 */
CDS_MUST_USE cds_rc egress_head_parse(const char *data, size_t len, struct egress_head *ret, struct cds_buf *rewritten, struct cds_err *reterr);
