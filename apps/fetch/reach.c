#include "apps/fetch/reach.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"

enum { TRIES = 6, BACKOFF_MAX_MS = 8000, LOOK_MS = 50 };

cds_rc cds_reach_open(const struct cds_reach_options *options, struct cds_reach *ret, struct cds_err *reterr)
{
    *ret = (struct cds_reach){.options = options};
    cds_strcpy(ret->label, sizeof(ret->label), options->source);
    if (!cds_starts_with(ret->label, "hf:"))
        ret->label[strcspn(ret->label, "?#")] = '\0';
    return cds_source_parse(options->source, &ret->source, reterr);
}

cds_rc cds_reach_key(struct cds_reach *reach, struct cds_err *reterr)
{
    const char *path = reach->options->key_file;
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(sizeof(reach->key) - 1);
    struct stat st;
    if (!*path)
        return CDS_OK;
    if (stat(path, &st) != 0 || cds_read_file(path, &text, NULL) != CDS_OK || !text.len)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The file of llm.hub_token_file cannot be read, is empty or longer than %zu bytes.",
                        sizeof(reach->key) - 1);
    if (st.st_mode & 077) {
        cds_fail(reterr, CDS_DENIED, __func__, "The file of llm.hub_token_file can be read by others.");
        return cds_err_hint(reterr, "chmod 600 it, and make a new key if others may have read it.");
    }
    size_t len = strcspn(text.data, "\r\n");
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text.data[i] <= ' ' || (unsigned char)text.data[i] >= 0x7f)
            return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The file of llm.hub_token_file does not hold a key in its first line.");
    memcpy(reach->key, text.data, len);
    explicit_bzero(text.data, text.len);
    return CDS_OK;
}

cds_rc cds_reach_web(const struct cds_reach *reach, const atomic_bool *stop, struct cds_web **ret, struct cds_err *reterr)
{
    const struct cds_reach_options *o = reach->options;
    struct cds_web_options web = {.rules = {.hosts = o->hosts, .hub = o->hub},
                                  .key = reach->key,
                                  .connect_ms = o->connect_ms,
                                  .stall_ms = o->stall_ms,
                                  .deadline_ms = o->deadline_ms,
                                  .stop = stop};
    return cds_web_new(&web, ret, reterr);
}

/** The hash that the caller expects must be the hub's, if the hub has one. */
static cds_rc expect(struct cds_reach *reach, struct cds_err *reterr)
{
    const char *sha256 = reach->options->sha256;
    struct cds_remote_file *file = reach->remote.files;
    if (!*sha256 || reach->remote.count != 1)
        return CDS_OK;
    if (*file->sha256 && !cds_streq(file->sha256, sha256)) {
        cds_fail(reterr, CDS_CONFLICT, __func__, "The hub's file is not the one that was asked for: its SHA-256 is %.16s..., not %.16s...",
                 file->sha256, sha256);
        cds_err_rule(reterr, "llm.sha256");
        return CDS_CONFLICT;
    }
    cds_strcpy(file->sha256, sizeof(file->sha256), sha256);
    return CDS_OK;
}

cds_rc cds_reach_resolve(struct cds_reach *reach, struct cds_web *web, struct cds_err *reterr)
{
    const struct cds_reach_options *o = reach->options;
    unsigned tries = 0;
    if (!reach->source.hub)
        return cds_hub_plain(&reach->source, o->sha256, &reach->remote, reterr);
    for (;;) {
        struct cds_err err = {0};
        cds_rc rc = cds_hub_resolve(web, o->hub, &reach->source, &reach->remote, &err);
        if (rc == CDS_OK)
            return expect(reach, reterr);
        if (!cds_reach_again(o, &tries, NULL, &err)) {
            *reterr = err;
            return rc;
        }
    }
}

void cds_reach_close(struct cds_reach *reach)
{
    free(reach->remote.files);
    reach->remote = (struct cds_remote){0};
    explicit_bzero(reach->key, sizeof(reach->key));
}

bool cds_reach_again(const struct cds_reach_options *options, unsigned *tries, const atomic_bool *stop, const struct cds_err *err)
{
    if (err->code != CDS_UNAVAILABLE || ++*tries >= TRIES || cds_now_ms() >= options->deadline_ms)
        return false;
    uint64_t ms = (uint64_t)options->backoff_ms << *tries;
    ms = ms > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : ms;
    uint64_t until = cds_now_ms() + (err->retry_after_ms > ms ? err->retry_after_ms : ms);
    for (uint64_t now; (now = cds_now_ms()) < until;) {
        uint64_t left = until - now < LOOK_MS ? until - now : LOOK_MS;
        const struct timespec t = {.tv_nsec = (long)left * 1000000};
        if (stop && atomic_load(stop))
            return false;
        nanosleep(&t, NULL);
    }
    return true;
}
