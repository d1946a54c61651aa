#include "apps/fetch/gguf.h"

#include <string.h>

#include "lib/base/str.h"

enum { ALIGN_DEFAULT = 32, ALIGN_MAX = 1 << 20, KEY_MAX = 256, TENSOR_NAME_MAX = 63, DIMS_MAX = 4, LAYERS_MAX = 1024, FORMATS = 43 };
/* Numbers that a token may keep in the cache: tens of thousands of times what large models do, and far from where estimates of memory would wrap. */
#define KV_VALUES_MAX ((uint64_t)1 << 34)

enum kind { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64, KINDS };
static const uint8_t kind_bytes[KINDS] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static const struct {
    const char *name;
    uint16_t block, bytes; /* numbers of a block, bytes of a block; block 0: no such format */
} formats[FORMATS] = {
    [0] = {"F32", 1, 4},        [1] = {"F16", 1, 2},         [2] = {"Q4_0", 32, 18},    [3] = {"Q4_1", 32, 20},    [6] = {"Q5_0", 32, 22},
    [7] = {"Q5_1", 32, 24},     [8] = {"Q8_0", 32, 34},      [9] = {"Q8_1", 32, 36},    [10] = {"Q2_K", 256, 84},  [11] = {"Q3_K", 256, 110},
    [12] = {"Q4_K", 256, 144},  [13] = {"Q5_K", 256, 176},   [14] = {"Q6_K", 256, 210}, [15] = {"Q8_K", 256, 292}, [16] = {"IQ2_XXS", 256, 66},
    [17] = {"IQ2_XS", 256, 74}, [18] = {"IQ3_XXS", 256, 98}, [19] = {"IQ1_S", 256, 50}, [20] = {"IQ4_NL", 32, 18}, [21] = {"IQ3_S", 256, 110},
    [22] = {"IQ2_S", 256, 82},  [23] = {"IQ4_XS", 256, 136}, [24] = {"I8", 1, 1},       [25] = {"I16", 1, 2},      [26] = {"I32", 1, 4},
    [27] = {"I64", 1, 8},       [28] = {"F64", 1, 8},        [29] = {"IQ1_M", 256, 56}, [30] = {"BF16", 1, 2},     [34] = {"TQ1_0", 256, 54},
    [35] = {"TQ2_0", 256, 66},  [39] = {"MXFP4", 32, 17},    [40] = {"NVFP4", 64, 36},  [41] = {"Q1_0", 128, 18},  [42] = {"Q2_0", 64, 18},
};

/* general.file_type; the numbers are those of enum llama_ftype. */
static const char *const file_types[] = {
    [0] = "F32",      [1] = "F16",     [2] = "Q4_0",    [3] = "Q4_1",    [7] = "Q8_0",     [8] = "Q5_0",    [9] = "Q5_1",    [10] = "Q2_K",
    [11] = "Q3_K_S",  [12] = "Q3_K_M", [13] = "Q3_K_L", [14] = "Q4_K_S", [15] = "Q4_K_M",  [16] = "Q5_K_S", [17] = "Q5_K_M", [18] = "Q6_K",
    [19] = "IQ2_XXS", [20] = "IQ2_XS", [21] = "Q2_K_S", [22] = "IQ3_XS", [23] = "IQ3_XXS", [24] = "IQ1_S",  [25] = "IQ4_NL", [26] = "IQ3_S",
    [27] = "IQ3_M",   [28] = "IQ2_S",  [29] = "IQ2_M",  [30] = "IQ4_XS", [31] = "IQ1_M",   [32] = "BF16",   [36] = "TQ1_0",  [37] = "TQ2_0",
    [38] = "MXFP4",   [39] = "NVFP4",  [40] = "Q1_0",   [41] = "Q2_0",
};

struct reader {
    const unsigned char *data;
    size_t len, pos;
    bool whole;
    struct cds_err *err;
    cds_rc rc; /* first failure; every later read does nothing */
};

static bool bad(struct reader *r, const char *why)
{
    if (r->rc == CDS_OK)
        r->rc = cds_fail(r->err, CDS_BAD_PARAM, "gguf", "The file is no usable GGUF model: %s.", why);
    return false;
}

/** The next n bytes, NULL when they are not there. */
static const unsigned char *take(struct reader *r, uint64_t n)
{
    if (r->rc != CDS_OK)
        return NULL;
    if (n <= r->len - r->pos) {
        const unsigned char *at = r->data + r->pos;
        r->pos += (size_t)n;
        return at;
    }
    if (n > CDS_GGUF_HEADER_MAX || r->pos + n > CDS_GGUF_HEADER_MAX)
        r->rc = cds_fail(r->err, CDS_TOO_LARGE, "gguf", "The header of the model file is longer than %d MiB.", CDS_GGUF_HEADER_MAX >> 20);
    else if (r->whole)
        bad(r, "it ends inside its header");
    else
        r->rc = CDS_BUSY;
    return NULL;
}

static uint64_t number(struct reader *r, unsigned bytes)
{
    const unsigned char *at = take(r, bytes);
    uint64_t value = 0;
    for (unsigned i = bytes; at && i-- > 0;)
        value = value << 8 | at[i];
    return value;
}

struct text {
    const char *data;
    size_t len;
};

static struct text text_of(struct reader *r)
{
    uint64_t len = number(r, 8);
    const unsigned char *at = take(r, len);
    return (struct text){(const char *)at, at ? (size_t)len : 0};
}

static bool text_is(struct text t, const char *what)
{
    return t.data && t.len == strlen(what) && !memcmp(t.data, what, t.len);
}

static void keep(char *out, size_t size, struct text t)
{
    size_t len = t.len < size - 1 ? t.len : size - 1;
    if (t.len > len)
        len = cds_utf8_complete(t.data, len);
    memcpy(out, t.data, len);
    out[len] = '\0';
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)out[i] < ' ' || out[i] == 0x7f)
            out[i] = ' ';
    if (!cds_utf8_valid(out, len))
        out[0] = '\0';
}

/** One value of a key. Numbers of an array are given one by one to the same place: the head counts of layers may be an array. */
struct value {
    enum kind kind, item; /* item: of an array */
    uint64_t number;      /* integers and booleans; negative ones are huge */
    struct text text;
    uint64_t count;             /* items of an array */
    uint32_t items[LAYERS_MAX]; /* its first integers */
};

static bool is_integer(enum kind kind)
{
    return kind < KINDS && kind != F32 && kind != F64 && kind != STRING && kind != ARRAY;
}

static void read_array(struct reader *r, struct value *v)
{
    v->item = (enum kind)number(r, 4);
    v->count = number(r, 8);
    if (r->rc != CDS_OK)
        return;
    if ((unsigned)v->item >= KINDS || v->item == ARRAY) {
        bad(r, "a key holds an array of an unknown kind");
    } else if (v->item == STRING) {
        /* Each text has at least its length in front, so that the ceiling of the header bounds this loop. */
        for (uint64_t i = 0; i < v->count && r->rc == CDS_OK; i++)
            text_of(r);
    } else if (v->count > CDS_GGUF_HEADER_MAX / kind_bytes[v->item]) {
        r->rc = cds_fail(r->err, CDS_TOO_LARGE, "gguf", "The header of the model file is longer than %d MiB.", CDS_GGUF_HEADER_MAX >> 20);
    } else {
        size_t begin = r->pos;
        if (!take(r, v->count * kind_bytes[v->item]))
            return;
        size_t end = r->pos;
        r->pos = begin;
        for (uint64_t i = 0; i < v->count && i < LAYERS_MAX && is_integer(v->item); i++) {
            uint64_t item = number(r, kind_bytes[v->item]);
            v->items[i] = item < UINT32_MAX ? (uint32_t)item : 0;
        }
        r->pos = end;
    }
}

static void read_value(struct reader *r, struct value *v)
{
    v->kind = (enum kind)number(r, 4);
    v->count = 0;
    v->number = 0;
    v->text = (struct text){NULL, 0};
    if (r->rc != CDS_OK)
        return;
    if ((unsigned)v->kind >= KINDS)
        bad(r, "a key holds a value of an unknown kind");
    else if (v->kind == STRING)
        v->text = text_of(r);
    else if (v->kind == ARRAY)
        read_array(r, v);
    else
        v->number = number(r, kind_bytes[v->kind]);
}

/** Keys of the architecture, gathered while its name may still be to come. */
struct shape {
    uint32_t head_counts[LAYERS_MAX]; /* heads of the cache per layer, when they differ */
    uint32_t head_items;
    uint32_t heads_kv, key_length, value_length;
    uint32_t alignment;
    int64_t file_type;
};

static uint32_t small(const struct value *v)
{
    return is_integer(v->kind) && v->number <= INT32_MAX ? (uint32_t)v->number : 0;
}

static void take_general(struct text key, const struct value *v, struct cds_gguf *g, struct shape *s)
{
    if (text_is(key, "general.architecture") && v->kind == STRING)
        keep(g->architecture, sizeof(g->architecture), v->text);
    else if (text_is(key, "general.type") && v->kind == STRING)
        keep(g->type, sizeof(g->type), v->text);
    else if (text_is(key, "general.name") && v->kind == STRING)
        keep(g->name, sizeof(g->name), v->text);
    else if (text_is(key, "general.file_type") && is_integer(v->kind))
        s->file_type = v->number < CDS_ARRAY_LEN(file_types) ? (int64_t)v->number : -1;
    else if (text_is(key, "general.alignment"))
        s->alignment = small(v);
    else if (text_is(key, "tokenizer.chat_template"))
        g->chat_template = v->kind == STRING && v->text.len > 0;
    else if (text_is(key, "tokenizer.ggml.tokens") && v->kind == ARRAY)
        g->vocabulary = v->count <= INT32_MAX ? (uint32_t)v->count : 0;
    else if (text_is(key, "split.no"))
        g->part = small(v);
    else if (text_is(key, "split.count"))
        g->parts = small(v);
    else if (text_is(key, "split.tensors.count"))
        g->split_tensors = small(v);
}

static void take_shape(struct text tail, const struct value *v, struct cds_gguf *g, struct shape *s)
{
    const struct {
        const char *name;
        uint32_t *place;
    } counts[] = {
        {"context_length", &g->context},          {"embedding_length", &g->embedding},          {"block_count", &g->layers},
        {"attention.head_count", &g->heads},      {"feed_forward_length", &g->feed_forward},    {"attention.head_count_kv", &s->heads_kv},
        {"attention.key_length", &s->key_length}, {"attention.value_length", &s->value_length}, {"pooling_type", &g->pooling},
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(counts); i++) {
        if (!text_is(tail, counts[i].name))
            continue;
        *counts[i].place = small(v);
        if (v->kind == ARRAY && v->count > 0 && is_integer(v->item)) {
            *counts[i].place = v->items[0];
            if (counts[i].place == &s->heads_kv) {
                s->head_items = v->count < LAYERS_MAX ? (uint32_t)v->count : LAYERS_MAX;
                memcpy(s->head_counts, v->items, s->head_items * sizeof(v->items[0]));
            }
        }
    }
    if (text_is(tail, "ssm.state_size") || text_is(tail, "wkv.head_size") || text_is(tail, "attention.sliding_window") ||
        text_is(tail, "shortconv.l_cache"))
        g->stateful = g->stateful || small(v) > 0;
    if (text_is(tail, "attention.causal") && v->kind == BOOL)
        g->causal = v->number != 0;
}

static bool read_keys(struct reader *r, struct cds_gguf *g, struct shape *s)
{
    static _Thread_local struct value v; /* large */
    size_t begin = r->pos;
    for (int pass = 0; pass < 2; pass++) { /* the first finds the architecture, whose name begins the keys of the second */
        r->pos = begin;
        for (uint32_t i = 0; i < g->keys; i++) {
            struct text key = text_of(r);
            if (r->rc == CDS_OK && (key.len == 0 || key.len > KEY_MAX))
                return bad(r, "a key has no name, or too long a one");
            read_value(r, &v);
            if (r->rc != CDS_OK)
                return false;
            size_t len = strlen(g->architecture);
            if (pass == 0)
                take_general(key, &v, g, s);
            else if (len && key.len > len + 1 && !memcmp(key.data, g->architecture, len) && key.data[len] == '.')
                take_shape((struct text){key.data + len + 1, key.len - len - 1}, &v, g, s);
        }
    }
    if (!*g->architecture)
        return bad(r, "it does not name its architecture");
    if (s->alignment < 8 || s->alignment > ALIGN_MAX || (s->alignment & (s->alignment - 1)))
        return bad(r, "its alignment is not a power of two from 8 to 1 MiB");
    if (g->parts > 1024 || (g->parts && g->part >= g->parts))
        return bad(r, "its number among the parts of a split model is wrong");
    return true;
}

/** One row of the tensor table. @return false: refused or not there yet */
static bool read_tensor(struct reader *r, struct cds_gguf *g, uint32_t alignment, uint64_t by_format[FORMATS])
{
    struct text name = text_of(r);
    uint32_t dims = (uint32_t)number(r, 4);
    if (r->rc != CDS_OK)
        return false;
    if (name.len == 0 || name.len > TENSOR_NAME_MAX || memchr(name.data, 0, name.len))
        return bad(r, "a tensor has no name, or too long a one");
    if (dims == 0 || dims > DIMS_MAX)
        return bad(r, "a tensor does not have 1 to 4 dimensions");
    uint64_t count = 1, row = 0;
    for (uint32_t i = 0; i < dims; i++) {
        uint64_t size = number(r, 8);
        if (r->rc != CDS_OK)
            return false;
        if (size == 0 || size > INT64_MAX || __builtin_mul_overflow(count, size, &count) || count > INT64_MAX / 8)
            return bad(r, "a tensor has an impossible size");
        row = i == 0 ? size : row;
    }
    uint64_t format = number(r, 4), offset = number(r, 8);
    if (r->rc != CDS_OK)
        return false;
    if (format >= FORMATS || !formats[format].block)
        return bad(r, "a tensor has a number format that is not known here");
    if (row % formats[format].block)
        return bad(r, "a row of a tensor does not fill whole blocks");
    uint64_t bytes = count / formats[format].block * formats[format].bytes;
    if (offset != g->tensor_bytes)
        return bad(r, "its tensors do not follow one another");
    bytes = (bytes + alignment - 1) / alignment * alignment;
    if (__builtin_add_overflow(g->tensor_bytes, bytes, &g->tensor_bytes) || g->tensor_bytes > INT64_MAX / 2 ||
        __builtin_add_overflow(g->parameters, count, &g->parameters))
        return bad(r, "its tensors have an impossible size");
    by_format[format] += count;
    /* The padding behind the last tensor need not be in the file. */
    g->file_bytes = offset + count / formats[format].block * formats[format].bytes;
    return true;
}

/** @return false: refused */
static bool finish(struct reader *r, struct cds_gguf *g, const struct shape *s, const uint64_t by_format[FORMATS])
{
    size_t most = 0;
    for (size_t i = 1; i < FORMATS; i++)
        if (by_format[i] > by_format[most])
            most = i;
    const char *named = s->file_type >= 0 ? file_types[s->file_type] : NULL;
    cds_strcpy(g->quantization, sizeof(g->quantization), named ? named : g->tensors ? formats[most].name : "");
    uint32_t head = g->heads ? g->embedding / g->heads : 0;
    uint64_t width = (s->key_length ? s->key_length : head) + (uint64_t)(s->value_length ? s->value_length : head), heads = 0;
    if (s->head_items > 1)
        for (uint32_t i = 0; i < s->head_items && i < g->layers; i++)
            heads += s->head_counts[i];
    else
        heads = (uint64_t)g->layers * (s->heads_kv ? s->heads_kv : g->heads);
    if (__builtin_mul_overflow(heads, width, &g->kv_values) || g->kv_values > KV_VALUES_MAX)
        return bad(r, "its cache has an impossible size");
    if (!g->causal)
        g->kv_values = 0;
    return true;
}

cds_rc cds_gguf_read(const void *data, size_t len, bool whole, struct cds_gguf *ret, struct cds_err *reterr)
{
    struct reader r = {.data = data, .len = len, .whole = whole, .err = reterr};
    struct cds_gguf g = {.type = "model", .causal = true};
    static _Thread_local struct shape s; /* large */
    uint64_t by_format[FORMATS] = {0};
    s = (struct shape){.alignment = ALIGN_DEFAULT, .file_type = -1};
    const unsigned char *magic = take(&r, 4);
    if (magic && memcmp(magic, "GGUF", 4) != 0)
        bad(&r, "it does not begin with the letters GGUF");
    g.version = (uint32_t)number(&r, 4);
    if (r.rc == CDS_OK && g.version != 2 && g.version != 3)
        bad(&r, "its version is neither 2 nor 3");
    uint64_t tensors = number(&r, 8), keys = number(&r, 8);
    if (r.rc == CDS_OK && (tensors > CDS_GGUF_TENSORS_MAX || keys > CDS_GGUF_KEYS_MAX))
        return cds_fail(reterr, CDS_TOO_LARGE, __func__, "The model file has more than %d tensors or %d keys.", CDS_GGUF_TENSORS_MAX,
                        CDS_GGUF_KEYS_MAX);
    if (r.rc != CDS_OK)
        return r.rc;
    g.tensors = (uint32_t)tensors;
    g.keys = (uint32_t)keys;
    if (!read_keys(&r, &g, &s))
        return r.rc;
    for (uint32_t i = 0; i < g.tensors; i++)
        if (!read_tensor(&r, &g, s.alignment, by_format))
            return r.rc;
    if (!finish(&r, &g, &s, by_format))
        return r.rc;
    g.data_offset = (r.pos + s.alignment - 1) / s.alignment * s.alignment;
    g.file_bytes += g.data_offset;
    *ret = g;
    return CDS_OK;
}
