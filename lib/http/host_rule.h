/* lib/http/host_rule.h: names of hosts, and lists of those that may be reached.
 *
 * A rule is HOST or HOST:PORT. HOST is a name ("pypi.org"), everything below one ("*.example.org", not example.org itself), an IPv4 address in the
 * usual four numbers, or, where it is allowed, "*": every host. Without a port a rule means 80 and 443.
 *
 * Source:  RFC 1123 section 2.1, RFC 3986 section 3.2.2, docs/adr/0034-egress.md.
 * Threads: safe; values only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

enum { CDS_HOST_MAX = 253, CDS_HOST_RULES_MAX = 64, CDS_HOST_RULE_TEXT_MAX = CDS_HOST_MAX + 8 };

struct cds_host_rule {
    char host[CDS_HOST_MAX + 1]; /**< lower case, without "*."; "" for every host */
    bool below;                  /**< names below host */
    uint16_t port;               /**< 0: 80 and 443 */
};

/** A host as people write it, to lower case and without a dot at its end. False: it is none (odd characters, a number that is no address). */
bool cds_host_name(const char *text, size_t len, char ret[static CDS_HOST_MAX + 1]);
/** @param any  "*" alone is a host, too @return CDS_OK; CDS_BAD_PARAM with a sentence that names the rule */
CDS_MUST_USE cds_rc cds_host_rule_parse(const char *text, size_t len, bool any, struct cds_host_rule *ret, struct cds_err *reterr);
/** A list divided by spaces, commas or lines; "*" is allowed. @param ret_count  0 for an empty text */
CDS_MUST_USE cds_rc cds_host_rules_parse(const char *text, struct cds_host_rule ret[static CDS_HOST_RULES_MAX], size_t *ret_count,
                                         struct cds_err *reterr);
/** Is host (from cds_host_name) with this port on the list? */
bool cds_host_rules_match(const struct cds_host_rule *rules, size_t count, const char *host, uint16_t port);
/** Does the list name the host, whatever the port? */
bool cds_host_rules_know(const struct cds_host_rule *rules, size_t count, const char *host);
/** Is all that rule allows on the list? */
bool cds_host_rules_cover(const struct cds_host_rule *rules, size_t count, const struct cds_host_rule *rule);
