// link: app_llmserver
#include <stdlib.h>
#include <string.h>

#include "apps/llmserver/simple_template.h"

/* A simple chat template; behind the first NUL the text of one role's messages. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cds_err err = {0};
    char stop[CDS_SIMPLE_STOP_MAX + 1] = "";
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    size_t len = strlen(text);
    cds_json *forms = len < size ? cds_json_pack("{s:o?}", "user", cds_json_string(text + len + 1)) : NULL;
    struct cds_buf jinja = cds_buf_init(1 << 18);
    cds_rc rc = cds_simple_template(text, forms, &jinja, stop, &err);
    if (rc != CDS_OK && !*err.message)
        abort();
    cds_buf_free(&jinja);
    cds_json_unref(forms);
    free(text);
    return 0;
}
