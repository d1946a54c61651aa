/* tests/sandbox/abuse/row.c: see row.h. */
#include "tests/sandbox/abuse/row.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/compiler.h"
#include "lib/base/str.h"
#include "sandbox/sandbox.h"

enum kind { TEXT, NUMBER, FLAG, STATES, LIMIT };

static const struct {
    const char *key;
    enum kind kind;
} keys[] = {
    {"language", TEXT},         /* of the code: python, node, sh, c, cpp */
    {"access", TEXT},           /* read_write (as without this line), read_only, none */
    {"needs", TEXT},            /* a condition the case cannot be played without; else it is skipped, loudly */
    {"arg", TEXT},              /* an argument */
    {"env", TEXT},              /* NAME=value */
    {"stdin", TEXT},            /* input */
    {"file", TEXT},             /* "path content": below /tmp */
    {"prepare", TEXT},          /* "what name": what the host puts into the project first, see host.c */
    {"fs", TEXT},               /* "operation path -> outcome...": after the job; without code alone */
    {"race", TEXT},             /* "turns operation path -> outcome...": while the job runs */
    {"drill", TEXT},            /* "name number": what one job cannot do, see drill.c */
    {"params", TEXT},           /* JSON parameters of run.exec instead of the keys above */
    {"refused", TEXT},          /* "CODE pointer": what becomes of params or of the start */
    {"says", TEXT},             /* stands in the output */
    {"line", TEXT},             /* is a whole line of the output */
    {"never", TEXT},            /* does not */
    {"limit", LIMIT},           /* "name number" */
    {"end", STATES},            /* end states that are right; without this line: ok */
    {"exit", NUMBER},           /* exit code */
    {"signal", NUMBER},         /* number of the signal */
    {"wall_within_ms", NUMBER}, /* most wall clock it may take */
    {"cpu_within_ms", NUMBER},  /* most CPU time it may take */
    {"peak_within", NUMBER},    /* most memory it may take, bytes */
    {"stdout_bytes", NUMBER},   /* exactly */
    {"stderr_bytes", NUMBER},   /* exactly */
    {"dropped", NUMBER},        /* bytes past the ceiling, exactly */
    {"kill_after_ms", NUMBER},  /* the host cancels it */
    {"together", NUMBER},       /* so many at once */
    {"times", NUMBER},          /* so many one after the other */
    {"leave", FLAG},            /* what the case made in the project is there for the next case */
    {"module", TEXT},           /* wasm: its bytes in hexadecimal instead of code */
    {"export", TEXT},           /* wasm: function to call */
    {"rule", TEXT},             /* rule of the refusal */
    {"attack", TEXT},           /* micro: the hostile agent does this instead of the code */
    {"template", FLAG},         /* micro: there is a template first, so that the machine is restored */
    {"vmm", FLAG},              /* micro: the code runs with python in the place of QEMU */
    {"unique", FLAG},           /* no word of the output was in that of an earlier job of this row */
    {"reason", TEXT},           /* stands in the reason of the result */
    {"origin", TEXT},           /* where its box came from: cold, snapshot, pool */
    {"neighbour", FLAG},        /* another tenant is asked for 1+2 while it runs */
    {"long", FLAG},             /* in the storm only */
};

static const char *const limit_names[] = {"wall_ms", "cpu_ms", "memory_bytes", "output_bytes", "max_tasks", "tmp_bytes"};

static bool refuse(struct row *row, unsigned line, const char *why, const char *what)
{
    snprintf(row->problem, sizeof(row->problem), "line %u: %s: %.120s", line, why, what);
    return false;
}

/* ---- values ---- */
static bool is_state(const char *word, size_t len)
{
    for (int i = 0; i < CDS_END_COUNT; i++) {
        const char *name = cds_run_end_name((enum cds_run_end)i);
        if (strlen(name) == len && !memcmp(name, word, len))
            return true;
    }
    return false;
}

static bool are_states(const char *value)
{
    size_t n = 0;
    for (const char *at = value; *at; at += strspn(at, " "), n++) {
        size_t len = strcspn(at, " ");
        if (!is_state(at, len))
            return false;
        at += len;
    }
    return n > 0;
}

static bool is_limit(const char *value)
{
    uint64_t number;
    size_t len = strcspn(value, " ");
    for (size_t i = 0; i < CDS_ARRAY_LEN(limit_names); i++)
        if (strlen(limit_names[i]) == len && !memcmp(value, limit_names[i], len))
            return value[len] == ' ' && cds_parse_u64(value + len + 1, 1, UINT64_MAX, &number) == CDS_OK;
    return false;
}

static bool fits(enum kind kind, const char *value)
{
    uint64_t number;
    switch (kind) {
    case TEXT:
        return *value != '\0';
    case NUMBER:
        return cds_parse_u64(value, 0, UINT64_MAX, &number) == CDS_OK;
    case FLAG:
        return *value == '\0';
    case STATES:
        return are_states(value);
    case LIMIT:
        return is_limit(value);
    }
    return false;
}

/* ---- lines ---- */
/* Takes "[word]" off the front. 1: all hold, 0: one does not, -1: unknown. */
static int take_conditions(char **line, const struct row_condition *conditions)
{
    int all = 1;
    while (**line == '[') {
        char *end = strchr(*line, ']');
        const struct row_condition *c = conditions;
        if (!end)
            return -1;
        *end = '\0';
        while (c->name && strcmp(c->name, *line + 1))
            c++;
        if (!c->name)
            return -1;
        all = all && c->holds;
        *line = end + 1 + strspn(end + 1, " ");
    }
    return all;
}

static char *next_line(char **rest)
{
    char *line = *rest, *end = strchr(line, '\n');
    *rest = end ? end + 1 : line + strlen(line);
    if (end)
        *end = '\0';
    return line;
}

static bool take_code(struct row *row, char **rest, unsigned *number, bool counts)
{
    struct row_case *c = &row->cases[row->case_count - 1];
    char *begin = *rest, *end = strncmp(begin, ">>>\n", 4) ? strstr(begin, "\n>>>\n") : begin;
    if (c->code && counts)
        return refuse(row, *number, "a case has one code", c->name);
    if (!end || end == begin)
        return refuse(row, *number, "the code has no text or no end", c->name);
    for (const char *at = begin; at <= end; at++)
        *number += *at == '\n';
    end[1] = '\0';
    *rest = end + strlen("\n>>>\n");
    *number += 1;
    if (counts)
        c->code = begin;
    return true;
}

static bool add_line(struct row *row, unsigned number, const char *key, char *value, bool counts)
{
    struct row_case *c = row->case_count ? &row->cases[row->case_count - 1] : NULL;
    for (size_t i = 0; i < CDS_ARRAY_LEN(keys); i++) {
        if (strcmp(keys[i].key, key))
            continue;
        if (!c)
            return refuse(row, number, "this belongs into a case", key);
        if (!fits(keys[i].kind, value))
            return refuse(row, number, "this value does not fit", key);
        if (!counts)
            return true;
        if (c->line_count == ROW_LINES)
            return refuse(row, number, "a case has at most 48 lines", key);
        c->lines[c->line_count++] = (struct row_line){keys[i].key, value};
        return true;
    }
    return refuse(row, number, "there is no such key", key);
}

static bool take_line(struct row *row, unsigned *number, char *line, char **rest, const struct row_condition *conditions)
{
    int counts = take_conditions(&line, conditions);
    if (counts < 0)
        return refuse(row, *number, "there is no such condition", line);
    char *value = line + strcspn(line, " ");
    if (*value)
        *value++ = '\0';
    if (!strcmp(line, "row"))
        return cds_strcpy(row->id, sizeof(row->id), value) != NULL;
    if (!strcmp(line, "name"))
        return (row->name = value) != NULL;
    if (!strcmp(line, "engine"))
        return (row->engine = value) != NULL;
    if (!strcmp(line, "case")) {
        if (row->case_count == ROW_CASES || !*value)
            return refuse(row, *number, "a case has a sentence, a row at most 32 cases", value);
        row->cases[row->case_count++] = (struct row_case){.name = value};
        return true;
    }
    if (!strcmp(line, "code"))
        return row->case_count && !strcmp(value, "<<<") ? take_code(row, rest, number, counts) : refuse(row, *number, "write: code <<<", value);
    return add_line(row, *number, line, value, counts);
}

static bool is_condition(const struct row *row, const char *name)
{
    const struct row_condition *c = row->conditions;
    while (c->name && strcmp(c->name, name))
        c++;
    return c->name != NULL;
}

/* Something must be asked of each case, or it could not fail. */
static bool is_whole(struct row *row)
{
    if (row->id[0] != 'A' || strlen(row->id) != 3 || !row->name || !*row->name || !row->engine || !row->case_count)
        return refuse(row, 0, "a row has row, name, engine and a case", row->id);
    for (size_t i = 0; i < row->case_count; i++) {
        const struct row_case *c = &row->cases[i];
        bool plays = c->code || case_get(c, "fs") || case_get(c, "drill") || case_get(c, "params") || case_get(c, "attack") || case_get(c, "module");
        if (!plays && c->line_count)
            return refuse(row, 0, "a case has code, fs, params, attack, module or drill", c->name);
        if (case_get(c, "needs") && !is_condition(row, case_get(c, "needs")))
            return refuse(row, 0, "there is no such condition", case_get(c, "needs"));
        if (c->code && !case_get(c, "language"))
            return refuse(row, 0, "code has a language", c->name);
    }
    return true;
}

bool row_parse(char *text, const struct row_condition *conditions, struct row *ret)
{
    *ret = (struct row){.text = text, .conditions = conditions};
    unsigned number = 0;
    for (char *rest = text; *rest;) {
        char *line = next_line(&rest);
        number++;
        if (*line && *line != '#' && !take_line(ret, &number, line, &rest, conditions))
            return false;
    }
    return is_whole(ret);
}

void row_free(struct row *row)
{
    free(row->text);
    *row = (struct row){.text = NULL};
}

/* ---- asking ---- */
bool row_condition_holds(const struct row *row, const char *name)
{
    for (const struct row_condition *c = row->conditions; c->name; c++)
        if (!strcmp(c->name, name))
            return c->holds;
    abort(); /* checked when the file was read */
}

const char *case_next(const struct row_case *c, const char *key, size_t *at)
{
    while (*at < c->line_count) {
        const struct row_line *line = &c->lines[(*at)++];
        if (!strcmp(line->key, key))
            return line->value;
    }
    return NULL;
}

const char *case_get(const struct row_case *c, const char *key)
{
    size_t at = 0;
    return case_next(c, key, &at);
}

uint64_t case_number(const struct row_case *c, const char *key, uint64_t otherwise)
{
    const char *text = case_get(c, key);
    if (text && cds_parse_u64(text, 0, UINT64_MAX, &otherwise))
        abort(); /* checked when the file was read */
    return otherwise;
}
