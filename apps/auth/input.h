/* apps/auth/input.h: what clients send: mail addresses, bodies, cookies.
 *
 * Threads: pure functions.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "apps/auth/store.h"

enum { CDS_EMAIL_MAX = 254, CDS_COOKIE_TEXT = 256 };

/** What a request has to hold. */
enum cds_sign_in_shape {
    CDS_SIGN_IN,      /**< email, password */
    CDS_SIGN_UP,      /**< token, email, password, display_name? */
    CDS_TAKE_LINK,    /**< token, password, display_name? */
    CDS_LOOK_AT_LINK, /**< token */
};

/** A sign-in, set-up or invitation request. Wipe it after use: it holds the password. */
struct cds_sign_in {
    char token[CDS_TOKEN_TEXT + 1]; /**< of a link */
    char email[CDS_EMAIL_MAX + 1];  /**< folded */
    char password[1025];
    size_t password_len;
    char display_name[CDS_NAME_MAX * 4 + 1]; /**< "" when absent */
};

/** Lower case, checked shape: ASCII, one "@" with text on both sides, no blanks or control characters, at most 254 characters.
 *  @return CDS_OK; CDS_BAD_PARAM, pointer "/email" */
CDS_MUST_USE cds_rc cds_email_fold(const char *text, char out[static CDS_EMAIL_MAX + 1], struct cds_err *reterr);
/** At most 100 characters, none of them a control character. @return CDS_OK; CDS_BAD_PARAM, pointer "/display_name" */
CDS_MUST_USE cds_rc cds_name_check(const char *text, struct cds_err *reterr);
/** 43 base64url characters. */
bool cds_token_shape(const char *text);
/** Reads the members of that shape. Unknown ones are refused.
 *  @return CDS_OK; CDS_BAD_SYNTAX; CDS_BAD_PARAM with a pointer */
CDS_MUST_USE cds_rc cds_sign_in_parse(const char *body, size_t len, enum cds_sign_in_shape shape, struct cds_sign_in *ret, struct cds_err *reterr);

/** Value of one cookie of a Cookie header (NULL: none), if it has the shape of a refresh token. */
bool cds_cookie_find(const char *header, const char *name, char out[static CDS_TOKEN_TEXT + 1]);
/** Set-Cookie value of the refresh token; token "" removes it. Returns out. */
char *cds_cookie_make(const char *token, long long max_age_s, bool secure, char out[static CDS_COOKIE_TEXT]);

/** True for "application/json" with or without parameters. */
bool cds_is_json_type(const char *content_type);
