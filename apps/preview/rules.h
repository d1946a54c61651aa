/* apps/preview/rules.h: which headers pass between a browser and a program, and whose address a request names. Text only.
 *
 * Source:  RFC 6265 (Cookie, Set-Cookie), RFC 9110; docs/adr/0035-preview.md.
 * Threads: safe.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/buf.h"

enum { RULES_LABEL_LEN = 32 };

/** The label of "<label><tail>", where tail is ".localhost:6733". @return false: another address; out untouched */
bool rules_label(const char *host, const char *tail, char out[static RULES_LABEL_LEN + 1]);
/** Is this decoded path one of ours ("/.cds", or below it), however it is written: "//.cds", "/x/../.cds", in capitals? */
bool rules_is_ours(const char *path);
/** Value of the first cookie of that name that is as long as len. NULL: none. */
const char *rules_cookie(const char *header, const char *name, size_t len);
/** Appends a Cookie header without our own cookies ("cds_...", also behind a prefix). @return false: nothing is left */
bool rules_strip_cookies(const char *header, struct cds_buf *out);
/** May this Set-Cookie of a program pass? Not with a Domain, not by one of our names. */
bool rules_may_set_cookie(const char *value);
/** "ticket=<hex>" alone. @return the ticket, NULL: malformed; *ret_len is its length */
const char *rules_ticket(const char *body, size_t len, size_t *ret_len);
/** May this header of a request pass to the program? Origin, Referer and Cookie have rules of their own. */
bool rules_passes_in(const char *name);
/** May this header of an answer pass to the browser? Set-Cookie and Location have rules of their own. */
bool rules_passes_back(const char *name);
/** A place at localhost:port or 127.0.0.1:port becomes its path alone. NULL: it is elsewhere, and stays as it is. */
const char *rules_location(const char *value, unsigned port);
