/* apps/llmworker/param.h: members of the server's frames: what several readers check alike.
 *
 * Source:  the frame "prepare", README.md. The server has refused what clients do wrong; this is the second look, of another process.
 * Threads: any.
 */
#pragma once

#include "lib/base/err.h"
#include "lib/json/json.h"

/** Refuses a member of the frame by its name. @return CDS_BAD_PARAM */
cds_rc cds_param_wrong(struct cds_err *reterr, const char *name);
/** A text of 1 to CDS_PROMPT_BYTES_MAX bytes, or a list of at least one token id. */
bool cds_param_is_prompt(const cds_json *value);
