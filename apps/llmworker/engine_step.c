#include "apps/llmworker/engine_inside.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"

/** CPU time of all threads of this process. */
static uint64_t process_cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/** Who else wants the cores. */
static void look_at_queue(struct cds_engine *engine)
{
    char text[128];
    if (!cds_governor_looks(&engine->governor, cds_now_ms()))
        return;
    int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    uint32_t runnable = cds_governor_runnable(text);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (runnable && cores > 0)
        (void)cds_governor_queue(&engine->governor, runnable, (uint32_t)cores, cds_now_ms());
    else
        engine->governor.looked_ms = cds_now_ms();
}

/** Rows order[from..to-1] as one batch. */
static int decode_part(struct cds_engine *engine, const struct cds_row *rows, int from, int to)
{
    struct llama_batch *batch = &engine->batch;
    batch->n_tokens = to - from;
    for (int i = 0; i < to - from; i++) {
        const struct cds_row *row = &rows[engine->order[from + i]];
        batch->token[i] = row->token;
        batch->pos[i] = row->position;
        batch->n_seq_id[i] = 1;
        batch->seq_id[i][0] = row->sequence;
        batch->logits[i] = row->sample || row->tell;
        engine->at[engine->order[from + i]] = i;
    }
    int rc = llama_decode(engine->context, *batch);
    /* Reading the logits would wait for the end of the step; it has to be over before its time is taken. */
    llama_synchronize(engine->context);
    return rc;
}

static void drop(void *user, int sequence, int from)
{
    const struct cds_engine *engine = user;
    llama_memory_seq_rm(llama_get_memory(engine->context), sequence, from, -1);
}

static int decode(void *user, const struct cds_row *rows, int count)
{
    struct cds_engine *engine = user;
    /* A batch longer than n_batch ends the process inside libllama. */
    if (count <= 0 || (uint32_t)count > engine->batch_max)
        return -1;
    int answers = 0;
    for (int i = 0; i < count; i++) {
        engine->order[i] = i;
        answers += rows[i].sample;
    }
    uint64_t cpu_us = process_cpu_us(), begin_ns = cds_now_ns();
    int first = cds_split_step(rows, count, engine->tile, engine->order);
    int rc = first ? decode_part(engine, rows, 0, first) : 0;
    if (rc == 0) {
        rc = decode_part(engine, rows, first, count);
        for (int i = first; rc != 0 && i-- > 0;) /* all or nothing */
            drop(engine, rows[engine->order[i]].sequence, rows[engine->order[i]].position);
    }
    engine->split_steps += first && rc == 0;
    engine->spent_us = process_cpu_us() - cpu_us;
    if (engine->threads > 1 && !engine->twin) {
        uint32_t before = engine->governor.now;
        look_at_queue(engine);
        if (answers == count)
            cds_governor_row(&engine->governor, (uint32_t)count, (cds_now_ns() - begin_ns) / 1000, cds_now_ms());
        uint32_t now = cds_governor_step(&engine->governor, (cds_now_ns() - begin_ns) / 1000, engine->spent_us, cds_now_ms());
        if (now != before) {
            llama_set_n_threads(engine->context, (int32_t)now, (int32_t)now);
            cds_drafter_set_threads(engine->drafter, now);
        }
    }
    return rc;
}

static unsigned beside(void *user, const struct cds_row *answers, int count, unsigned most)
{
    const struct cds_engine *engine = user;
    return cds_split_share(answers, count, engine->tile, most);
}

static void sampler_free(void *sampler)
{
    cds_sampler_free(sampler);
}

static void *sampler_new(void *user, const struct cds_sampling *sampling)
{
    const struct cds_engine *engine = user;
    return cds_sampler_new(engine->vocab, sampling, llama_n_ctx(engine->context), engine->room, engine->spelling, NULL);
}

cds_rc cds_engine_check_sampling(const struct cds_engine *engine, const struct cds_sampling *sampling, struct cds_err *reterr)
{
    struct cds_err err = {0};
    struct cds_sampler *sampler = cds_sampler_new(engine->vocab, sampling, llama_n_ctx(engine->context), engine->room, engine->spelling, &err);
    cds_sampler_free(sampler);
    if (!sampler && reterr)
        *reterr = err;
    return sampler ? CDS_OK : err.code;
}

const struct cds_adapter_list *cds_engine_adapters(const struct cds_engine *engine)
{
    return &engine->adapters;
}

const struct cds_picked *cds_engine_picked(const void *sampler)
{
    return cds_sampler_picked(sampler);
}

static int32_t sample(void *user, void *sampler, int row)
{
    struct cds_engine *engine = user;
    int32_t token = cds_sampler_pick(sampler, llama_get_logits_ith(engine->context, engine->at[row]));
    engine->shown = cds_sampler_preserves(sampler, token) ? token : -1;
    return token;
}

static unsigned forced(void *sampler, int32_t *ret, unsigned most)
{
    return cds_sampler_forced(sampler, ret, most);
}

static bool had_no_choice(void *sampler)
{
    return cds_sampler_had_no_choice(sampler);
}

static void tell(void *user, void *sampler, int row, int32_t token)
{
    const struct cds_engine *engine = user;
    cds_sampler_tell(sampler, llama_get_logits_ith(engine->context, engine->at[row]), token);
}

static int piece(void *user, int32_t token, char *buf, int size)
{
    const struct cds_engine *engine = user;
    int n = llama_token_to_piece(engine->vocab, token, buf, size, 0, token == engine->shown);
    return n > 0 ? n : 0;
}

int cds_engine_token_bytes(const struct cds_engine *engine, int32_t token, char *buf, int size)
{
    int n = llama_token_to_piece(engine->vocab, token, buf, size, 0, true);
    return n > 0 ? n : 0;
}

static bool is_end(void *user, int32_t token)
{
    const struct cds_engine *engine = user;
    return llama_vocab_is_eog(engine->vocab, token);
}

static void share(void *user, int from, int to, int count)
{
    const struct cds_engine *engine = user;
    llama_memory_seq_cp(llama_get_memory(engine->context), from, to, 0, count);
}

static void adapt(void *user, const struct cds_adapter_set *set)
{
    const struct cds_engine *engine = user;
    cds_adapters_apply(set, engine->loras, engine->context);
}

static size_t state_size(void *user, int sequence)
{
    const struct cds_engine *engine = user;
    return llama_state_seq_get_size(engine->context, sequence);
}

static size_t state_get(void *user, int sequence, uint8_t *ret, size_t size)
{
    const struct cds_engine *engine = user;
    return llama_state_seq_get_data(engine->context, ret, size, sequence);
}

static bool state_set(void *user, int sequence, const uint8_t *state, size_t size)
{
    const struct cds_engine *engine = user;
    if (llama_state_seq_set_data(engine->context, state, size, sequence) == size)
        return true;
    (void)llama_memory_seq_rm(llama_get_memory(engine->context), sequence, -1, -1);
    return false;
}

static uint64_t spent(void *user)
{
    const struct cds_engine *engine = user;
    return engine->spent_us;
}

static unsigned draft(void *user, int sequence, const int32_t *tokens, size_t count, float confidence, int32_t *ret, unsigned most)
{
    const struct cds_engine *engine = user;
    return engine->drafter ? cds_drafter_guess(engine->drafter, sequence, tokens, count, confidence, ret, most) : 0;
}

static uint64_t draft_spent(void *user)
{
    const struct cds_engine *engine = user;
    return engine->drafter ? cds_drafter_spent_us(engine->drafter) : 0;
}

const struct cds_engine_ops cds_engine_llama = {
    .decode = decode,
    .beside = beside,
    .sampler_new = sampler_new,
    .sampler_free = sampler_free,
    .sample = sample,
    .tell = tell,
    .forced = forced,
    .had_no_choice = had_no_choice,
    .piece = piece,
    .is_end = is_end,
    .drop = drop,
    .share = share,
    .adapt = adapt,
    .state_size = state_size,
    .state_get = state_get,
    .state_set = state_set,
    .spent = spent,
    .draft = draft,
    .draft_spent = draft_spent,
};
