/* apps/preview/rules.c: see rules.h. */
#include "apps/preview/rules.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "lib/base/str.h"

bool rules_label(const char *host, const char *tail, char out[static RULES_LABEL_LEN + 1])
{
    if (!host || strspn(host, "0123456789abcdefABCDEF") != RULES_LABEL_LEN || strcasecmp(host + RULES_LABEL_LEN, tail) != 0)
        return false;
    for (size_t i = 0; i < RULES_LABEL_LEN; i++)
        out[i] = host[i] >= 'A' && host[i] <= 'F' ? (char)(host[i] - 'A' + 'a') : host[i];
    out[RULES_LABEL_LEN] = '\0';
    return true;
}

/* A segment that is "." or empty says nothing; ".." takes one back; "\" is a slash to some programs. */
bool rules_is_ours(const char *path)
{
    size_t depth = 0;
    bool ours = false;
    for (const char *at = path; *at;) {
        at += strspn(at, "/\\");
        size_t len = strcspn(at, "/\\");
        if (len == 2 && !strncmp(at, "..", 2)) {
            depth -= depth > 0;
        } else if (len && !(len == 1 && *at == '.')) {
            if (depth++ == 0)
                ours = len == 4 && !strncasecmp(at, ".cds", 4);
        }
        at += len;
    }
    return ours && depth > 0;
}

/* ---- cookies ---- */
struct cookie {
    const char *name, *value;
    size_t name_len, value_len;
};

/* The next "name=value" of a Cookie header, or the first of a Set-Cookie. @return where to go on, NULL: no more */
static const char *next_cookie(const char *at, struct cookie *ret)
{
    at += strspn(at, "; \t");
    if (!*at)
        return NULL;
    size_t len = strcspn(at, ";"), name = strcspn(at, "=;");
    const char *end = at + len;
    *ret = (struct cookie){at, name < len ? at + name + 1 : end, name, name < len ? len - name - 1 : 0};
    while (ret->name_len && (at[ret->name_len - 1] == ' ' || at[ret->name_len - 1] == '\t'))
        ret->name_len--;
    while (ret->value_len && (*ret->value == ' ' || *ret->value == '\t')) {
        ret->value++;
        ret->value_len--;
    }
    while (ret->value_len && (ret->value[ret->value_len - 1] == ' ' || ret->value[ret->value_len - 1] == '\t'))
        ret->value_len--;
    return end;
}

/* Browsers compare the prefixes without case. */
static bool is_our_name(const char *name, size_t len)
{
    static const char *const prefixes[] = {"__Host-", "__Secure-"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(prefixes); i++) {
        size_t n = strlen(prefixes[i]);
        if (len >= n && !strncasecmp(name, prefixes[i], n)) {
            name += n;
            len -= n;
        }
    }
    return len >= 4 && (!strncasecmp(name, "cds_", 4) || !strncasecmp(name, "cds-", 4));
}

const char *rules_cookie(const char *header, const char *name, size_t len)
{
    struct cookie cookie;
    for (const char *at = header; at && (at = next_cookie(at, &cookie));)
        if (cookie.name_len == strlen(name) && !strncmp(cookie.name, name, cookie.name_len) && cookie.value_len == len)
            return cookie.value;
    return NULL;
}

bool rules_strip_cookies(const char *header, struct cds_buf *out)
{
    struct cookie cookie;
    size_t before = out->len;
    for (const char *at = header; (at = next_cookie(at, &cookie));)
        if (!is_our_name(cookie.name, cookie.name_len))
            cds_buf_addf(out, "%s%.*s=%.*s", out->len > before ? "; " : "", (int)cookie.name_len, cookie.name, (int)cookie.value_len, cookie.value);
    return out->len > before;
}

bool rules_may_set_cookie(const char *value)
{
    struct cookie part;
    const char *at = next_cookie(value, &part);
    if (!at || is_our_name(part.name, part.name_len))
        return false;
    while ((at = next_cookie(at, &part)))
        if (part.name_len == 6 && !strncasecmp(part.name, "Domain", 6))
            return false;
    return true;
}

const char *rules_ticket(const char *body, size_t len, size_t *ret_len)
{
    static const char name[] = "ticket=";
    if (len < sizeof(name) || memcmp(body, name, sizeof(name) - 1) != 0)
        return NULL;
    *ret_len = len - (sizeof(name) - 1);
    return body + sizeof(name) - 1;
}

/* ---- headers ---- */
static bool is_one_of(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!strcasecmp(name, names[i]))
            return true;
    return false;
}

bool rules_passes_in(const char *name)
{
    /* Credentials are the studio's, and who forwarded is for us to say. */
    static const char *const never[] = {"Authorization", "Forwarded", "X-Real-IP", "x-request-id", "Via"};
    return !is_one_of(name, never, CDS_ARRAY_LEN(never)) && strncasecmp(name, "X-Forwarded-", 12) != 0 && strncasecmp(name, "Proxy-", 6) != 0;
}

bool rules_passes_back(const char *name)
{
    /* What reaches beyond the preview's own host (a neighbour of the studio's under preview.origin), and what our server says itself. */
    static const char *const never[] = {"Clear-Site-Data", "Alt-Svc", "Strict-Transport-Security", "Public-Key-Pins", "NEL", "x-request-id", "Date"};
    return !is_one_of(name, never, CDS_ARRAY_LEN(never));
}

const char *rules_location(const char *value, unsigned port)
{
    static const char *const hosts[] = {"http://localhost", "http://127.0.0.1"};
    char tail[16];
    int n = snprintf(tail, sizeof(tail), ":%u", port);
    for (size_t i = 0; i < CDS_ARRAY_LEN(hosts); i++) {
        size_t len = strlen(hosts[i]);
        if (strncasecmp(value, hosts[i], len) != 0 || strncmp(value + len, tail, (size_t)n) != 0)
            continue;
        const char *path = value + len + n;
        /* "//elsewhere" as a path would be another host. */
        if (!*path)
            return "/";
        if (*path == '/' && path[1] != '/' && path[1] != '\\')
            return path;
    }
    return NULL;
}
