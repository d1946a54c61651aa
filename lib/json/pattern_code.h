/* lib/json/pattern_code.h: what pattern.c writes and pattern_match.c runs. Private to lib/json.
 *
 * Threads: code is written by one thread and read-only afterwards.
 */
#pragma once

#include <stdint.h>

#include "lib/json/pattern.h"

enum step_op {
    STEP_CHAR,  /**< one code point: a */
    STEP_ANY,   /**< any code point but a line end */
    STEP_CLASS, /**< one code point in ranges a .. a+b-1 */
    STEP_OTHER, /**< one code point outside of them */
    STEP_SPLIT, /**< go on at +a and at +b */
    STEP_JUMP,  /**< go on at +a */
    STEP_BEGIN, /**< only at the begin of the text */
    STEP_END,   /**< only at its end */
    STEP_MATCH
};
/** Jumps are relative, so that a piece of code may be moved and copied as it is. */
struct step {
    enum step_op op;
    int32_t a, b;
};
struct range {
    uint32_t low, high;
};
struct cds_pattern {
    size_t step_count, range_count;
    struct step steps[CDS_PATTERN_STEPS_MAX];
    struct range ranges[CDS_PATTERN_RANGES_MAX];
};

/** Reads one code point of text[*at..len) and moves *at; a byte that begins no character stands for itself. */
uint32_t cds_pattern_next(const char *text, size_t len, size_t *at);
