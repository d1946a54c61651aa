// link: app_llmserver
#include <stdlib.h>

#include "apps/llmserver/request.h"

/* First byte: chat or completion; the rest is the body of a request. What is accepted must be usable by the model process. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    struct cds_ask ask = {0};
    struct cds_err err = {0};
    bool chat = data[0] != 'p';
    if (cds_ask_parse((const char *)data + 1, size - 1, chat, &ask, &err) != CDS_OK) {
        if (ask.prompt || !err.message[0])
            abort();
        return 0;
    }
    if (!cds_json_get(ask.prompt, chat ? "messages" : "prompts") || cds_json_size(cds_json_get(ask.prompt, "stop")) > CDS_ASK_STOP_MAX ||
        ask.prompts < 1 || ask.shown > ask.per_prompt || ask.prompts * ask.per_prompt > CDS_ASK_CHOICES_MAX)
        abort();
    cds_ask_clear(&ask);
    return 0;
}
