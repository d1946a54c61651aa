/* apps/auth/input.c: see input.h. */
#include "apps/auth/input.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "lib/base/str.h"
#include "lib/json/json.h"
#include "lib/jwt/jwt.h"

static cds_rc bad(struct cds_err *reterr, const char *pointer, const char *message)
{
    cds_fail(reterr, CDS_BAD_PARAM, "cds_sign_in_parse", "%s", message);
    cds_err_pointer(reterr, "%s", pointer);
    return CDS_BAD_PARAM;
}

static bool has_control(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if (*p < 0x20 || *p == 0x7f)
            return true;
    return false;
}

/* ASCII without blanks. Beyond ASCII, upper and lower case differ from locale to locale, and one person could pass for several. */
static bool is_plain(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if (*p <= 0x20 || *p >= 0x7f)
            return false;
    return true;
}

cds_rc cds_email_fold(const char *text, char out[static CDS_EMAIL_MAX + 1], struct cds_err *reterr)
{
    size_t len = strlen(text);
    const char *at = strchr(text, '@');
    if (len > CDS_EMAIL_MAX || !at || at == text || !at[1] || strchr(at + 1, '@') || !is_plain(text))
        return bad(reterr, "/email", "This is not a mail address of at most 254 plain ASCII characters, such as ada@example.org.");
    for (size_t i = 0; i <= len; i++)
        out[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] + ('a' - 'A')) : text[i];
    return CDS_OK;
}

cds_rc cds_name_check(const char *text, struct cds_err *reterr)
{
    size_t len = strlen(text), chars = 0;
    for (size_t i = 0; i < len; i++)
        chars += ((unsigned char)text[i] & 0xc0) != 0x80;
    if (chars > CDS_NAME_MAX || has_control(text) || !cds_utf8_valid(text, len))
        return bad(reterr, "/display_name", "The display name has more than 100 characters or holds control characters.");
    return CDS_OK;
}

bool cds_token_shape(const char *text)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    return strlen(text) == CDS_TOKEN_TEXT && strspn(text, alphabet) == CDS_TOKEN_TEXT;
}

static const struct shape {
    bool token, email, password, display_name;
} shapes[] = {
    [CDS_SIGN_IN] = {.email = true, .password = true},
    [CDS_SIGN_UP] = {true, true, true, true},
    [CDS_TAKE_LINK] = {.token = true, .password = true, .display_name = true},
    [CDS_LOOK_AT_LINK] = {.token = true},
};

static bool known_member(const char *name, const struct shape *shape)
{
    return (shape->email && cds_streq(name, "email")) || (shape->password && cds_streq(name, "password")) ||
           (shape->token && cds_streq(name, "token")) || (shape->display_name && cds_streq(name, "display_name"));
}

static cds_rc read_password(const cds_json *body, struct cds_sign_in *ret, struct cds_err *reterr)
{
    const char *password = cds_json_get_str(body, "password");
    if (!password)
        return bad(reterr, "/password", "The request needs the member \"password\", a text.");
    ret->password_len = cds_json_str_len(cds_json_get(body, "password"));
    if (ret->password_len >= sizeof(ret->password) || strlen(password) != ret->password_len)
        return bad(reterr, "/password", "The password is longer than 1024 bytes or holds a NUL.");
    cds_strcpy(ret->password, sizeof(ret->password), password);
    return CDS_OK;
}

static cds_rc read_link(const cds_json *body, struct cds_sign_in *ret, struct cds_err *reterr)
{
    const char *token = cds_json_get_str(body, "token");
    if (!token || !cds_token_shape(token))
        return bad(reterr, "/token", "The request needs the member \"token\": the 43 characters behind #token= of the link.");
    cds_strcpy(ret->token, sizeof(ret->token), token);
    return CDS_OK;
}

static cds_rc read_name(const cds_json *body, struct cds_sign_in *ret, struct cds_err *reterr)
{
    const char *display_name = cds_json_get_str(body, "display_name");
    if (cds_json_get(body, "display_name") && !display_name)
        return bad(reterr, "/display_name", "The member \"display_name\" is not a text.");
    cds_rc rc = display_name ? cds_name_check(display_name, reterr) : CDS_OK;
    if (!rc)
        cds_strcpy(ret->display_name, sizeof(ret->display_name), display_name);
    return rc;
}

static cds_rc read_members(const cds_json *body, const struct shape *shape, struct cds_sign_in *ret, struct cds_err *reterr)
{
    void *iter = NULL;
    const char *name;
    cds_json *value;
    while (cds_json_next(body, &iter, &name, &value)) {
        if (!known_member(name, shape)) {
            char pointer[64];
            snprintf(pointer, sizeof(pointer), "/%.40s", name);
            return bad(reterr, pointer, "The request has a member that nobody here reads.");
        }
    }
    const char *email = cds_json_get_str(body, "email");
    if (shape->email && !email)
        return bad(reterr, "/email", "The request needs the member \"email\", a text.");
    cds_rc rc = shape->password ? read_password(body, ret, reterr) : CDS_OK;
    if (!rc && shape->email)
        rc = cds_email_fold(email, ret->email, reterr);
    if (!rc && shape->token)
        rc = read_link(body, ret, reterr);
    return rc || !shape->display_name ? rc : read_name(body, ret, reterr);
}

cds_rc cds_sign_in_parse(const char *body, size_t len, enum cds_sign_in_shape shape, struct cds_sign_in *ret, struct cds_err *reterr)
{
    cds_json *parsed = NULL;
    struct cds_sign_in out;
    memset(&out, 0, sizeof(out));
    cds_rc rc = cds_json_parse(body, len, &parsed, reterr);
    if (rc)
        return rc;
    CDS_JSON_AUTO value = parsed;
    if (!cds_json_is(value, CDS_JSON_OBJECT))
        return bad(reterr, "", "The request body is not a JSON object.");
    rc = read_members(value, &shapes[shape], &out, reterr);
    if (!rc)
        *ret = out;
    cds_wipe(&out, sizeof(out));
    return rc;
}

bool cds_cookie_find(const char *header, const char *name, char out[static CDS_TOKEN_TEXT + 1])
{
    size_t name_len = strlen(name);
    for (const char *p = header; p && *p;) {
        p += strspn(p, " \t;");
        size_t len = strcspn(p, ";");
        if (len == name_len + 1 + CDS_TOKEN_TEXT && !strncmp(p, name, name_len) && p[name_len] == '=') {
            char value[CDS_TOKEN_TEXT + 1];
            memcpy(value, p + name_len + 1, CDS_TOKEN_TEXT);
            value[CDS_TOKEN_TEXT] = '\0';
            if (cds_token_shape(value)) {
                memcpy(out, value, sizeof(value));
                return true;
            }
        }
        p += len;
    }
    return false;
}

char *cds_cookie_make(const char *token, long long max_age_s, bool secure, char out[static CDS_COOKIE_TEXT])
{
    snprintf(out, CDS_COOKIE_TEXT, "cds_refresh=%.43s; Path=/auth; HttpOnly; SameSite=Strict; Max-Age=%lld%s", token, *token ? max_age_s : 0,
             secure ? "; Secure" : "");
    return out;
}

bool cds_is_json_type(const char *content_type)
{
    static const char json[] = "application/json";
    size_t len = sizeof(json) - 1;
    if (!content_type || strncasecmp(content_type, json, len) != 0)
        return false;
    const char *rest = content_type + len + strspn(content_type + len, " \t");
    return *rest == '\0' || *rest == ';';
}
