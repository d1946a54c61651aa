/* tests/sandbox/abuse/verdict.c: what a job came to, against what its case expects. See play.h. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "tests/sandbox/abuse/machines.h"
#include "tests/support/stretch.h"

enum { SHOWN = 600 };

/* True when the states of a line hold this one. */
static bool names_state(const char *states, const char *state)
{
    size_t len = strlen(state);
    for (const char *at = states; *at; at += strspn(at, " ")) {
        size_t n = strcspn(at, " ");
        if (n == len && !memcmp(at, state, n))
            return true;
        at += n;
    }
    return false;
}

static void check_state(const struct play *p, const struct row_case *c)
{
    const struct cds_job_result *r = &p->result;
    const char *state = cds_run_end_name(r->end), *line;
    bool asked = false, right = false;
    for (size_t at = 0; (line = case_next(c, "end", &at));) {
        asked = true;
        right = right || names_state(line, state);
    }
    if (asked ? right : r->end == CDS_END_OK)
        return;
    complain(p->world, "%s: it ended with %s (exit code %d, signal %d, %u ms, %u ms of CPU, %llu bytes) %s\n%.*s", c->name, state, r->exit_code,
             r->signo, r->wall_ms, r->cpu_ms, (unsigned long long)r->peak_memory_bytes, r->reason, p->out_len < SHOWN ? (int)p->out_len : SHOWN,
             p->out);
}

static void check_numbers(const struct play *p, const struct row_case *c)
{
    const struct cds_job_result *r = &p->result;
    const struct {
        const char *key;
        uint64_t value;
        enum { EXACTLY, AT_MOST, MS } how; /* MS: at most, and as much more as the machine is slower by other work */
    } all[] = {{"exit", (uint64_t)(int64_t)r->exit_code, EXACTLY},
               {"signal", (uint64_t)r->signo, EXACTLY},
               {"wall_within_ms", r->wall_ms, MS},
               {"cpu_within_ms", r->cpu_ms, MS}, /* whoever looks at it waits for a processor, too */
               {"peak_within", r->peak_memory_bytes, AT_MOST},
               {"stdout_bytes", r->stdout_bytes, EXACTLY},
               {"stderr_bytes", r->stderr_bytes, EXACTLY},
               {"dropped", r->dropped_bytes, EXACTLY}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(all); i++) {
        uint64_t wanted = case_number(c, all[i].key, all[i].value);
        if (all[i].how == MS && all[i].value > wanted)
            wanted = wanted * test_stretch_percent() / 100;
        if (all[i].how == EXACTLY ? all[i].value != wanted : all[i].value > wanted)
            complain(p->world, "%s: %s is %lld, not %lld", c->name, all[i].key, (long long)all[i].value, (long long)wanted);
    }
}

static bool holds(const struct play *p, const char *text)
{
    CDS_CLEANUP(cds_free_ptr) char *filled = play_fill_in(p->world, text);
    return memmem(p->out, p->out_len, filled, strlen(filled)) != NULL;
}

/* With a line break before and behind it, or the edge of the output. */
static bool holds_line(const struct play *p, const char *text)
{
    CDS_CLEANUP(cds_free_ptr) char *filled = play_fill_in(p->world, text);
    size_t len = strlen(filled);
    for (const char *at = p->out; (at = memmem(at, (size_t)(p->out + p->out_len - at), filled, len)); at++)
        if ((at == p->out || at[-1] == '\n') && (at + len == p->out + p->out_len || at[len] == '\n'))
            return true;
    return false;
}

void play_check(const struct play *p, const struct row_case *c)
{
    const char *text;
    int shown = p->out_len < SHOWN ? (int)p->out_len : SHOWN;
    check_state(p, c);
    check_numbers(p, c);
    world_check_text(p->world, p->out, p->out_len);
    for (size_t at = 0; (text = case_next(c, "reason", &at));)
        if (!strstr(p->result.reason, text))
            complain(p->world, "%s: \"%s\" is not in its reason: %s", c->name, text, p->result.reason);
    if (case_get(c, "rule") && !cds_streq(case_get(c, "rule"), p->result.rule))
        complain(p->world, "%s: the rule was %s: %s", c->name, p->result.rule, p->result.reason);
    if (case_get(c, "origin") && !cds_streq(case_get(c, "origin"), p->result.origin))
        complain(p->world, "%s: its box came from %s", c->name, p->result.origin);
    if (case_get(c, "unique"))
        machines_check_unique(p->world, c, p->out, p->out_len);
    for (size_t at = 0; (text = case_next(c, "says", &at));)
        if (!holds(p, text))
            complain(p->world, "%s: \"%s\" is not in the output:\n%.*s", c->name, text, shown, p->out);
    for (size_t at = 0; (text = case_next(c, "line", &at));)
        if (!holds_line(p, text))
            complain(p->world, "%s: \"%s\" is no line of the output:\n%.*s", c->name, text, shown, p->out);
    for (size_t at = 0; (text = case_next(c, "never", &at));)
        if (holds(p, text))
            complain(p->world, "%s: \"%s\" is in the output:\n%.*s", c->name, text, shown, p->out);
}
