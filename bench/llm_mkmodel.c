// link: llama
/* bench/llm_mkmodel.c: writes a model of random weights with the vocabulary of another one: its answers mean nothing and seldom end, but it
 * schedules, shares, cancels and counts like any other, and a small one is a hundred times faster.
 *
 *   llm_mkmodel VOCABULARY.gguf OUT.gguf [width=64] [layers=2] [heads=2] [feed=128] [context=32768] [mamba]
 *
 * mamba: a recurrent model, whose sequences cannot be cut or shared.
 *
 * Source: gguf.h, ggml.h; the tensor names of llama models in the library's llama-arch.cpp.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ggml.h>
#include <gguf.h>

struct shape {
    int64_t width, layers, heads, feed, context, vocabulary;
    bool mamba;
};

static float any(void)
{
    static uint64_t state = 0x9E3779B97F4A7C15ULL;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (float)((double)(state >> 11) / 4503599627370496.0 - 1);
}

/** rows 0: a vector of ones, else a random matrix. */
static void add_tensor(struct gguf_context *out, struct ggml_context *memory, const char *name, int64_t columns, int64_t rows)
{
    enum ggml_type type = rows ? GGML_TYPE_Q8_0 : GGML_TYPE_F32;
    struct ggml_tensor *tensor = rows ? ggml_new_tensor_2d(memory, type, columns, rows) : ggml_new_tensor_1d(memory, type, columns);
    int64_t count = ggml_nelements(tensor);
    float *values = malloc((size_t)count * sizeof(*values));
    if (!values) {
        fprintf(stderr, "there is not enough memory\n");
        exit(1);
    }
    float scale = 1.7f;
    for (int64_t side = columns; side > 1; side /= 4)
        scale /= 2; /* about 1.7 / sqrt(columns) */
    for (int64_t i = 0; i < count; i++)
        values[i] = rows ? any() * scale : 1;
    ggml_set_name(tensor, name);
    if (rows)
        ggml_quantize_chunk(type, values, tensor->data, 0, rows, columns, NULL);
    else
        memcpy(tensor->data, values, (size_t)count * sizeof(*values));
    free(values);
    gguf_add_tensor(out, tensor);
}

/** A matrix of floats: from `low` to `high`. */
static void add_plain(struct gguf_context *out, struct ggml_context *memory, const char *name, int64_t columns, int64_t rows, float low, float high)
{
    struct ggml_tensor *tensor = rows ? ggml_new_tensor_2d(memory, GGML_TYPE_F32, columns, rows) : ggml_new_tensor_1d(memory, GGML_TYPE_F32, columns);
    float *values = tensor->data;
    for (int64_t i = 0; i < ggml_nelements(tensor); i++)
        values[i] = low + (any() + 1) / 2 * (high - low);
    ggml_set_name(tensor, name);
    gguf_add_tensor(out, tensor);
}

enum { STATES = 16, KERNEL = 4, RANK = 32 };

static void add_mamba_layer(struct gguf_context *out, struct ggml_context *memory, const struct shape *s, int64_t layer)
{
    const int64_t inner = 2 * s->width;
    const struct {
        const char *name;
        int64_t columns, rows;
        float low, high; /* both 0: as other weights */
    } parts[] = {
        {"attn_norm.weight", s->width, 0, 0, 0},
        {"ssm_in.weight", s->width, 2 * inner, 0, 0},
        {"ssm_conv1d.weight", KERNEL, inner, -0.5f, 0.5f},
        {"ssm_conv1d.bias", inner, 0, -0.1f, 0.1f},
        {"ssm_x.weight", inner, RANK + 2 * STATES, 0, 0},
        {"ssm_dt.weight", RANK, inner, 0, 0},
        {"ssm_dt.bias", inner, 0, -3, -1},
        {"ssm_a", STATES, inner, -2, -0.2f},
        {"ssm_d", inner, 0, 0.5f, 1},
        {"ssm_out.weight", inner, s->width, 0, 0},
    };
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        char name[64];
        snprintf(name, sizeof(name), "blk.%lld.%s", (long long)layer, parts[i].name);
        if (parts[i].low != 0 || parts[i].high != 0)
            add_plain(out, memory, name, parts[i].columns, parts[i].rows, parts[i].low, parts[i].high);
        else
            add_tensor(out, memory, name, parts[i].columns, parts[i].rows);
    }
}

static void add_layer(struct gguf_context *out, struct ggml_context *memory, const struct shape *s, int64_t layer)
{
    const struct {
        const char *name;
        int64_t columns, rows;
    } parts[] = {
        {"attn_norm", s->width, 0},      {"attn_q", s->width, s->width},      {"attn_k", s->width, s->width},
        {"attn_v", s->width, s->width},  {"attn_output", s->width, s->width}, {"ffn_norm", s->width, 0},
        {"ffn_gate", s->width, s->feed}, {"ffn_down", s->feed, s->width},     {"ffn_up", s->width, s->feed},
    };
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        char name[64];
        snprintf(name, sizeof(name), "blk.%lld.%s.weight", (long long)layer, parts[i].name);
        add_tensor(out, memory, name, parts[i].columns, parts[i].rows);
    }
}

/** Everything of the other model but its shape. */
static struct gguf_context *begin_file(const char *vocabulary, struct shape *s)
{
    struct gguf_context *from = gguf_init_from_file(vocabulary, (struct gguf_init_params){.no_alloc = true});
    if (!from)
        return NULL;
    struct gguf_context *out = gguf_init_empty();
    gguf_set_kv(out, from);
    const char *family = gguf_get_val_str(from, gguf_find_key(from, "general.architecture"));
    for (int64_t i = 0; i < gguf_get_n_kv(from); i++) {
        const char *key = gguf_get_key(from, i);
        if (strncmp(key, family, strlen(family)) == 0 && key[strlen(family)] == '.')
            gguf_remove_key(out, key);
    }
    s->vocabulary = (int64_t)gguf_get_arr_n(from, gguf_find_key(from, "tokenizer.ggml.tokens"));
    gguf_free(from);
    gguf_set_val_str(out, "general.name", "random weights");
    gguf_set_val_u32(out, "general.file_type", 7);
    gguf_set_val_str(out, "general.architecture", s->mamba ? "mamba" : "llama");
    if (s->mamba) {
        gguf_set_val_u32(out, "mamba.context_length", (uint32_t)s->context);
        gguf_set_val_u32(out, "mamba.embedding_length", (uint32_t)s->width);
        gguf_set_val_u32(out, "mamba.feed_forward_length", 0);
        gguf_set_val_u32(out, "mamba.attention.head_count", 0);
        gguf_set_val_u32(out, "mamba.block_count", (uint32_t)s->layers);
        gguf_set_val_u32(out, "mamba.ssm.conv_kernel", KERNEL);
        gguf_set_val_u32(out, "mamba.ssm.inner_size", (uint32_t)(2 * s->width));
        gguf_set_val_u32(out, "mamba.ssm.state_size", STATES);
        gguf_set_val_u32(out, "mamba.ssm.time_step_rank", RANK);
        gguf_set_val_f32(out, "mamba.attention.layer_norm_rms_epsilon", 1e-5f);
        return out;
    }
    gguf_set_val_u32(out, "llama.context_length", (uint32_t)s->context);
    gguf_set_val_u32(out, "llama.embedding_length", (uint32_t)s->width);
    gguf_set_val_u32(out, "llama.block_count", (uint32_t)s->layers);
    gguf_set_val_u32(out, "llama.feed_forward_length", (uint32_t)s->feed);
    gguf_set_val_u32(out, "llama.attention.head_count", (uint32_t)s->heads);
    gguf_set_val_u32(out, "llama.attention.head_count_kv", (uint32_t)s->heads);
    gguf_set_val_f32(out, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_set_val_u32(out, "llama.rope.dimension_count", (uint32_t)(s->width / s->heads));
    gguf_set_val_u32(out, "llama.vocab_size", (uint32_t)s->vocabulary);
    return out;
}

static int64_t argument(int argc, char **argv, int at, int64_t otherwise)
{
    long long value = argc > at ? atoll(argv[at]) : otherwise;
    return value > 0 && value <= 1 << 20 ? value : otherwise;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "use: llm_mkmodel VOCABULARY.gguf OUT.gguf [width] [layers] [heads] [feed] [context]\n");
        return 2;
    }
    struct shape s = {.width = argument(argc, argv, 3, 64),
                      .layers = argument(argc, argv, 4, 2),
                      .heads = argument(argc, argv, 5, 2),
                      .feed = argument(argc, argv, 6, 128),
                      .context = argument(argc, argv, 7, 32768),
                      .mamba = argc > 8 && strcmp(argv[8], "mamba") == 0};
    struct gguf_context *out = begin_file(argv[1], &s);
    size_t weights = (size_t)(s.vocabulary * s.width + s.layers * (4 * s.width * s.width + 3 * s.width * s.feed));
    size_t room = weights * 5 / 4 + (size_t)(s.layers * 12 + 8) * ggml_tensor_overhead() + (16 << 20);
    struct ggml_context *memory = ggml_init((struct ggml_init_params){.mem_size = room});
    if (!out || !memory) {
        fprintf(stderr, "the vocabulary cannot be read, or there is not enough memory\n");
        return 1;
    }
    add_tensor(out, memory, "token_embd.weight", s.width, s.vocabulary);
    add_tensor(out, memory, "output_norm.weight", s.width, 0);
    for (int64_t layer = 0; layer < s.layers; layer++)
        (s.mamba ? add_mamba_layer : add_layer)(out, memory, &s, layer);
    bool ok = gguf_write_to_file(out, argv[2], false);
    gguf_free(out);
    ggml_free(memory);
    return ok ? 0 : 1;
}
