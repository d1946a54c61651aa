#include "apps/fetch/source.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/base/str.h"

/* --- what an admin types ------------------------------------------------------------------------------------------------- */

static cds_rc wrong(struct cds_err *reterr, const char *why)
{
    cds_fail(reterr, CDS_BAD_PARAM, "source", "The source of the model cannot be used: %s.", why);
    cds_err_pointer(reterr, "/source");
    return cds_err_hint(reterr, "Write hf:owner/repo:quant, hf:owner/repo/file.gguf#branch, or the https address of a .gguf file.");
}

static bool clean(const char *text, const char *extra)
{
    for (; *text; text++)
        if (!isalnum((unsigned char)*text) && !strchr(extra, *text))
            return false;
    return true;
}

/** No empty part, none that is "." or "..". */
static bool plain_path(const char *path)
{
    for (const char *at = path;;) {
        size_t len = strcspn(at, "/");
        if (len == 0 || (len == 1 && at[0] == '.') || (len == 2 && at[0] == '.' && at[1] == '.'))
            return false;
        if (!at[len])
            return true;
        at += len + 1;
    }
}

static cds_rc parse_hub(const char *text, struct cds_source *s, struct cds_err *reterr)
{
    char rest[CDS_SOURCE_MAX];
    cds_strcpy(rest, sizeof(rest), text);
    char *hash = strchr(rest, '#');
    cds_strcpy(s->branch, sizeof(s->branch), "main");
    if (hash) {
        *hash++ = '\0';
        if (!*hash || strlen(hash) >= sizeof(s->branch) || !clean(hash, "-._/") || !plain_path(hash))
            return wrong(reterr, "the branch after # is empty or has odd characters");
        cds_strcpy(s->branch, sizeof(s->branch), hash);
    }
    char *quant = strchr(rest, ':');
    if (quant) {
        *quant++ = '\0';
        if (!*quant || strlen(quant) >= sizeof(s->quant) || !clean(quant, "_-."))
            return wrong(reterr, "the quantization after : is empty or has odd characters");
        cds_strcpy(s->quant, sizeof(s->quant), quant);
    }
    char *slash = strchr(rest, '/'), *file = slash ? strchr(slash + 1, '/') : NULL;
    if (file)
        *file++ = '\0';
    if (!slash || strlen(rest) >= sizeof(s->repo) || !clean(rest, "-._/") || !plain_path(rest))
        return wrong(reterr, "owner/repo is missing or has odd characters");
    cds_strcpy(s->repo, sizeof(s->repo), rest);
    if (file) {
        char name[CDS_FILE_NAME_MAX + 1];
        if (quant || !clean(file, "-._/+ ()") || !plain_path(file) || !cds_source_file_name(file, name))
            return wrong(reterr, "the file does not end in .gguf or has odd characters");
        cds_strcpy(s->file, sizeof(s->file), file);
    }
    s->hub = true;
    return CDS_OK;
}

cds_rc cds_source_parse(const char *text, struct cds_source *ret, struct cds_err *reterr)
{
    struct cds_source s = {0};
    size_t len = text ? strlen(text) : 0;
    if (len == 0 || len >= CDS_SOURCE_MAX)
        return wrong(reterr, "it is empty or longer than 1,023 bytes");
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < ' ' || (unsigned char)text[i] >= 0x7f)
            return wrong(reterr, "it has characters that an address cannot have");
    cds_rc rc;
    if (cds_starts_with(text, "hf:")) {
        rc = parse_hub(text + 3, &s, reterr);
        if (rc != CDS_OK)
            return rc;
    } else if (cds_starts_with(text, "https://") || cds_starts_with(text, "http://")) {
        char path[CDS_SOURCE_MAX], name[CDS_FILE_NAME_MAX + 1];
        cds_strcpy(path, sizeof(path), text);
        path[strcspn(path, "?#")] = '\0';
        if (strchr(path, '@') || strchr(text, ' '))
            return wrong(reterr, "an address with a user name, a password or a blank is not taken");
        if (!cds_source_file_name(path, name) || !strchr(strstr(path, "://") + 3, '/'))
            return wrong(reterr, "the address does not end in the name of a .gguf file");
        cds_strcpy(s.url, sizeof(s.url), text);
        s.url[strcspn(s.url, "#")] = '\0';
    } else {
        return wrong(reterr, "it begins with neither hf: nor https://");
    }
    *ret = s;
    return CDS_OK;
}

/* --- names of files ------------------------------------------------------------------------------------------------------ */

bool cds_source_file_name(const char *path, char ret[static CDS_FILE_NAME_MAX + 1])
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t len = strlen(name);
    if (len < 6 || len > CDS_FILE_NAME_MAX || name[0] == '.' || strcasecmp(name + len - 5, ".gguf") != 0 || !clean(name, "-._+ ()"))
        return false;
    memcpy(ret, name, len + 1);
    return true;
}

bool cds_source_part(const char *file, unsigned *ret_part, unsigned *ret_parts)
{
    static const char shape[] = "-00000-of-00000.gguf";
    size_t len = strlen(file), tail = sizeof(shape) - 1;
    if (len <= tail)
        return false;
    const char *at = file + len - tail;
    for (size_t i = 0; i < tail; i++)
        if (shape[i] == '0' ? !isdigit((unsigned char)at[i]) : tolower((unsigned char)at[i]) != shape[i])
            return false;
    unsigned part = (unsigned)strtoul(at + 1, NULL, 10), parts = (unsigned)strtoul(at + 10, NULL, 10);
    if (part < 1 || part > parts)
        return false;
    *ret_part = part;
    *ret_parts = parts;
    return true;
}

void cds_source_part_name(const char *file, unsigned part, char *ret, size_t size)
{
    size_t stem = strlen(file) - strlen("-00000-of-00000.gguf");
    snprintf(ret, size, "%.*s-%05u%s", (int)stem, file, part % 100000, file + stem + 6);
}

bool cds_source_has_quant(const char *file, const char *quant)
{
    size_t len = strlen(quant);
    for (const char *at = file; len && *at; at++) {
        bool begins = at == file || strchr("-._/", at[-1]) != NULL;
        if (begins && strncasecmp(at, quant, len) == 0 && (at[len] == '.' || at[len] == '-' || at[len] == '/'))
            return true;
    }
    return false;
}

/* --- which addresses ----------------------------------------------------------------------------------------------------- */

/** Takes "scheme://host[:port]" apart. @return false: not of that form */
static bool origin_parts(const char *text, size_t len, char scheme[static 8], char *host, size_t size, unsigned *port)
{
    char copy[300];
    if (len >= sizeof(copy))
        return false;
    memcpy(copy, text, len);
    copy[len] = '\0';
    for (char *c = copy; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    char *sep = strstr(copy, "://");
    if (!sep || sep - copy > 5)
        return false;
    *sep = '\0';
    cds_strcpy(scheme, 8, copy);
    char *name = sep + 3;
    name[strcspn(name, "/")] = '\0';
    *port = cds_streq(scheme, "http") ? 80 : 443;
    char *bracket = name[0] == '[' ? strchr(name, ']') : NULL;
    char *colon = strrchr(bracket ? bracket : name, ':');
    if (colon) {
        uint64_t value;
        if (cds_parse_u64(colon + 1, 1, 65535, &value) != CDS_OK)
            return false;
        *port = (unsigned)value;
        *colon = '\0';
    }
    if (!*name || strlen(name) >= size)
        return false;
    cds_strcpy(host, size, name);
    return true;
}

static bool same_origin(const char *text, size_t len, const char *scheme, const char *host, unsigned port)
{
    char its_scheme[8], its_host[256];
    unsigned its_port;
    return origin_parts(text, len, its_scheme, its_host, sizeof(its_host), &its_port) && cds_streq(its_scheme, scheme) && cds_streq(its_host, host) &&
           its_port == port;
}

static bool name_matches(const char *rule, size_t len, const char *host)
{
    size_t host_len = strlen(host);
    if (len > 2 && rule[0] == '*' && rule[1] == '.')
        return host_len > len - 1 && strncasecmp(host + host_len - (len - 1), rule + 1, len - 1) == 0;
    return host_len == len && strncasecmp(host, rule, len) == 0;
}

bool cds_host_allowed(const struct cds_host_rules *rules, const char *scheme, const char *host, unsigned port, bool *ret_private)
{
    *ret_private = false;
    /* A hub with its usual address must be a public one: only what is written out beside it may be private. */
    if (same_origin(rules->hub, strlen(rules->hub), scheme, host, port)) {
        *ret_private = cds_starts_with(rules->hub, "http://") || port != 443;
        return true;
    }
    for (const char *at = rules->hosts; at && *at;) {
        at += strspn(at, ", ");
        size_t len = strcspn(at, ", ");
        if (len > 3 && memmem(at, len, "://", 3)) {
            if (same_origin(at, len, scheme, host, port)) {
                *ret_private = true;
                return true;
            }
        } else if (len && cds_streq(scheme, "https") && port == 443 && name_matches(at, len, host)) {
            return true;
        }
        at += len;
    }
    return false;
}

static bool public_v4(uint32_t a)
{
    static const struct {
        uint32_t net;
        unsigned bits;
    } special[] = {{0x00000000, 8},  {0x0a000000, 8},  {0x64400000, 10}, {0x7f000000, 8},  {0xa9fe0000, 16}, {0xac100000, 12}, {0xc0000000, 24},
                   {0xc0000200, 24}, {0xc0586300, 24}, {0xc0a80000, 16}, {0xc6120000, 15}, {0xc6336400, 24}, {0xcb007100, 24}, {0xe0000000, 3}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(special); i++)
        if (a >> (32 - special[i].bits) == special[i].net >> (32 - special[i].bits))
            return false;
    return true;
}

bool cds_address_public(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return public_v4(ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr));
    if (address->sa_family != AF_INET6)
        return false;
    const unsigned char *b = ((const struct sockaddr_in6 *)(const void *)address)->sin6_addr.s6_addr;
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff}, nat64[12] = {0x00, 0x64, 0xff, 0x9b};
    if (!memcmp(b, mapped, 12) || !memcmp(b, nat64, 12))
        return public_v4((uint32_t)b[12] << 24 | (uint32_t)b[13] << 16 | (uint32_t)b[14] << 8 | b[15]);
    if (b[0] == 0x20 && b[1] == 0x02) /* 6to4 carries an IPv4 address */
        return public_v4((uint32_t)b[2] << 24 | (uint32_t)b[3] << 16 | (uint32_t)b[4] << 8 | b[5]);
    if (b[0] == 0x20 && b[1] == 0x01 && (b[2] == 0 || (b[2] == 0x0d && b[3] == 0xb8))) /* Teredo and special use; documentation */
        return false;
    return (b[0] & 0xe0) == 0x20; /* global unicast is 2000::/3 */
}
