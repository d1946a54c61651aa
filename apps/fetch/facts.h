/* apps/fetch/facts.h: what the headers of the parts of one model say together.
 *
 * Threads: pure functions.
 */
#pragma once

#include "lib/json/json.h"

/** Adds the facts of part `index` (from 0) of `count` to *sum, which is NULL before the first: then it becomes a copy of them. Parameters, tensors
 *  and the bytes that are needed are of all parts. @return CDS_OK; CDS_BAD_PARAM: the header names another place among the parts, or more than can
 *  be; CDS_EXHAUSTED */
CDS_MUST_USE cds_rc cds_facts_add(cds_json **sum, const cds_json *facts, unsigned index, unsigned count, const char *file, struct cds_err *reterr);
/** The gate: parameters counted from the shapes; most 0: none. @return CDS_OK; CDS_DENIED (rule llm.parameters_max) */
CDS_MUST_USE cds_rc cds_facts_gate(const cds_json *sum, uint64_t most, struct cds_err *reterr);
