// link: app_llmworker
#include <stdlib.h>

#include "apps/llmworker/message.h"

/* Parameters of a "prepare" frame. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CDS_JSON_AUTO params = NULL;
    struct cds_prepare prepare;
    struct cds_err err = {0};
    if (cds_json_parse((const char *)data, size, &params, &err) != CDS_OK)
        return 0;
    if (cds_message_prepare(params, &prepare, &err) != CDS_OK)
        return 0;
    if (prepare.id <= 0 || prepare.max_tokens == 0 || (!prepare.messages && !prepare.infill && cds_json_size(prepare.prompts) == 0) ||
        prepare.prompt_count == 0 || prepare.sampling.repeat_penalty <= 0 || prepare.choices < 1 ||
        prepare.choices * prepare.prompt_count > CDS_CHOICES_MAX)
        abort();
    cds_prepare_clear(&prepare);
    return 0;
}
