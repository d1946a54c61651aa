/* apps/auth/origin.h: which pages may post to auth, by their Origin header.
 *
 * Source:  RFC 6454 section 6.2 (the text form), Fetch "Sec-Fetch-Site".
 * Threads: read-only after init.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

enum { CDS_ORIGIN_MAX = 300, CDS_ORIGINS = 4 };

struct cds_origins {
    char allowed[CDS_ORIGINS][CDS_ORIGIN_MAX];
    unsigned count;
    bool https; /**< the public address is https: cookies get Secure */
};

/**
 * @param public_url  option ui.public_url; "" means http://<bind>:<ui_port>
 * @param bind        option studio.bind; when it is loopback, or a wildcard without a public_url, every loopback name of ui_port counts
 * @return CDS_OK; CDS_BAD_PARAM when public_url is no http(s) address
 */
CDS_MUST_USE cds_rc cds_origins_init(struct cds_origins *origins, const char *public_url, const char *bind, uint16_t ui_port, struct cds_err *reterr);
/** origin NULL: the header is absent (no browser page). site: Sec-Fetch-Site or NULL.
 *  @return CDS_OK; CDS_DENIED, rule "http.origin" */
CDS_MUST_USE cds_rc cds_origins_check(const struct cds_origins *origins, const char *origin, const char *site, struct cds_err *reterr);
