// link: cds_http
/* tests/fuzz/fuzz_host_rule.c: rules of hosts, as owners and admins write them. A rule covers itself and what it matches is a name. */
#include <stdlib.h>
#include <string.h>

#include "lib/http/host_rule.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct cds_host_rule list[CDS_HOST_RULES_MAX];
    struct cds_host_rule rule;
    char name[CDS_HOST_MAX + 1], again[CDS_HOST_MAX + 1];
    size_t count = 0;
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (!cds_host_rule_parse(text, size, true, &rule, NULL) && !cds_host_rules_cover(&rule, 1, &rule))
        abort();
    if (cds_host_name(text, size, name) && (!cds_host_name(name, strlen(name), again) || strcmp(name, again) != 0))
        abort();
    if (!cds_host_rules_parse(text, list, &count, NULL) && count > CDS_HOST_RULES_MAX)
        abort();
    free(text);
    return 0;
}
