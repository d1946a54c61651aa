/* apps/llmserver/gbnf.h: is a text a grammar that the model process can take? Found out here, because a parser that runs out of stack or a
 * grammar of another kind ("%llguidance") ends that process.
 *
 * Source:  llama.cpp grammars/README.md (GBNF).
 * Threads: pure function.
 *          The parser behind it follows all ways a text can go on, one by one: a grammar whose parts can be empty in two ways, or that begins
 *          with itself, is refused because that number doubles with every such part, or has no end.
 * Limits:  CDS_GBNF_BYTES_MAX, CDS_GBNF_RULES_MAX rules, groups nested CDS_GBNF_DEPTH_MAX deep, a repeat counts up to CDS_GBNF_REPEAT_MAX and all
 *          repeats together to CDS_GBNF_REPEATS_MAX.
 */
#pragma once

#include <stddef.h>

#include "lib/base/err.h"

enum {
    CDS_GBNF_BYTES_MAX = 256 * 1024,
    CDS_GBNF_RULES_MAX = 2048,
    CDS_GBNF_DEPTH_MAX = 64,
    CDS_GBNF_REPEAT_MAX = 2000,
    CDS_GBNF_REPEATS_MAX = 20000,
    CDS_GBNF_NODES_MAX = 32768, /**< parts */
    CDS_GBNF_ROUNDS_MAX = 64,   /**< rules a rule can be empty through */
    CDS_GBNF_PATHS_MAX = 10000  /**< steps of the parser at one place; each part in a row that may be empty doubles them */
};
/** @return CDS_OK; CDS_BAD_PARAM with the line in the sentence; CDS_EXHAUSTED. The pointer is left to the caller. */
CDS_MUST_USE cds_rc cds_gbnf_check(const char *text, size_t len, struct cds_err *reterr);
