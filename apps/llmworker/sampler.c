#include "apps/llmworker/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <llama.h>

#include "apps/llmworker/forced.h"
#include "apps/llmworker/likeliest.h"
#include "apps/llmworker/penalties.h"
#include "apps/llmworker/shim.h"
#include "lib/base/cleanup.h"
#include "lib/log/log.h"

/* LIKELY_MAX: a token that fits a grammar is nearly always among so many of the likeliest. */
enum { THINK_TOKENS_MAX = 64, LIKELY_MAX = 256 };

struct cds_sampler {
    const struct llama_vocab *vocab;
    int32_t vocabulary;
    llama_token_data *room; /**< shared with the other samplers of the engine */
    struct llama_sampler *chain, *thinking;
    struct cds_shim_grammar *grammar;
    struct cds_bias *bias;
    unsigned bias_count;
    uint32_t logprobs;
    bool wants_chance, greedy;
    bool plain; /**< greedy, and nothing but biases changes the order of tokens */
    const struct cds_spelling *spelling;
    struct cds_forced forced;
    bool no_choice;  /**< the last token was forced */
    uint64_t random; /**< state of the choice among legal tokens */
    llama_token_data likely[LIKELY_MAX];
    struct cds_picked picked;
    int32_t preserved[CDS_PRESERVED_MAX];
    unsigned preserved_count;
};

void cds_sampler_free(struct cds_sampler *sampler)
{
    if (!sampler)
        return;
    if (sampler->chain)
        llama_sampler_free(sampler->chain);
    if (sampler->thinking)
        llama_sampler_free(sampler->thinking);
    cds_shim_grammar_free(sampler->grammar);
    free(sampler->bias);
    free(sampler);
}

static void cleanup(struct cds_sampler **sampler)
{
    cds_sampler_free(*sampler);
}

static bool add(struct llama_sampler *chain, struct llama_sampler *part)
{
    if (!part)
        return false;
    llama_sampler_chain_add(chain, part);
    return true;
}

/** One step of the chain, unless its numbers switch it off. */
static bool add_step(const struct cds_sampler *sampler, const struct cds_sampling *s, enum cds_sampler_step step, int32_t context)
{
    struct llama_sampler *chain = sampler->chain;
    const char *breakers[CDS_BREAKERS_MAX];
    switch (step) {
    case CDS_STEP_PENALTIES:
        if (s->presence_penalty == 0 && s->frequency_penalty == 0 && s->repeat_penalty == 1)
            return true;
        return add(chain, cds_penalties_new(sampler->vocab, s, context));
    case CDS_STEP_DRY:
        if (s->dry_multiplier == 0)
            return true;
        memcpy(breakers, s->dry_breakers, sizeof(breakers));
        return add(chain, llama_sampler_init_dry(sampler->vocab, s->dry_multiplier, s->dry_base, s->dry_allowed_length,
                                                 s->dry_last_n < 0 ? context : s->dry_last_n, breakers, s->dry_breaker_count));
    case CDS_STEP_TOP_N_SIGMA:
        return s->top_n_sigma <= 0 || add(chain, llama_sampler_init_top_n_sigma(s->top_n_sigma));
    case CDS_STEP_TOP_K:
        return s->top_k <= 0 || add(chain, llama_sampler_init_top_k(s->top_k));
    case CDS_STEP_TYPICAL:
        return s->typical_p >= 1 || add(chain, llama_sampler_init_typical(s->typical_p, s->min_keep));
    case CDS_STEP_TOP_P:
        return s->top_p >= 1 || add(chain, llama_sampler_init_top_p(s->top_p, s->min_keep ? s->min_keep : 1));
    case CDS_STEP_MIN_P:
        return s->min_p <= 0 || add(chain, llama_sampler_init_min_p(s->min_p, s->min_keep ? s->min_keep : 1));
    case CDS_STEP_XTC:
        return s->xtc_probability <= 0 || add(chain, llama_sampler_init_xtc(s->xtc_probability, s->xtc_threshold, s->min_keep, s->seed));
    case CDS_STEP_TEMPERATURE:
        if (s->dynatemp_range > 0)
            return add(chain, llama_sampler_init_temp_ext(s->temperature, s->dynatemp_range, s->dynatemp_exponent));
        return add(chain, llama_sampler_init_temp(s->temperature));
    default:
        return false;
    }
}

static bool make_chain(struct cds_sampler *sampler, const struct cds_sampling *s, uint32_t context)
{
    struct llama_sampler_chain_params params = llama_sampler_chain_default_params();
    params.no_perf = true;
    sampler->chain = llama_sampler_chain_init(params);
    bool ok = sampler->chain != NULL;
    if (s->temperature > 0 && s->mirostat == 1)
        return ok && add_step(sampler, s, CDS_STEP_PENALTIES, (int32_t)context) && add(sampler->chain, llama_sampler_init_temp(s->temperature)) &&
               add(sampler->chain, llama_sampler_init_mirostat(sampler->vocabulary, s->seed, s->mirostat_tau, s->mirostat_eta, 100));
    if (s->temperature > 0 && s->mirostat == 2)
        return ok && add_step(sampler, s, CDS_STEP_PENALTIES, (int32_t)context) && add(sampler->chain, llama_sampler_init_temp(s->temperature)) &&
               add(sampler->chain, llama_sampler_init_mirostat_v2(s->seed, s->mirostat_tau, s->mirostat_eta));
    for (unsigned i = 0; ok && i < s->order_count; i++) {
        /* The likeliest token is the same whatever is cut off around it; only what changes the order of tokens matters then. */
        bool needed = s->temperature > 0 || s->order[i] == CDS_STEP_PENALTIES || s->order[i] == CDS_STEP_DRY;
        ok = !needed || add_step(sampler, s, s->order[i], (int32_t)context);
    }
    return ok && add(sampler->chain, s->temperature > 0 ? llama_sampler_init_dist(s->seed) : llama_sampler_init_greedy());
}

/** Bias of the request, and -INFINITY for every end token when they are not wanted. */
static cds_rc make_bias(struct cds_sampler *sampler, const struct cds_sampling *s, struct cds_err *reterr)
{
    unsigned ends = 0;
    for (int32_t token = 0; s->ignore_eos && token < sampler->vocabulary; token++)
        ends += llama_vocab_is_eog(sampler->vocab, token);
    sampler->bias = calloc((size_t)s->bias_count + ends + 1, sizeof(*sampler->bias));
    if (!sampler->bias)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the request.");
    for (unsigned i = 0; i < s->bias_count; i++) {
        if (s->bias[i].token >= sampler->vocabulary) {
            cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"logit_bias\" names the token %d, but the model has %d.", s->bias[i].token,
                     sampler->vocabulary);
            cds_err_pointer(reterr, "/logit_bias");
            return CDS_BAD_PARAM;
        }
        sampler->bias[sampler->bias_count++] = s->bias[i];
    }
    for (int32_t token = 0; ends && token < sampler->vocabulary; token++)
        if (llama_vocab_is_eog(sampler->vocab, token))
            sampler->bias[sampler->bias_count++] = (struct cds_bias){token, -INFINITY};
    sampler->bias_count = cds_bias_sort(sampler->bias, sampler->bias_count);
    return CDS_OK;
}

static int32_t tokens_of(const struct cds_sampler *sampler, const char *text, llama_token *tokens, int32_t most)
{
    int32_t n = text ? llama_tokenize(sampler->vocab, text, (int32_t)strlen(text), tokens, most, false, true) : 0;
    return n > 0 ? n : 0;
}

static bool make_thinking(struct cds_sampler *sampler, const struct cds_sampling *s)
{
    if (s->thinking_budget < 0 || !s->thinking_start || !s->thinking_end)
        return true;
    llama_token start[THINK_TOKENS_MAX], end[THINK_TOKENS_MAX];
    int32_t starts = tokens_of(sampler, s->thinking_start, start, THINK_TOKENS_MAX),
            ends = tokens_of(sampler, s->thinking_end, end, THINK_TOKENS_MAX);
    if (!starts || !ends)
        return true;
    sampler->thinking = cds_shim_thinking_budget(sampler->vocab, start, (size_t)starts, end, (size_t)ends, s->thinking_budget, s->thinking_begun);
    return sampler->thinking != NULL;
}

static cds_rc make_grammar(struct cds_sampler *sampler, const struct cds_sampling *s, struct cds_err *reterr)
{
    char why[256] = "";
    if (!s->grammar || !*s->grammar)
        return CDS_OK;
    sampler->grammar =
        cds_shim_grammar_new(sampler->vocab, s->grammar, s->grammar_lazy, s->triggers, s->trigger_count, s->grammar_prefill, why, sizeof(why));
    if (sampler->grammar)
        return CDS_OK;
    cds_fail(reterr, CDS_BAD_PARAM, __func__, "The grammar cannot be used: it has a rule that never ends, or too many of them.");
    cds_err_detail(reterr, "%s", why);
    cds_err_pointer(reterr, "/grammar");
    return CDS_BAD_PARAM;
}

struct cds_sampler *cds_sampler_new(const struct llama_vocab *vocab, const struct cds_sampling *s, uint32_t context, void *room,
                                    const struct cds_spelling *spelling, struct cds_err *reterr)
{
    CDS_CLEANUP(cleanup) struct cds_sampler *sampler = calloc(1, sizeof(*sampler));
    if (!sampler) {
        cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the request.");
        return NULL;
    }
    sampler->vocab = vocab;
    sampler->vocabulary = llama_vocab_n_tokens(vocab);
    sampler->room = room;
    sampler->spelling = spelling;
    sampler->wants_chance = s->wants_chance;
    sampler->logprobs = s->logprobs;
    sampler->greedy = s->temperature <= 0;
    sampler->random = s->seed * 0x9E3779B97F4A7C15ULL + 1;
    for (unsigned i = 0; i < s->preserved_count; i++) {
        llama_token token[2];
        if (tokens_of(sampler, s->preserved[i], token, 2) == 1)
            sampler->preserved[sampler->preserved_count++] = token[0];
    }
    cds_rc rc = make_bias(sampler, s, reterr);
    if (rc == CDS_OK && (!make_chain(sampler, s, context) || !make_thinking(sampler, s)))
        rc = cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the request.");
    if (rc == CDS_OK)
        rc = make_grammar(sampler, s, reterr);
    sampler->plain = rc == CDS_OK && sampler->greedy && llama_sampler_chain_n(sampler->chain) == 1 && !sampler->thinking;
    if (rc != CDS_OK)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        return NULL;
    struct cds_sampler *made = sampler;
    sampler = NULL;
    return made;
}

/** All tokens with their logits, bias and budget taken into account. */
static llama_token_data_array candidates(struct cds_sampler *sampler, const float *logits)
{
    for (int32_t token = 0; token < sampler->vocabulary; token++)
        sampler->room[token] = (llama_token_data){token, logits[token], 0};
    for (unsigned i = 0; i < sampler->bias_count; i++)
        sampler->room[sampler->bias[i].token].logit += sampler->bias[i].bias;
    llama_token_data_array all = {sampler->room, (size_t)sampler->vocabulary, -1, false};
    if (sampler->thinking)
        llama_sampler_apply(sampler->thinking, &all);
    return all;
}

static int32_t choose(struct cds_sampler *sampler, llama_token_data_array *all)
{
    llama_sampler_apply(sampler->chain, all);
    return all->selected >= 0 && (size_t)all->selected < all->size ? all->data[all->selected].id : LLAMA_TOKEN_NULL;
}

/** The choice before a grammar looks at it. @param ret_left  what the chain left; nothing when it was not needed */
static int32_t choose_first(struct cds_sampler *sampler, const float *logits, llama_token_data_array *ret_left)
{
    *ret_left = (llama_token_data_array){sampler->room, 0, -1, false};
    if (sampler->plain)
        return cds_likeliest(logits, sampler->vocabulary, sampler->bias, sampler->bias_count);
    *ret_left = candidates(sampler, logits);
    return choose(sampler, ret_left);
}

/** Chances of the plain model, before anything of the request changed them. */
static void remember(struct cds_sampler *sampler, const float *logits, int32_t token)
{
    float most = logits[0];
    double sum = 0;
    struct cds_picked *picked = &sampler->picked;
    for (int32_t i = 1; i < sampler->vocabulary; i++)
        most = logits[i] > most ? logits[i] : most;
    for (int32_t i = 0; i < sampler->vocabulary; i++)
        sum += exp((double)(logits[i] - most));
    float whole = most + (float)log(sum);
    picked->chosen = (struct cds_chance){token, logits[token] - whole};
    picked->top_count = 0;
    for (int32_t i = 0; sampler->logprobs && i < sampler->vocabulary; i++) {
        float chance = logits[i] - whole;
        if (picked->top_count == sampler->logprobs && chance <= picked->top[picked->top_count - 1].logprob)
            continue;
        unsigned at = picked->top_count < sampler->logprobs ? picked->top_count++ : picked->top_count - 1;
        for (; at > 0 && picked->top[at - 1].logprob < chance; at--)
            picked->top[at] = picked->top[at - 1];
        picked->top[at] = (struct cds_chance){i, chance};
    }
}

/** A token that ends the answer, when the model has one. */
static int32_t some_end(const struct cds_sampler *sampler)
{
    int32_t eot = llama_vocab_eot(sampler->vocab);
    return eot != LLAMA_TOKEN_NULL ? eot : llama_vocab_eos(sampler->vocab);
}

/** 0..1, another one at each call. */
static double next_random(struct cds_sampler *sampler)
{
    /* xorshift64*, Vigna 2016 */
    sampler->random ^= sampler->random >> 12;
    sampler->random ^= sampler->random << 25;
    sampler->random ^= sampler->random >> 27;
    return (double)((sampler->random * 0x2545F4914F6CDD1DULL) >> 11) / (double)(1ULL << 53);
}

/** What the chain left is held against the grammar, and one of the legal ones chosen by its chance: together with the first choice that is the
 *  chain's own distribution over legal tokens. LLAMA_TOKEN_NULL: none is legal, or there are too many to look at. */
static int32_t choose_legal(struct cds_sampler *sampler, const llama_token_data_array *left)
{
    llama_token_data_array list = {sampler->likely, left->size, -1, false};
    double sum = 0;
    if (sampler->greedy || left->size > LIKELY_MAX || left->size < 2)
        return LLAMA_TOKEN_NULL;
    memcpy(sampler->likely, left->data, left->size * sizeof(*left->data));
    if (!cds_shim_grammar_mask(sampler->grammar, &list))
        return LLAMA_TOKEN_NULL;
    float most = -INFINITY;
    for (size_t i = 0; i < list.size; i++)
        most = list.data[i].logit > most ? list.data[i].logit : most;
    for (size_t i = 0; most > -INFINITY && i < list.size; i++)
        sum += exp((double)(list.data[i].logit - most));
    double at = next_random(sampler) * sum;
    for (size_t i = 0; most > -INFINITY && i < list.size; i++) {
        at -= exp((double)(list.data[i].logit - most));
        if (at <= 0 && list.data[i].logit > -INFINITY)
            return list.data[i].id;
    }
    return LLAMA_TOKEN_NULL;
}

/** Sinks the first entry of a heap whose smallest logit is on top. */
static void sink(llama_token_data *heap, size_t count)
{
    for (size_t at = 0, child; (child = 2 * at + 1) < count; at = child) {
        child += child + 1 < count && heap[child + 1].logit < heap[child].logit;
        if (heap[at].logit <= heap[child].logit)
            return;
        llama_token_data held = heap[at];
        heap[at] = heap[child];
        heap[child] = held;
    }
}

/** The chain over the legal ones of the likeliest tokens. LLAMA_TOKEN_NULL: none of them is legal. */
static int32_t choose_likely(struct cds_sampler *sampler, const llama_token_data_array *all)
{
    size_t count = 0, legal = 0;
    for (size_t i = 0; i < LIKELY_MAX; i++) /* an empty heap */
        sampler->likely[i] = (llama_token_data){0, -INFINITY, 0};
    for (size_t i = 0; i < all->size; i++)
        if (all->data[i].logit > sampler->likely[0].logit) {
            sampler->likely[0] = all->data[i];
            sink(sampler->likely, LIKELY_MAX);
        }
    for (size_t i = 0; i < LIKELY_MAX; i++)
        if (sampler->likely[i].logit > -INFINITY)
            sampler->likely[count++] = sampler->likely[i];
    llama_token_data_array list = {sampler->likely, count, -1, false};
    if (count == 0 || !cds_shim_grammar_mask(sampler->grammar, &list))
        return LLAMA_TOKEN_NULL;
    for (size_t i = 0; i < count; i++)
        if (list.data[i].logit > -INFINITY)
            list.data[legal++] = list.data[i];
    list.size = legal;
    return legal ? choose(sampler, &list) : LLAMA_TOKEN_NULL;
}

/** The chosen token, held against the grammar; LLAMA_TOKEN_NULL when no token is legal. */
static int32_t obey(struct cds_sampler *sampler, const float *logits, const llama_token_data_array *left, int32_t token)
{
    if (token != LLAMA_TOKEN_NULL && cds_shim_grammar_allows(sampler->grammar, token))
        return token;
    token = choose_legal(sampler, left);
    if (token != LLAMA_TOKEN_NULL)
        return token;
    llama_token_data_array all = candidates(sampler, logits);
    token = choose_likely(sampler, &all);
    if (token != LLAMA_TOKEN_NULL)
        return token;
    all = candidates(sampler, logits);
    if (!cds_shim_grammar_mask(sampler->grammar, &all))
        return LLAMA_TOKEN_NULL;
    token = choose(sampler, &all);
    return token != LLAMA_TOKEN_NULL && cds_shim_grammar_allows(sampler->grammar, token) ? token : LLAMA_TOKEN_NULL;
}

/** Has the request ruled this token out? */
static bool is_ruled_out(const struct cds_sampler *sampler, int32_t token)
{
    for (unsigned i = 0; i < sampler->bias_count; i++)
        if (sampler->bias[i].token == token && sampler->bias[i].bias == -INFINITY)
            return true;
    return false;
}

/** The token that the grammar leaves no choice about; LLAMA_TOKEN_NULL: there is one. A thought has rules of its own. */
static int32_t forced_one(struct cds_sampler *sampler)
{
    if (!sampler->grammar || !sampler->spelling || sampler->thinking)
        return LLAMA_TOKEN_NULL;
    cds_forced_find(&sampler->forced, sampler->spelling, sampler->grammar);
    int32_t token = sampler->forced.len ? cds_forced_next(&sampler->forced, sampler->spelling, sampler->grammar) : -1;
    return token < 0 || is_ruled_out(sampler, token) ? LLAMA_TOKEN_NULL : token;
}

unsigned cds_sampler_forced(struct cds_sampler *sampler, int32_t *ret, unsigned most)
{
    if (!sampler->grammar || !sampler->spelling || sampler->thinking)
        return 0;
    cds_forced_find(&sampler->forced, sampler->spelling, sampler->grammar);
    const struct cds_forced *forced = &sampler->forced;
    unsigned count = forced->count - forced->at < most ? forced->count - forced->at : most;
    memcpy(ret, forced->tokens + forced->at, count * sizeof(*ret));
    return count;
}

bool cds_sampler_had_no_choice(const struct cds_sampler *sampler)
{
    return sampler->no_choice;
}

int32_t cds_sampler_pick(struct cds_sampler *sampler, const float *logits)
{
    int32_t token = forced_one(sampler);
    sampler->no_choice = token != LLAMA_TOKEN_NULL;
    if (!sampler->no_choice) {
        llama_token_data_array left;
        token = choose_first(sampler, logits, &left);
        if (sampler->grammar)
            token = obey(sampler, logits, &left, token);
    }
    bool dead = token == LLAMA_TOKEN_NULL || (sampler->grammar && !cds_shim_grammar_accept(sampler->grammar, token));
    if (dead) {
        cds_log(CDS_LOG_WARN, "no token fits the grammar; the answer ends");
        token = some_end(sampler);
    } else {
        if (sampler->spelling && sampler->grammar)
            cds_forced_accept(&sampler->forced, sampler->spelling, token);
        if (sampler->thinking)
            llama_sampler_accept(sampler->thinking, token);
        llama_sampler_accept(sampler->chain, token);
    }
    if (sampler->wants_chance)
        remember(sampler, logits, token);
    return token;
}

void cds_sampler_tell(struct cds_sampler *sampler, const float *logits, int32_t token)
{
    remember(sampler, logits, token);
}

const struct cds_picked *cds_sampler_picked(const struct cds_sampler *sampler)
{
    return sampler->wants_chance ? &sampler->picked : NULL;
}

bool cds_sampler_preserves(const struct cds_sampler *sampler, int32_t token)
{
    for (unsigned i = 0; i < sampler->preserved_count; i++)
        if (sampler->preserved[i] == token)
            return true;
    return false;
}
