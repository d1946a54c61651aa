/* apps/llmworker/calls.h: tool calls of a model whose template knows none: what it is told, what it must write, and how that is read.
 *
 * The model writes {"tool_calls":[{"name":"...","arguments":{...}}, ...]} instead of text; a grammar holds it to that.
 * Source:  docs/adr/0043-tool-calls.md
 * Threads: one owner; the functions without a struct are pure.
 */
#pragma once

#include "lib/base/buf.h"
#include "lib/json/json.h"

/** Sentences for the system message. @return CDS_OK; CDS_EXHAUSTED, CDS_TOO_LARGE */
CDS_MUST_USE cds_rc cds_calls_explain(const cds_json *tools, bool documented, bool required, bool parallel, struct cds_buf *out);
/** Takes the descriptions out of the parameters of tools; their names and types stay. */
void cds_calls_undescribe(cds_json *tools);
/** JSON schema of what the model must write; owned by the caller. */
cds_json *cds_calls_schema(const cds_json *tools, uint32_t max_calls);
/** Pattern at which a free text turns out to be calls. */
extern const char cds_calls_trigger[];

enum { CDS_CALLS_HELD_MAX = 4096, CDS_CALLS_DEPTH_MAX = 128 };

/** Reads an answer piece by piece. */
struct cds_calls {
    enum { CDS_CALLS_UNDECIDED, CDS_CALLS_TEXT, CDS_CALLS_ITEM, CDS_CALLS_KEY, CDS_CALLS_COLON, CDS_CALLS_VALUE, CDS_CALLS_OVER } state;
    struct cds_buf held; /**< undecided beginning, or the name that is being read */
    unsigned count;      /**< calls begun */
    bool is_name, in_key, in_string, escaped;
    unsigned depth;
};
void cds_calls_begin(struct cds_calls *calls);
void cds_calls_clear(struct cds_calls *calls);
/**
 * Appends deltas: {"content"} or {"call": index, "name"} or {"call": index, "arguments": piece}.
 * White space outside strings is left out of arguments. last: nothing follows.
 * @return false when memory is out
 */
CDS_MUST_USE bool cds_calls_feed(struct cds_calls *calls, const char *data, size_t len, bool last, cds_json *deltas);
