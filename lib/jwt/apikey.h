/* lib/jwt/apikey.h: the text of an API key: "cds_key_" <id, 32 hex digits> "_" <secret, 43 base64url characters> "_" <checksum, 8 hex digits>.
 *
 * The checksum (CRC-32 of all before its "_") lets anybody tell a typo from a key without asking; it protects nothing. The prefix is there for
 * scanners that look for keys in places where none should be.
 * Source:  docs/adr/0065-api-keys.md; CRC-32 as in ISO-HDLC (zlib, PNG).
 * Threads: pure functions.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/err.h"

enum { CDS_APIKEY_SECRET = 43, CDS_APIKEY_LEN = 8 + 32 + 1 + CDS_APIKEY_SECRET + 1 + 8 };

/** Does it begin like a key of ours? Says nothing about the rest. */
bool cds_apikey_is(const char *text, size_t len);
/** The key's text. id: a UUID; secret: CDS_APIKEY_SECRET base64url characters. */
void cds_apikey_make(const char *id, const char *secret, char out[static CDS_APIKEY_LEN + 1]);
/** Shape and checksum. @return CDS_OK with the id as a UUID; CDS_UNAUTHENTICATED, rule "key.malformed" */
CDS_MUST_USE cds_rc cds_apikey_parse(const char *text, size_t len, char ret_id[static 37], struct cds_err *reterr);
/** HMAC-SHA-256 under the server's pepper, hex: what is stored of a key. */
void cds_apikey_hash(const unsigned char pepper[static 32], const char *key, char out[static 65]);
