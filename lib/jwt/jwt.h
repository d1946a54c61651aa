/* lib/jwt/jwt.h: Ed25519 access tokens, key sets, and the few other primitives services need. The only folder (with apps/auth/password.c)
 * that includes OpenSSL.
 *
 * Source:  RFC 7515, 7517, 7519, 8037. One algorithm (EdDSA), chosen by us, never by the token.
 * Threads: a key set is used by one thread; pure functions are safe.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/json/json.h"

enum { CDS_JWT_MAX = 2048 /**< longest token text accepted */, CDS_KID_LEN = 43 };

/** What an access token says. */
struct cds_claims {
    char user_id[37];    /**< sub */
    char session_id[37]; /**< sid */
    char email[255];
    char key_id[37];              /**< key: of an API key; "" for somebody who signed in */
    char scopes[256];             /**< scp: groups of methods, separated by blanks; "": all */
    char models[600];             /**< mdl: ids of models, separated by blanks; "": all */
    uint32_t requests_per_minute; /**< rpm: of the API key; 0: no limit of its own */
    uint64_t tokens_per_minute;   /**< tpm: the same */
    uint32_t concurrent_requests; /**< cnc: the same */
    char role[16];                /**< "admin", "developer", "viewer" */
    int64_t issued_s, expires_s;  /**< iat, exp: seconds since 1970 */
    int64_t version;              /**< token_version of the user when issued (ver) */
};

struct cds_signer;
/** Loads the private key (PEM, 0600) or makes it (atomically) when the file is absent. */
CDS_MUST_USE cds_rc cds_signer_open(const char *path, struct cds_signer **ret, struct cds_err *reterr);
void cds_signer_free(struct cds_signer **signer);
const char *cds_signer_kid(const struct cds_signer *signer); /**< RFC 7638 thumbprint */
/** {"keys":[{"kty":"OKP","crv":"Ed25519","x":..,"kid":..,"alg":"EdDSA","use":"sig"}]}, owned. */
cds_json *cds_signer_jwks(const struct cds_signer *signer);
/** Signs; iss and aud are fixed ("cyberdevstudio"). @return malloc'ed token in *ret */
CDS_MUST_USE cds_rc cds_jwt_sign(const struct cds_signer *signer, const struct cds_claims *claims, char **ret, struct cds_err *reterr);

struct cds_keyset;
/** From a JWKS document; only OKP/Ed25519 keys are taken, at most 8. */
CDS_MUST_USE cds_rc cds_keyset_parse(const cds_json *jwks, struct cds_keyset **ret, struct cds_err *reterr);
void cds_keyset_free(struct cds_keyset **keyset);
/**
 * Verifies signature, header (alg EdDSA, known kid, typ), iss, aud, exp, nbf/iat (60 s of clock skew for iat only).
 * @return CDS_OK; CDS_UNAUTHENTICATED with a sentence (expired is said apart); rule "jwt.unknown_kid" when the kid is not in the set
 */
CDS_MUST_USE cds_rc cds_jwt_verify(const struct cds_keyset *keyset, const char *token, size_t len, int64_t now_s, struct cds_claims *ret,
                                   struct cds_err *reterr);

void cds_sha256(const void *data, size_t len, unsigned char out[static 32]);
void cds_sha256_hex(const void *data, size_t len, char out[static 65]);
/** Of a file from its beginning; blocks while it is read. @return false: it cannot be read (errno) */
bool cds_sha256_file_hex(int fd, char out[static 65]);
void cds_sha1_base64(const void *data, size_t len, char out[static 29]); /**< for the WebSocket handshake only */
/** HMAC-SHA256 (RFC 2104) of data that comes in pieces, with a key of 32 bytes. NULL: memory is out. */
struct cds_hmac;
struct cds_hmac *cds_hmac_new(const unsigned char key[static 32]);
void cds_hmac_add(struct cds_hmac *hmac, const void *data, size_t len);
/** Ends and frees it; out NULL: it is given up. */
void cds_hmac_end(struct cds_hmac **hmac, unsigned char out[32]);
/** Constant-time compare. */
bool cds_equal_ct(const void *a, const void *b, size_t len);
/** Overwrites a secret so that the compiler cannot leave it out; NULL is fine. */
void cds_wipe(void *data, size_t len);
