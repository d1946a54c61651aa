/* apps/llmserver/simple_template.h: a chat template for people who write no Jinja: a text with {{system}}, {{history}} and {{completion}}.
 *
 *   "{{system}}\n\n{{history}}model: {{completion}}\nuser: "     with {"user": "user: {{message}}\n", "assistant": "model: {{message}}\n"}
 *
 * It becomes a Jinja template, which the model process reads like any other: what it cannot say, such a template cannot do either. The answer comes
 * where {{completion}} stands; the text behind it ends the answer. Without {{system}} messages of the system are part of the history.
 * Source:  node-llama-cpp, TemplateChatWrapper.
 * Threads: pure functions.
 */
#pragma once

#include "lib/base/buf.h"
#include "lib/json/json.h"

enum { CDS_SIMPLE_STOP_MAX = 256 };

/** Is the text one of these, and no Jinja? */
bool cds_simple_is(const char *text);
/**
 * @param forms      {"system"?, "user"?, "assistant"?}: how one message stands in the history, with {{message}}; NULL or a missing one: "role:
 * text\n"
 * @param ret_jinja  appended
 * @param ret_stop   text behind {{completion}}, "" when it is white space
 * @return CDS_OK; CDS_BAD_PARAM: which placeholder is missing, doubled or unknown (pointer /chat_template); CDS_TOO_LARGE; CDS_EXHAUSTED
 */
CDS_MUST_USE cds_rc cds_simple_template(const char *text, const cds_json *forms, struct cds_buf *ret_jinja,
                                        char ret_stop[static CDS_SIMPLE_STOP_MAX + 1], struct cds_err *reterr);
