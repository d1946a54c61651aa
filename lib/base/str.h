/* lib/base/str.h: small string helpers. Threads: safe. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

bool cds_streq(const char *a, const char *b); /**< NULL equals NULL only */
bool cds_starts_with(const char *text, const char *prefix);
/** Decimal digits only, no sign, no blanks, within min..max. @return CDS_OK or CDS_BAD_PARAM (output untouched) */
cds_rc cds_parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret);
/** True if the bytes are well-formed UTF-8 (no surrogates, no overlong forms, <= U+10FFFF). */
bool cds_utf8_valid(const char *data, size_t len);
/** Length of the longest prefix that does not end inside a UTF-8 character; for stream chunks. */
size_t cds_utf8_complete(const char *data, size_t len);
/** Copies at most size-1 bytes and always terminates; returns dst. */
char *cds_strcpy(char *dst, size_t size, const char *src);
/** Is this word one of those that blanks separate? */
bool cds_word_in(const char *words, const char *word);
/** Copies a sentence; what does not fit ends behind a whole word and is marked " ...". size at least 8; NULL copies "". @return dst */
char *cds_shorten(char *dst, size_t size, const char *src);
/** base64 (RFC 4648, padded) into out, which holds at least cds_base64_len(len)+1 bytes; returns the text length. */
size_t cds_base64(const void *data, size_t len, char *out);
size_t cds_base64_len(size_t len);
/** base64url without padding (RFC 4648 section 5). */
size_t cds_base64url(const void *data, size_t len, char *out);
/** Decodes base64 or base64url, padding optional; strict otherwise. out holds at least len bytes. @return CDS_OK, CDS_BAD_PARAM */
cds_rc cds_base64_decode(const char *text, size_t len, unsigned char *out, size_t *ret_len);
