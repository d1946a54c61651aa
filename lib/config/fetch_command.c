#include "lib/config/fetch_command.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/str.h"

void cds_fetch_command(const struct cds_config *config, const char *fetch, const char *dir, const char *word, const char *source, const char *sha256,
                       uint64_t ms, struct cds_fetch_command *ret)
{
    int n = 0;
    snprintf(ret->text[n++], CDS_FETCH_ARG_BYTES, "--source=%s", source);
    snprintf(ret->text[n++], CDS_FETCH_ARG_BYTES, "--dir=%s", dir);
    snprintf(ret->text[n++], CDS_FETCH_ARG_BYTES, "--sha256=%s", sha256);
    snprintf(ret->text[n++], CDS_FETCH_ARG_BYTES, "--hub=%.1000s", cds_config_str(config, CDS_OPT_LLM_HUB_URL));
    snprintf(ret->text[n++], CDS_FETCH_ARG_BYTES, "--hosts=%.4000s", cds_config_str(config, CDS_OPT_LLM_DOWNLOAD_HOSTS));
    snprintf(ret->text[n++], CDS_FETCH_ARG_BYTES, "--key-file=%.4000s", cds_config_str(config, CDS_OPT_LLM_HUB_TOKEN_FILE));
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"parameters-max", cds_config_u64(config, CDS_OPT_LLM_PARAMETERS_MAX)},
        {"bytes-max", cds_config_u64(config, CDS_OPT_LLM_DOWNLOAD_MAX)},
        {"reserve", cds_config_u64(config, CDS_OPT_LLM_DOWNLOAD_RESERVE)},
        {"stall-ms", cds_config_u64(config, CDS_OPT_LLM_DOWNLOAD_STALL_MS)},
        {"deadline-ms", ms},
        {"parallel", cds_config_u64(config, CDS_OPT_LLM_DOWNLOAD_PARALLEL)},
        {"parent", (uint64_t)getpid()},
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(numbers); i++)
        snprintf(ret->text[n++], CDS_FETCH_ARG_BYTES, "--%s=%" PRIu64, numbers[i].name, numbers[i].value);
    ret->argv[0] = fetch;
    ret->argv[1] = word;
    for (int i = 0; i < n; i++)
        ret->argv[i + 2] = ret->text[i];
    ret->argv[n + 2] = NULL;
}

void cds_fetch_shown(const char *source, char *out, size_t size)
{
    cds_strcpy(out, size, source);
    if (!cds_starts_with(out, "hf:"))
        out[strcspn(out, "?#")] = '\0';
}
