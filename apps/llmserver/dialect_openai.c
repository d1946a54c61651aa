/* apps/llmserver/dialect_openai.c: chat completions and text completions, the dialects whose body the server reads itself. */
#include "apps/llmserver/generation.h"
#include "lib/json/problem.h"

/** Text of the prompt an answer belongs to, when it is to be repeated; NULL: not. */
static const cds_json *echoed(const struct cds_gen *gen, unsigned index)
{
    return gen->ask.echo ? cds_json_at(cds_json_get(gen->ask.prompt, "prompts"), index / gen->ask.shown) : NULL;
}

static void begin_chat(struct cds_gen *gen, struct cds_buf *events)
{
    for (unsigned i = 0; i < gen->choice_count; i++)
        cds_dialect_event(events, NULL, cds_wire_role(&gen->wire, i));
}

static void begin_text(struct cds_gen *gen, struct cds_buf *events)
{
    for (unsigned i = 0; i < gen->choice_count; i++) {
        const cds_json *text = echoed(gen, i);
        if (text)
            cds_dialect_event(events, NULL, cds_wire_text(&gen->wire, i, cds_json_str(text), cds_json_str_len(text), NULL));
    }
}

static cds_json *logprobs_of(struct cds_gen *gen, struct cds_choice *choice, const cds_json *chances)
{
    return chances && gen->ask.logprobs ? cds_choice_logprobs(choice, chances, gen->wire.chat) : NULL;
}

/** Token ids that were not told yet go with this chunk, or whole choice. */
static cds_json *with_ids(struct cds_choice *choice, cds_json *one, bool chunk)
{
    cds_json *place = chunk ? cds_json_at(cds_json_get(one, "choices"), 0) : one;
    if (choice->ids && place) {
        cds_json_set(place, "tokens", choice->ids);
        choice->ids = NULL;
    }
    return one;
}

static void text(struct cds_gen *gen, unsigned index, const char *piece, size_t len, const cds_json *chances, struct cds_buf *events)
{
    struct cds_choice *choice = &gen->choices[index];
    if (cds_gen_keeps(gen))
        (void)cds_buf_add(&choice->text, piece, len);
    if (events)
        cds_dialect_event(events, NULL, with_ids(choice, cds_wire_text(&gen->wire, index, piece, len, logprobs_of(gen, choice, chances)), true));
}

static void delta(struct cds_gen *gen, unsigned index, const cds_json *one, const cds_json *chances, struct cds_buf *events)
{
    struct cds_choice *choice = &gen->choices[index];
    cds_json *told = NULL;
    cds_choice_take(choice, one, cds_gen_keeps(gen), &told);
    if (told && events)
        cds_dialect_event(events, NULL, with_ids(choice, cds_wire_delta(&gen->wire, index, told, logprobs_of(gen, choice, chances)), true));
    else
        cds_json_unref(told);
}

static void end(struct cds_gen *gen, struct cds_buf *events)
{
    for (unsigned i = 0; i < gen->choice_count; i++)
        cds_dialect_event(
            events, NULL,
            with_ids(&gen->choices[i], cds_wire_finish(&gen->wire, i, gen->choices[i].finish_reason, i + 1 == gen->choice_count, &gen->end), true));
    if (gen->wire.include_usage)
        cds_dialect_event(events, NULL, cds_wire_usage(&gen->wire, &gen->end));
    (void)cds_buf_add_str(events, "data: [DONE]\n\n");
}

static void fail(struct cds_gen *gen, const struct cds_err *err, struct cds_buf *events)
{
    cds_dialect_event(events, NULL, cds_openai_error(err));
}

/* --- whole answers ------------------------------------------------------------------------------------------------------- */

static cds_json *choice_json(struct cds_gen *gen, struct cds_choice *choice, unsigned index)
{
    cds_json *body;
    CDS_CLEANUP(cds_buf_free) struct cds_buf whole = cds_buf_init(SIZE_MAX / 2);
    const cds_json *before = echoed(gen, index);
    if (gen->wire.chat) {
        body = cds_choice_message(choice);
    } else {
        (void)cds_buf_add(&whole, cds_json_str(before) ? cds_json_str(before) : "", cds_json_str_len(before));
        (void)cds_buf_add(&whole, choice->text.data ? choice->text.data : "", choice->text.len);
        body = whole.failed ? NULL : cds_json_stringn(whole.data ? whole.data : "", whole.len);
    }
    cds_json *logprobs = gen->ask.logprobs ? cds_choice_logprobs(choice, choice->chances ? choice->chances : cds_json_array(), gen->wire.chat) : NULL;
    return with_ids(choice, cds_wire_choice(&gen->wire, index, body, logprobs, choice->finish_reason), false);
}

/** Chance per token, so that short answers are not preferred. */
static double worth(const struct cds_choice *choice)
{
    return choice->tokens ? choice->score / choice->tokens : -1e9;
}

/** The best choice of a prompt that was not taken yet. */
static struct cds_choice *best_left(struct cds_choice *choices, unsigned count, bool *taken)
{
    unsigned best = count;
    for (unsigned i = 0; i < count; i++)
        if (!taken[i] && (best == count || worth(&choices[i]) > worth(&choices[best])))
            best = i;
    taken[best] = true;
    return &choices[best];
}

static cds_json *answer(struct cds_gen *gen)
{
    const struct cds_ask *ask = &gen->ask;
    cds_json *list = cds_json_array();
    bool ranked = ask->per_prompt > ask->shown;
    for (unsigned p = 0; p < ask->prompts; p++) {
        bool taken[CDS_ASK_CHOICES_MAX] = {false};
        struct cds_choice *choices = &gen->choices[(size_t)p * ask->per_prompt];
        for (unsigned k = 0; k < ask->shown; k++) {
            struct cds_choice *choice = ranked ? best_left(choices, ask->per_prompt, taken) : &choices[k];
            if (choice->text.failed || choice->reasoning.failed || cds_json_append(list, choice_json(gen, choice, p * ask->shown + k)) != 0) {
                cds_json_unref(list);
                return NULL;
            }
        }
    }
    return cds_wire_answer(&gen->wire, list, &gen->end);
}

#define ALIVE ": the model is at work\n\n"

const struct cds_dialect cds_dialect_chat = {.path = "/v1/chat/completions",
                                             .task = CDS_TASK_CHAT,
                                             .chat = true,
                                             .alive = ALIVE,
                                             .begin = begin_chat,
                                             .text = text,
                                             .delta = delta,
                                             .end = end,
                                             .fail = fail,
                                             .answer = answer};
const struct cds_dialect cds_dialect_text = {
    .path = "/v1/completions", .alive = ALIVE, .begin = begin_text, .text = text, .delta = delta, .end = end, .fail = fail, .answer = answer};
const struct cds_dialect cds_dialect_infill = {.path = "/v1/infill",
                                               .task = CDS_TASK_INFILL,
                                               .alive = ALIVE,
                                               .begin = begin_text,
                                               .text = text,
                                               .delta = delta,
                                               .end = end,
                                               .fail = fail,
                                               .answer = answer};
