/* apps/llmworker/shape.h: from the text of an answer to what a client gets: content, thoughts, tool calls.
 *
 * Threads: one owner.
 * A delta is {"content": text} or {"reasoning": text} or {"call": index, "name"?: text, "arguments"?: text}.
 */
#pragma once

#include "apps/llmworker/shim.h"
#include "lib/json/json.h"

enum cds_shape_kind {
    CDS_SHAPE_TEXT,   /**< the text is the content */
    CDS_SHAPE_THINK,  /**< thoughts between two tags, then content */
    CDS_SHAPE_CALLS,  /**< content, or calls as calls.h describes them */
    CDS_SHAPE_NATIVE, /**< whatever the model's template says */
};
/** Texts are borrowed. */
struct cds_shape {
    enum cds_shape_kind kind;
    const char *thinking_start, *thinking_end;
    bool thinking_begun;
    const char *parser, *generation_prompt;
    int format;
};

struct cds_shaper;
/** @return NULL when memory is out, or the parser of the template cannot be read */
struct cds_shaper *cds_shaper_new(const struct cds_shape *shape);
void cds_shaper_free(struct cds_shaper *shaper);
/** Appends what the new text adds. last: nothing follows. @return false when memory is out */
CDS_MUST_USE bool cds_shaper_feed(struct cds_shaper *shaper, const char *text, size_t len, bool last, cds_json *deltas);
/** Did the last text belong to a thought? */
bool cds_shaper_thinks(const struct cds_shaper *shaper);
/** Tool calls begun so far. */
unsigned cds_shaper_calls(const struct cds_shaper *shaper);
