/* lib/jwt/token.h: what signer and verifier agree on. Internal to lib/jwt and its tests.
 *
 * Threads: constants and pure functions.
 */
#pragma once

#include "lib/jwt/jwt.h"

#define CDS_JWT_ISSUER "cyberdevstudio"
#define CDS_JWT_AUDIENCE "cyberdevstudio"
#define CDS_JWT_TYP "at+jwt" /* RFC 9068 section 2.1: an access token cannot be taken for another kind of JWT */
enum { CDS_JWT_SKEW_S = 60, CDS_KEYSET_MAX = 8 };

/** A signer from PEM text instead of a file. */
CDS_MUST_USE cds_rc cds_signer_from_pem(const char *pem, size_t len, struct cds_signer **ret, struct cds_err *reterr);
