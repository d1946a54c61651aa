/* apps/fetch/reach.h: from what an admin typed to the files at their server: the source, the access key, the hub's list.
 *
 * Source:  apps/fetch/source.h, apps/fetch/hub.h.
 * Threads: a cds_reach is read by all threads of a download once it is resolved; everything here is called by the first one, and blocks.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "apps/fetch/hub.h"

struct cds_reach_options {
    const char *source;      /**< borrowed, like all texts here */
    const char *sha256;      /**< that the (single) file must have, or "" */
    const char *hub, *hosts; /**< see apps/fetch/source.h */
    const char *key_file;    /**< file with the access key of the hub, or "" */
    uint32_t stall_ms, connect_ms;
    uint32_t backoff_ms;  /**< first wait before another try; it doubles */
    uint64_t deadline_ms; /**< absolute */
};
struct cds_reach {
    const struct cds_reach_options *options;
    struct cds_source source;
    char label[CDS_SOURCE_MAX]; /**< the source without what stands behind "?": that may be a secret */
    char key[512];
    struct cds_remote remote; /**< of cds_reach_resolve */
};

/** Reads the source. @return CDS_OK; CDS_BAD_PARAM */
CDS_MUST_USE cds_rc cds_reach_open(const struct cds_reach_options *options, struct cds_reach *ret, struct cds_err *reterr);
/** The access key: first line of its file, readable by its owner alone. @return CDS_OK; CDS_BAD_PARAM; CDS_DENIED: others can read it */
CDS_MUST_USE cds_rc cds_reach_key(struct cds_reach *reach, struct cds_err *reterr);
/** A way to the servers of these options; *stop (may be NULL) ends what it does within a second. */
CDS_MUST_USE cds_rc cds_reach_web(const struct cds_reach *reach, const atomic_bool *stop, struct cds_web **ret, struct cds_err *reterr);
/** Asks the hub which files there are, several times if need be; a plain address is taken as it is. */
CDS_MUST_USE cds_rc cds_reach_resolve(struct cds_reach *reach, struct cds_web *web, struct cds_err *reterr);
void cds_reach_close(struct cds_reach *reach);

/** After a failure that may pass: counts it and waits, a little longer each time, unless *stop (may be NULL) says no.
 *  @return false: it will not pass, or it was tried often enough */
bool cds_reach_again(const struct cds_reach_options *options, unsigned *tries, const atomic_bool *stop, const struct cds_err *err);
