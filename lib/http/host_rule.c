/* lib/http/host_rule.c: see host_rule.h. */
#include "lib/http/host_rule.h"

#include <arpa/inet.h>
#include <string.h>

#include "lib/base/str.h"

enum { LABEL_MAX = 63, HTTP_PORT = 80, HTTPS_PORT = 443, PORT_DIGITS = 5 };

static bool digits_only(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] < '0' || text[i] > '9')
            return false;
    return len > 0;
}

/* What some programs read as a number: its last part is one, or begins with 0x. Only four plain numbers are an address here. */
static bool is_odd_number(const char *host)
{
    struct in_addr address;
    const char *dot = strrchr(host, '.'), *last = dot ? dot + 1 : host;
    bool number = digits_only(last, strlen(last)) || cds_starts_with(last, "0x");
    return number && inet_pton(AF_INET, host, &address) != 1;
}

bool cds_host_name(const char *text, size_t len, char ret[static CDS_HOST_MAX + 1])
{
    size_t label = 0;
    char host[CDS_HOST_MAX + 1];
    if (len && text[len - 1] == '.')
        len--;
    if (len == 0 || len > CDS_HOST_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        bool dot = c == '.', good = dot || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        if (!good || (dot && label == 0) || (c == '-' && label == 0))
            return false;
        label = dot ? 0 : label + 1;
        if (label > LABEL_MAX)
            return false;
        host[i] = c;
    }
    host[len] = '\0';
    if (label == 0 || is_odd_number(host))
        return false;
    memcpy(ret, host, len + 1);
    return true;
}

static bool port_of(const char *text, size_t len, uint16_t *ret)
{
    unsigned port = 0;
    if (len > PORT_DIGITS || !digits_only(text, len))
        return false;
    for (size_t i = 0; i < len; i++)
        port = port * 10 + (unsigned)(text[i] - '0');
    *ret = (uint16_t)port;
    return port >= 1 && port <= UINT16_MAX;
}

static cds_rc bad(struct cds_err *reterr, const char *text, size_t len, const char *why)
{
    char shown[80];
    size_t n = 0;
    for (size_t i = 0; i < len && n < sizeof(shown) - 1; i++)
        shown[n++] = text[i];
    shown[n] = '\0';
    shown[cds_utf8_complete(shown, n)] = '\0';
    cds_fail(reterr, CDS_BAD_PARAM, "cds_host_rule_parse", "\"%s\" is no rule for the network: %s.",
             cds_utf8_valid(shown, strlen(shown)) ? shown : "?", why);
    return cds_err_hint(reterr, "Write a host and, where it is not 80 or 443, its port: pypi.org, *.example.org, registry.example.org:8443.");
}

cds_rc cds_host_rule_parse(const char *text, size_t len, bool any, struct cds_host_rule *ret, struct cds_err *reterr)
{
    struct cds_host_rule rule = {.port = 0};
    const char *colon = memchr(text, ':', len);
    size_t host_len = colon ? (size_t)(colon - text) : len;
    if (colon && !port_of(colon + 1, len - host_len - 1, &rule.port))
        return bad(reterr, text, len, "its port is not 1 to 65535 (addresses of IPv6 cannot be named)");
    if (any && host_len == 1 && *text == '*') {
        *ret = rule;
        return CDS_OK;
    }
    const char *host = text;
    if (host_len > 2 && text[0] == '*' && text[1] == '.') {
        rule.below = true;
        host += 2;
        host_len -= 2;
    }
    if (!cds_host_name(host, host_len, rule.host))
        return bad(reterr, text, len, "its host is not a name of letters, digits, dots and hyphens");
    struct in_addr address;
    if (rule.below && inet_pton(AF_INET, rule.host, &address) == 1)
        return bad(reterr, text, len, "nothing is below an address");
    *ret = rule;
    return CDS_OK;
}

cds_rc cds_host_rules_parse(const char *text, struct cds_host_rule ret[static CDS_HOST_RULES_MAX], size_t *ret_count, struct cds_err *reterr)
{
    static const char dividers[] = " ,\t\r\n";
    size_t count = 0;
    for (const char *at = text + strspn(text, dividers); *at; at += strspn(at, dividers)) {
        size_t len = strcspn(at, dividers);
        if (count == CDS_HOST_RULES_MAX)
            return cds_fail(reterr, CDS_BAD_PARAM, __func__, "A list of hosts has at most %d entries.", CDS_HOST_RULES_MAX);
        cds_rc rc = cds_host_rule_parse(at, len, true, &ret[count], reterr);
        if (rc)
            return rc;
        count++;
        at += len;
    }
    *ret_count = count;
    return CDS_OK;
}

/* Is it a name below that one? */
static bool is_below(const char *name, const char *parent)
{
    size_t n = strlen(name), p = strlen(parent);
    return n > p + 1 && name[n - p - 1] == '.' && !strcmp(name + n - p, parent);
}

static bool match_host(const struct cds_host_rule *rule, const char *host)
{
    return !rule->host[0] || (rule->below ? is_below(host, rule->host) : !strcmp(host, rule->host));
}

static bool match_port(const struct cds_host_rule *rule, uint16_t port)
{
    return rule->port ? rule->port == port : port == HTTP_PORT || port == HTTPS_PORT;
}

bool cds_host_rules_match(const struct cds_host_rule *rules, size_t count, const char *host, uint16_t port)
{
    for (size_t i = 0; i < count; i++)
        if (match_host(&rules[i], host) && match_port(&rules[i], port))
            return true;
    return false;
}

bool cds_host_rules_know(const struct cds_host_rule *rules, size_t count, const char *host)
{
    for (size_t i = 0; i < count; i++)
        if (match_host(&rules[i], host))
            return true;
    return false;
}

static bool cover_host(const struct cds_host_rule *wide, const struct cds_host_rule *rule)
{
    if (!wide->host[0])
        return true;
    if (!rule->host[0])
        return false;
    if (!rule->below)
        return match_host(wide, rule->host);
    return wide->below && (!strcmp(wide->host, rule->host) || is_below(rule->host, wide->host));
}

static bool cover(const struct cds_host_rule *rules, size_t count, const struct cds_host_rule *rule, uint16_t port)
{
    for (size_t i = 0; i < count; i++)
        if (cover_host(&rules[i], rule) && match_port(&rules[i], port))
            return true;
    return false;
}

bool cds_host_rules_cover(const struct cds_host_rule *rules, size_t count, const struct cds_host_rule *rule)
{
    if (rule->port)
        return cover(rules, count, rule, rule->port);
    return cover(rules, count, rule, HTTP_PORT) && cover(rules, count, rule, HTTPS_PORT);
}
