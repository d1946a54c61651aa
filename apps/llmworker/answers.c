#include "apps/llmworker/answers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "apps/llmworker/exchange.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"

/* Logprob of a token the model rules out: JSON knows no infinity, and clients expect this number. */
#define IMPOSSIBLE (-9999.0)

/** One answer to one prompt. */
struct choice {
    struct cds_shaper *shaper; /**< NULL: the text is the content */
    cds_json *chances;         /**< logprobs whose text is still held back */
    int32_t *prompt;           /**< owned: tokens of the prompt when their chances are told; NULL else */
    cds_json **told;           /**< owned: those chances as they come, prompt_count of them */
    size_t prompt_count;
    double score; /**< sum of all logprobs */
    uint32_t reasoning_tokens;
    bool ended;
    struct cds_job_report report;
};
struct cds_answer {
    struct cds_answer *next;
    int64_t id;
    uint32_t per_prompt; /**< answers to each prompt */
    unsigned count, running;
    bool tells_chances, tells_tokens;
    struct cds_sched *sched; /**< that has its jobs */
    uint64_t save_bytes;     /**< the state of its prompt goes out, when it has at most so many bytes; 0: it does not */
    cds_json *state;         /**< owned: what became of that */
    struct cds_adapter_set adapters;
    struct choice choices[];
};

static int64_t job_of(const struct cds_answer *answer, unsigned choice)
{
    return answer->id * CDS_CHOICES_MAX + choice;
}

static struct cds_answer *find(const struct cds_answers *answers, int64_t id)
{
    struct cds_answer *answer = answers->first;
    while (answer && answer->id != id)
        answer = answer->next;
    return answer;
}

static void answer_free(struct cds_answer *answer)
{
    cds_json_unref(answer->state);
    for (unsigned i = 0; i < answer->count; i++) {
        cds_shaper_free(answer->choices[i].shaper);
        cds_json_unref(answer->choices[i].chances);
        for (size_t p = 0; answer->choices[i].told && p < answer->choices[i].prompt_count; p++)
            cds_json_unref(answer->choices[i].told[p]);
        free((void *)answer->choices[i].told);
        free(answer->choices[i].prompt);
    }
    free(answer);
}

static void unlink_answer(struct cds_answers *answers, struct cds_answer *answer)
{
    struct cds_answer **link = &answers->first;
    while (*link && *link != answer)
        link = &(*link)->next;
    if (*link)
        *link = answer->next;
}

void cds_answers_clear(struct cds_answers *answers)
{
    while (answers->first) {
        struct cds_answer *answer = answers->first;
        answers->first = answer->next;
        answer_free(answer);
    }
}

/* --- adding ------------------------------------------------------------------------------------------------------------- */

/** Which tokens of a prompt are told: all behind the first one, or the ones that were named. @return malloc'ed flags; NULL: memory is out */
static uint8_t *told_of(struct choice *choice, const cds_json *tell, const int32_t *tokens, size_t count)
{
    uint8_t *told = calloc(count, 1);
    choice->prompt = malloc(count * sizeof(*choice->prompt));
    choice->told = calloc(count, sizeof(cds_json *)); // NOLINT(bugprone-sizeof-expression): a list of pointers
    if (!told || !choice->prompt || !choice->told) {
        free(told);
        return NULL;
    }
    memcpy(choice->prompt, tokens, count * sizeof(*tokens));
    choice->prompt_count = count;
    bool all = cds_json_true(tell, false);
    for (size_t i = 0; all && i + 1 < count; i++)
        told[i] = 1;
    for (size_t i = 0; !all && i < cds_json_size(tell); i++) {
        int64_t place = cds_json_i64(cds_json_at(tell, i), 0);
        if (place > 0 && (size_t)place < count)
            told[place - 1] = 1;
    }
    return told;
}

static cds_rc add_choice(struct cds_answer *answer, unsigned index, const struct cds_prepare *prepare, const struct cds_adapter_set *adapters,
                         const int32_t *tokens, size_t count, uint32_t max_tokens, uint32_t window, struct cds_err *reterr)
{
    struct choice *choice = &answer->choices[index];
    if (prepare->shape.kind != CDS_SHAPE_TEXT)
        choice->shaper = cds_shaper_new(&prepare->shape);
    CDS_CLEANUP(cds_free_ptr) int32_t *own = malloc(count * sizeof(*own));
    CDS_CLEANUP(cds_free_ptr) uint8_t *told = prepare->tell ? told_of(choice, prepare->tell, tokens, count) : NULL;
    if (!own || (prepare->tell && !told) || (prepare->shape.kind != CDS_SHAPE_TEXT && !choice->shaper))
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the request.");
    memcpy(own, tokens, count * sizeof(*own));
    struct cds_job_spec spec = {
        .id = job_of(answer, index),
        .tokens = own,
        .token_count = count,
        .told = told,
        .max_tokens = max_tokens,
        .scope = prepare->scope,
        .key = prepare->key,
        .priority = prepare->priority,
        .fork_of = index % prepare->choices ? job_of(answer, index - index % prepare->choices) : 0,
        .sampling = prepare->sampling,
        .text = prepare->text,
        .speculation = prepare->speculation,
        .adapters = *adapters,
        .window = prepare->shift && !prepare->messages ? window : 0,
        .keep = prepare->keep,
    };
    memcpy(spec.end_rows, prepare->end_rows, sizeof(spec.end_rows));
    spec.end_row_count = prepare->end_row_count;
    spec.preload = prepare->preload;
    /* Answers to the same question differ, and the first one is the one a single answer would be. */
    spec.sampling.seed += index;
    cds_rc rc = cds_sched_add(answer->sched, &spec, reterr);
    if (rc == CDS_OK) {
        own = NULL;
        told = NULL;
    }
    return rc;
}

/** All answers to one prompt. */
static cds_rc add_prompt(struct cds_answers *answers, struct cds_answer *answer, size_t index, const struct cds_prompter *prompter,
                         struct cds_prepare *prepare, uint32_t *prompt_tokens, uint32_t *max_tokens, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_free_ptr) int32_t *tokens = NULL;
    size_t count = 0;
    struct cds_adapter_set adapters;
    cds_rc rc = cds_adapters_choose(cds_engine_adapters(answers->engine), prepare->lora, &adapters, reterr);
    if (rc == CDS_OK)
        rc = cds_prompt_make(prompter, prepare, index, &tokens, &count, reterr);
    if (rc == CDS_OK && index == 0)
        rc = cds_engine_check_sampling(answers->engine, &prepare->sampling, reterr);
    answer->adapters = adapters;
    if (rc != CDS_OK)
        return rc;
    uint32_t room = prompter->request_tokens - (uint32_t)count, most = prepare->max_tokens < room ? prepare->max_tokens : room;
    if (prepare->shift && !prepare->messages)
        most = prepare->max_tokens;
    for (unsigned i = 0; i < prepare->choices && rc == CDS_OK; i++)
        rc = add_choice(answer, (unsigned)index * prepare->choices + i, prepare, &adapters, tokens, count, most, prompter->request_tokens, reterr);
    *prompt_tokens += (uint32_t)count;
    if (most > *max_tokens)
        *max_tokens = most;
    return rc;
}

cds_rc cds_answers_add(struct cds_answers *answers, const struct cds_prompter *prompter, struct cds_prepare *prepare, uint32_t *ret_prompt_tokens,
                       uint32_t *ret_max_tokens, struct cds_err *reterr)
{
    unsigned count = (unsigned)(prepare->prompt_count * prepare->choices);
    if (find(answers, prepare->id))
        return cds_fail(reterr, CDS_CONFLICT, __func__, "The request number is taken.");
    struct cds_answer *answer = calloc(1, sizeof(*answer) + count * sizeof(answer->choices[0]));
    if (!answer)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the request.");
    answer->id = prepare->id;
    answer->count = answer->running = count;
    answer->per_prompt = prepare->choices;
    uint32_t prompt_tokens = 0, max_tokens = 0;
    cds_rc rc = prepare->alone ? cds_solo_open(answers->solo, reterr) : CDS_OK;
    answer->sched = prepare->alone ? answers->solo->sched : answers->sched;
    for (size_t i = 0; i < prepare->prompt_count && rc == CDS_OK; i++)
        rc = add_prompt(answers, answer, i, prompter, prepare, &prompt_tokens, &max_tokens, reterr);
    answer->tells_chances = prepare->sampling.wants_chance;
    answer->tells_tokens = prepare->tells_tokens;
    if (rc != CDS_OK) {
        /* The request is not in the list yet, so nobody hears of the end of these jobs. */
        for (unsigned i = 0; answer->sched && i < count; i++)
            cds_sched_cancel(answer->sched, job_of(answer, i));
        answer_free(answer);
        return rc;
    }
    answer->next = answers->first;
    answers->first = answer;
    *ret_prompt_tokens = prompt_tokens;
    *ret_max_tokens = max_tokens;
    return CDS_OK;
}

/* --- orders of the server ----------------------------------------------------------------------------------------------- */

void cds_answers_start(struct cds_answers *answers, int64_t id, uint32_t granted, uint64_t save_bytes)
{
    struct cds_answer *answer = find(answers, id);
    if (answer)
        answer->save_bytes = save_bytes;
    unsigned count = answer && granted ? answer->count : 0;
    for (unsigned i = 0; i < count; i++)
        cds_sched_start(answer->sched, job_of(answer, i), granted);
}

void cds_answers_grant(struct cds_answers *answers, int64_t id, uint32_t granted, bool last)
{
    struct cds_answer *answer = find(answers, id);
    unsigned count = answer ? answer->count : 0;
    /* A grant may end answers, and the last end frees the request. */
    for (unsigned i = 0; i < count && (answer = find(answers, id)) != NULL; i++)
        if (!answer->choices[i].ended)
            cds_sched_grant(answer->sched, job_of(answer, i), granted, last);
}

void cds_answers_cancel(struct cds_answers *answers, int64_t id)
{
    struct cds_answer *answer = find(answers, id);
    unsigned count = answer ? answer->count : 0;
    for (unsigned i = 0; i < count && (answer = find(answers, id)) != NULL; i++)
        if (!answer->choices[i].ended)
            cds_sched_cancel(answer->sched, job_of(answer, i));
}

/* --- events of the scheduler -------------------------------------------------------------------------------------------- */

void cds_answers_token(struct cds_answers *answers, int64_t job, int32_t token, const void *sampler)
{
    answers->token_job = job;
    answers->token = token;
    answers->picked = cds_engine_picked(sampler);
}

/** [[its bytes], logprob] */
static cds_json *chance_json(const struct cds_answers *answers, const struct cds_chance *chance)
{
    char bytes[512];
    int n = cds_engine_token_bytes(answers->engine, chance->token, bytes, sizeof(bytes));
    cds_json *list = cds_json_array();
    for (int i = 0; i < n; i++)
        cds_json_append(list, cds_json_int((unsigned char)bytes[i]));
    return cds_json_pack("[o,f]", list, isfinite(chance->logprob) ? (double)chance->logprob : IMPOSSIBLE);
}

/** [[its bytes], logprob, [likeliest]] */
static cds_json *picked_json(const struct cds_answers *answers, const struct cds_picked *picked)
{
    cds_json *entry = chance_json(answers, &picked->chosen), *top = cds_json_array();
    for (unsigned i = 0; i < picked->top_count; i++)
        cds_json_append(top, chance_json(answers, &picked->top[i]));
    if (cds_json_append(entry, top) == 0)
        return entry;
    cds_json_unref(entry);
    return NULL;
}

/** Names and scales of its adapters, so that the state can be asked for again with the same. */
static cds_json *adapters_json(const struct cds_answers *answers, const struct cds_adapter_set *set)
{
    const struct cds_adapter_list *list = cds_engine_adapters(answers->engine);
    cds_json *rows = cds_json_array();
    for (uint32_t i = 0; i < set->count; i++)
        cds_json_append(rows, cds_json_pack("{s:s,s:f}", "id", list->one[set->use[i].index].id, "scale", (double)set->use[i].scale));
    return rows;
}

void cds_answers_read(struct cds_answers *answers, int64_t job, int sequence, const int32_t *tokens, size_t count)
{
    struct cds_answer *answer = find(answers, job / CDS_CHOICES_MAX);
    if (!answer || !answer->save_bytes)
        return;
    cds_json_unref(answer->state);
    answer->state =
        cds_exchange_save(answers->exchange, &cds_engine_llama, (void *)(uintptr_t)answers->engine, sequence, tokens, count, answer->save_bytes);
    cds_json_set(answer->state, "adapters", adapters_json(answers, &answer->adapters));
}

void cds_answers_told(struct cds_answers *answers, int64_t job, uint32_t position, const void *sampler)
{
    struct cds_answer *answer = find(answers, job / CDS_CHOICES_MAX);
    unsigned index = (unsigned)(job % CDS_CHOICES_MAX);
    const struct cds_picked *picked = cds_engine_picked(sampler);
    if (!answer || index >= answer->count || !picked || position >= answer->choices[index].prompt_count)
        return;
    cds_json **told = &answer->choices[index].told[position];
    cds_json_unref(*told);
    *told = picked_json(answers, picked);
}

/** All tokens of a prompt; a chance that nobody asked for, as that of the first one, is null. */
static cds_json *prompt_json(const struct cds_answers *answers, const struct choice *choice)
{
    cds_json *list = cds_json_array();
    for (size_t p = 0; p < choice->prompt_count; p++) {
        const struct cds_chance chance = {choice->prompt[p], 0};
        cds_json *entry = choice->told[p] ? cds_json_ref(choice->told[p]) : chance_json(answers, &chance);
        if (!choice->told[p]) {
            cds_json *bytes = cds_json_ref(cds_json_at(entry, 0));
            cds_json_unref(entry);
            entry = cds_json_pack("[o,n,[]]", bytes);
        }
        cds_json_append(list, entry);
    }
    return list;
}

static bool add_chance(const struct cds_answers *answers, struct choice *choice)
{
    const struct cds_picked *picked = answers->picked;
    cds_json *entry = picked_json(answers, picked);
    if (!entry)
        return false;
    if (!choice->chances)
        choice->chances = cds_json_array();
    return cds_json_append(choice->chances, entry) == 0;
}

static cds_json *event_of(const struct cds_answer *answer, unsigned index, uint32_t tokens, const char *text, size_t len, cds_json *deltas,
                          cds_json *chances, cds_json *ids)
{
    cds_json *event = cds_json_pack("[I,I,o]", (long long)answer->id, (long long)tokens, cds_json_stringn(text, len));
    if (index == 0 && !cds_json_size(deltas) && !chances && !ids) {
        cds_json_unref(deltas);
        return event;
    }
    cds_json *extra = cds_json_pack("{s:I}", "c", (long long)index);
    if (cds_json_size(deltas))
        cds_json_set(extra, "d", deltas);
    else
        cds_json_unref(deltas);
    if (chances)
        cds_json_set(extra, "lp", chances);
    if (ids)
        cds_json_set(extra, "ids", ids);
    cds_json_append(event, extra);
    return event;
}

/** An end token says nothing, so it has no chance to tell. */
static bool tells(const struct cds_answers *answers, const struct cds_answer *answer, int64_t job)
{
    return answer->tells_chances && answers->picked && answers->token_job == job &&
           !cds_engine_llama.is_end((void *)(uintptr_t)answers->engine, answers->token);
}

cds_json *cds_answers_text(struct cds_answers *answers, int64_t job, const char *text, size_t len, uint32_t completion_tokens)
{
    struct cds_answer *answer = find(answers, job / CDS_CHOICES_MAX);
    unsigned index = (unsigned)(job % CDS_CHOICES_MAX);
    if (!answer || index >= answer->count)
        return NULL;
    struct choice *choice = &answer->choices[index];
    if (answers->token_job == job && answers->picked)
        choice->score += isfinite(answers->picked->chosen.logprob) ? (double)answers->picked->chosen.logprob : IMPOSSIBLE;
    if (tells(answers, answer, job) && !add_chance(answers, choice))
        return NULL;
    cds_json *ids = answer->tells_tokens && answers->token_job == job ? cds_json_pack("[I]", (long long)answers->token) : NULL;
    answers->token_job = 0;
    cds_json *deltas = NULL, *chances = NULL;
    if (choice->shaper) {
        deltas = cds_json_array();
        bool thought = cds_shaper_thinks(choice->shaper);
        if (!deltas || !cds_shaper_feed(choice->shaper, text, len, false, deltas))
            return cds_json_unref(deltas), cds_json_unref(ids), NULL;
        choice->reasoning_tokens += thought || cds_shaper_thinks(choice->shaper);
        len = 0;
    }
    if (len > 0 || cds_json_size(deltas)) {
        chances = choice->chances;
        choice->chances = NULL;
    }
    return event_of(answer, index, completion_tokens, len ? text : "", len, deltas, chances, ids);
}

static cds_json *done_of(const struct cds_answers *answers, const struct cds_answer *answer)
{
    static const char *const names[] = {"stop", "length", "cancelled", "failed"};
    long long prompt = 0, cached = 0, evaluated = 0, completion = 0, reasoning = 0, computed = 0, recomputed = 0, foreign = 0, first = 0;
    long long validated = 0, refuted = 0, shifted = 0, forced = 0;
    enum cds_job_end end = CDS_JOB_STOP;
    cds_json *choices = cds_json_array();
    for (unsigned i = 0; i < answer->count; i++) {
        const struct choice *choice = &answer->choices[i];
        const struct cds_job_report *report = &choice->report;
        if (i % answer->per_prompt == 0) {
            prompt += report->prompt_tokens;
            cached += report->cached_tokens;
            evaluated += report->evaluated_tokens;
            foreign += report->foreign_tokens;
            first = report->steps_to_first > first ? report->steps_to_first : first;
        }
        computed += report->computed_tokens;
        recomputed += report->recomputed_tokens;
        validated += report->validated_tokens;
        forced += report->forced_tokens;
        refuted += report->refuted_tokens;
        shifted += report->shifted_tokens;
        completion += report->completion_tokens;
        reasoning += choice->reasoning_tokens;
        if (report->end > end)
            end = report->end;
        cds_json *one =
            cds_json_pack("{s:s,s:I,s:i,s:I,s:f}", "end", names[report->end], "tokens", (long long)report->completion_tokens, "stop", report->stop,
                          "calls", (long long)(choice->shaper ? cds_shaper_calls(choice->shaper) : 0), "score", choice->score);
        if (choice->told)
            cds_json_set(one, "prompt", prompt_json(answers, choice));
        cds_json_append(choices, one);
    }
    cds_json *done = cds_json_pack("{s:I,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "job", (long long)answer->id, "end", names[end],
                                   "prompt_tokens", prompt, "cached_tokens", cached, "evaluated_tokens", evaluated, "computed_tokens", computed,
                                   "recomputed_tokens", recomputed, "foreign_tokens", foreign, "steps_to_first", first, "completion_tokens",
                                   completion, "reasoning_tokens", reasoning, "validated_tokens", validated, "refuted_tokens", refuted,
                                   "shifted_tokens", shifted, "choices", choices);
    cds_json_set(done, "forced_tokens", cds_json_int(forced));
    if (answer->state)
        cds_json_set(done, "state", cds_json_ref(answer->state));
    return done;
}

/** What the reader of the answer and the chances still hold back. */
static cds_json *last_event(const struct cds_answer *answer, unsigned index)
{
    struct choice *choice = (struct choice *)(uintptr_t)&answer->choices[index];
    cds_json *deltas = choice->shaper ? cds_json_array() : NULL;
    if (choice->shaper && !cds_shaper_feed(choice->shaper, "", 0, true, deltas))
        return cds_json_unref(deltas), NULL;
    /* Behind a stop string that was cut out there is no text any more for the chances that wait. */
    cds_json *chances = choice->report.end == CDS_JOB_STOP && !cds_json_size(deltas) ? NULL : choice->chances;
    if (chances)
        choice->chances = NULL;
    if (!chances && !cds_json_size(deltas)) {
        cds_json_unref(deltas);
        return NULL;
    }
    return event_of(answer, index, choice->report.completion_tokens, "", 0, deltas, chances, NULL);
}

cds_json *cds_answers_end(struct cds_answers *answers, const struct cds_job_report *report, cds_json **ret_last)
{
    *ret_last = NULL;
    struct cds_answer *answer = find(answers, report->id / CDS_CHOICES_MAX);
    unsigned index = (unsigned)(report->id % CDS_CHOICES_MAX);
    if (!answer || index >= answer->count || answer->choices[index].ended)
        return NULL;
    answer->choices[index].ended = true;
    answer->choices[index].report = *report;
    *ret_last = last_event(answer, index);
    if (--answer->running > 0)
        return NULL;
    cds_json *done = done_of(answers, answer);
    unlink_answer(answers, answer);
    answer_free(answer);
    return done;
}
