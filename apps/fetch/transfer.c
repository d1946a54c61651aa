#include "apps/fetch/transfer.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/str.h"

enum { HOPS_MAX = 6, HEADERS_MAX = 200, RETRY_AFTER_MAX_S = 60 };

struct cds_web {
    struct cds_web_options options;
    CURL *curl;
};

/** One hop. */
struct hop {
    const struct cds_web_get *get;
    struct cds_web_head head;
    bool may_be_private, was_private, told, ended;
    unsigned headers;
};

cds_rc cds_web_new(const struct cds_web_options *options, struct cds_web **ret, struct cds_err *reterr)
{
    struct cds_web *web = calloc(1, sizeof(*web));
    if (web && curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
        web->curl = curl_easy_init();
    if (!web || !web->curl) {
        free(web);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for a download.");
    }
    web->options = *options;
    *ret = web;
    return CDS_OK;
}

void cds_web_free(struct cds_web **web)
{
    if (!*web)
        return;
    curl_easy_cleanup((*web)->curl);
    free(*web);
    *web = NULL;
}

/* --- callbacks of libcurl ------------------------------------------------------------------------------------------------ */

/** The address that a name really has: looked at here, so that no name server can point us into this network. */
static curl_socket_t open_socket(void *user, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct hop *hop = user;
    if (!hop->may_be_private && !cds_address_public(&address->addr)) {
        hop->was_private = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static const char *value_of(const char *line, const char *name)
{
    size_t len = strlen(name);
    if (strncasecmp(line, name, len) != 0 || line[len] != ':')
        return NULL;
    line += len + 1;
    return line + strspn(line, " \t");
}

static void read_range(const char *text, struct cds_web_head *head)
{
    long long first, last, total;
    if (sscanf(text, "bytes %lld-%lld/%lld", &first, &last, &total) == 3 && first >= 0 && last >= first && total > last) {
        head->range_first = first;
        head->range_total = total;
    }
}

static size_t on_header(char *data, size_t size, size_t count, void *user)
{
    struct hop *hop = user;
    char line[1024];
    size_t len = size * count, keep = len < sizeof(line) - 1 ? len : sizeof(line) - 1;
    if (++hop->headers > HEADERS_MAX)
        return 0;
    memcpy(line, data, keep);
    line[keep] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    if (cds_starts_with(line, "HTTP/")) { /* a new head: of an answer after 100 Continue */
        hop->head = (struct cds_web_head){.length = -1, .range_first = -1, .range_total = -1};
        return len;
    }
    const char *value;
    uint64_t number;
    if ((value = value_of(line, "etag")) && value[0] == '"')
        cds_strcpy(hop->head.etag, sizeof(hop->head.etag), strlen(value) < sizeof(hop->head.etag) ? value : "");
    else if ((value = value_of(line, "content-range")))
        read_range(value, &hop->head);
    else if ((value = value_of(line, "content-type")))
        cds_strcpy(hop->head.type, sizeof(hop->head.type), value);
    else if ((value = value_of(line, "retry-after")) && cds_parse_u64(value, 0, 86400, &number) == CDS_OK)
        hop->head.retry_after_s = (uint32_t)number;
    return len;
}

static bool tell_head(struct cds_web *web, struct hop *hop)
{
    long status = 0;
    curl_off_t length = -1;
    curl_easy_getinfo(web->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(web->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    hop->head.status = (int)status;
    hop->head.length = length;
    hop->told = true;
    if ((status == 200 || status == 206) && hop->get->on_head && !hop->get->on_head(hop->get->user, &hop->head))
        hop->ended = true;
    return !hop->ended;
}

struct both {
    struct cds_web *web;
    struct hop *hop;
};

static size_t on_body(char *data, size_t size, size_t count, void *user)
{
    const struct both *both = user;
    struct hop *hop = both->hop;
    if (!hop->told && !tell_head(both->web, hop))
        return 0;
    if (hop->head.status != 200 && hop->head.status != 206)
        return 0; /* nobody reads what an error or a redirect has to say */
    if (!hop->get->on_data(hop->get->user, data, size * count)) {
        hop->ended = true;
        return 0;
    }
    return size * count;
}

/** libcurl asks at least once a second. @return other than 0: end it */
static int on_progress(void *user, curl_off_t due, curl_off_t now, curl_off_t upload_due, curl_off_t uploaded)
{
    const struct both *both = user;
    const struct cds_web_get *get = both->hop->get;
    if (get->on_wait)
        get->on_wait(get->user);
    const atomic_bool *stop = both->web->options.stop;
    return stop && atomic_load(stop) ? 1 : 0;
}

/* --- one hop ------------------------------------------------------------------------------------------------------------- */

/** Scheme, host and port of an address. @return CDS_OK: allowed */
static cds_rc check_address(const struct cds_web *web, const char *url, bool *ret_private, bool *ret_hub, struct cds_err *reterr)
{
    CURLU *parts = curl_url();
    char *scheme = NULL, *host = NULL, *port = NULL, *user = NULL;
    bool fine = parts && !curl_url_set(parts, CURLUPART_URL, url, 0) && !curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) &&
                !curl_url_get(parts, CURLUPART_HOST, &host, 0) && !curl_url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) &&
                curl_url_get(parts, CURLUPART_USER, &user, 0) == CURLUE_NO_USER;
    bool web_scheme = fine && (cds_streq(scheme, "https") || cds_streq(scheme, "http"));
    cds_rc rc = CDS_OK;
    if (fine) {
        for (char *c = host; *c; c++)
            *c = *c >= 'A' && *c <= 'Z' ? (char)(*c + 32) : *c;
        const struct cds_host_rules hub = {.hosts = "", .hub = web->options.rules.hub};
        unsigned number = (unsigned)strtoul(port, NULL, 10);
        bool ignored;
        *ret_hub = cds_host_allowed(&hub, scheme, host, number, &ignored);
        if (!web_scheme || !cds_host_allowed(&web->options.rules, scheme, host, number, ret_private)) {
            cds_fail(reterr, CDS_DENIED, "transfer", "Models may not be fetched from %s://%.100s:%u.", scheme, host, number);
            cds_err_rule(reterr, "llm.download_hosts");
            cds_err_hint(reterr, "An administrator can add the host to llm.download_hosts.");
            rc = CDS_DENIED;
        }
    } else {
        rc = cds_fail(reterr, CDS_BAD_PARAM, "transfer", "The address of the model file cannot be read.");
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_free(user);
    curl_url_cleanup(parts);
    return rc;
}

static cds_rc status_error(const struct hop *hop, struct cds_err *reterr)
{
    int status = hop->head.status;
    if (status == 401 || status == 403) {
        cds_fail(reterr, CDS_DENIED, "transfer", "The server of the model file wants permission (HTTP %d).", status);
        return cds_err_hint(reterr, "For a gated model accept its licence at the hub, and name a file with your access key in llm.hub_token_file.");
    }
    if (status == 404 || status == 410)
        return cds_fail(reterr, CDS_NOT_FOUND, "transfer", "The server does not have this model file (HTTP %d).", status);
    if (status == 416)
        return cds_fail(reterr, CDS_CONFLICT, "transfer", "The server has no such part of the model file (HTTP 416).");
    if (status == 408 || status == 425 || status == 429 || status >= 500) {
        cds_fail(reterr, CDS_UNAVAILABLE, "transfer", "The server of the model file is not ready (HTTP %d).", status);
        uint32_t wait_s = hop->head.retry_after_s < RETRY_AFTER_MAX_S ? hop->head.retry_after_s : RETRY_AFTER_MAX_S;
        reterr->retry_after_ms = wait_s * 1000;
        return CDS_UNAVAILABLE;
    }
    /* Not the model's fault: what came so far stays. */
    return cds_fail(reterr, CDS_CONFLICT, "transfer", "The server answered HTTP %d where a model file was asked for.", status);
}

static cds_rc curl_error(const struct cds_web *web, const struct hop *hop, CURLcode code, struct cds_err *reterr)
{
    if (hop->was_private) {
        cds_fail(reterr, CDS_DENIED, "transfer", "The host of the model file has an address inside this machine or its network.");
        cds_err_rule(reterr, "llm.download_hosts");
        return cds_err_hint(reterr, "If it is meant, name it with scheme and port in llm.download_hosts.");
    }
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return cds_fail(reterr, CDS_CANCELLED, "transfer", "The transfer was ended because another one failed.");
    if (cds_now_ms() >= web->options.deadline_ms)
        return cds_fail(reterr, CDS_TIMED_OUT, "transfer", "The download did not end within the time it may take.");
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
        return cds_fail(reterr, CDS_DENIED, "transfer", "The certificate of the host of the model file cannot be trusted: %s.",
                        curl_easy_strerror(code));
    return cds_fail(reterr, CDS_UNAVAILABLE, "transfer", "The connection to the server of the model file failed: %s.", curl_easy_strerror(code));
}

static void set_headers(const struct cds_web *web, const struct cds_web_get *get, bool hub, struct curl_slist **list)
{
    char line[512];
    if (get->if_range && *get->if_range && get->first >= 0) {
        snprintf(line, sizeof(line), "If-Range: %s", get->if_range);
        *list = curl_slist_append(*list, line);
    }
    if (hub && *web->options.key) {
        snprintf(line, sizeof(line), "Authorization: Bearer %s", web->options.key);
        *list = curl_slist_append(*list, line);
        explicit_bzero(line, sizeof(line));
    }
}

/** @return CDS_OK and *next "" for an answer, or the address of the next hop */
static cds_rc do_hop(struct cds_web *web, const char *url, struct hop *hop, char *next, size_t next_size, struct cds_err *reterr)
{
    bool hub = false;
    cds_rc rc = check_address(web, url, &hop->may_be_private, &hub, reterr);
    if (rc != CDS_OK)
        return rc;
    CURL *curl = web->curl;
    struct both both = {.web = web, .hop = hop};
    struct curl_slist *headers = NULL;
    char range[64];
    set_headers(web, hop->get, hub, &headers);
    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "cyberdevstudio/" CDS_VERSION);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)web->options.connect_ms);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1024L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)((web->options.stall_ms + 999) / 1000));
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)cds_ms_left(web->options.deadline_ms) + 1);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, hop);
    /* A connection that was opened for another hop is not taken over: its address was judged by that hop's rules. */
    curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, hop);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &both);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &both);
    if (hop->get->first >= 0) {
        if (hop->get->last >= 0)
            snprintf(range, sizeof(range), "%lld-%lld", (long long)hop->get->first, (long long)hop->get->last);
        else
            snprintf(range, sizeof(range), "%lld-", (long long)hop->get->first);
        curl_easy_setopt(curl, CURLOPT_RANGE, range);
    }
    CURLcode code = curl_easy_perform(curl);
    curl_slist_free_all(headers);
    long status = 0;
    char *redirect = NULL;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(curl, CURLINFO_REDIRECT_URL, &redirect);
    if (!hop->told && status)
        tell_head(web, hop);
    *next = '\0';
    if (hop->ended)
        return CDS_OK;
    if (status / 100 == 3 && redirect && strlen(redirect) < next_size) {
        cds_strcpy(next, next_size, redirect);
        return CDS_OK;
    }
    if (status && status != 200 && status != 206)
        return status_error(hop, reterr);
    return code == CURLE_OK ? CDS_OK : curl_error(web, hop, code, reterr);
}

cds_rc cds_web_fetch(struct cds_web *web, const struct cds_web_get *get, struct cds_web_head *ret, bool *ret_ended, struct cds_err *reterr)
{
    char url[CDS_URL_MAX], next[CDS_URL_MAX];
    if (strlen(get->url) >= sizeof(url))
        return cds_fail(reterr, CDS_TOO_LARGE, __func__, "The address of the model file is too long.");
    cds_strcpy(url, sizeof(url), get->url);
    for (int i = 0; i < HOPS_MAX; i++) {
        struct hop hop = {.get = get, .head = {.length = -1, .range_first = -1, .range_total = -1}};
        cds_rc rc = do_hop(web, url, &hop, next, sizeof(next), reterr);
        if (rc != CDS_OK)
            return rc;
        if (!*next) {
            *ret = hop.head;
            *ret_ended = hop.ended;
            return CDS_OK;
        }
        cds_strcpy(url, sizeof(url), next);
    }
    return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The server of the model file redirects more than %d times.", HOPS_MAX - 1);
}
