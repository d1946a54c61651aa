/* tests/sandbox/abuse/row.h: one row of the abuse list, as its file says it.
 *
 * Format: one "key value" a line; "#" begins a comment; a line "case <sentence>" begins a case; code stands between "code <<<" and ">>>".
 *         A line may begin with conditions in brackets ("[cgroup] end memory"): it then counts only where all of them hold.
 * Rule:   an unknown key, condition, state or number is an error of the file; nothing is skipped silently.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ROW_CASES = 32, ROW_LINES = 48, ROW_CONDITIONS = 16 };

/** One "key value" of a case; key is one of the table in row.c. */
struct row_line {
    const char *key;
    char *value;
};
struct row_case {
    char *name; /**< a sentence */
    char *code; /**< NULL: none */
    struct row_line lines[ROW_LINES];
    size_t line_count;
};
struct row {
    char id[8];   /**< "A01" */
    char *name;   /**< a sentence */
    char *engine; /**< "run", "fs", "api", ... */
    struct row_case cases[ROW_CASES];
    size_t case_count;
    const struct row_condition *conditions;
    char *text;        /**< all of the above points into it */
    char problem[256]; /**< why the file is refused; "" when it is not */
};

/** A word that holds now: "root", "cgroup", ... and its opposite. */
struct row_condition {
    const char *name;
    bool holds;
};

/**
 * @param text        malloc'ed file, taken over, also on failure
 * @param conditions  those that may stand in brackets; ends with a NULL name
 * @return false with problem set when the file is not a row
 */
bool row_parse(char *text, const struct row_condition *conditions, struct row *ret);
void row_free(struct row *row);
bool row_condition_holds(const struct row *row, const char *name);

/** Value of the first line with this key, NULL: none. */
const char *case_get(const struct row_case *c, const char *key);
uint64_t case_number(const struct row_case *c, const char *key, uint64_t otherwise);
/** The next line with this key from *at on; *at starts at 0. NULL at the end. */
const char *case_next(const struct row_case *c, const char *key, size_t *at);
