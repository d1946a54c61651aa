#include "apps/fetch/look.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "apps/fetch/facts.h"
#include "apps/fetch/inspect.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"

enum { LINE_MAX_BYTES = 65536, SAY_PATIENCE_MS = 30000 };

/** One file, of which the first bytes are in memory. */
struct looked {
    const struct cds_remote_file *file;
    int fd;                    /* file without a name */
    uint64_t have, want, size; /* bytes that are there; that are wanted; of the whole file, 0: not known yet */
    char etag[256];
    cds_rc rc; /* why a callback ended it */
    struct cds_err err;
};

/* --- one answer ---------------------------------------------------------------------------------------------------------- */

static cds_rc refuse(struct cds_err *err, const char *rule, const char *hint)
{
    cds_err_rule(err, rule);
    return cds_err_hint(err, "%s", hint);
}

static bool no_ranges(struct looked *l, const char *what)
{
    cds_fail(&l->err, CDS_BAD_PARAM, "look", "The server of %.100s %s, so its header cannot be read without downloading it.", l->file->name, what);
    l->rc = refuse(&l->err, "llm.inspect_ranges", "Download it, or name it at a server that answers Range.");
    return false;
}

static bool changed(struct looked *l)
{
    cds_fail(&l->err, CDS_CONFLICT, "look", "%.100s has changed at its server while its header was read.", l->file->name);
    l->rc = refuse(&l->err, "llm.inspect_changed", "Ask again.");
    return false;
}

static bool on_head(void *user, const struct cds_web_head *head)
{
    struct looked *l = user;
    bool partial = head->status == 206;
    int64_t size = partial ? head->range_total : head->length;
    if (l->have && *l->etag && *head->etag && !cds_streq(l->etag, head->etag))
        return changed(l);
    /* A server may send a whole file that is no longer than the piece. */
    if (!partial && (l->have || size <= 0 || (uint64_t)size > l->want))
        return no_ranges(l, "sends the whole file instead of the bytes that were asked for");
    if (partial && (head->range_first < 0 || (uint64_t)head->range_first != l->have))
        return no_ranges(l, "sends another part of it than the one that was asked for");
    if (partial && head->length > (int64_t)(l->want - l->have))
        return no_ranges(l, "sends more bytes than were asked for");
    if (l->have && size != (int64_t)l->size)
        return changed(l);
    if (l->file->size && size != (int64_t)l->file->size) {
        l->rc = cds_fail(&l->err, CDS_BAD_PARAM, "look", "The server offers %.100s with %" PRId64 " bytes, and its record says %" PRIu64 ".",
                         l->file->name, size, l->file->size);
        return false;
    }
    l->size = (uint64_t)size;
    cds_strcpy(l->etag, sizeof(l->etag), head->etag);
    return true;
}

static bool on_data(void *user, const void *data, size_t len)
{
    struct looked *l = user;
    if (len > l->want - l->have)
        return no_ranges(l, "sends more bytes than were asked for");
    for (size_t at = 0; at < len;) {
        ssize_t n = pwrite(l->fd, (const char *)data + at, len - at, (off_t)(l->have + at));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            l->rc = cds_fail_errno(&l->err, errno, "look", "There is not enough memory for the header of a model.");
            return false;
        }
        at += (size_t)n;
    }
    l->have += len;
    return true;
}

/* --- one file ------------------------------------------------------------------------------------------------------------ */

/** Gets the first `want` bytes, or all there are. */
static cds_rc get_first(struct cds_reach *reach, struct cds_web *web, struct looked *l, struct cds_err *reterr)
{
    unsigned tries = 0;
    while (l->have < l->want && (!l->size || l->have < l->size)) {
        uint64_t before = l->have;
        struct cds_web_head head;
        bool ended = false;
        l->err = (struct cds_err){0};
        const struct cds_web_get get = {.url = l->file->url,
                                        .first = (int64_t)l->have,
                                        .last = (int64_t)l->want - 1,
                                        .if_range = l->have ? l->etag : NULL,
                                        .on_head = on_head,
                                        .on_data = on_data,
                                        .user = l};
        cds_rc rc = cds_web_fetch(web, &get, &head, &ended, &l->err);
        rc = l->rc != CDS_OK ? l->rc : rc;
        if (l->have > before)
            tries = 0;
        else if (rc == CDS_OK)
            rc = cds_fail(&l->err, CDS_UNAVAILABLE, __func__, "The server of the model file sent nothing.");
        if (rc == CDS_CONFLICT && l->rc == CDS_OK) { /* 416: it is empty, or shorter than it was a moment ago */
            (void)(l->have ? changed(l) : no_ranges(l, "says that it has no such part"));
            rc = l->rc;
        }
        if (rc != CDS_OK && !cds_reach_again(reach->options, &tries, NULL, &l->err)) {
            *reterr = l->err;
            return rc;
        }
    }
    return CDS_OK;
}

static cds_rc cut_off(const struct looked *l, const char *how, struct cds_err *reterr)
{
    cds_fail(reterr, CDS_BAD_PARAM, "look", "%.100s %s: it has %" PRIu64 " bytes at its server.", l->file->name, how, l->size);
    return refuse(reterr, "llm.inspect_cut", "The file is not whole there; choose another source.");
}

static cds_rc too_long(const struct looked *l, struct cds_err *reterr)
{
    cds_fail(reterr, CDS_TOO_LARGE, "look", "The header of %.100s is longer than %d MiB, which is as much as is read of a remote file.",
             l->file->name, CDS_LOOK_BYTES_MAX >> 20);
    return refuse(reterr, "llm.inspect_header", "No model that runs here has such a header; do not trust the file.");
}

/** @param ret_facts  owned by the caller */
static cds_rc look_at(struct cds_reach *reach, struct cds_web *web, struct looked *l, cds_json **ret_facts, struct cds_err *reterr)
{
    for (l->want = CDS_LOOK_FIRST_BYTES;; l->want *= CDS_LOOK_GROWTH) {
        cds_rc rc = get_first(reach, web, l, reterr);
        if (rc == CDS_OK)
            rc = cds_inspect(l->fd, l->have, ret_facts, reterr);
        if (rc == CDS_OK && (uint64_t)cds_json_get_i64(*ret_facts, "needed_bytes", INT64_MAX) > l->size) {
            cds_json_unref(*ret_facts);
            *ret_facts = NULL;
            return cut_off(l, "is cut off, its tensors need more", reterr);
        }
        if (rc == CDS_TOO_LARGE)
            return too_long(l, reterr);
        if (rc != CDS_BUSY)
            return rc;
        if (l->have >= l->size)
            return cut_off(l, "ends inside its header", reterr);
        if (l->want >= CDS_LOOK_BYTES_MAX)
            return too_long(l, reterr);
    }
}

/* --- all files ----------------------------------------------------------------------------------------------------------- */

struct look {
    struct cds_reach reach;
    cds_json *files, *facts; /* owned */
    uint64_t read_bytes, size;
};

static cds_rc look_at_all(struct look *look, struct cds_web *web, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_close_fd) int fd = memfd_create("header", MFD_CLOEXEC);
    cds_rc rc = fd < 0 ? cds_fail_errno(reterr, errno, __func__, "There is not enough memory for the header of a model.") : CDS_OK;
    if (rc == CDS_OK)
        rc = cds_reach_resolve(&look->reach, web, reterr);
    const struct cds_remote *remote = &look->reach.remote;
    for (unsigned i = 0; rc == CDS_OK && i < remote->count; i++) {
        CDS_JSON_AUTO facts = NULL;
        struct looked l = {.file = &remote->files[i], .fd = fd};
        if (ftruncate(fd, 0) != 0)
            return cds_fail_errno(reterr, errno, __func__, "The memory for headers cannot be emptied.");
        rc = look_at(&look->reach, web, &l, &facts, reterr);
        if (rc == CDS_OK)
            rc = cds_facts_add(&look->facts, facts, i, remote->count, l.file->name, reterr);
        look->read_bytes += l.have;
        look->size += l.size;
        cds_json_append(look->files, cds_json_pack("{s:s,s:I,s:o}", "name", l.file->name, "size_bytes", (long long)l.size, "sha256",
                                                   *l.file->sha256 ? cds_json_string(l.file->sha256) : cds_json_null()));
    }
    if (rc == CDS_OK && cds_json_set(look->facts, "file_bytes", cds_json_int((int64_t)look->size)) != 0)
        rc = cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the facts of a model.");
    return rc;
}

static cds_json *answer_of(const struct look *look, uint64_t parameters_max)
{
    struct cds_err gate = {0};
    cds_json *refused = cds_facts_gate(look->facts, parameters_max, &gate) == CDS_OK
                            ? cds_json_null()
                            : cds_json_pack("{s:s,s:s,s:s}", "rule", gate.rule, "message", gate.message, "hint", gate.hint);
    return cds_json_pack("{s:s,s:O,s:O,s:I,s:o}", "source", look->reach.label, "files", look->files, "facts", look->facts, "read_bytes",
                         (long long)look->read_bytes, "refused", refused);
}

int cds_look(const struct cds_reach_options *options, uint64_t parameters_max, int out)
{
    static struct look look; /* large; one per process */
    struct cds_web *web = NULL;
    struct cds_err err = {0};
    look = (struct look){.files = cds_json_array()};
    cds_rc rc = cds_reach_open(options, &look.reach, &err);
    if (rc == CDS_OK)
        rc = cds_reach_key(&look.reach, &err);
    if (rc == CDS_OK)
        rc = cds_reach_web(&look.reach, NULL, &web, &err);
    if (rc == CDS_OK)
        rc = look_at_all(&look, web, &err);
    CDS_JSON_AUTO answer = rc == CDS_OK ? answer_of(&look, parameters_max)
                                        : cds_json_pack("{s:{s:s,s:s,s:s,s:s}}", "error", "code", cds_rc_openai(err.code), "message", err.message,
                                                        "hint", err.hint, "rule", err.rule);
    cds_web_free(&web);
    cds_reach_close(&look.reach);
    cds_json_unref(look.files);
    cds_json_unref(look.facts);
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(LINE_MAX_BYTES);
    if (!answer || cds_json_dump(answer, &text) != CDS_OK || cds_buf_add(&text, "\n", 1) != CDS_OK)
        return 1;
    return cds_write_all(out, text.data, text.len, cds_now_ms() + SAY_PATIENCE_MS, NULL) == CDS_OK && rc == CDS_OK ? 0 : 1;
}
