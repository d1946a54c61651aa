/* lib/jwt/ed25519.h: the one signature algorithm, on OpenSSL EVP. Internal to lib/jwt and its tests.
 *
 * Source:  RFC 8032 (Ed25519), RFC 8037 (its JWK), RFC 7638 (thumbprint), EVP_SIGNATURE-ED25519(7).
 * Threads: a key may be read by many threads.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/jwt/jwt.h"

enum { CDS_ED25519_KEY = 32, CDS_ED25519_SIG = 64 };

/** An EVP_PKEY that is an Ed25519 key. */
struct cds_edkey;
CDS_MUST_USE cds_rc cds_edkey_from_public(const unsigned char raw[static CDS_ED25519_KEY], struct cds_edkey **ret, struct cds_err *reterr);
CDS_MUST_USE cds_rc cds_edkey_from_seed(const unsigned char seed[static CDS_ED25519_KEY], struct cds_edkey **ret, struct cds_err *reterr);
/** A PEM text (PKCS #8). @return CDS_OK; CDS_BAD_PARAM when it holds no Ed25519 private key */
CDS_MUST_USE cds_rc cds_edkey_from_pem(const char *pem, size_t len, struct cds_edkey **ret, struct cds_err *reterr);
/** A new key pair as PEM text, malloc'ed; wipe it with cds_wipe before freeing. */
CDS_MUST_USE cds_rc cds_edkey_make_pem(char **ret, size_t *ret_len, struct cds_err *reterr);
void cds_edkey_free(struct cds_edkey **key);

CDS_MUST_USE cds_rc cds_edkey_public(const struct cds_edkey *key, unsigned char out[static CDS_ED25519_KEY]);
CDS_MUST_USE cds_rc cds_edkey_sign(const struct cds_edkey *key, const void *data, size_t len, unsigned char out[static CDS_ED25519_SIG]);
bool cds_edkey_verify(const struct cds_edkey *key, const void *data, size_t len, const unsigned char sig[static CDS_ED25519_SIG]);

/** base64url of the public key: the JWK member "x". */
void cds_edkey_x(const unsigned char raw[static CDS_ED25519_KEY], char out[static CDS_KID_LEN + 1]);
/** RFC 7638 thumbprint of the public key: the key id. */
void cds_edkey_kid(const unsigned char raw[static CDS_ED25519_KEY], char out[static CDS_KID_LEN + 1]);
