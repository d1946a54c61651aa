/* apps/auth/origin.c: see origin.h. */
#include "apps/auth/origin.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "lib/base/str.h"

static void add(struct cds_origins *origins, const char *text)
{
    if (origins->count < CDS_ORIGINS)
        cds_strcpy(origins->allowed[origins->count++], CDS_ORIGIN_MAX, text);
}

/* The origin of an address: scheme and host in lower case, no path, no port that the scheme has anyway. */
static bool origin_of(const char *url, char *out, bool *ret_https)
{
    bool https = !strncasecmp(url, "https://", 8);
    if (!https && strncasecmp(url, "http://", 7) != 0)
        return false;
    const char *host = url + (https ? 8 : 7);
    size_t len = strcspn(host, "/?#");
    if (!len || len > 255 || strcspn(host, "@ \t\r\n") < len)
        return false;
    const char *usual = https ? ":443" : ":80";
    size_t tail = strlen(usual);
    if (len > tail && !strncmp(host + len - tail, usual, tail))
        len -= tail;
    snprintf(out, CDS_ORIGIN_MAX, "%s%.*s", https ? "https://" : "http://", (int)len, host);
    for (char *p = out; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    *ret_https = https;
    return true;
}

static bool is_loopback(const char *bind)
{
    return cds_starts_with(bind, "127.") || cds_streq(bind, "localhost") || cds_streq(bind, "::1");
}

static bool is_wildcard(const char *bind)
{
    return cds_streq(bind, "0.0.0.0") || cds_streq(bind, "::");
}

cds_rc cds_origins_init(struct cds_origins *origins, const char *public_url, const char *bind, uint16_t ui_port, struct cds_err *reterr)
{
    char text[CDS_ORIGIN_MAX];
    struct cds_origins made = {0};
    if (*public_url) {
        if (!origin_of(public_url, text, &made.https)) {
            cds_fail(reterr, CDS_BAD_PARAM, __func__, "The option ui.public_url is not an address that begins with http:// or https://: %s",
                     public_url);
            cds_err_hint(reterr, "Write it as users type it, for example https://studio.example.org");
            return CDS_BAD_PARAM;
        }
    } else {
        bool ipv6 = strchr(bind, ':') != NULL;
        if (is_wildcard(bind)) { /* nobody types that; the machine itself is all that is known */
            bind = "127.0.0.1";
            ipv6 = false;
        }
        snprintf(text, sizeof(text), "http://%s%.200s%s:%u", ipv6 ? "[" : "", bind, ipv6 ? "]" : "", ui_port);
    }
    add(&made, text);
    if (is_loopback(bind)) {
        static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};
        for (size_t i = 0; i < CDS_ARRAY_LEN(names); i++) {
            snprintf(text, sizeof(text), "http://%s:%u", names[i], ui_port);
            add(&made, text);
        }
    }
    *origins = made;
    return CDS_OK;
}

cds_rc cds_origins_check(const struct cds_origins *origins, const char *origin, const char *site, struct cds_err *reterr)
{
    bool ok = !origin && !cds_streq(site, "cross-site");
    for (unsigned i = 0; origin && !ok && i < origins->count; i++)
        ok = cds_streq(origin, origins->allowed[i]);
    if (ok)
        return CDS_OK;
    cds_fail(reterr, CDS_DENIED, __func__, "This request comes from a page that does not belong to the studio.");
    cds_err_rule(reterr, "http.origin");
    cds_err_hint(reterr, "Open the studio at %s; if users reach it by another address, set the option ui.public_url.", origins->allowed[0]);
    return CDS_DENIED;
}
