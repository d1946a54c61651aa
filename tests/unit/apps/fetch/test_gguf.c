/* tests/unit/apps/fetch/test_gguf.c: the header reader against the default model and against headers made to break it. */
#include "tests/support/test.h"

#include <unistd.h>

#include "apps/fetch/gguf.h"
#include "lib/base/buf.h"

/* --- a header, value by value ---------------------------------------------------------------------------------------------- */

static void put(struct cds_buf *b, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        assert_int_equal(cds_buf_add(b, &(char){(char)(value >> (8 * i))}, 1), CDS_OK);
}

static void put_text(struct cds_buf *b, const char *text)
{
    put(b, strlen(text), 8);
    assert_int_equal(cds_buf_add(b, text, strlen(text)), CDS_OK);
}

static void put_key(struct cds_buf *b, const char *key, uint32_t value)
{
    put_text(b, key);
    put(b, 4, 4);
    put(b, value, 4);
}

/** Magic, counts and the keys every model has (one more if alignment is not 0). */
static struct cds_buf shaped(uint64_t tensors, uint32_t alignment, uint32_t layers, uint32_t heads_kv)
{
    struct cds_buf b = cds_buf_init(1 << 20);
    assert_int_equal(cds_buf_add(&b, "GGUF", 4), CDS_OK);
    put(&b, 3, 4);
    put(&b, tensors, 8);
    put(&b, alignment ? 8 : 7, 8);
    put_key(&b, "llama.block_count", layers);
    put_text(&b, "general.architecture");
    put(&b, 8, 4);
    put_text(&b, "llama");
    put_key(&b, "llama.embedding_length", 64);
    put_key(&b, "llama.attention.head_count", 4);
    put_key(&b, "llama.attention.head_count_kv", heads_kv);
    put_key(&b, "llama.context_length", 2048);
    put_key(&b, "general.file_type", 15);
    if (alignment)
        put_key(&b, "general.alignment", alignment);
    return b;
}

static struct cds_buf header(uint64_t tensors, uint32_t alignment)
{
    return shaped(tensors, alignment, 2, 2);
}

static void put_tensor(struct cds_buf *b, const char *name, uint64_t rows, uint64_t columns, uint32_t format, uint64_t offset)
{
    put_text(b, name);
    put(b, 2, 4);
    put(b, rows, 8);
    put(b, columns, 8);
    put(b, format, 4);
    put(b, offset, 8);
}

static cds_rc read_it(const struct cds_buf *b, struct cds_gguf *g, struct cds_err *err)
{
    return cds_gguf_read(b->data, b->len, true, g, err);
}

static void facts_are_counted_from_the_shapes(void **state)
{
    struct cds_gguf g;
    struct cds_err err = {0};
    struct cds_buf b = header(2, 0);
    put_tensor(&b, "a", 64, 100, 2, 0); /* Q4_0: 18 bytes for 32 */
    put_tensor(&b, "b", 7, 1, 0, 3616); /* F32 */
    assert_int_equal(read_it(&b, &g, &err), CDS_OK);
    assert_int_equal(g.parameters, 6407);
    assert_int_equal(g.tensor_bytes, 3616 + 32);
    assert_int_equal(g.data_offset, (b.len + 31) / 32 * 32);
    assert_int_equal(g.file_bytes, g.data_offset + 3616 + 28);
    assert_int_equal(g.context, 2048);
    assert_int_equal(g.kv_values, 2 * 2 * 16 * 2);
    assert_string_equal(g.quantization, "Q4_K_M");
    assert_string_equal(g.architecture, "llama");
    assert_false(g.chat_template);
    cds_buf_free(&b);
}

static void every_cut_of_a_header_wants_more_or_is_refused(void **state)
{
    struct cds_gguf g;
    struct cds_err err = {0};
    struct cds_buf b = header(1, 64);
    put_tensor(&b, "a", 64, 100, 2, 0);
    for (size_t len = 0; len < b.len; len++) {
        assert_int_equal(cds_gguf_read(b.data, len, false, &g, &err), CDS_BUSY);
        assert_int_equal(cds_gguf_read(b.data, len, true, &g, &err), CDS_BAD_PARAM);
    }
    assert_int_equal(cds_gguf_read(b.data, b.len, false, &g, &err), CDS_OK);
    cds_buf_free(&b);
}

static void refused(const struct cds_buf *b, const char *why)
{
    struct cds_gguf g;
    struct cds_err err = {0};
    cds_rc rc = read_it(b, &g, &err);
    if ((rc != CDS_BAD_PARAM && rc != CDS_TOO_LARGE) || !strstr(err.message, why))
        fail_msg("expected \"%s\", got %d %s", why, rc, err.message);
}

static void impossible_tensors_are_refused(void **state)
{
    static const struct {
        uint64_t rows, columns;
        uint32_t format;
        uint64_t offset;
        const char *why;
    } cases[] = {
        {0, 5, 0, 0, "impossible size"}, {UINT64_MAX, 1, 0, 0, "impossible size"}, {1ull << 40, 1ull << 40, 0, 0, "impossible size"},
        {33, 1, 2, 0, "whole blocks"},   {32, 1, 5, 0, "number format"},           {32, 1, 4000000, 0, "number format"},
        {32, 1, 0, 32, "do not follow"}, {32, 1, 0, UINT64_MAX, "do not follow"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cds_buf b = header(1, 0);
        put_tensor(&b, "a", cases[i].rows, cases[i].columns, cases[i].format, cases[i].offset);
        refused(&b, cases[i].why);
        cds_buf_free(&b);
    }
    struct cds_buf b = header(1, 0);
    put_text(&b, "a");
    put(&b, 5, 4);
    refused(&b, "1 to 4 dimensions");
    cds_buf_free(&b);
}

static void a_cache_of_an_impossible_size_is_refused(void **state)
{
    /* 2 numbers of 16 for each head: 2^30 layers of 2^29 heads are 2^64, which would wrap to none; 2^24 of 2^24 would only be absurd. */
    static const struct {
        uint32_t layers, heads_kv;
    } cases[] = {{1U << 30, 1U << 29}, {INT32_MAX, INT32_MAX}, {1U << 24, 1U << 24}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(cases); i++) {
        struct cds_buf b = shaped(0, 0, cases[i].layers, cases[i].heads_kv);
        refused(&b, "its cache has an impossible size");
        cds_buf_free(&b);
    }
    struct cds_gguf g;
    struct cds_err err = {0};
    struct cds_buf b = shaped(0, 0, 126, 8); /* a large model of today is nothing to that */
    assert_int_equal(read_it(&b, &g, &err), CDS_OK);
    assert_int_equal(g.kv_values, 126 * 8 * 16 * 2);
    cds_buf_free(&b);
}

static void impossible_keys_are_refused(void **state)
{
    for (uint32_t alignment = 1; alignment < 40; alignment += 13) {
        struct cds_buf b = header(0, alignment);
        refused(&b, "alignment");
        cds_buf_free(&b);
    }
    struct cds_buf b = cds_buf_init(4096);
    assert_int_equal(cds_buf_add(&b, "GGUF", 4), CDS_OK);
    put(&b, 3, 4);
    put(&b, 0, 8);
    put(&b, 0, 8);
    refused(&b, "does not name its architecture");
    cds_buf_clear(&b);
    assert_int_equal(cds_buf_add(&b, "GGUF", 4), CDS_OK);
    put(&b, 3, 4);
    put(&b, CDS_GGUF_TENSORS_MAX + 1, 8);
    put(&b, 0, 8);
    refused(&b, "more than");
    cds_buf_clear(&b);
    assert_int_equal(cds_buf_add(&b, "GGUF", 4), CDS_OK);
    put(&b, 3, 4);
    put(&b, 0, 8);
    put(&b, 1, 8);
    put(&b, UINT64_MAX, 8);
    refused(&b, "longer than 256 MiB");
    cds_buf_clear(&b);
    assert_int_equal(cds_buf_add(&b, "GGUF", 4), CDS_OK);
    put(&b, 3, 4);
    put(&b, 0, 8);
    put(&b, 1, 8);
    put_text(&b, "x");
    put(&b, 9, 4);
    put(&b, 9, 4); /* arrays in arrays */
    put(&b, 1, 8);
    refused(&b, "unknown kind");
    cds_buf_free(&b);
}

static void the_default_model_is_what_its_card_says(void **state)
{
    static char data[4 << 20];
    struct cds_gguf g;
    struct cds_err err = {0};
    FILE *file = fopen(CDS_SOURCE_DIR "/deps/models/SmolLM2-135M-Instruct.Q4_1.gguf", "rb");
    if (!file)
        skip();
    size_t len = fread(data, 1, sizeof(data), file);
    fclose(file);
    assert_int_equal(cds_gguf_read(data, len, false, &g, &err), CDS_OK);
    assert_int_equal(g.parameters, 134515008);
    assert_int_equal(g.file_bytes, 98362432);
    assert_int_equal(g.kv_values, 30 * 3 * 64 * 2);
    assert_true(g.chat_template);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_are_counted_from_the_shapes),        cmocka_unit_test(every_cut_of_a_header_wants_more_or_is_refused),
        cmocka_unit_test(impossible_tensors_are_refused),           cmocka_unit_test(impossible_keys_are_refused),
        cmocka_unit_test(a_cache_of_an_impossible_size_is_refused), cmocka_unit_test(the_default_model_is_what_its_card_says),
    };
    return RUN_ALL(tests);
}
