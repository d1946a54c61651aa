/* tests/sandbox/abuse/files.c: the file engine on the hostile tenant's project: single operations, and many of them in a race. See play.h.
 *
 * "operation path -> outcome...": operations are read, write, stat, list, create, mkdir, rename (two paths), delete, delete_tree; a path may
 * hold \xNN; a write may say how many bytes: "write@524289 path". An outcome is ok, the name of a rule, or that of a result code. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "sandbox/fs.h"
#include "tests/sandbox/abuse/play.h"

enum { WORDS = 16, WRITE_BYTES = 8, PATIENCE_TURNS = 64, READY_MS = 60000, RACE_MS = 60000 };

struct operation {
    char *text; /* the words point into it */
    char *name;
    struct cds_path path, to; /* to: of a rename */
    cds_rc parse_rc;
    struct cds_err parse_err;
    size_t bytes; /* of a write */
    char *outcomes[WORDS];
    size_t outcome_count;
};

/* \xNN to a byte, in place. @return length */
static size_t unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from; to++) {
        if (from[0] == '\\' && from[1] == 'x' && isxdigit((unsigned char)from[2]) && isxdigit((unsigned char)from[3])) {
            const char digits[3] = {from[2], from[3], '\0'};
            *to = (char)strtol(digits, NULL, 16);
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
    return (size_t)(to - text);
}

static bool may_be_root(const char *name)
{
    return cds_streq(name, "list") || cds_streq(name, "stat");
}

static void take_path(struct operation *o, char *text, struct cds_path *ret)
{
    size_t len = cds_streq(text, ".") && may_be_root(o->name) ? 0 : unescape(text);
    cds_rc rc = may_be_root(o->name) ? cds_path_parse(text, len, ret, &o->parse_err) : cds_path_parse_below(text, len, ret, &o->parse_err);
    if (!o->parse_rc)
        o->parse_rc = rc;
}

/* False when the line is not an operation. */
static bool parse(const struct world *w, const char *line, struct operation *o)
{
    *o = (struct operation){.text = play_fill_in(w, line), .bytes = WRITE_BYTES};
    char *rest = strstr(o->text, " -> "), *more = NULL;
    if (!rest)
        return false;
    *rest = '\0';
    char *path = strchr(o->text, ' ');
    o->name = o->text;
    if (!path)
        return false;
    *path++ = '\0';
    char *size = strchr(o->name, '@');
    if (size) {
        *size++ = '\0';
        o->bytes = strtoul(size, NULL, 10);
    }
    char *second = cds_streq(o->name, "rename") ? strchr(path, ' ') : NULL;
    if (second)
        *second++ = '\0';
    take_path(o, path, &o->path);
    if (second)
        take_path(o, second, &o->to);
    for (char *word = strtok_r(rest + 4, " ", &more); word && o->outcome_count < WORDS; word = strtok_r(NULL, " ", &more))
        o->outcomes[o->outcome_count++] = word;
    return o->outcome_count > 0;
}

static void check_listing(struct world *w, const struct cds_fs_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (cds_streq(list->entries[i].name, "elsewhere"))
            complain(w, "a listing shows what is outside of the project");
}

static cds_rc perform(struct world *w, const struct operation *o, struct cds_err *err)
{
    struct cds_fs_info info;
    if (cds_streq(o->name, "read")) {
        CDS_CLEANUP(cds_buf_free) struct cds_buf buf = cds_buf_init(CDS_FS_FILE_MAX);
        cds_rc rc = cds_fs_read(w->project, &o->path, &buf, &info, err);
        if (!rc && buf.data)
            world_check_text(w, buf.data, buf.len);
        return rc;
    }
    if (cds_streq(o->name, "write")) {
        CDS_CLEANUP(cds_free_ptr) char *data = calloc(1, o->bytes + 1);
        return data ? cds_fs_write(w->project, &o->path, data, o->bytes, NULL, &info, err) : CDS_EXHAUSTED;
    }
    if (cds_streq(o->name, "list")) {
        struct cds_fs_list list;
        cds_rc rc = cds_fs_list(w->project, &o->path, &list, err);
        if (!rc) {
            check_listing(w, &list);
            cds_fs_list_free(&list);
        }
        return rc;
    }
    if (cds_streq(o->name, "stat"))
        return cds_fs_stat(w->project, &o->path, &info, err);
    if (cds_streq(o->name, "create"))
        return cds_fs_create(w->project, &o->path, CDS_FS_FILE, &info, err);
    if (cds_streq(o->name, "mkdir"))
        return cds_fs_create(w->project, &o->path, CDS_FS_DIR, &info, err);
    if (cds_streq(o->name, "rename"))
        return cds_fs_rename(w->project, &o->path, &o->to, err);
    return cds_fs_delete(w->project, &o->path, cds_streq(o->name, "delete_tree"), err);
}

/* "ok", the rule, or the code in lower case. */
static void play_once(struct world *w, const struct operation *o, char *got, size_t size, struct cds_err *err)
{
    *err = o->parse_err;
    cds_rc rc = o->parse_rc;
    if (!rc && !(rc = cds_fs_identity_enter(&w->host->who, err))) {
        rc = perform(w, o, err);
        cds_fs_identity_leave(&w->host->who);
    }
    cds_strcpy(got, size, !rc ? "ok" : err->rule[0] ? err->rule : cds_rc_name(rc));
    for (char *at = got; *at; at++)
        *at = (char)tolower((unsigned char)*at);
}

static bool expected(const struct operation *o, const char *got)
{
    for (size_t i = 0; i < o->outcome_count; i++)
        if (cds_streq(o->outcomes[i], got))
            return true;
    return false;
}

void play_fs_lines(struct world *w, const struct row_case *c)
{
    const char *line;
    for (size_t at = 0; (line = case_next(c, "fs", &at));) {
        struct operation o;
        struct cds_err err;
        char got[64];
        if (!parse(w, line, &o)) {
            complain(w, "%s: this is not a file operation: %s", c->name, line);
        } else {
            play_once(w, &o, got, sizeof(got), &err);
            if (!expected(&o, got))
                complain(w, "%s: %s: it was %s: %s %s", c->name, line, got, err.message, err.detail);
        }
        free(o.text);
    }
}

/* At least two outcomes must be met, or there was no race: refusals are quick and a busy machine lets the job wait for its turn, so it may take
 * more turns than asked for. */
static void race(struct world *w, const struct row_case *c, const char *line, const struct play *p)
{
    struct operation o = {.text = NULL};
    char *rest, first[64] = "", got[64];
    unsigned long turns = strtoul(line, &rest, 10), turn = 0;
    size_t said = strlen(w->complaints);
    bool both = false, right = true;
    struct cds_err err;
    if (!turns || *rest != ' ' || !parse(w, rest + 1, &o)) {
        complain(w, "%s: this is not a race: %s", c->name, line);
        free(o.text);
        return;
    }
    const uint64_t until = cds_now_ms() + (o.outcome_count > 1 ? RACE_MS : 0);
    for (; right && (turn < turns || (!both && cds_now_ms() < until)) && !p->ended; turn++) {
        play_once(w, &o, got, sizeof(got), &err);
        if (!first[0])
            strcpy(first, got);
        both = both || !cds_streq(first, got);
        right = expected(&o, got) && strlen(w->complaints) == said;
        if (turn % PATIENCE_TURNS == 0)
            cds_loop_once(w->loop, 0);
    }
    if (!right)
        complain(w, "%s: %s: turn %lu was %s: %s %s", c->name, line, turn, got, err.message, err.detail);
    else if (o.outcome_count > 1 && !both)
        complain(w, "%s: %s: always %s in %lu turns: there was no race", c->name, line, first, turn);
    else if (turn < turns && p->ended)
        complain(w, "%s: %s: the job had ended after %lu turns", c->name, line, turn);
    free(o.text);
}

void play_races(struct world *w, const struct row_case *c, const struct play *p)
{
    const char *line = case_get(c, "race");
    /* The job says a word when it begins. */
    for (uint64_t began = cds_now_ms(); line && !p->ended && p->out_len == 0 && cds_now_ms() - began < READY_MS;)
        cds_loop_once(w->loop, 5);
    for (size_t at = 0; (line = case_next(c, "race", &at));)
        race(w, c, line, p);
}
