/* lib/json/problem.h: the problem document of an error, the same in JSON-RPC errors and REST answers.
 *
 * Source:  RFC 9457; docs/adr/0006-errors.md.
 * Threads: safe.
 */
#pragma once

#include "lib/json/json.h"

/** Type, title, status, detail, instance, request_id, rule, hint, retry_after_ms, errors[{pointer, detail}]; owned by the caller.
 *  @param request_id  may be NULL */
cds_json *cds_problem(const struct cds_err *err, const char *request_id);
/** Sets a text member unless it is NULL or empty; bytes that are not UTF-8 (a sentence cut inside a character) become "?". */
void cds_json_set_text(cds_json *object, const char *key, const char *text);
