/* apps/auth/oidc_settings.c: see oidc_settings.h. */
#include "apps/auth/oidc_settings.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/jwt/jwt.h"

static cds_rc wrong(struct cds_err *reterr, const char *option, const char *why)
{
    return cds_fail(reterr, CDS_BAD_PARAM, "cds_oidc_settings_read", "The option oidc.%s %s", option, why);
}

/* ---- addresses ---- */
/* "https://host[:port][/path][?query]" of plain visible characters: no user part, no fragment, no backslash, nothing that two parsers could read in
 * two ways. */
static bool split(const char *url, bool *ret_https, char host[static 256])
{
    static const char host_chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
    *ret_https = cds_starts_with(url, "https://");
    if (!*ret_https && !cds_starts_with(url, "http://"))
        return false;
    for (const unsigned char *c = (const unsigned char *)url; *c; c++)
        if (*c <= ' ' || *c >= 0x7f || strchr("\\#@\"'<>^`{|}", *c))
            return false;
    const char *begin = url + (*ret_https ? 8 : 7);
    size_t len = *begin == '[' ? strcspn(begin, "]") + 1 : strspn(begin, host_chars);
    if (!len || len > 255 || (*begin == '[' && strspn(begin + 1, "0123456789abcdefABCDEF:.") + 2 != len))
        return false;
    for (size_t i = 0; i <= len; i++)
        host[i] = i == len ? '\0' : begin[i] >= 'A' && begin[i] <= 'Z' ? (char)(begin[i] + 32) : begin[i];
    const char *rest = begin + len;
    if (*rest == ':') {
        size_t digits = strspn(rest + 1, "0123456789");
        if (!digits || digits > 5)
            return false;
        rest += 1 + digits;
    }
    return !*rest || *rest == '/' || *rest == '?';
}

static bool is_this_machine(const char *host)
{
    return cds_streq(host, "127.0.0.1") || cds_streq(host, "localhost") || cds_streq(host, "[::1]");
}

cds_rc cds_oidc_check_url(const struct cds_oidc_settings *settings, const char *url, const char *what, struct cds_err *reterr)
{
    char host[256], own[256];
    bool https, own_https;
    if (!url || strlen(url) >= CDS_OIDC_URL_MAX || !split(url, &https, host) || !split(settings->issuer, &own_https, own) ||
        https == settings->plain) {
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "The OpenID provider names no proper address for its %s.", what);
        cds_err_rule(reterr, "oidc.address");
        return CDS_BAD_PARAM;
    }
    if (cds_streq(host, own) || cds_word_in(settings->hosts, host))
        return CDS_OK;
    cds_fail(reterr, CDS_BAD_PARAM, __func__, "The OpenID provider names the host %.100s for its %s, which is neither its own nor in oidc.hosts.",
             host, what);
    cds_err_rule(reterr, "oidc.host");
    return CDS_BAD_PARAM;
}

bool cds_oidc_domain_allowed(const struct cds_oidc_settings *settings, const char *email)
{
    const char *at = strrchr(email, '@');
    return at && at[1] && !strchr(at + 1, ' ') && cds_word_in(settings->domains, at + 1);
}

/* ---- options ---- */
/* Words between blanks and commas, in small letters when fold. */
static bool read_words(const char *text, bool fold, char *out, size_t size)
{
    size_t n = 0;
    for (const char *c = text; *c; c++) {
        bool gap = *c == ' ' || *c == ',';
        if (gap && (!n || out[n - 1] == ' '))
            continue;
        if (n + 1 >= size || (!gap && (*c < ' ' || *c == 0x7f)))
            return false;
        out[n++] = gap ? ' ' : fold && *c >= 'A' && *c <= 'Z' ? (char)(*c + 32) : *c;
    }
    n -= n && out[n - 1] == ' ';
    out[n] = '\0';
    return true;
}

static bool copy(const struct cds_config *config, enum cds_opt option, char *out, size_t size)
{
    const char *text = cds_config_str(config, option);
    cds_strcpy(out, size, strlen(text) < size ? text : "");
    return strlen(text) < size;
}

static cds_rc read_secret(const struct cds_config *config, struct cds_oidc_settings *s, struct cds_err *reterr)
{
    const char *path = cds_config_str(config, CDS_OPT_OIDC_SECRET_FILE);
    if (!*path)
        return CDS_OK;
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(CDS_OIDC_SECRET_MAX + 2);
    cds_rc rc = cds_read_file(path, &text, reterr);
    if (rc)
        return rc;
    size_t len = text.data ? strcspn(text.data, "\r\n") : 0;
    if (!len || len > CDS_OIDC_SECRET_MAX)
        rc = wrong(reterr, "client_secret_file", "names a file without a secret in its first line.");
    else
        snprintf(s->secret, sizeof(s->secret), "%.*s", (int)len, text.data);
    cds_wipe(text.data, text.len);
    return rc;
}

static bool is_role(const char *text)
{
    return cds_streq(text, "admin") || cds_streq(text, "developer") || cds_streq(text, "viewer");
}

/* Each word "group=role". */
static bool is_role_map(const char *words)
{
    char one[CDS_OIDC_LIST_MAX];
    for (const char *p = words; *p; p += strspn(p, " ")) {
        size_t len = strcspn(p, " ");
        snprintf(one, sizeof(one), "%.*s", (int)len, p);
        const char *is = strrchr(one, '=');
        if (!is || is == one || !is_role(is + 1))
            return false;
        p += len;
    }
    return true;
}

static cds_rc read_rules(const struct cds_config *config, struct cds_oidc_settings *s, struct cds_err *reterr)
{
    const char *provision = cds_config_str(config, CDS_OPT_OIDC_PROVISION), *link = cds_config_str(config, CDS_OPT_OIDC_LINK);
    s->provision = cds_streq(provision, "allow") ? CDS_OIDC_ALLOW : cds_streq(provision, "pending") ? CDS_OIDC_PENDING : CDS_OIDC_REFUSE;
    s->link = cds_streq(link, "mail");
    if (s->provision == CDS_OIDC_REFUSE && !cds_streq(provision, "refuse"))
        return wrong(reterr, "provision", "is refuse, pending or allow.");
    if (!s->link && !cds_streq(link, "none"))
        return wrong(reterr, "link", "is none or mail.");
    if (!*s->domains && (s->link || s->provision == CDS_OIDC_ALLOW))
        return wrong(reterr, "domains",
                     "has to name the mail domains that the provider may speak for, when accounts are linked or made by their mail.");
    if (!copy(config, CDS_OPT_OIDC_ROLE, s->role, sizeof(s->role)) || !is_role(s->role))
        return wrong(reterr, "role", "is admin, developer or viewer.");
    if (!copy(config, CDS_OPT_OIDC_ROLE_CLAIM, s->role_claim, sizeof(s->role_claim)) ||
        !read_words(cds_config_str(config, CDS_OPT_OIDC_ROLE_MAP), false, s->role_map, sizeof(s->role_map)) || !is_role_map(s->role_map) ||
        !*s->role_claim != !*s->role_map)
        return wrong(reterr, "role_map", "is a list such as studio-admins=admin,developers=developer, together with oidc.role_claim.");
    return CDS_OK;
}

cds_rc cds_oidc_settings_read(const struct cds_config *config, const char *page, struct cds_oidc_settings *ret, struct cds_err *reterr)
{
    struct cds_oidc_settings s = {.on = false};
    char host[256];
    bool https = false;
    *ret = s;
    if (!*cds_config_str(config, CDS_OPT_OIDC_ISSUER))
        return CDS_OK;
    s.on = true;
    if (!copy(config, CDS_OPT_OIDC_ISSUER, s.issuer, sizeof(s.issuer)) || !split(s.issuer, &https, host) || strchr(s.issuer, '?') ||
        (!https && !is_this_machine(host)))
        return wrong(reterr, "issuer", "is an https:// address without a query, as the provider spells it; http:// for this machine itself only.");
    s.plain = !https;
    if (!copy(config, CDS_OPT_OIDC_CLIENT_ID, s.client_id, sizeof(s.client_id)) || !*s.client_id)
        return wrong(reterr, "client_id", "is needed with oidc.issuer: the name that the provider gave to this studio.");
    if (!read_words(cds_config_str(config, CDS_OPT_OIDC_SCOPES), false, s.scopes, sizeof(s.scopes)) || !cds_word_in(s.scopes, "openid"))
        return wrong(reterr, "scopes", "needs the word openid.");
    if (!copy(config, CDS_OPT_OIDC_NAME, s.name, sizeof(s.name)) || !*s.name || !cds_utf8_valid(s.name, strlen(s.name)))
        return wrong(reterr, "name", "is what the button says: 1 to 64 bytes.");
    if (!read_words(cds_config_str(config, CDS_OPT_OIDC_HOSTS), true, s.hosts, sizeof(s.hosts)))
        return wrong(reterr, "hosts", "is a list of host names.");
    if (!read_words(cds_config_str(config, CDS_OPT_OIDC_DOMAINS), true, s.domains, sizeof(s.domains)) || strchr(s.domains, '@'))
        return wrong(reterr, "domains", "is a list of mail domains, without @.");
    if (snprintf(s.redirect_uri, sizeof(s.redirect_uri), "%s/auth/oidc/callback", page) >= (int)sizeof(s.redirect_uri))
        return wrong(reterr, "issuer", "cannot be used: ui.public_url is too long.");
    cds_rc rc = read_rules(config, &s, reterr);
    if (!rc)
        rc = read_secret(config, &s, reterr);
    if (!rc)
        *ret = s;
    cds_wipe(s.secret, sizeof(s.secret));
    return rc;
}
