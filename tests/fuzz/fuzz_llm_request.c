// link: app_llmserver
#include <stdlib.h>

#include "apps/llmserver/request.h"

/** The list that a request of the task must have for the model process; NULL: none. */
static const char *list_of(enum cds_task task, const struct cds_ask *ask)
{
    if (task == CDS_TASK_EMBED)
        return "inputs";
    if (task == CDS_TASK_RANK)
        return "documents";
    if (task == CDS_TASK_DETOKENIZE)
        return "tokens";
    if (task == CDS_TASK_CHAT || task == CDS_TASK_TEMPLATE)
        return "messages";
    return task == CDS_TASK_TEXT ? "prompts" : task == CDS_TASK_INFILL ? "infill" : NULL;
}

/* First byte: the task; the rest is the body of a request. What is accepted must be usable by the model process. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char letters[] = "pcierkdvt";
    if (size < 1)
        return 0;
    enum cds_task task = CDS_TASK_CHAT;
    for (size_t i = 0; letters[i]; i++)
        if (data[0] == letters[i])
            task = (enum cds_task)i;
    struct cds_ask ask = {0};
    struct cds_err err = {0};
    if (cds_ask_parse((const char *)data + 1, size - 1, task, &ask, &err) != CDS_OK) {
        if (ask.prompt || !err.message[0])
            abort();
        return 0;
    }
    const char *list = list_of(task, &ask);
    if ((list && !cds_json_get(ask.prompt, list)) || cds_json_size(cds_json_get(ask.prompt, "stop")) > CDS_ASK_STOP_MAX || ask.prompts < 1 ||
        ask.shown > ask.per_prompt || ask.prompts * ask.per_prompt > CDS_ASK_CHOICES_MAX)
        abort();
    if (!cds_task_generates(task) && (ask.stream || ask.prompts != 1 || (task == CDS_TASK_RANK && ask.top < 1)))
        abort();
    cds_ask_clear(&ask);
    return 0;
}
