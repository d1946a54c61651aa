// link: app_llmserver
/* tests/fuzz/fuzz_llm_events.c: frames of a model process as the events of each dialect. First byte: which; the rest is a JSON list of deltas.
 * Whatever it says, each event is JSON on one line, items open and close in turn, and the whole answer can be made. */
#include <stdlib.h>
#include <string.h>

#include "apps/llmserver/generation.h"

static void check_events(const struct cds_buf *events)
{
    const char *at = events->data ? events->data : "", *end = at + events->len;
    while (at < end) {
        const char *stop = memmem(at, (size_t)(end - at), "\n\n", 2), *data = strstr(at, "data: ");
        if (!stop || !data || data > stop)
            abort();
        CDS_JSON_AUTO value = NULL;
        data += 6;
        bool done = (size_t)(stop - data) == 6 && memcmp(data, "[DONE]", 6) == 0;
        if (!done && (memchr(data, '\n', (size_t)(stop - data)) || cds_json_parse(data, (size_t)(stop - data), &value, NULL) != CDS_OK))
            abort();
        at = stop + 2;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct cds_dialect *const dialects[] = {&cds_dialect_chat, &cds_dialect_text, &cds_dialect_responses, &cds_dialect_messages};
    CDS_JSON_AUTO deltas = NULL;
    if (size < 1 || cds_json_parse((const char *)data + 1, size - 1, &deltas, NULL) != CDS_OK)
        return 0;
    struct cds_choice choice;
    struct cds_gen gen = {
        .dialect = dialects[data[0] & 3], .choices = &choice, .choice_count = 1, .request_id = "01234567-89ab-7cde-8f01-23456789abcd"};
    bool streams = data[0] & 4;
    gen.ask = (struct cds_ask){.chat = gen.dialect->chat, .stream = streams, .prompts = 1, .per_prompt = 1, .shown = 1, .logprobs = data[0] & 8};
    gen.wire = (struct cds_wire){.chat = gen.dialect->chat, .include_usage = true, .request_id = gen.request_id, .model = "m", .fingerprint = "f"};
    gen.end = (struct cds_wire_end){.finish_reason = "stop", .ended = "finished"};
    struct cds_buf events = cds_buf_init(64 << 20), *told = streams ? &events : NULL;
    cds_choice_init(&choice);
    if (streams)
        gen.dialect->begin(&gen, &events);
    for (size_t i = 0; i < cds_json_size(deltas) && i < 256; i++) {
        const cds_json *one = cds_json_at(deltas, i);
        if (cds_json_str(one))
            gen.dialect->text(&gen, 0, cds_json_str(one), cds_json_str_len(one), NULL, told);
        else
            gen.dialect->delta(&gen, 0, one, NULL, told);
    }
    if (streams && (data[0] & 16))
        gen.dialect->fail(&gen, &(struct cds_err){.code = CDS_MODEL_CRASHED, .message = "x"}, &events);
    else if (streams)
        gen.dialect->end(&gen, &events);
    if (!events.failed)
        check_events(&events);
    CDS_JSON_AUTO answer = gen.dialect->answer(&gen);
    if (answer && !cds_json_is(answer, CDS_JSON_OBJECT))
        abort();
    cds_buf_free(&events);
    cds_choice_clear(&choice);
    cds_segments_free(&gen.segments);
    return 0;
}
