#include "apps/fetch/inspect.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/fetch/confine.h"
#include "apps/fetch/gguf.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"

enum { FIRST_READ = 1 << 20 };

static cds_json *facts_json(const struct cds_gguf *g, uint64_t file_bytes)
{
    return cds_json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:i,s:i,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:i,s:b,s:b,s:i,s:i,s:I,s:b}", "architecture",
                         g->architecture, "type", g->type, "name", g->name, "quantization", g->quantization, "parameters", (long long)g->parameters,
                         "tensor_bytes", (long long)g->tensor_bytes, "data_offset", (long long)g->data_offset, "needed_bytes",
                         (long long)g->file_bytes, "file_bytes", (long long)file_bytes, "tensors", (long long)g->tensors, "version", (int)g->version,
                         "keys", (int)g->keys, "context", (long long)g->context, "embedding", (long long)g->embedding, "layers", (long long)g->layers,
                         "heads", (long long)g->heads, "feed_forward", (long long)g->feed_forward, "vocabulary", (long long)g->vocabulary,
                         "kv_values", (long long)g->kv_values, "pooling", (int)g->pooling, "causal", g->causal, "chat_template", g->chat_template,
                         "part", (int)g->part, "parts", (int)g->parts, "split_tensors", (long long)g->split_tensors, "stateful", g->stateful);
}

/** Reads more and more of the file until its header is whole. */
static cds_rc read_header(int fd, uint64_t there, bool whole, struct cds_gguf *ret, struct cds_err *err)
{
    CDS_CLEANUP(cds_free_ptr) char *data = NULL;
    size_t have = 0;
    for (size_t want = FIRST_READ;; want *= 2) {
        if (want > there)
            want = (size_t)there;
        char *more = realloc(data, want ? want : 1);
        if (!more)
            return cds_fail(err, CDS_EXHAUSTED, __func__, "There is not enough memory to read the header of the model file.");
        data = more;
        while (have < want) {
            ssize_t n = pread(fd, data + have, want - have, (off_t)have);
            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0)
                return cds_fail_errno(err, errno, __func__, "The model file could not be read.");
            if (n == 0)
                there = want = have; /* shorter than it was a moment ago */
            have += (size_t)n;
        }
        cds_rc rc = cds_gguf_read(data, have, whole && have == there, ret, err);
        if (rc != CDS_BUSY || have >= there)
            return rc;
    }
}

/** One file of the model. */
static cds_rc read_one(int fd, uint64_t limit, struct cds_gguf *ret, uint64_t *ret_size, struct cds_err *err)
{
    struct stat st;
    bool whole = limit == UINT64_MAX;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return cds_fail(err, CDS_BAD_PARAM, __func__, "The model file is no regular file.");
    uint64_t size = *ret_size = (uint64_t)st.st_size;
    cds_rc rc = read_header(fd, whole || limit > size ? size : limit, whole, ret, err);
    if (rc == CDS_OK && whole && size < ret->file_bytes)
        return cds_fail(err, CDS_BAD_PARAM, __func__, "The model file is cut off: it has %llu bytes and its tensors need %llu.",
                        (unsigned long long)size, (unsigned long long)ret->file_bytes);
    if (rc == CDS_BUSY)
        cds_fail(err, CDS_BUSY, __func__, "More of the header is needed.");
    return rc;
}

/** All parts of a split model as one. */
static cds_rc read_parts(const int *fds, unsigned count, uint64_t limit, struct cds_gguf *sum, uint64_t *ret_size, struct cds_err *err)
{
    *ret_size = 0;
    for (unsigned i = 0; i < count; i++) {
        struct cds_gguf g = {0};
        uint64_t size = 0;
        if (fds[i] < 0)
            return cds_fail(err, CDS_BAD_PARAM, __func__, "Part %u of %u of the model is missing.", i + 1, count);
        cds_rc rc = read_one(fds[i], limit, &g, &size, err);
        if (rc != CDS_OK)
            return rc;
        if (limit == UINT64_MAX && (g.parts > 1 ? g.parts : 1) != count)
            return cds_fail(err, CDS_BAD_PARAM, __func__, "The model file says that it is one of %u parts, and its name does not.", g.parts);
        *ret_size += size;
        if (i == 0) {
            *sum = g;
        } else {
            sum->parameters += g.parameters;
            sum->tensor_bytes += g.tensor_bytes;
            sum->tensors += g.tensors;
            sum->file_bytes += g.file_bytes;
        }
    }
    return CDS_OK;
}

int cds_inspect_here(const int *fds, unsigned count, uint64_t limit, int out)
{
    struct cds_gguf g = {0};
    struct cds_err err = {0};
    uint64_t size = 0;
    cds_rc rc = cds_confine_reader(&err);
    if (rc == CDS_OK)
        rc = read_parts(fds, count, limit, &g, &size, &err);
    CDS_JSON_AUTO answer =
        rc == CDS_OK ? facts_json(&g, size) : cds_json_pack("{s:{s:s,s:s}}", "error", "code", cds_rc_openai(err.code), "message", err.message);
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(CDS_INSPECT_TEXT_MAX);
    if (!answer || cds_json_dump(answer, &text) != CDS_OK || cds_buf_add(&text, "\n", 1) != CDS_OK)
        return 1;
    return cds_write_all(out, text.data, text.len, cds_now_ms() + CDS_INSPECT_MS, NULL) == CDS_OK && rc == CDS_OK ? 0 : 1;
}

static void kill_child(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/** What the child writes until it ends. */
static cds_rc hear(int fd, struct cds_buf *text, struct cds_err *reterr)
{
    uint64_t deadline = cds_now_ms() + CDS_INSPECT_MS;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, cds_ms_left(deadline)) == 0)
            return cds_fail(reterr, CDS_TIMED_OUT, __func__, "The header of the model file could not be read within %d s.", CDS_INSPECT_MS / 1000);
        char *room = cds_buf_reserve(text, 1024);
        ssize_t n = room ? read(fd, room, 1024) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return CDS_OK;
        cds_buf_commit(text, (size_t)n);
    }
}

cds_rc cds_inspect(int fd, uint64_t limit, cds_json **ret, struct cds_err *reterr)
{
    int pair[2];
    if (pipe(pair) != 0)
        return cds_fail_errno(reterr, errno, __func__, "No pipe could be made.");
    CDS_CLEANUP(cds_close_fd) int from = pair[0];
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGTERM, SIG_DFL);
        _exit(cds_inspect_here(&fd, 1, limit, pair[1]));
    }
    close(pair[1]);
    if (pid < 0)
        return cds_fail_errno(reterr, errno, __func__, "The process that reads the header could not be started.");
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(CDS_INSPECT_TEXT_MAX + 1024);
    cds_rc rc = hear(from, &text, reterr);
    kill_child(pid);
    CDS_JSON_AUTO answer = NULL;
    if (rc != CDS_OK)
        return rc;
    if (text.len == 0 || cds_json_parse(text.data, text.len, &answer, NULL) != CDS_OK)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The file is no usable GGUF model: the process that read its header ended over it.");
    const cds_json *error = cds_json_get(answer, "error");
    if (error) {
        cds_rc code = cds_rc_from_openai(cds_json_get_str(error, "code"));
        const char *message = cds_json_get_str(error, "message");
        return cds_fail(reterr, code, __func__, "%s", message ? message : "The file is no usable GGUF model.");
    }
    *ret = cds_json_ref(answer);
    return CDS_OK;
}
