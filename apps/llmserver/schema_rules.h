/* apps/llmserver/schema_rules.h: a JSON schema of a client, made fit for the grammar maker; what that would drop in silence is refused here.
 *
 * Taken: type, const, enum, anyOf, oneOf, allOf, $ref within the document, $defs, definitions, properties, required, additionalProperties, items,
 * prefixItems, minItems, maxItems, minLength, maxLength, pattern (anchored with ^ and $; \d and \w become sets), format (date, time, date-time,
 * uuid), minimum, maximum, exclusiveMinimum and exclusiveMaximum of integers; annotations.
 *
 * Source:  llama.cpp common/json-schema-to-grammar; docs/adr/0042-sampling-and-grammar.md
 * Threads: pure functions.
 * Limits:  CDS_RULES_BYTES_MAX as text, CDS_RULES_NODES_MAX schemas, CDS_RULES_DEPTH_MAX deep, counts up to CDS_RULES_COUNT_MAX.
 */
#pragma once

#include "lib/json/json.h"

enum { CDS_RULES_BYTES_MAX = 256 * 1024, CDS_RULES_NODES_MAX = 4096, CDS_RULES_DEPTH_MAX = 64, CDS_RULES_COUNT_MAX = 2000 };

/**
 * @param place       JSON Pointer of the schema in the request, for errors
 * @param strict      an unknown format is refused; else it is left out
 * @param ret_schema  for the grammar; owned by the caller
 * @param ret_check   the same for cds_schema_compile; owned by the caller; NULL pointer: not wanted
 * @return CDS_OK; CDS_BAD_PARAM naming the keyword; CDS_EXHAUSTED
 */
CDS_MUST_USE cds_rc cds_schema_rules(const cds_json *schema, const char *place, bool strict, cds_json **ret_schema, cds_json **ret_check,
                                     struct cds_err *reterr);
