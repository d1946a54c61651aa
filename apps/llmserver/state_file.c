#include "apps/llmserver/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/base/random.h"
#include "lib/jwt/jwt.h"

enum { PREFIX = 12, PIECE = 1 << 20 };
static const char magic[] = "CDSSTATE";

static cds_rc tampered(struct cds_err *reterr, const char *why)
{
    cds_fail(reterr, CDS_BAD_PARAM, __func__, "The file of the state was changed, or is damaged: %s.", why);
    return cds_err_hint(reterr, "Delete the state and save it again.");
}

static cds_rc failed(struct cds_err *reterr, const char *what)
{
    bool full = errno == ENOSPC || errno == EDQUOT;
    cds_fail_errno(reterr, errno, __func__, "%s", what);
    if (full && reterr)
        reterr->code = CDS_EXHAUSTED;
    return full ? CDS_EXHAUSTED : CDS_SYSTEM;
}

cds_rc cds_state_key(const char *path, unsigned char ret[static CDS_STATE_KEY], struct cds_err *reterr)
{
    struct stat st;
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(CDS_STATE_KEY + 1);
    if (stat(path, &st) != 0) {
        /* Another key makes all states useless: only where there never was one. */
        if (errno != ENOENT)
            return failed(reterr, "The key of the states cannot be read");
        cds_random(ret, CDS_STATE_KEY);
        return cds_write_file_atomic(path, ret, CDS_STATE_KEY, 0600, reterr);
    }
    if (st.st_mode & 077)
        return cds_fail(reterr, CDS_DENIED, __func__, "The key of the states (%s) can be read by others.", path),
               cds_err_hint(reterr, "chmod 600 it, or delete it together with the states."), CDS_DENIED;
    cds_rc rc = cds_read_file(path, &text, reterr);
    if (rc == CDS_OK && text.len != CDS_STATE_KEY)
        rc = cds_fail(reterr, CDS_SYSTEM, __func__, "The key of the states (%s) does not have 32 bytes.", path);
    if (rc == CDS_OK)
        memcpy(ret, text.data, CDS_STATE_KEY);
    return rc;
}

cds_rc cds_state_parse(const void *data, size_t len, uint64_t size, const char **ret_head, size_t *ret_head_len, uint64_t *ret_bytes,
                       struct cds_err *reterr)
{
    const unsigned char *at = data;
    if (len < PREFIX || memcmp(at, magic, sizeof(magic) - 1) != 0)
        return tampered(reterr, "it does not begin like one");
    size_t head = at[8] | (size_t)at[9] << 8 | (size_t)at[10] << 16 | (size_t)at[11] << 24;
    if (head < 2 || head > CDS_STATE_HEAD_MAX || head > len - PREFIX || size < PREFIX + head + 32)
        return tampered(reterr, "it ends too early");
    *ret_head = (const char *)at + PREFIX;
    *ret_head_len = head;
    *ret_bytes = size - PREFIX - head - 32;
    return CDS_OK;
}

/** The beginning of an open file; malloc'ed, PREFIX + CDS_STATE_HEAD_MAX bytes. */
static cds_rc begin(int fd, unsigned char **ret, const char **ret_head, size_t *ret_head_len, uint64_t *ret_bytes, struct cds_err *reterr)
{
    struct stat st;
    CDS_CLEANUP(cds_free_ptr) unsigned char *data = malloc(PREFIX + CDS_STATE_HEAD_MAX);
    if (!data || fstat(fd, &st) != 0)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        return failed(reterr, "The file of the state cannot be read.");
    ssize_t n = pread(fd, data, PREFIX + CDS_STATE_HEAD_MAX, 0);
    if (n < 0)
        return failed(reterr, "The file of the state cannot be read.");
    cds_rc rc = cds_state_parse(data, (size_t)n, (uint64_t)st.st_size, ret_head, ret_head_len, ret_bytes, reterr);
    if (rc != CDS_OK)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        return rc;
    *ret = data;
    data = NULL;
    return CDS_OK;
}

static cds_rc open_state(const char *path, int *ret, struct cds_err *reterr)
{
    *ret = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (*ret < 0 && errno == ENOENT)
        return cds_fail(reterr, CDS_NOT_FOUND, __func__, "There is no such state.");
    return *ret < 0 ? failed(reterr, "The file of the state cannot be opened.") : CDS_OK;
}

cds_rc cds_state_peek(const char *path, char **ret_head, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_close_fd) int fd = -1;
    CDS_CLEANUP(cds_free_ptr) unsigned char *data = NULL;
    const char *head = NULL;
    size_t len = 0;
    uint64_t bytes;
    cds_rc rc = open_state(path, &fd, reterr);
    if (rc == CDS_OK)
        rc = begin(fd, &data, &head, &len, &bytes, reterr);
    if (rc != CDS_OK)
        return rc;
    // NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): it is set where rc is CDS_OK
    char *text = strndup(head, len);
    if (!text)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory.");
    *ret_head = text;
    return CDS_OK;
}

/** Copies bytes from one file to another, each at its own place; every piece goes through the digest. */
static cds_rc copy(int from, off_t from_at, int to, off_t to_at, uint64_t bytes, struct cds_hmac *hmac, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_free_ptr) char *piece = malloc(PIECE);
    if (!piece)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory.");
    while (bytes > 0) {
        ssize_t n = pread(from, piece, bytes < PIECE ? (size_t)bytes : PIECE, from_at);
        if (n < 0 && errno == EINTR)
            continue;
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        if (n <= 0)
            return n == 0 ? tampered(reterr, "it ends too early") : failed(reterr, "The state cannot be read.");
        cds_hmac_add(hmac, piece, (size_t)n);
        for (ssize_t done = 0, written; done < n; done += written) {
            written = pwrite(to, piece + done, (size_t)(n - done), to_at + done);
            if (written < 0 && errno == EINTR)
                written = 0;
            else if (written <= 0)
                return failed(reterr, "The state cannot be written.");
        }
        from_at += n;
        to_at += n;
        bytes -= (uint64_t)n;
    }
    // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
    return CDS_OK;
}

static cds_rc write_parts(int fd, const unsigned char *key, const char *head, int from, uint64_t bytes, struct cds_err *reterr)
{
    size_t len = strlen(head);
    unsigned char prefix[PREFIX], digest[32];
    memcpy(prefix, magic, sizeof(magic) - 1);
    for (int i = 0; i < 4; i++)
        prefix[8 + i] = (unsigned char)(len >> (8 * i));
    struct cds_hmac *hmac = cds_hmac_new(key);
    if (!hmac)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory.");
    cds_hmac_add(hmac, prefix, PREFIX);
    cds_hmac_add(hmac, head, len);
    cds_rc rc = cds_write_all(fd, prefix, PREFIX, UINT64_MAX, reterr);
    if (rc == CDS_OK)
        rc = cds_write_all(fd, head, len, UINT64_MAX, reterr);
    if (rc == CDS_OK)
        rc = copy(from, 0, fd, (off_t)(PREFIX + len), bytes, hmac, reterr);
    cds_hmac_end(&hmac, digest);
    if (rc == CDS_OK && pwrite(fd, digest, sizeof(digest), (off_t)(PREFIX + len + bytes)) != (ssize_t)sizeof(digest))
        rc = failed(reterr, "The state cannot be written.");
    if (rc == CDS_OK && fsync(fd) != 0)
        rc = failed(reterr, "The state cannot be written.");
    return rc;
}

/** The name is on the disk too. */
static void sync_folder(const char *path)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
    CDS_CLEANUP(cds_close_fd) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        (void)!fsync(fd);
}

cds_rc cds_state_write(const char *path, const unsigned char key[static CDS_STATE_KEY], const char *head, int from, uint64_t bytes,
                       struct cds_err *reterr)
{
    char unfinished[PATH_MAX];
    int n = snprintf(unfinished, sizeof(unfinished), "%s.part", path);
    if (n < 0 || (size_t)n >= sizeof(unfinished) || strlen(head) > CDS_STATE_HEAD_MAX)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The state has too long a name.");
    (void)unlink(unfinished); /* of a server that died */
    CDS_CLEANUP(cds_close_fd) int fd = open(unfinished, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return failed(reterr, "The file of the state cannot be made.");
    cds_rc rc = write_parts(fd, key, head, from, bytes, reterr);
    if (rc == CDS_OK && rename(unfinished, path) != 0)
        rc = failed(reterr, "The file of the state cannot be named.");
    if (rc == CDS_OK)
        sync_folder(path);
    else
        (void)unlink(unfinished);
    return rc;
}

cds_rc cds_state_read(const char *path, const unsigned char key[static CDS_STATE_KEY], const char *head, int to, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_close_fd) int fd = -1;
    CDS_CLEANUP(cds_free_ptr) unsigned char *data = NULL;
    const char *now = NULL;
    size_t len = 0;
    uint64_t bytes = 0;
    unsigned char digest[32], kept[32];
    cds_rc rc = open_state(path, &fd, reterr);
    if (rc == CDS_OK)
        rc = begin(fd, &data, &now, &len, &bytes, reterr);
    // NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): it is set where rc is CDS_OK
    if (rc == CDS_OK && (len != strlen(head) || memcmp(now, head, len) != 0))
        rc = tampered(reterr, "it changed while it was read");
    if (rc != CDS_OK)
        return rc;
    struct cds_hmac *hmac = cds_hmac_new(key);
    if (!hmac)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory.");
    cds_hmac_add(hmac, data, PREFIX + len);
    if (ftruncate(to, (off_t)bytes) != 0)
        rc = failed(reterr, "There is not enough memory for the state.");
    if (rc == CDS_OK)
        rc = copy(fd, (off_t)(PREFIX + len), to, 0, bytes, hmac, reterr);
    cds_hmac_end(&hmac, digest);
    if (rc == CDS_OK && pread(fd, kept, sizeof(kept), (off_t)(PREFIX + len + bytes)) != (ssize_t)sizeof(kept))
        rc = tampered(reterr, "it ends too early");
    if (rc == CDS_OK && !cds_equal_ct(digest, kept, sizeof(digest)))
        rc = tampered(reterr, "its digest is another one");
    return rc;
}
