/* lib/jwt/jws.h: signed texts of somebody else: an OpenID provider's key set and its ID tokens. Ours are in jwt.h, with one algorithm and other
 * rules.
 *
 * Source:  RFC 7515 (JWS), RFC 7517 (JWK), RFC 7518 sections 3.3, 3.4, 6.2, 6.3 (RS256, ES256); RFC 8725 (what to keep to).
 * Rules:   the key decides the algorithm: RS256 for RSA keys of 2048 to 8192 bits, ES256 for keys on P-256. "none", HS256 and whatever else a header
 *          names are refused before any key is looked at; keys in headers (jwk, jku, x5u, x5c) are never looked at; "crit" is refused.
 * Threads: a key set is used by one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/json/json.h"

enum { CDS_JWS_MAX = 16384 /**< bytes of a signed text */, CDS_JWKS_KEYS = 32 /**< keys of a set that are read */, CDS_JWS_KID_MAX = 128 };

struct cds_jwks;
/** Keys that cannot be used (another kind, for encryption, too short) are passed over. @return CDS_OK; CDS_BAD_PARAM: no key list, or none to use */
CDS_MUST_USE cds_rc cds_jwks_parse(const cds_json *document, struct cds_jwks **ret, struct cds_err *reterr);
void cds_jwks_free(struct cds_jwks **keys);

/** Checks the signature of a compact JWS and gives its payload, an object, owned by the caller.
 *  @return CDS_OK; CDS_UNAUTHENTICATED, rule "jws.malformed", "jws.alg", "jws.unknown_kid" (no such key in the set) or "jws.signature" */
CDS_MUST_USE cds_rc cds_jws_verify(const struct cds_jwks *keys, const char *text, size_t len, cds_json **ret_payload, struct cds_err *reterr);
