/* lib/json/problem.h: the problem document of an error, the same in JSON-RPC errors and REST answers; the error object of OpenAI's API.
 *
 * Source:  RFC 9457; docs/adr/0006-errors.md.
 * Threads: safe.
 */
#pragma once

#include "lib/json/json.h"

/** Type, title, status, detail, instance, request_id, rule, hint, retry_after_ms, errors[{pointer, detail}]; owned by the caller.
 *  @param request_id  may be NULL */
cds_json *cds_problem(const struct cds_err *err, const char *request_id);
/**
 * {"error":{message, type, param, code, hint, rule, retry_after_ms}} as OpenAI's clients expect it; owned by the caller. They show the message
 * alone, so the hint stands behind it too; hint, rule and retry_after_ms are ours and left out without a value. param is the pointer without
 * its first "/", or null.
 */
cds_json *cds_openai_error(const struct cds_err *err);
/**
 * {"type": "error", "error": {type, message}, "request_id"} as Anthropic's clients expect it, with our members (code, param, hint, rule,
 * retry_after_ms) beside them; owned by the caller. @param request_id  may be NULL
 */
cds_json *cds_anthropic_error(const struct cds_err *err, const char *request_id);
/** The error value of such an object (the inverse: the hint is cut off the message again); what is no such object is `otherwise` without a
 *  sentence. */
void cds_openai_error_parse(const cds_json *answer, cds_rc otherwise, struct cds_err *ret);
/** Sets a text member unless it is NULL or empty; bytes that are not UTF-8 (a sentence cut inside a character) become "?". */
void cds_json_set_text(cds_json *object, const char *key, const char *text);
