/* sandbox/wasm/worker_report.c: what the worker tells the broker. See worker.h. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/str.h"
#include "sandbox/wasm/worker.h"

enum { TEXT_MAX = 240, LINE_MAX_BYTES = 3500 };

void worker_quote(const char *text, char *out, size_t size)
{
    size_t len = strnlen(text, TEXT_MAX), at = 0;
    len = cds_utf8_complete(text, len);
    if (!cds_utf8_valid(text, len))
        len = 0;
    for (size_t i = 0; i < len && at + 8 < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            out[at++] = '\\';
        out[at++] = c < ' ' || c == 0x7f ? ' ' : (char)c;
    }
    out[at] = '\0';
}

static void say(const char *line, size_t len)
{
    /* The pipe has room for all that is ever said; a broker that is gone ends us anyway. */
    if (write(WASM_FD_REPORT, line, len) != (ssize_t)len)
        _exit(WORKER_NOT_RUN);
}

void worker_step(const char *step)
{
    char line[64];
    int len = snprintf(line, sizeof(line), "{\"step\":\"%s\"}\n", step);
    say(line, (size_t)len);
}

_Noreturn void worker_give_up(const struct worker *w, const struct cds_err *err)
{
    char line[LINE_MAX_BYTES], reason[2 * TEXT_MAX + 16], detail[2 * TEXT_MAX + 16];
    worker_quote(err->message, reason, sizeof(reason));
    worker_quote(err->detail, detail, sizeof(detail));
    int len = snprintf(line, sizeof(line), "{\"end\":\"%s\",\"rule\":\"%s\",\"reason\":\"%s%s%s\",\"aot\":\"%s\"}\n",
                       err->code == CDS_DENIED ? "refused" : "failed", err->rule, reason, *detail ? " " : "", detail, w->aot);
    say(line, (size_t)len);
    _exit(WORKER_NOT_RUN);
}

_Noreturn void worker_end(const struct worker *w, const char *how, int code, const char *reason, const char *values)
{
    char line[LINE_MAX_BYTES], quoted[2 * TEXT_MAX + 16];
    worker_quote(reason, quoted, sizeof(quoted));
    int len = snprintf(line, sizeof(line), "{\"end\":\"%s\",\"code\":%d,\"reason\":\"%s\",\"values\":%s,\"aot\":\"%s\"}\n", how, code, quoted,
                       values ? values : "[]", w->aot);
    say(line, (size_t)len);
    _exit(code); /* threads of the library are in the middle of something; nothing of this process is needed any more */
}

const char *worker_last_error(const struct worker *w)
{
    static _Thread_local char text[TEXT_MAX + 1];
    static _Thread_local char whole[4096];
    int len = w->wasmer.wasmer_last_error_length();
    text[0] = '\0';
    if (len > 0 && len <= (int)sizeof(whole) && w->wasmer.wasmer_last_error_message(whole, len) > 0)
        cds_strcpy(text, sizeof(text), whole);
    return text;
}
