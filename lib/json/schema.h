/* lib/json/schema.h: validate JSON against the part of JSON Schema (draft 7) that our schema files use.
 *
 * Keywords: type, enum, const, properties, required, additionalProperties, items (one schema), minItems, maxItems, uniqueItems,
 * minLength, maxLength (code points), pattern (language of pattern.h), minimum, maximum, exclusiveMinimum, exclusiveMaximum,
 * multipleOf (whole numbers), minProperties, maxProperties, anyOf, oneOf, allOf, not, definitions (at the root only) and
 * $ref to "#" or "#/definitions/<name>", beside which only annotations and definitions may stand. true and false are schemas.
 * Annotations, checked for nothing: title, description, default, examples, format, $comment, and at the root $schema and $id.
 * A schema with anything else is refused when it is compiled, so that no rule is silently dropped.
 *
 * Source:  json-schema.org draft-07 (core and validation); tests/unit/lib/json/test_suite.c runs Debian's json-schema-test-suite.
 * Threads: a compiled schema is read-only and may be shared.
 * Limits:  schema and value may be nested CDS_SCHEMA_DEPTH_MAX deep; uniqueItems looks at CDS_SCHEMA_UNIQUE_MAX items at most;
 *          one validation visits CDS_SCHEMA_STEPS_MAX schemas at most. What passes a limit is refused like a wrong value.
 */
#pragma once

#include "lib/json/json.h"

enum { CDS_SCHEMA_DEPTH_MAX = 128, CDS_SCHEMA_UNIQUE_MAX = 1024, CDS_SCHEMA_STEPS_MAX = 4000000 };

struct cds_schema;
/** Compiles; keeps its own copy. @return CDS_OK; CDS_BAD_PARAM naming keyword and place; CDS_EXHAUSTED */
CDS_MUST_USE cds_rc cds_schema_compile(const cds_json *schema, struct cds_schema **ret, struct cds_err *reterr);
/** NULL inside is fine; sets it to NULL. */
void cds_schema_free(struct cds_schema **schema);
/**
 * @return CDS_OK; CDS_BAD_PARAM with a sentence that says what was expected and reterr->pointer at the wrong value
 *         (a member that is missing: where it would stand; a member that is not known: at it)
 */
CDS_MUST_USE cds_rc cds_schema_validate(const struct cds_schema *schema, const cds_json *value, struct cds_err *reterr);
