/* lib/json/pattern.h: the regular expressions of schema files, matched in linear time.
 *
 * Why own:  a pattern must mean the same here and in the browser (ECMA-262, flag u), on code points and in every locale, and text
 *           from outside must never make it slow. POSIX regexec is byte- and locale-bound and speaks another language.
 * Language: characters, . [abc] [^a-z] \d \D \w \W \s \S \t \n \r \f \v \xHH \uHHHH, \ before a syntax character, ( ) (?: ) |
 *           * + ? {n} {n,} {n,m}, ^ and $ for the ends of the whole text. Anything else is refused when it is compiled.
 * Source:   ECMA-262 section 22.2; simulation after K. Thompson (CACM 11/6, 1968).
 * Threads:  a compiled pattern is read-only and may be shared.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/err.h"

struct cds_pattern;
/** Most steps of a compiled pattern; a repeat {n,m} counts its inner part m times. */
enum { CDS_PATTERN_STEPS_MAX = 1024, CDS_PATTERN_RANGES_MAX = 256, CDS_PATTERN_GROUPS_MAX = 16 };

/** @return CDS_OK; CDS_BAD_PARAM with a sentence that names the place; CDS_EXHAUSTED */
CDS_MUST_USE cds_rc cds_pattern_compile(const char *text, struct cds_pattern **ret, struct cds_err *reterr);
void cds_pattern_free(struct cds_pattern **pattern);
/** True if some part of text (UTF-8, len bytes) matches. */
bool cds_pattern_match(const struct cds_pattern *pattern, const char *text, size_t len);
