/* lib/json/schema.h: validate JSON against the part of JSON Schema (draft 7) that our schema files use.
 *
 * Keywords: type, enum, const, properties, required, additionalProperties, patternProperties? (no), items (one schema), minItems,
 * maxItems, uniqueItems, minLength, maxLength (code points), pattern (POSIX ERE subset, anchored by the author), minimum, maximum,
 * exclusiveMinimum, exclusiveMaximum, multipleOf (integers), minProperties, maxProperties, anyOf, oneOf, allOf, not,
 * $ref to "#/definitions/...", definitions, and the annotations title, description, default, examples, format (annotation), $schema, $id,
 * $comment. A schema with any other keyword is refused when it is compiled, so that no rule is silently dropped.
 * Threads: a compiled schema is read-only and may be shared.
 */
#pragma once

#include "lib/json/json.h"

struct cds_schema;
/** Compiles; keeps its own copy. @return CDS_OK; CDS_BAD_PARAM naming keyword and place */
CDS_MUST_USE cds_rc cds_schema_compile(const cds_json *schema, struct cds_schema **ret, struct cds_err *reterr);
void cds_schema_free(struct cds_schema **schema);
/** @return CDS_OK; CDS_BAD_PARAM with reterr->pointer at the wrong value and a sentence that says what was expected */
CDS_MUST_USE cds_rc cds_schema_validate(const struct cds_schema *schema, const cds_json *value, struct cds_err *reterr);
