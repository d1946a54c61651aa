/* apps/cyberdevstudio/parts.c: see parts.h. */
#include "apps/cyberdevstudio/parts.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/str.h"

const struct cds_part_def cds_part_defs[CDS_PART_COUNT] = {
    [CDS_PART_POSTGRES] = {.name = "postgres", .port = CDS_OPT_COUNT, .stop_wave = 2},
    [CDS_PART_AUTH] = {.name = "auth", .program = "cds-auth", .port = CDS_OPT_AUTH_PORT, .database = true, .stop_wave = 1},
    [CDS_PART_SANDBOXD] = {.name = "sandboxd", .program = "cds-sandboxd", .port = CDS_OPT_COUNT, .stays_root = true, .stop_wave = 1},
    [CDS_PART_EGRESS] = {.name = "egress", .program = "cds-egress", .port = CDS_OPT_COUNT, .stop_wave = 1},
    [CDS_PART_LLMSERVER] = {.name = "llmserver", .program = "cds-llmserver", .port = CDS_OPT_LLM_PORT, .database = true, .stop_wave = 1},
    [CDS_PART_API] = {.name = "api", .program = "cds-api", .port = CDS_OPT_API_PORT, .database = true, .stop_wave = 0},
    [CDS_PART_PREVIEW] = {.name = "preview", .program = "cds-preview", .port = CDS_OPT_PREVIEW_PORT, .stop_wave = 0},
    [CDS_PART_UI] = {.name = "studio-ui", .program = "cds-studio-ui", .port = CDS_OPT_UI_PORT, .stop_wave = 0},
};

uint32_t cds_backoff_next(uint32_t last_ms, uint64_t alive_ms)
{
    if (last_ms == 0 || alive_ms >= CDS_BACKOFF_RESET_MS)
        return CDS_BACKOFF_FIRST_MS;
    return last_ms >= CDS_BACKOFF_MAX_MS / 2 ? CDS_BACKOFF_MAX_MS : last_ms * 2;
}

bool cds_flag_passes(const char *flag, bool database)
{
    if (cds_starts_with(flag, "--config="))
        return true;
    const char *dot = strchr(flag, '.'), *equals = strchr(flag, '=');
    if (!cds_starts_with(flag, "--") || !dot || !equals || dot > equals)
        return false;
    if (cds_starts_with(flag, "--studio.home="))
        return false;
    return database || !cds_starts_with(flag, "--database.");
}

char *cds_url_host(const char *bind, char *buf, size_t size)
{
    if (cds_streq(bind, "0.0.0.0") || cds_streq(bind, "::"))
        snprintf(buf, size, "%s", bind[0] == ':' ? "[::1]" : "127.0.0.1");
    else
        snprintf(buf, size, strchr(bind, ':') ? "[%s]" : "%s", bind);
    return buf;
}

char *cds_public_url(const struct cds_config *config, char *buf, size_t size)
{
    const char *given = cds_config_str(config, CDS_OPT_PUBLIC_URL);
    char host[128];
    if (*given)
        snprintf(buf, size, "%s", given);
    else
        snprintf(buf, size, "http://%s:%u", cds_url_host(cds_config_str(config, CDS_OPT_BIND), host, sizeof(host)),
                 (unsigned)cds_config_u64(config, CDS_OPT_UI_PORT));
    for (size_t len = strlen(buf); len > 0 && buf[len - 1] == '/'; len--)
        buf[len - 1] = '\0';
    return buf;
}
