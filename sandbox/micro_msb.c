/* sandbox/micro_msb.c: see micro_msb.h. */
#include "sandbox/micro_msb.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "sandbox/micro_priv.h"

void micro_msb_look(const char *msb, struct micro_tier_state *state)
{
    if (access(msb, X_OK) == 0)
        return;
    state->state = MICRO_FAILS;
    snprintf(state->reason, sizeof(state->reason), "start %.160s: %s.", msb, strerror(errno));
    cds_strcpy(state->remedy, sizeof(state->remedy), "Run `make micro`, which fetches microsandbox (msb).");
}

/* ---- command line ---- */
struct builder {
    struct micro_msb_command *to;
    size_t args, at;
    bool full;
};

static void put(struct builder *b, const char *arg)
{
    if (b->args + 1 < MICRO_MSB_ARGS)
        b->to->argv[b->args++] = arg;
    else
        b->full = true;
}

static void putf(struct builder *b, const char *fmt, ...) CDS_PRINTF(2, 3);
static void putf(struct builder *b, const char *fmt, ...)
{
    char *at = b->to->text + b->at;
    size_t room = sizeof(b->to->text) - b->at;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(at, room, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= room) {
        b->full = true;
        return;
    }
    put(b, at);
    b->at += (size_t)n + 1;
}

bool micro_msb_command(const struct micro_msb_plan *p, struct micro_msb_command *ret)
{
    static const char *const fixed[] = {"run", "--no-tty", "--no-net", "--quiet", "--cpus", "1"};
    struct builder b = {.to = ret};
    put(&b, p->msb);
    if (p->doctor) {
        put(&b, "doctor");
        ret->argv[b.args] = NULL;
        return true;
    }
    for (size_t i = 0; i < CDS_ARRAY_LEN(fixed); i++)
        put(&b, fixed[i]);
    put(&b, "--memory");
    putf(&b, "%uM", p->memory_mib);
    /* Without attributes: what is shown read-only cannot have any. */
    put(&b, "--mount-dir");
    putf(&b, "%s:/cds:ro,stat-virt=off", p->agents);
    put(&b, "--mount-disk");
    putf(&b, "%s:/image:ro,format=raw,fstype=erofs", p->image);
    put(&b, "--vsock");
    putf(&b, "%s:%d", p->socket, MICRO_MSB_PORT);
    put(&b, p->root);
    put(&b, "--");
    putf(&b, "/cds/%s", p->agent);
    put(&b, "hosted");
    put(&b, "/image");
    putf(&b, "%d", MICRO_MSB_PORT);
    ret->argv[b.args] = NULL;
    return !b.full;
}

/* ---- what it says ---- */
/* It may repeat what a guest has said. */
static void clean(char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            *text = '?';
}

/* Its sentence of the error, and the first of what it advises: "error: ..." and lines that begin with an arrow. */
void micro_msb_words(char *said, char *reason, size_t reason_size, char *remedy, size_t remedy_size)
{
    static const char arrow[] = "\xe2\x86\x92", error[] = "error:"; /* → */
    char all[2][MICRO_MSB_TEXT] = {"", ""};
    char *save = NULL;
    for (char *line = strtok_r(said, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        while (*line == ' ')
            line++;
        if (cds_starts_with(line, error) && !all[0][0]) {
            const char *words = line + strlen(error);
            cds_strcpy(all[0], sizeof(all[0]), words + strspn(words, " "));
        } else if (all[0][0] && cds_starts_with(line, arrow)) { /* those before belong to warnings */
            const char *words = line + strlen(arrow) + (line[strlen(arrow)] == ' ');
            char *to = all[strstr(words, "enable") || strstr(words, "add ")];
            size_t at = strlen(to);
            snprintf(to + at, sizeof(all[0]) - at, "%s%s", at ? "; " : "", words);
        }
    }
    clean(all[0]);
    clean(all[1]);
    cds_shorten(reason, reason_size, all[0]);
    cds_shorten(remedy, remedy_size, all[1]);
}
