#include "apps/fetch/part.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/json/json.h"

enum { JOURNAL_MAX = 4 << 20, PATH_BYTES = 3500 };

static char *path_of(const struct cds_part *part, const char *ending, char buf[static PATH_BYTES])
{
    snprintf(buf, PATH_BYTES, "%s/%s%s", part->dir, part->name, ending);
    return buf;
}

static cds_rc open_file(const struct cds_part *part, const char *ending, int *ret, struct cds_err *reterr)
{
    char path[PATH_BYTES];
    struct stat st;
    *ret = open(path_of(part, ending, path), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (*ret < 0)
        return cds_fail_errno(reterr, errno, __func__, "The file %s%s could not be opened in the folder of the models.", part->name, ending);
    if (fstat(*ret, &st) != 0 || !S_ISREG(st.st_mode))
        return cds_fail(reterr, CDS_CONFLICT, __func__, "%s%s in the folder of the models is no regular file.", part->name, ending);
    return CDS_OK;
}

/** The first line fits what is wanted now. */
static bool same_file(struct cds_part *part, const char *line, size_t len, uint64_t size, const char *sha256)
{
    CDS_JSON_AUTO head = NULL;
    if (cds_json_parse(line, len, &head, NULL) != CDS_OK || cds_json_get_i64(head, "piece_bytes", 0) != CDS_PIECE_BYTES)
        return false;
    int64_t its_size = cds_json_get_i64(head, "size", 0);
    const char *etag = cds_json_get_str(head, "etag"), *its_sha = cds_json_get_str(head, "sha256");
    if (its_size <= 0 || (size && (uint64_t)its_size != size) || !etag || !its_sha || (*sha256 && *its_sha && !cds_streq(sha256, its_sha)))
        return false;
    part->size = (uint64_t)its_size;
    cds_strcpy(part->etag, sizeof(part->etag), etag);
    return true;
}

static cds_rc hold_piece(struct cds_part *part, struct cds_err *reterr)
{
    if (!part->piece)
        part->piece = malloc(CDS_PIECE_BYTES);
    return part->piece ? CDS_OK : cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for a download.");
}

static size_t piece_bytes(const struct cds_part *part)
{
    uint64_t left = part->size - part->done;
    return left < CDS_PIECE_BYTES ? (size_t)left : CDS_PIECE_BYTES;
}

/** Reads one piece again. @return it has the hash its line says */
static bool piece_is_there(struct cds_part *part, const char *hex)
{
    size_t want = piece_bytes(part), have = 0;
    char its_hex[CDS_SHA256_HEX + 1];
    while (have < want) {
        ssize_t n = pread(part->fd, part->piece + have, want - have, (off_t)(part->done + have));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        have += (size_t)n;
    }
    cds_digest_of(part->piece, want, its_hex);
    if (!want || memcmp(hex, its_hex, CDS_SHA256_HEX) != 0)
        return false;
    cds_digest_add(part->hash, part->piece, want);
    part->done += want;
    return true;
}

/** What the journal says and the disk still has. @return bytes of the journal that hold */
static size_t replay(struct cds_part *part, const struct cds_buf *journal, uint64_t size, const char *sha256)
{
    const char *end = journal->len ? memchr(journal->data, '\n', journal->len) : NULL;
    if (!end || !same_file(part, journal->data, (size_t)(end - journal->data), size, sha256))
        return 0;
    size_t at = (size_t)(end - journal->data) + 1;
    for (unsigned long number = 0; part->done < part->size; number++) {
        char expected[32];
        int prefix = snprintf(expected, sizeof(expected), "%lu ", number);
        size_t line = (size_t)prefix + CDS_SHA256_HEX + 1;
        if (journal->len - at < line || memcmp(journal->data + at, expected, (size_t)prefix) != 0 || journal->data[at + line - 1] != '\n' ||
            !piece_is_there(part, journal->data + at + prefix))
            break;
        at += line;
    }
    return at;
}

cds_rc cds_part_open(struct cds_part *part, const char *dir, const char *name, const char *source, uint64_t size, const char *sha256,
                     struct cds_err *reterr)
{
    char path[PATH_BYTES];
    *part = (struct cds_part){.fd = -1, .journal = -1, .hash = cds_digest_new()};
    cds_strcpy(part->dir, sizeof(part->dir), dir);
    cds_strcpy(part->name, sizeof(part->name), name);
    cds_rc rc = open_file(part, ".journal", &part->journal, reterr);
    if (rc == CDS_OK && flock(part->journal, LOCK_EX | LOCK_NB) != 0)
        rc = cds_fail(reterr, CDS_CONFLICT, __func__, "%s is being downloaded already.", name);
    if (rc == CDS_OK)
        rc = open_file(part, ".part", &part->fd, reterr);
    CDS_CLEANUP(cds_buf_free) struct cds_buf journal = cds_buf_init(JOURNAL_MAX);
    if (rc == CDS_OK)
        rc = cds_read_file(path_of(part, ".journal", path), &journal, reterr);
    if (rc == CDS_OK)
        rc = hold_piece(part, reterr);
    if (rc != CDS_OK)
        return rc;
    size_t holds = replay(part, &journal, size, sha256);
    cds_part_rest(part);
    cds_strcpy(part->sha256, sizeof(part->sha256), sha256);
    if (holds == 0)
        part->size = size;
    if (ftruncate(part->journal, (off_t)holds) != 0 || ftruncate(part->fd, (off_t)part->done) != 0 || lseek(part->journal, 0, SEEK_END) < 0)
        return cds_fail_errno(reterr, errno, __func__, "The files of the download could not be cut to what is good of them.");
    return CDS_OK;
}

cds_rc cds_part_take(struct cds_part *part, const char *dir, const char *name, const char *sha256, struct cds_err *reterr)
{
    char path[PATH_BYTES], hex[CDS_SHA256_HEX + 1];
    struct stat st;
    *part = (struct cds_part){.fd = -1, .journal = -1, .there = true};
    cds_strcpy(part->dir, sizeof(part->dir), dir);
    cds_strcpy(part->name, sizeof(part->name), name);
    part->fd = open(path_of(part, "", path), O_RDONLY | O_CLOEXEC);
    if (part->fd < 0 || fstat(part->fd, &st) != 0)
        return cds_fail_errno(reterr, errno, __func__, "The file %.100s could not be opened in the folder of the models.", name);
    cds_rc rc = cds_digest_file(part->fd, hex, NULL, NULL, reterr);
    if (rc != CDS_OK)
        return rc;
    part->size = part->done = (uint64_t)st.st_size;
    if (part->size > 0 && cds_streq(hex, sha256))
        return CDS_OK;
    cds_fail(reterr, CDS_CONFLICT, __func__, "The part %.100s of this model that is there already is not as it was downloaded.", name);
    return cds_err_hint(reterr, "Remove it (cyberdevstudio model remove) and start the download again.");
}

void cds_part_rest(struct cds_part *part)
{
    free(part->piece);
    part->piece = NULL;
    part->piece_len = 0;
}

void cds_part_close(struct cds_part *part)
{
    if (part->fd >= 0)
        close(part->fd);
    if (part->journal >= 0)
        close(part->journal);
    part->fd = part->journal = -1;
    cds_digest_free(&part->hash);
    cds_part_rest(part);
}

cds_rc cds_part_begin(struct cds_part *part, const char *source, uint64_t size, const char *etag, struct cds_err *reterr)
{
    cds_digest_free(&part->hash);
    part->hash = cds_digest_new();
    part->done = 0;
    part->piece_len = 0;
    part->size = size;
    cds_strcpy(part->etag, sizeof(part->etag), etag);
    CDS_JSON_AUTO head = cds_json_pack("{s:s,s:I,s:s,s:s,s:i}", "source", source, "size", (long long)size, "etag", part->etag, "sha256", part->sha256,
                                       "piece_bytes", (int)CDS_PIECE_BYTES);
    if (!head) /* an ETag of odd bytes is none */
        head = cds_json_pack("{s:s,s:I,s:s,s:s,s:i}", "source", source, "size", (long long)size, "etag", "", "sha256", part->sha256, "piece_bytes",
                             (int)CDS_PIECE_BYTES);
    CDS_CLEANUP(cds_buf_free) struct cds_buf line = cds_buf_init(8192);
    if (!head || cds_json_dump(head, &line) != CDS_OK || cds_buf_add(&line, "\n", 1) != CDS_OK)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for a download.");
    if (ftruncate(part->journal, 0) != 0 || ftruncate(part->fd, 0) != 0 || lseek(part->journal, 0, SEEK_SET) < 0)
        return cds_fail_errno(reterr, errno, __func__, "The files of the download could not be begun anew.");
    return cds_write_all(part->journal, line.data, line.len, cds_now_ms() + 60000, reterr);
}

uint64_t cds_part_position(const struct cds_part *part)
{
    return part->done + part->piece_len;
}

static cds_rc commit(struct cds_part *part, struct cds_err *reterr)
{
    char line[32 + CDS_SHA256_HEX + 2], hex[CDS_SHA256_HEX + 1];
    for (size_t at = 0; at < part->piece_len;) {
        ssize_t n = pwrite(part->fd, part->piece + at, part->piece_len - at, (off_t)(part->done + at));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            cds_fail_errno(reterr, errno, __func__,
                           errno == ENOSPC || errno == EDQUOT ? "The disk of the models is full."
                                                              : "A piece of the model file could not be written.");
            return cds_err_hint(reterr, "Free some space and start the download again: it goes on where it stopped.");
        }
        at += (size_t)n;
    }
    if (fdatasync(part->fd) != 0)
        return cds_fail_errno(reterr, errno, __func__, "A piece of the model file did not reach the disk.");
    cds_digest_of(part->piece, part->piece_len, hex);
    int len = snprintf(line, sizeof(line), "%llu %s\n", (unsigned long long)(part->done / CDS_PIECE_BYTES), hex);
    cds_digest_add(part->hash, part->piece, part->piece_len);
    part->done += part->piece_len;
    part->piece_len = 0;
    return cds_write_all(part->journal, line, (size_t)len, cds_now_ms() + 60000, reterr);
}

cds_rc cds_part_add(struct cds_part *part, const void *data, size_t len, struct cds_err *reterr)
{
    if (len > part->size - cds_part_position(part))
        return cds_fail(reterr, CDS_TOO_LARGE, __func__, "The server sends more than the %llu bytes it announced.", (unsigned long long)part->size);
    cds_rc held = hold_piece(part, reterr);
    if (held != CDS_OK)
        return held;
    while (len) {
        size_t whole = piece_bytes(part), take = whole - part->piece_len < len ? whole - part->piece_len : len;
        memcpy(part->piece + part->piece_len, data, take);
        part->piece_len += take;
        data = (const char *)data + take;
        len -= take;
        cds_rc rc = part->piece_len == whole ? commit(part, reterr) : CDS_OK;
        if (rc != CDS_OK)
            return rc;
    }
    return CDS_OK;
}

cds_rc cds_part_verify(const struct cds_part *part, struct cds_err *reterr)
{
    char hex[CDS_SHA256_HEX + 1];
    if (part->there)
        return CDS_OK; /* it was read when it was taken */
    cds_digest_hex(part->hash, hex);
    if (!*part->sha256 || cds_streq(hex, part->sha256))
        return CDS_OK;
    cds_fail(reterr, CDS_BAD_PARAM, __func__,
             "The downloaded file %.100s is not the one it should be: its SHA-256 is %.16s..., not %.16s...; it was removed.", part->name, hex,
             part->sha256);
    cds_err_rule(reterr, "llm.sha256");
    return cds_err_hint(reterr, "Start the download again; if it happens twice, do not trust the server.");
}

cds_rc cds_part_finish(struct cds_part *part, const char *source, struct cds_err *reterr)
{
    char from[PATH_BYTES], to[PATH_BYTES], hex[CDS_SHA256_HEX + 1], origin[PATH_BYTES];
    if (part->there) {
        unlink(path_of(part, ".journal", from)); /* of a download that ended behind its renaming */
        return CDS_OK;
    }
    cds_digest_hex(part->hash, hex);
    CDS_JSON_AUTO record = cds_json_pack("{s:s,s:I,s:s,s:s,s:b,s:I}", "source", source, "size", (long long)part->size, "sha256", hex, "etag",
                                         part->etag, "expected", *part->sha256 != '\0', "finished_ms", (long long)cds_wall_ms());
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(8192);
    if (!record || cds_json_dump(record, &text) != CDS_OK || cds_buf_add(&text, "\n", 1) != CDS_OK)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for a download.");
    if (fsync(part->fd) != 0)
        return cds_fail_errno(reterr, errno, __func__, "The model file did not reach the disk.");
    cds_rc rc = cds_write_file_atomic(path_of(part, ".origin", origin), text.data, text.len, 0600, reterr);
    if (rc != CDS_OK)
        return rc;
    if (rename(path_of(part, ".part", from), path_of(part, "", to)) != 0)
        return cds_fail_errno(reterr, errno, __func__, "The whole model file could not be given its name.");
    unlink(path_of(part, ".journal", from));
    int dir = open(part->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0) {
        (void)!fsync(dir);
        close(dir);
    }
    return CDS_OK;
}

void cds_part_remove(struct cds_part *part)
{
    char path[PATH_BYTES];
    if (part->there)
        return;
    unlink(path_of(part, ".part", path));
    unlink(path_of(part, ".journal", path));
}
