/* lib/log/log.c: see log.h. */
#include "lib/log/log.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/str.h"

enum { LINE_MAX_BYTES = 8192, VALUE_MAX_BYTES = 2048, KEEP_OF_SECRET = 12 };

static char process[32] = "cds";
static atomic_int least_level = CDS_LOG_INFO;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void cds_log_init(const char *proc, enum cds_log_level least)
{
    snprintf(process, sizeof(process), "%s", proc);
    atomic_store(&least_level, least);
}

cds_rc cds_log_level_parse(const char *text, enum cds_log_level *ret)
{
    for (size_t i = 0; i < CDS_ARRAY_LEN(level_names); i++)
        if (cds_streq(text, level_names[i])) {
            *ret = (enum cds_log_level)i;
            return CDS_OK;
        }
    return CDS_BAD_PARAM;
}

struct line {
    char text[LINE_MAX_BYTES];
    size_t len;
};

static void put(struct line *line, const char *bytes, size_t n)
{
    if (n > sizeof(line->text) - 8 - line->len) /* room for the end of the line is always left */
        n = sizeof(line->text) - 8 - line->len;
    memcpy(line->text + line->len, bytes, n);
    line->len += n;
}

/* One JSON string; bytes that are not UTF-8 become "?". */
static void put_string(struct line *line, const char *s, size_t n)
{
    put(line, "\"", 1);
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)s[i];
        if (sizeof(line->text) - line->len < 64)
            break;
        if (c == '"' || c == '\\') {
            char e[2] = {'\\', (char)c};
            put(line, e, 2);
            i++;
        } else if (c < 0x20 || c == 0x7f) {
            char e[8];
            put(line, e, (size_t)snprintf(e, sizeof(e), "\\u%04x", c));
            i++;
        } else if (c < 0x80) {
            put(line, s + i, 1);
            i++;
        } else {
            size_t k = 2;
            while (k <= 4 && !(i + k <= n && cds_utf8_valid(s + i, k)))
                k++;
            put(line, k <= 4 ? s + i : "?", k <= 4 ? k : 1);
            i += k <= 4 ? k : 1;
        }
    }
    put(line, "\"", 1);
}

static bool secret_name(const char *name)
{
    static const char *const words[] = {"password", "secret", "token", "authorization", "cookie", "api_key"};
    static const char *const counted[] = {"prompt_tokens", "completion_tokens", "cached_tokens", "tokens"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(counted); i++)
        if (!strcmp(name, counted[i]))
            return false;
    for (size_t i = 0; i < CDS_ARRAY_LEN(words); i++)
        if (strcasestr(name, words[i]))
            return true;
    return false;
}

static bool token_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

/* Copies value to out; text that looks like a JWT ("eyJ...") or one of our keys ("cds_<kind>_...") keeps its first characters only. */
static size_t redact(const char *value, char out[static VALUE_MAX_BYTES])
{
    size_t o = 0, i = 0;
    while (value[i] && o < VALUE_MAX_BYTES - 4) {
        bool start = i == 0 || !token_char(value[i - 1]);
        if (start && (!strncmp(value + i, "eyJ", 3) || !strncmp(value + i, "cds_", 4))) {
            size_t n = 0;
            while (token_char(value[i + n]))
                n++;
            size_t keep = n > 24 ? KEEP_OF_SECRET : n;
            if (keep > VALUE_MAX_BYTES - 4 - o)
                keep = VALUE_MAX_BYTES - 4 - o;
            memcpy(out + o, value + i, keep);
            o += keep;
            if (n > 24 && o < VALUE_MAX_BYTES - 4) {
                // NOLINTNEXTLINE(bugprone-not-null-terminated-result): ended once, below
                memcpy(out + o, "...", 3);
                o += 3;
            }
            i += n;
            continue;
        }
        out[o++] = value[i++];
    }
    if (value[i]) {
        // NOLINTNEXTLINE(bugprone-not-null-terminated-result): ended once, below
        memcpy(out + o, "...", 3);
        o += 3;
    }
    return o;
}

static void put_field(struct line *line, const char *name, const char *value)
{
    char clean[VALUE_MAX_BYTES];
    if (sizeof(line->text) - line->len < 128)
        return;
    put(line, ",", 1);
    put_string(line, name, strlen(name));
    put(line, ":", 1);
    if (secret_name(name))
        put_string(line, "[redacted]", 10);
    else
        put_string(line, clean, redact(value, clean));
}

void cds_log_write(enum cds_log_level level, const char *msg, const struct cds_log_field *fields)
{
    if ((int)level < atomic_load(&least_level))
        return;
    struct line line = {.len = 0};
    char stamp[25], head[128];
    int n = snprintf(head, sizeof(head), "{\"ts\":\"%s\",\"level\":\"%s\",\"proc\":\"%s\",\"msg\":", cds_time_rfc3339(cds_wall_ms(), stamp),
                     level_names[level], process);
    put(&line, head, (size_t)n);
    char clean[VALUE_MAX_BYTES];
    put_string(&line, clean, redact(msg, clean));
    for (const struct cds_log_field *f = fields; f->kind != CDS_LF_END; f++) {
        if (f->kind == CDS_LF_STR && f->str)
            put_field(&line, f->name, f->str);
        if (f->kind == CDS_LF_INT && sizeof(line.text) - line.len > 128) {
            n = snprintf(head, sizeof(head), ",\"%.64s\":%lld", f->name, f->num);
            put(&line, head, (size_t)n);
        }
    }
    memcpy(line.text + line.len, "}\n", 2);
    line.len += 2;
    ssize_t written = write(STDERR_FILENO, line.text, line.len);
    (void)written; /* nobody is left to tell */
}

void cds_log_err(enum cds_log_level level, const char *msg, const char *request_id, const struct cds_err *err)
{
    cds_log(level, msg, CDS_LS("request_id", request_id), CDS_LS("code", cds_rc_name(err->code)), CDS_LS("where", err->where),
            CDS_LS("error", err->message), CDS_LS("detail", err->detail[0] ? err->detail : NULL), CDS_LS("rule", err->rule[0] ? err->rule : NULL),
            CDS_LI("errno", err->sys_errno));
}
