#include <unistd.h>

#include "apps/fetch/pulling.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"

enum { SAY_MS = 250, SAY_PATIENCE_MS = 30000, LINE_MAX_BYTES = 65536 };

static void say(const struct cds_pulling *pulling, cds_json *line)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(LINE_MAX_BYTES);
    CDS_JSON_AUTO value = line;
    if (!value || cds_json_dump(value, &text) != CDS_OK || cds_buf_add(&text, "\n", 1) != CDS_OK ||
        cds_write_all(pulling->options->out, text.data, text.len, cds_now_ms() + SAY_PATIENCE_MS, NULL) != CDS_OK)
        _exit(1); /* who asked for this is gone */
}

void cds_tell_note(struct cds_pulling *pulling, unsigned index)
{
    atomic_store(&pulling->sizes[index], pulling->parts[index].size);
    atomic_store(&pulling->received[index], cds_part_position(&pulling->parts[index]));
}

static uint64_t received_in_all(struct cds_pulling *pulling)
{
    uint64_t received = 0;
    for (unsigned i = 0; i < pulling->reach.remote.count; i++)
        received += atomic_load(&pulling->received[i]);
    return received;
}

/** With the lock held. */
static void say_state(struct cds_pulling *pulling)
{
    const struct cds_remote *remote = &pulling->reach.remote;
    uint64_t received = received_in_all(pulling), total = 0;
    unsigned at = remote->count;
    for (unsigned i = 0; i < remote->count; i++) {
        uint64_t has = atomic_load(&pulling->received[i]), size = atomic_load(&pulling->sizes[i]);
        at = at == remote->count && (!size || has < size) ? i : at;
        total += size ? size : remote->files[i].size;
    }
    pulling->said_ms = cds_now_ms();
    pulling->said_received = received;
    cds_json *line = cds_json_pack("{s:s,s:s,s:i,s:i,s:I,s:I}", "state", pulling->state, "file", remote->count ? remote->files[0].name : "", "part",
                                   (int)(at < remote->count ? at + 1 : at), "parts", (int)remote->count, "received", (long long)received, "total",
                                   (long long)total);
    if (pulling->facts)
        cds_json_set(line, "facts", cds_json_copy(pulling->facts));
    say(pulling, line);
}

void cds_tell_state(struct cds_pulling *pulling, const char *state)
{
    pthread_mutex_lock(&pulling->lock);
    pulling->state = state;
    say_state(pulling);
    pthread_mutex_unlock(&pulling->lock);
}

void cds_tell_progress(struct cds_pulling *pulling)
{
    pthread_mutex_lock(&pulling->lock);
    if (cds_now_ms() - pulling->said_ms >= SAY_MS && received_in_all(pulling) != pulling->said_received)
        say_state(pulling);
    pthread_mutex_unlock(&pulling->lock);
}

void cds_tell_end(struct cds_pulling *pulling, cds_rc rc, const char *how, const struct cds_err *err)
{
    if (rc != CDS_OK) {
        say(pulling, cds_json_pack("{s:s,s:s,s:s,s:s,s:s}", "end", "failed", "code", cds_rc_openai(err->code), "message", err->message, "hint",
                                   err->hint, "rule", err->rule));
        return;
    }
    cds_json *files = cds_json_array(), *line = cds_json_pack("{s:s}", "end", how);
    for (unsigned i = 0; i < pulling->reach.remote.count; i++)
        cds_json_append(files, cds_json_string(pulling->reach.remote.files[i].name));
    cds_json_set(line, "files", files);
    if (pulling->facts)
        cds_json_set(line, "facts", cds_json_ref(pulling->facts));
    say(pulling, line);
}
