/* apps/fetch/digest.h: SHA-256 of pieces and of whole files.
 *
 * Source:  FIPS 180-4; OpenSSL's EVP. Digests only: no key of anybody comes near this program.
 * Threads: one context belongs to one thread.
 */
#pragma once

#include <stddef.h>

#include "lib/base/err.h"

enum { CDS_SHA256_HEX = 64 };

struct cds_digest;                       /**< a hash that grows */
struct cds_digest *cds_digest_new(void); /**< ends the process when there is no memory */
void cds_digest_free(struct cds_digest **digest);
void cds_digest_add(struct cds_digest *digest, const void *data, size_t len);
/** The hash of what was added so far, in small hex digits; more may be added afterwards. */
void cds_digest_hex(const struct cds_digest *digest, char ret[static CDS_SHA256_HEX + 1]);
/** Hash of a block of memory. */
void cds_digest_of(const void *data, size_t len, char ret[static CDS_SHA256_HEX + 1]);
/** Hash of a file from its beginning. on_bytes may be NULL; it hears how far it is. */
CDS_MUST_USE cds_rc cds_digest_file(int fd, char ret[static CDS_SHA256_HEX + 1], void (*on_bytes)(void *user, uint64_t bytes), void *user,
                                    struct cds_err *reterr);
