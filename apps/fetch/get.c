#include "apps/fetch/pulling.h"

#include "lib/base/str.h"

enum { BEGINS_MAX = 3 };

/** One request for bytes of a part. */
struct want {
    struct cds_pulling *pulling;
    unsigned index;
    struct cds_part *part;
    const struct cds_remote_file *file;
    uint64_t until, skip; /* bytes wanted; bytes of this answer that we have */
    bool anew, begun;     /* the server has another file now; its bytes come already */
    bool moved;           /* it was not in vain */
    cds_rc rc;
    struct cds_err err;
};

/** The length is known now: does it fit what is said elsewhere, the ceiling and the disk? */
static cds_rc take_size(const struct want *want, int64_t size, struct cds_err *err)
{
    const struct cds_pull_options *o = want->pulling->options;
    if (size <= 0) {
        cds_fail(err, CDS_BAD_PARAM, __func__, "The server does not say how long %.100s is.", want->file->name);
        return cds_err_hint(err, "Use a server that sends Content-Length or answers ranges.");
    }
    if (want->file->size && (uint64_t)size != want->file->size)
        return cds_fail(err, CDS_BAD_PARAM, __func__, "The server offers %.100s with %lld bytes, and its record says %llu.", want->file->name,
                        (long long)size, (unsigned long long)want->file->size);
    if ((uint64_t)size > o->file_bytes_max)
        return cds_fail(err, CDS_TOO_LARGE, __func__, "%.100s has %lld bytes; the most that may be downloaded is %llu (llm.download_max_bytes).",
                        want->file->name, (long long)size, (unsigned long long)o->file_bytes_max);
    return CDS_OK;
}

static bool stop_with(struct want *want, cds_rc rc)
{
    want->rc = rc;
    return false;
}

static bool on_head(void *user, const struct cds_web_head *head)
{
    struct want *want = user;
    struct cds_part *part = want->part;
    uint64_t at = cds_part_position(part);
    bool partial = head->status == 206;
    int64_t size = partial ? head->range_total : head->length;
    bool changed = at > 0 && ((*part->etag && *head->etag && !cds_streq(part->etag, head->etag)) || (size > 0 && (uint64_t)size != part->size));
    if (partial && (head->range_first < 0 || (uint64_t)head->range_first != at))
        return stop_with(want, cds_fail(&want->err, CDS_UNAVAILABLE, __func__, "The server sent another part of the file than the one asked for."));
    if (changed || (at > 0 && !partial && !*part->etag && !*part->sha256)) {
        want->anew = true; /* nothing proves that what we have belongs to what comes */
        if (partial)
            return false;
        at = 0;
    }
    if (at == 0) {
        cds_rc rc = take_size(want, size, &want->err);
        if (rc == CDS_OK)
            rc = cds_part_begin(part, want->pulling->reach.label, (uint64_t)size, head->etag, &want->err);
        if (rc != CDS_OK)
            return stop_with(want, rc);
        want->begun = true;
    }
    want->skip = partial ? 0 : at;
    return true;
}

static bool on_data(void *user, const void *data, size_t len)
{
    struct want *want = user;
    if (want->skip) {
        size_t cut = want->skip < len ? (size_t)want->skip : len;
        want->skip -= cut;
        data = (const char *)data + cut;
        len -= cut;
    }
    cds_rc rc = cds_part_add(want->part, data, len, &want->err);
    cds_tell_note(want->pulling, want->index);
    if (rc != CDS_OK)
        return stop_with(want, rc);
    return cds_part_position(want->part) < want->until || cds_part_position(want->part) == want->part->size;
}

/** Also while a source stands still: what came last is told, too. */
static void on_wait(void *user)
{
    const struct want *want = user;
    cds_tell_progress(want->pulling);
}

/** One request and what became of it. @return CDS_OK: something came, or it begins anew; errors as the answer was */
static cds_rc ask_once(struct cds_web *web, struct want *want)
{
    struct cds_part *part = want->part;
    uint64_t before = cds_part_position(part);
    struct cds_web_head head;
    bool ended = false;
    const struct cds_web_get get = {.url = want->file->url,
                                    .first = (int64_t)before,
                                    .last = want->until < UINT64_MAX && (!part->size || want->until < part->size) ? (int64_t)want->until - 1 : -1,
                                    .if_range = before ? part->etag : NULL,
                                    .on_head = on_head,
                                    .on_data = on_data,
                                    .on_wait = on_wait,
                                    .user = want};
    cds_rc rc = cds_web_fetch(web, &get, &head, &ended, &want->err);
    if (want->rc != CDS_OK)
        rc = want->rc;
    if (rc == CDS_CONFLICT) /* 416: it is shorter than what we have */
        want->anew = true;
    want->moved = want->anew || cds_part_position(part) > before;
    if (rc == CDS_OK && !want->moved)
        rc = cds_fail(&want->err, CDS_UNAVAILABLE, __func__, "The server of the model file sent nothing.");
    return rc;
}

static cds_rc get_until(struct cds_pulling *pulling, struct cds_web *web, unsigned index, uint64_t until, struct cds_err *reterr)
{
    struct cds_part *part = &pulling->parts[index];
    const struct cds_remote_file *file = &pulling->reach.remote.files[index];
    unsigned tries = 0, begins = 0;
    while (!part->size || cds_part_position(part) < (until < part->size ? until : part->size)) {
        struct want want = {.pulling = pulling, .index = index, .part = part, .file = file, .until = until};
        if (atomic_load(&pulling->stop))
            return cds_fail(reterr, CDS_CANCELLED, __func__, "Another part of the model could not be downloaded.");
        cds_rc rc = ask_once(web, &want);
        if (want.anew) {
            if (++begins > BEGINS_MAX)
                return cds_fail(reterr, CDS_UNAVAILABLE, __func__, "%.100s keeps changing at its server; it began anew %d times.", file->name,
                                BEGINS_MAX);
            if (!want.begun) {
                rc = cds_part_begin(part, pulling->reach.label, file->size, "", reterr);
                if (rc != CDS_OK)
                    return rc;
                continue;
            }
        }
        if (want.moved)
            tries = 0;
        if (rc != CDS_OK && !cds_reach_again(&pulling->options->reach, &tries, &pulling->stop, &want.err)) {
            *reterr = want.err;
            return rc;
        }
    }
    return CDS_OK;
}

cds_rc cds_get_until(struct cds_pulling *pulling, struct cds_web *web, unsigned index, uint64_t until, struct cds_err *reterr)
{
    cds_rc rc = get_until(pulling, web, index, until, reterr);
    cds_part_rest(&pulling->parts[index]);
    cds_tell_note(pulling, index);
    return rc;
}
