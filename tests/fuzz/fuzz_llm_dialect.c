// link: app_llmserver
/* tests/fuzz/fuzz_llm_dialect.c: bodies of /v1/responses ('r'), /v1/messages ('m') and their counts ('R', 'M'). What is taken is a chat that can
 * be read or refused with a sentence, in the caller's own names. */
#include <stdlib.h>
#include <string.h>

#include "apps/llmserver/dialect.h"
#include "apps/llmserver/request.h"

static void refused(const struct cds_err *err)
{
    static const char *const foreign[] = {"/response_format", "/max_completion_tokens", "/function/"};
    if (!err->message[0] || (err->code != CDS_BAD_PARAM && err->code != CDS_BAD_SYNTAX && err->code != CDS_EXHAUSTED))
        abort();
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
        if (strncmp(err->pointer, foreign[i], strlen(foreign[i])) == 0)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    CDS_JSON_AUTO body = NULL;
    CDS_JSON_AUTO chat = NULL;
    struct cds_err err = {0};
    struct cds_ask ask = {0};
    bool messages = data[0] == 'm' || data[0] == 'M', counting = data[0] == 'R' || data[0] == 'M';
    if (cds_json_parse((const char *)data + 1, size - 1, &body, &err) != CDS_OK || !cds_json_is(body, CDS_JSON_OBJECT))
        return 0;
    cds_rc rc = messages ? cds_messages_to_chat(body, counting, &chat, &err) : cds_responses_to_chat(body, counting, &chat, &err);
    if (rc != CDS_OK) {
        if (chat)
            abort();
        refused(&err);
        return 0;
    }
    if (cds_ask_read(chat, true, &ask, &err) != CDS_OK) {
        (messages ? cds_messages_own_names : cds_responses_own_names)(&err);
        refused(&err);
        return 0;
    }
    if (cds_json_size(cds_json_get(ask.prompt, "messages")) < 1 || ask.prompts * ask.per_prompt != 1 || (counting && ask.stream))
        abort();
    cds_ask_clear(&ask);
    return 0;
}
