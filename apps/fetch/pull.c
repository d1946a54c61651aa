#include "apps/fetch/pull.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "apps/fetch/gguf.h"
#include "apps/fetch/hub.h"
#include "apps/fetch/inspect.h"
#include "apps/fetch/part.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"

enum { TRIES = 6, BEGINS_MAX = 3, BACKOFF_MAX_MS = 8000, SAY_MS = 250, KEY_BYTES = 512, LINE_MAX_BYTES = 65536 };

struct pull {
    const struct cds_pull_options *options;
    struct cds_source source;
    char label[CDS_SOURCE_MAX]; /* the source without what stands behind "?": that may be a secret */
    char key[KEY_BYTES];
    struct cds_web *web;
    struct cds_remote remote;
    struct cds_part parts[CDS_PARTS_MAX];
    unsigned opened;
    cds_json *facts; /* of the first part, with the parameters of all */
    const char *state;
    unsigned at; /* part in work */
    uint64_t said_ms;
};

/* --- telling ------------------------------------------------------------------------------------------------------------- */

static void say(const struct pull *pull, cds_json *line)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(LINE_MAX_BYTES);
    CDS_JSON_AUTO value = line;
    if (!value || cds_json_dump(value, &text) != CDS_OK || cds_buf_add(&text, "\n", 1) != CDS_OK ||
        cds_write_all(pull->options->out, text.data, text.len, cds_now_ms() + 30000, NULL) != CDS_OK)
        _exit(1); /* who asked for this is gone */
}

static void say_state(struct pull *pull, const char *state)
{
    uint64_t received = 0, total = 0;
    pull->state = state;
    pull->said_ms = cds_now_ms();
    for (unsigned i = 0; i < pull->opened; i++) {
        received += cds_part_position(&pull->parts[i]);
        total += pull->parts[i].size;
    }
    for (unsigned i = pull->opened; i < pull->remote.count; i++)
        total += pull->remote.files[i].size;
    cds_json *line = cds_json_pack("{s:s,s:s,s:i,s:i,s:I,s:I}", "state", state, "file", pull->remote.count ? pull->remote.files[0].name : "", "part",
                                   (int)pull->at + 1, "parts", (int)pull->remote.count, "received", (long long)received, "total", (long long)total);
    if (pull->facts)
        cds_json_set(line, "facts", cds_json_ref(pull->facts));
    say(pull, line);
}

static void say_now_and_then(struct pull *pull)
{
    if (cds_now_ms() - pull->said_ms >= SAY_MS)
        say_state(pull, pull->state);
}

/* --- one part ------------------------------------------------------------------------------------------------------------ */

/** One request for bytes of a part. */
struct want {
    struct pull *pull;
    struct cds_part *part;
    const struct cds_remote_file *file;
    uint64_t until, skip; /* bytes wanted; bytes of this answer that we have */
    bool anew, begun;     /* the server has another file now; its bytes come already */
    cds_rc rc;
    struct cds_err err;
};

static uint64_t free_bytes(const char *dir)
{
    struct statvfs fs;
    return statvfs(dir, &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : UINT64_MAX;
}

/** The length is known now: does it fit what is said elsewhere, the ceiling and the disk? */
static cds_rc take_size(const struct want *want, int64_t size, struct cds_err *err)
{
    const struct cds_pull_options *o = want->pull->options;
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
            rc = cds_part_begin(part, want->pull->label, (uint64_t)size, head->etag, &want->err);
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
    say_now_and_then(want->pull);
    if (rc != CDS_OK)
        return stop_with(want, rc);
    return cds_part_position(want->part) < want->until || cds_part_position(want->part) == want->part->size;
}

static void wait_ms(uint64_t ms)
{
    struct timespec t = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

/** A failure that may pass: waits a little longer each time. @return false: often enough */
static bool try_again(const struct pull *pull, unsigned *tries, const struct cds_err *err)
{
    if (err->code != CDS_UNAVAILABLE || ++*tries >= TRIES || cds_now_ms() >= pull->options->deadline_ms)
        return false;
    uint64_t ms = (uint64_t)pull->options->backoff_ms << *tries;
    ms = ms > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : ms;
    wait_ms(err->retry_after_ms > ms ? err->retry_after_ms : ms);
    return true;
}

/** Gets bytes of a part until `until` of them are there, or all. */
static cds_rc get_until(struct pull *pull, unsigned index, uint64_t until, struct cds_err *reterr)
{
    struct cds_part *part = &pull->parts[index];
    const struct cds_remote_file *file = &pull->remote.files[index];
    unsigned tries = 0, begins = 0;
    pull->at = index;
    while (!part->size || cds_part_position(part) < (until < part->size ? until : part->size)) {
        struct want want = {.pull = pull, .part = part, .file = file, .until = until};
        uint64_t before = cds_part_position(part);
        struct cds_web_head head;
        bool ended = false;
        struct cds_web_get get = {.url = file->url,
                                  .first = (int64_t)before,
                                  .last = until < UINT64_MAX && (!part->size || until < part->size) ? (int64_t)until - 1 : -1,
                                  .if_range = before ? part->etag : NULL,
                                  .on_head = on_head,
                                  .on_data = on_data,
                                  .user = &want};
        cds_rc rc = cds_web_fetch(pull->web, &get, &head, &ended, &want.err);
        if (want.rc != CDS_OK)
            rc = want.rc;
        if (rc == CDS_CONFLICT) /* 416: it is shorter than what we have */
            want.anew = true;
        if (want.anew) {
            if (++begins > BEGINS_MAX)
                return cds_fail(reterr, CDS_UNAVAILABLE, __func__, "%.100s keeps changing at its server; it began anew %d times.", file->name,
                                BEGINS_MAX);
            if (!want.begun) {
                rc = cds_part_begin(part, pull->label, file->size, "", reterr);
                if (rc != CDS_OK)
                    return rc;
                continue;
            }
        }
        if (cds_part_position(part) > before || want.anew)
            tries = 0;
        else if (rc == CDS_OK)
            rc = cds_fail(&want.err, CDS_UNAVAILABLE, __func__, "The server of the model file sent nothing.");
        if (rc != CDS_OK && !try_again(pull, &tries, &want.err)) {
            *reterr = want.err;
            return rc;
        }
    }
    return CDS_OK;
}

/* --- the header ---------------------------------------------------------------------------------------------------------- */

static cds_rc read_header(struct pull *pull, unsigned index, cds_json **ret, struct cds_err *reterr)
{
    struct cds_part *part = &pull->parts[index];
    for (uint64_t need = CDS_PIECE_BYTES;; need += CDS_PIECE_BYTES) {
        cds_rc rc = get_until(pull, index, need, reterr);
        if (rc == CDS_OK)
            rc = cds_inspect(part->fd, part->done, ret, reterr);
        if (rc == CDS_OK && (uint64_t)cds_json_get_i64(*ret, "needed_bytes", INT64_MAX) > part->size) {
            cds_json_unref(*ret);
            *ret = NULL;
            return cds_fail(reterr, CDS_BAD_PARAM, __func__, "%.100s is cut off at its server: its tensors need more than its %llu bytes.",
                            part->name, (unsigned long long)part->size);
        }
        if (rc == CDS_BUSY && part->done == part->size)
            return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The file is no usable GGUF model: it ends inside its header.");
        if (rc != CDS_BUSY || need >= CDS_GGUF_HEADER_MAX)
            return rc;
    }
}

static cds_rc gate(const struct pull *pull, int64_t parameters, struct cds_err *reterr)
{
    uint64_t most = pull->options->parameters_max;
    if (!most || parameters <= (int64_t)most)
        return CDS_OK;
    cds_fail(reterr, CDS_DENIED, __func__, "The model has %lld parameters, counted from its tensors; at most %llu are allowed here.",
             (long long)parameters, (unsigned long long)most);
    cds_err_rule(reterr, "llm.parameters_max");
    return cds_err_hint(reterr, "Choose a smaller model, or let an administrator raise llm.parameters_max (0 lifts the gate).");
}

/** First pieces of every part, before the bulk of any. */
static cds_rc headers(struct pull *pull, struct cds_err *reterr)
{
    int64_t parameters = 0;
    say_state(pull, "inspecting");
    for (unsigned i = 0; i < pull->remote.count; i++) {
        CDS_JSON_AUTO facts = NULL;
        cds_rc rc = read_header(pull, i, &facts, reterr);
        if (rc != CDS_OK)
            return rc;
        unsigned parts = (unsigned)cds_json_get_i64(facts, "parts", 0), part = (unsigned)cds_json_get_i64(facts, "part", 0);
        if ((pull->remote.count > 1 && (parts != pull->remote.count || part != i)) || (pull->remote.count == 1 && parts > 1))
            return cds_fail(reterr, CDS_BAD_PARAM, __func__, "%.100s says that it is part %u of %u, which is not what its name says.",
                            pull->parts[i].name, part + 1, parts);
        parameters += cds_json_get_i64(facts, "parameters", 0);
        rc = gate(pull, parameters, reterr);
        if (rc != CDS_OK)
            return rc;
        if (i == 0)
            pull->facts = cds_json_ref(facts);
    }
    if (cds_json_set(pull->facts, "parameters", cds_json_int(parameters)) != 0)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for a download.");
    return CDS_OK;
}

static cds_rc room(const struct pull *pull, struct cds_err *reterr)
{
    uint64_t need = pull->options->reserve_bytes, sum = 0, have = free_bytes(pull->options->dir);
    for (unsigned i = 0; i < pull->remote.count; i++) {
        uint64_t size = i < pull->opened && pull->parts[i].size ? pull->parts[i].size : pull->remote.files[i].size;
        sum += size;
        need += size - (i < pull->opened && pull->parts[i].done <= size ? pull->parts[i].done : 0);
    }
    if (sum > pull->options->file_bytes_max)
        return cds_fail(reterr, CDS_TOO_LARGE, __func__,
                        "The model has %llu bytes; the most that may be downloaded is %llu (llm.download_max_bytes).", (unsigned long long)sum,
                        (unsigned long long)pull->options->file_bytes_max);
    if (need <= have)
        return CDS_OK;
    cds_fail(reterr, CDS_EXHAUSTED, __func__, "The disk of the models has %llu MiB free and this model needs %llu MiB, %llu of them a reserve.",
             (unsigned long long)(have >> 20), (unsigned long long)(need >> 20), (unsigned long long)(pull->options->reserve_bytes >> 20));
    cds_err_rule(reterr, "llm.disk");
    return cds_err_hint(reterr, "Remove models you do not need, or give the data folder more room.");
}

/* --- what is there already ----------------------------------------------------------------------------------------------- */

static cds_rc origin_of(const char *dir, const char *name, cds_json **ret)
{
    char path[PATH_MAX];
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(16384);
    snprintf(path, sizeof(path), "%.3000s/%.200s.origin", dir, name);
    cds_rc rc = cds_read_file(path, &text, NULL);
    return rc == CDS_OK ? cds_json_parse(text.data ? text.data : "", text.len, ret, NULL) : rc;
}

/** The file is there with the length of its record. */
static bool unchanged(const char *dir, const char *name, const cds_json *origin)
{
    char path[PATH_MAX];
    struct stat st;
    snprintf(path, sizeof(path), "%.3000s/%.200s", dir, name);
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == cds_json_get_i64(origin, "size", -1);
}

/** Is a file in the way, or the very one that is wanted? *ret_present: the latter. */
static cds_rc look_for(const struct pull *pull, const struct cds_remote_file *file, bool *ret_present, struct cds_err *reterr)
{
    char path[PATH_MAX], hex[CDS_SHA256_HEX + 1];
    CDS_JSON_AUTO origin = NULL;
    snprintf(path, sizeof(path), "%.3000s/%.200s", pull->options->dir, file->name);
    *ret_present = false;
    CDS_CLEANUP(cds_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return CDS_OK;
    if (origin_of(pull->options->dir, file->name, &origin) == CDS_OK && unchanged(pull->options->dir, file->name, origin) &&
        (*file->sha256 ? cds_streq(cds_json_get_str(origin, "sha256"), file->sha256) : cds_streq(cds_json_get_str(origin, "source"), pull->label))) {
        *ret_present = true;
        return CDS_OK;
    }
    cds_rc rc = *file->sha256 ? cds_digest_file(fd, hex, NULL, NULL, reterr) : CDS_OK;
    if (rc == CDS_OK && *file->sha256 && cds_streq(hex, file->sha256)) {
        *ret_present = true;
        return CDS_OK;
    }
    if (rc != CDS_OK)
        return rc;
    cds_fail(reterr, CDS_CONFLICT, __func__, "There is another file %.100s already.", file->name);
    return cds_err_hint(reterr, "Remove it first (cyberdevstudio model remove), or keep it.");
}

/** A source that was fetched before needs no network to be found again. */
static bool known_offline(const struct pull *pull, char name[static CDS_FILE_NAME_MAX + 1])
{
    CDS_CLEANUP(cds_close_dir) DIR *dir = opendir(pull->options->dir);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        size_t len = strlen(entry->d_name), tail = strlen(".origin");
        unsigned part, parts;
        if (len <= tail || len - tail > CDS_FILE_NAME_MAX || !cds_streq(entry->d_name + len - tail, ".origin"))
            continue;
        CDS_JSON_AUTO origin = NULL;
        memcpy(name, entry->d_name, len - tail);
        name[len - tail] = '\0';
        /* Of a split model all parts would have to be looked at: the hub is asked. */
        if (!cds_source_part(name, &part, &parts) && origin_of(pull->options->dir, name, &origin) == CDS_OK &&
            cds_streq(cds_json_get_str(origin, "source"), pull->label) && unchanged(pull->options->dir, name, origin) &&
            (!*pull->options->sha256 || cds_streq(cds_json_get_str(origin, "sha256"), pull->options->sha256)))
            return true;
    }
    return false;
}

/* --- the whole ----------------------------------------------------------------------------------------------------------- */

/** The access key: first line of its file, readable by its owner alone. */
static cds_rc read_key(struct pull *pull, struct cds_err *reterr)
{
    const char *path = pull->options->key_file;
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(KEY_BYTES - 1);
    struct stat st;
    if (!*path)
        return CDS_OK;
    if (stat(path, &st) != 0 || cds_read_file(path, &text, NULL) != CDS_OK || !text.len)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The file of llm.hub_token_file cannot be read, is empty or longer than %d bytes.",
                        KEY_BYTES - 1);
    if (st.st_mode & 077) {
        cds_fail(reterr, CDS_DENIED, __func__, "The file of llm.hub_token_file can be read by others.");
        return cds_err_hint(reterr, "chmod 600 it, and make a new key if others may have read it.");
    }
    size_t len = strcspn(text.data, "\r\n");
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text.data[i] <= ' ' || (unsigned char)text.data[i] >= 0x7f)
            return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The file of llm.hub_token_file does not hold a key in its first line.");
    memcpy(pull->key, text.data, len);
    explicit_bzero(text.data, text.len);
    return CDS_OK;
}

static cds_rc resolve(struct pull *pull, struct cds_err *reterr)
{
    const struct cds_pull_options *o = pull->options;
    if (pull->source.hub) {
        unsigned tries = 0;
        for (;;) {
            struct cds_err err = {0};
            cds_rc rc = cds_hub_resolve(pull->web, o->hub, &pull->source, &pull->remote, &err);
            if (rc == CDS_OK)
                break;
            if (!try_again(pull, &tries, &err)) {
                *reterr = err;
                return rc;
            }
        }
        if (*o->sha256 && pull->remote.count == 1) {
            if (*pull->remote.files[0].sha256 && !cds_streq(pull->remote.files[0].sha256, o->sha256)) {
                cds_fail(reterr, CDS_CONFLICT, __func__, "The hub's file is not the one that was asked for: its SHA-256 is %.16s..., not %.16s...",
                         pull->remote.files[0].sha256, o->sha256);
                cds_err_rule(reterr, "llm.sha256");
                return CDS_CONFLICT;
            }
            cds_strcpy(pull->remote.files[0].sha256, sizeof(pull->remote.files[0].sha256), o->sha256);
        }
        return CDS_OK;
    }
    return cds_hub_plain(&pull->source, o->sha256, &pull->remote, reterr);
}

static cds_rc fetch_all(struct pull *pull, bool *ret_present, struct cds_err *reterr)
{
    unsigned present = 0;
    cds_rc rc = resolve(pull, reterr);
    for (unsigned i = 0; rc == CDS_OK && i < pull->remote.count; i++) {
        bool there;
        rc = look_for(pull, &pull->remote.files[i], &there, reterr);
        present += rc == CDS_OK && there;
    }
    if (rc != CDS_OK)
        return rc;
    *ret_present = present == pull->remote.count;
    if (*ret_present)
        return CDS_OK;
    if (present)
        return cds_fail(reterr, CDS_CONFLICT, __func__, "Some parts of this model are there already; remove them and start again.");
    rc = room(pull, reterr);
    for (unsigned i = 0; rc == CDS_OK && i < pull->remote.count; i++) {
        const struct cds_remote_file *f = &pull->remote.files[i];
        pull->opened++;
        rc = cds_part_open(&pull->parts[i], pull->options->dir, f->name, pull->label, f->size, f->sha256, reterr);
    }
    if (rc == CDS_OK)
        rc = headers(pull, reterr);
    if (rc == CDS_OK)
        rc = room(pull, reterr); /* the lengths are known now */
    if (rc == CDS_OK)
        say_state(pull, "downloading");
    for (unsigned i = 0; rc == CDS_OK && i < pull->remote.count; i++)
        rc = get_until(pull, i, UINT64_MAX, reterr);
    if (rc == CDS_OK)
        say_state(pull, "verifying");
    for (unsigned i = 0; rc == CDS_OK && i < pull->remote.count; i++)
        rc = cds_part_verify(&pull->parts[i], reterr);
    /* The first part last: it is the one that is listed. */
    for (unsigned i = pull->remote.count; rc == CDS_OK && i-- > 0;)
        rc = cds_part_finish(&pull->parts[i], pull->label, reterr);
    return rc;
}

/** After a refusal that another try would meet again nothing stays behind. */
static bool in_vain(cds_rc rc, const struct cds_err *err)
{
    return rc == CDS_BAD_PARAM || rc == CDS_TOO_LARGE || (rc == CDS_DENIED && cds_streq(err->rule, "llm.parameters_max"));
}

static void say_end(const struct pull *pull, cds_rc rc, const char *how, const struct cds_err *err)
{
    if (rc != CDS_OK) {
        say(pull, cds_json_pack("{s:s,s:s,s:s,s:s,s:s}", "end", "failed", "code", cds_rc_openai(err->code), "message", err->message, "hint",
                                err->hint, "rule", err->rule));
        return;
    }
    cds_json *files = cds_json_array(), *line = cds_json_pack("{s:s}", "end", how);
    for (unsigned i = 0; i < pull->remote.count; i++)
        cds_json_append(files, cds_json_string(pull->remote.files[i].name));
    cds_json_set(line, "files", files);
    if (pull->facts)
        cds_json_set(line, "facts", cds_json_ref(pull->facts));
    say(pull, line);
}

static cds_rc known_here(struct pull *pull, bool *ret_known, struct cds_err *reterr)
{
    char name[CDS_FILE_NAME_MAX + 1];
    *ret_known = known_offline(pull, name);
    if (!*ret_known)
        return CDS_OK;
    pull->remote.files = calloc(1, sizeof(*pull->remote.files));
    if (!pull->remote.files)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for a download.");
    pull->remote.count = 1;
    cds_strcpy(pull->remote.files[0].name, sizeof(pull->remote.files[0].name), name);
    return CDS_OK;
}

int cds_pull(const struct cds_pull_options *options)
{
    static struct pull pull; /* large; one per process */
    struct cds_err err = {0};
    bool present = false;
    pull = (struct pull){.options = options, .state = "resolving"};
    cds_strcpy(pull.label, sizeof(pull.label), options->source);
    if (!cds_starts_with(pull.label, "hf:"))
        pull.label[strcspn(pull.label, "?#")] = '\0';
    say_state(&pull, "resolving");
    cds_rc rc = cds_source_parse(options->source, &pull.source, &err);
    if (rc == CDS_OK)
        rc = cds_mkdir_p(options->dir, 0700, &err);
    if (rc == CDS_OK)
        rc = known_here(&pull, &present, &err);
    if (rc == CDS_OK && !present)
        rc = read_key(&pull, &err);
    struct cds_web_options web = {.rules = {.hosts = options->hosts, .hub = options->hub},
                                  .key = pull.key,
                                  .connect_ms = options->connect_ms,
                                  .stall_ms = options->stall_ms,
                                  .deadline_ms = options->deadline_ms};
    if (rc == CDS_OK && !present)
        rc = cds_web_new(&web, &pull.web, &err);
    if (rc == CDS_OK && !present)
        rc = fetch_all(&pull, &present, &err);
    if (rc != CDS_OK && in_vain(rc, &err))
        for (unsigned i = 0; i < pull.opened; i++)
            cds_part_remove(&pull.parts[i]);
    say_end(&pull, rc, present ? "present" : "done", &err);
    for (unsigned i = 0; i < pull.opened; i++)
        cds_part_close(&pull.parts[i]);
    cds_web_free(&pull.web);
    free(pull.remote.files);
    cds_json_unref(pull.facts);
    return rc == CDS_OK ? 0 : 1;
}
