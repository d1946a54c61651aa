#include "apps/llmworker/shape.h"

#include <stdlib.h>
#include <string.h>

#include "apps/llmworker/calls.h"
#include "apps/llmworker/think.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

enum { TEXT_MAX = 8 << 20 };

struct cds_shaper {
    enum cds_shape_kind kind;
    struct cds_think think; /**< NATIVE: only to know whether it thinks */
    struct cds_calls calls;
    struct cds_shim_parser *parser;
    struct cds_buf whole; /**< NATIVE: the text so far */
    size_t parsed;        /**< length at the last look */
    unsigned call_count;
    bool said, failed;
    bool open_call; /**< the last call has no arguments yet */
};

void cds_shaper_free(struct cds_shaper *shaper)
{
    if (!shaper)
        return;
    cds_think_clear(&shaper->think);
    cds_calls_clear(&shaper->calls);
    cds_shim_parser_free(shaper->parser);
    cds_buf_free(&shaper->whole);
    free(shaper);
}

struct cds_shaper *cds_shaper_new(const struct cds_shape *shape)
{
    struct cds_shaper *shaper = calloc(1, sizeof(*shaper));
    if (!shaper)
        return NULL;
    shaper->kind = shape->kind;
    shaper->whole = cds_buf_init(TEXT_MAX);
    cds_think_begin(&shaper->think, shape->thinking_start, shape->thinking_end, shape->thinking_begun);
    cds_calls_begin(&shaper->calls);
    if (shape->kind != CDS_SHAPE_NATIVE)
        return shaper;
    char why[256] = "";
    shaper->parser = cds_shim_parser_new(shape->parser, shape->format, shape->generation_prompt, why, sizeof(why));
    if (shaper->parser)
        return shaper;
    cds_log(CDS_LOG_WARN, "the answer format of the template cannot be read", CDS_LS("reason", why));
    cds_shaper_free(shaper);
    return NULL;
}

static bool add_text(cds_json *deltas, const char *key, const char *text, size_t len)
{
    cds_json *delta;
    if (len == 0)
        return true;
    delta = cds_json_object();
    return delta && cds_json_set(delta, key, cds_json_stringn(text, len)) == 0 ? cds_json_append(deltas, delta) == 0 : (cds_json_unref(delta), false);
}

static bool feed_think(struct cds_shaper *shaper, const char *text, size_t len, bool last, cds_json *deltas)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf thought = cds_buf_init(TEXT_MAX);
    CDS_CLEANUP(cds_buf_free) struct cds_buf content = cds_buf_init(TEXT_MAX);
    cds_think_feed(&shaper->think, text, len, last, &thought, &content);
    if (thought.failed || content.failed)
        return false;
    return !deltas || (add_text(deltas, "reasoning", thought.data, thought.len) && add_text(deltas, "content", content.data, content.len));
}

/** A call whose arguments never came has none. */
static bool close_call(struct cds_shaper *shaper, cds_json *deltas)
{
    if (!shaper->open_call)
        return true;
    shaper->open_call = false;
    cds_json *delta = cds_json_pack("{s:I,s:s}", "call", (long long)shaper->call_count - 1, "arguments", "{}");
    return delta && cds_json_append(deltas, delta) == 0;
}

static bool take_delta(struct cds_shaper *shaper, cds_json *delta, cds_json *deltas)
{
    int64_t call = cds_json_get_i64(delta, "call", -1);
    if (call >= (int64_t)shaper->call_count) {
        if (!close_call(shaper, deltas))
            return false;
        shaper->call_count = (unsigned)call + 1;
        shaper->open_call = true;
    }
    const char *arguments = cds_json_get_str(delta, "arguments");
    if (call >= 0 && arguments && *arguments)
        shaper->open_call = false;
    shaper->said = true;
    return cds_json_append(deltas, cds_json_ref(delta)) == 0;
}

static bool feed_native(struct cds_shaper *shaper, const char *text, size_t len, bool last, cds_json *deltas)
{
    if (cds_buf_add(&shaper->whole, text, len) != CDS_OK)
        return false;
    /* Each look reads the whole text: it is taken again when a part worth it has come. */
    if (!last && shaper->whole.len - shaper->parsed < 1 + shaper->whole.len / 512)
        return true;
    shaper->parsed = shaper->whole.len;
    char why[256] = "";
    CDS_CLEANUP(cds_free_ptr)
    char *said = cds_shim_parse(shaper->parser, shaper->whole.data ? shaper->whole.data : "", shaper->whole.len, !last, why, sizeof(why));
    CDS_JSON_AUTO list = NULL;
    if (!said || cds_json_parse(said, strlen(said), &list, NULL) != CDS_OK) {
        if (!last)
            return true; /* it may make sense with the next piece */
        cds_log(CDS_LOG_INFO, "an answer does not follow the format of the template", CDS_LS("reason", why));
        shaper->failed = true;
        return shaper->said || add_text(deltas, "content", shaper->whole.data, shaper->whole.len);
    }
    for (size_t i = 0; i < cds_json_size(list); i++)
        if (!take_delta(shaper, cds_json_at(list, i), deltas))
            return false;
    return !last || close_call(shaper, deltas);
}

bool cds_shaper_feed(struct cds_shaper *shaper, const char *text, size_t len, bool last, cds_json *deltas)
{
    switch (shaper->kind) {
    case CDS_SHAPE_THINK:
        return feed_think(shaper, text, len, last, deltas);
    case CDS_SHAPE_CALLS:
        if (!cds_calls_feed(&shaper->calls, text, len, last, deltas))
            return false;
        shaper->call_count = shaper->calls.count;
        return true;
    case CDS_SHAPE_NATIVE:
        return feed_think(shaper, text, len, last, NULL) && feed_native(shaper, text, len, last, deltas);
    default:
        return add_text(deltas, "content", text, len);
    }
}

bool cds_shaper_thinks(const struct cds_shaper *shaper)
{
    return (shaper->kind == CDS_SHAPE_THINK || shaper->kind == CDS_SHAPE_NATIVE) && shaper->think.state == CDS_THINK_INSIDE;
}

unsigned cds_shaper_calls(const struct cds_shaper *shaper)
{
    return shaper->call_count;
}
