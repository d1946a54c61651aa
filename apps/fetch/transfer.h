/* apps/fetch/transfer.h: one GET over libcurl, with every hop of a redirect looked at first.
 *
 * Source:  libcurl(3), RFC 9110 sections 13 (If-Range) and 14 (Range).
 * Threads: a cds_web belongs to one thread and does one transfer at a time; it blocks. The first one is made while there is no other thread. libcurl
 * may look names up in a thread of its own. Safety:  an address outside the rules, or a private one behind a public name, is refused before anything
 * is sent. The access key of the hub goes to the hub's own origin only, never to where it redirects.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "apps/fetch/source.h"

struct cds_web; /**< settings and the connections kept alive */
struct cds_web_options {
    struct cds_host_rules rules;
    const char *key;         /**< access key of the hub, or ""; borrowed */
    uint32_t connect_ms;     /**< longest time until a connection stands */
    uint32_t stall_ms;       /**< a transfer slower than 1 KiB/s for so long ends */
    uint64_t deadline_ms;    /**< absolute; everything ends then */
    const atomic_bool *stop; /**< once true, a transfer ends within a second; NULL: never; borrowed */
};
CDS_MUST_USE cds_rc cds_web_new(const struct cds_web_options *options, struct cds_web **ret, struct cds_err *reterr);
void cds_web_free(struct cds_web **web);

/** What the last hop said. */
struct cds_web_head {
    int status;
    int64_t length;                   /**< Content-Length, -1: none */
    int64_t range_first, range_total; /**< of Content-Range; -1: none or unknown */
    char etag[256];                   /**< with its quotes; "" when none, or a weak one, which promises nothing about bytes */
    char type[64];
    uint32_t retry_after_s;
};
struct cds_web_get {
    const char *url;
    int64_t first, last;  /**< Range; first < 0: the whole thing; last < 0: to the end */
    const char *if_range; /**< strong ETag, or NULL */
    /** The head of a 200 or 206, before its body. Return false to end here (that is no failure). May be NULL. */
    bool (*on_head)(void *user, const struct cds_web_head *head);
    /** A piece of the body. Return false to end here. */
    bool (*on_data)(void *user, const void *data, size_t len);
    /** About once a second and more often while something comes; also while nothing does. May be NULL. */
    void (*on_wait)(void *user);
    void *user;
};
/**
 * @param ret_ended  one of the callbacks ended it
 * @return CDS_OK: a whole 200 or 206, or ended by a callback; CDS_DENIED: address not allowed, 401 or 403; CDS_NOT_FOUND: 404 or 410;
 *         CDS_UNAVAILABLE: worth another try (reterr->retry_after_ms says when, if the server did); CDS_BAD_PARAM; CDS_TIMED_OUT (deadline);
 * CDS_CANCELLED (stop)
 */
CDS_MUST_USE cds_rc cds_web_fetch(struct cds_web *web, const struct cds_web_get *get, struct cds_web_head *ret, bool *ret_ended,
                                  struct cds_err *reterr);
