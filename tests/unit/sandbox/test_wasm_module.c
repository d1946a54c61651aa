/* tests/unit/sandbox/test_wasm_module.c: what is seen of a module before it is compiled, and the copy that is compiled. */
#include "lib/base/cleanup.h"
#include "sandbox/wasm/module.h"
#include "tests/support/test.h"

#define HEAD "\0asm\1\0\0\0"
#define TYPE_NONE "\1\4\1\x60\0\0"    /* type 0: no values in, none out */
#define ONE_FUNCTION "\3\2\1\0"       /* of type 0 */
#define EMPTY_BODY "\x0a\4\1\2\0\x0b" /* its code */
#define BYTES(text) (const uint8_t *)(text), sizeof(text) - 1

static struct cds_err err;

static const char *rule_of(const uint8_t *data, size_t len, uint32_t pages)
{
    struct wasm_facts facts;
    memset(&err, 0, sizeof(err));
    cds_rc rc = wasm_module_check(data, len, pages, &facts, &err);
    if (rc)
        assert_int_equal(rc, CDS_DENIED);
    return rc ? err.rule : "";
}

static void a_module_is_measured(void **state)
{
    static const char text[] = HEAD TYPE_NONE ONE_FUNCTION "\5\4\1\1\2\3"
                                                           "\7\6\1\2go\0\0" EMPTY_BODY "\x0b\x0a\1\0\x41\0\x0b\4data";
    struct wasm_facts f;
    assert_int_equal(wasm_module_check(BYTES(text), 2, &f, &err), CDS_OK);
    assert_int_equal(f.functions, 1);
    assert_int_equal(f.exports, 1);
    assert_int_equal(f.data_bytes, 4);
    assert_int_equal(f.memory_pages_min, 2);
    assert_int_equal(f.memory_pages_max, 3);
    assert_false(f.wasi || f.has_start);
}

static void every_cut_of_a_module_is_refused_and_nothing_is_read_behind_it(void **state)
{
    static const char whole[] = HEAD TYPE_NONE ONE_FUNCTION "\7\6\1\2go\0\0" EMPTY_BODY;
    for (size_t len = 0; len < sizeof(whole) - 1; len++) {
        /* Memory of exactly that size: a sanitizer sees a byte too far. */
        uint8_t *copy = malloc(len ? len : 1);
        memcpy(copy, whole, len);
        /* Cut between two sections it may still be a module, but its functions have no code, or it has none at all. */
        const char *rule = rule_of(copy, len, 1);
        bool empty = len == 8 || len == 14; /* the head alone; head and types */
        if (empty ? *rule != '\0' : strcmp(rule, "wasm.malformed") != 0)
            fail_msg("%zu bytes: %s", len, rule);
        free(copy);
    }
    assert_string_equal(rule_of(BYTES(whole), 1), "");
}

static void a_memory_at_the_limit_is_taken_and_one_page_more_is_refused(void **state)
{
    assert_string_equal(rule_of(BYTES(HEAD "\5\3\1\0\2"), 2), "");
    assert_string_equal(rule_of(BYTES(HEAD "\5\3\1\0\3"), 2), "wasm.memory");
    assert_string_equal(rule_of(BYTES(HEAD "\5\5\1\0\x80\x80\4"), 65535), "wasm.memory"); /* 65536 pages: all 4 GiB */
    assert_string_equal(rule_of(BYTES(HEAD "\5\5\1\0\x81\x80\4"), 65536), "wasm.malformed");
    assert_string_equal(rule_of(BYTES(HEAD "\5\4\1\1\3\2"), 9), "wasm.malformed"); /* min above max */
    assert_string_equal(rule_of(BYTES(HEAD "\5\5\2\0\1\0\1"), 9), "wasm.memory");  /* two memories */
    assert_string_equal(rule_of(BYTES(HEAD "\5\3\1\4\1"), 9), "wasm.memory");      /* 64-bit addresses */
    assert_string_equal(rule_of(BYTES(HEAD "\5\4\1\3\1\2"), 9), "wasm.threads");
}

static void numbers_are_bounded_as_the_specification_bounds_them(void **state)
{
    assert_string_equal(rule_of(BYTES(HEAD "\1\x85\x80\x80\x80\0\1\x60\0\0"), 1),
                        "wasm.malformed"); /* the section is 5 bytes long by its head, 4 are there */
    assert_string_equal(rule_of(BYTES(HEAD "\1\x84\x80\x80\x80\0\1\x60\0\0"), 1), "");
    assert_string_equal(rule_of(BYTES(HEAD "\1\x84\x80\x80\x80\x80\0\1\x60\0\0"), 1), "wasm.malformed"); /* six bytes */
    assert_string_equal(rule_of(BYTES(HEAD "\1\x84\x80\x80\x80\x70\1\x60\0\0"), 1), "wasm.malformed");   /* bits past 32 */
}

static void sections_stand_once_and_in_order(void **state)
{
    assert_string_equal(rule_of(BYTES(HEAD TYPE_NONE TYPE_NONE), 1), "wasm.malformed");
    assert_string_equal(rule_of(BYTES(HEAD "\5\3\1\0\1" TYPE_NONE), 1), "wasm.malformed");
    assert_string_equal(rule_of(BYTES(HEAD "\x0e\0"), 1), "wasm.malformed");
    assert_string_equal(rule_of(BYTES(HEAD "\0\5\4name" TYPE_NONE "\0\1\0"), 1), "");
    assert_string_equal(rule_of(BYTES(HEAD TYPE_NONE ONE_FUNCTION), 1), "wasm.malformed"); /* a function without code */
    assert_string_equal(rule_of(BYTES(HEAD "\x0d\3\1\0\0"), 1), "wasm.unsupported");
}

static void counts_have_their_edges(void **state)
{
    assert_string_equal(rule_of(BYTES(HEAD "\1\4\x80\x80\x80\1"), 1), "wasm.too_big");       /* 2 million types */
    assert_string_equal(rule_of(BYTES(HEAD "\2\2\xe9\7"), 1), "wasm.too_big");               /* 1001 imports */
    assert_string_equal(rule_of(BYTES(HEAD "\2\2\xe8\7"), 1), "wasm.malformed");             /* 1000, and none is there */
    assert_string_equal(rule_of(BYTES(HEAD "\3\3\xa1\x9c\1"), 1), "wasm.too_big");           /* 20001 functions */
    assert_string_equal(rule_of(BYTES(HEAD "\3\3\xa0\x9c\1"), 1), "wasm.malformed");         /* 20000 */
    assert_string_equal(rule_of(BYTES(HEAD "\4\6\1\x70\0\x81\x80\x40"), 1), "wasm.too_big"); /* 2^20 + 1 elements */
    assert_string_equal(rule_of(BYTES(HEAD "\4\6\1\x70\0\x80\x80\x40"), 1), "");
    assert_string_equal(rule_of(BYTES(HEAD TYPE_NONE ONE_FUNCTION "\x0a\x08\1\6\1\xd1\x86\3\x7f\x0b"), 1), "wasm.too_big"); /* 50001 locals */
    assert_string_equal(rule_of(BYTES(HEAD TYPE_NONE ONE_FUNCTION "\x0a\x08\1\6\1\xd0\x86\3\x7f\x0b"), 1), "");
    assert_string_equal(rule_of(BYTES(HEAD TYPE_NONE ONE_FUNCTION "\x0a\5\1\x81\x80\xc0\0"), 1), "wasm.too_big"); /* a body of 2^20 + 1 bytes */
    uint8_t *big = calloc(1, WASM_MODULE_MAX + 1);
    memcpy(big, HEAD, 8);
    assert_string_equal(rule_of(big, WASM_MODULE_MAX + 1, 1), "wasm.too_big");
    assert_string_equal(rule_of(big, WASM_MODULE_MAX, 1), ""); /* empty custom sections */
    free(big);
}

static void only_functions_of_wasi_can_be_imported(void **state)
{
    struct wasm_facts f;
    static const char good[] = HEAD TYPE_NONE "\2\x23\1\x16wasi_snapshot_preview1\x08"
                                              "fd_write\0\0";
    assert_int_equal(wasm_module_check(BYTES(good), 1, &f, &err), CDS_OK);
    assert_true(f.wasi);
    assert_string_equal(rule_of(BYTES(HEAD TYPE_NONE "\2\x24\1\x16wasi_snapshot_preview1\x09"
                                                     "sock_open\0\0"),
                                1),
                        "wasm.import");
    assert_string_equal(rule_of(BYTES(HEAD TYPE_NONE "\2\x0c\1\3env\4puts\0\0"), 1), "wasm.import");
    assert_non_null(strstr(err.message, "env.puts"));
    assert_string_equal(rule_of(BYTES(HEAD "\2\x09\1\1m\1t\1\x70\0\1"), 1), "wasm.import");
    assert_string_equal(rule_of(BYTES(HEAD "\2\x08\1\1m\1m\2\0\1"), 1), "wasm.import");
    assert_string_equal(rule_of(BYTES(HEAD "\2\x09\1\1m\1m\2\3\1\1"), 1), "wasm.threads");
    assert_string_equal(rule_of(BYTES(HEAD TYPE_NONE "\2\x0c\1\3\xffnv\4puts\0\0"), 1), "wasm.malformed"); /* not UTF-8 */
}

static void names_of_the_studio_cannot_be_exported(void **state)
{
    assert_string_equal(rule_of(BYTES(HEAD TYPE_NONE ONE_FUNCTION "\7\x16\1\x12wasmer_metering_xx\0\0" EMPTY_BODY), 1), "wasm.export");
    assert_string_equal(rule_of(BYTES(HEAD TYPE_NONE ONE_FUNCTION "\7\x0d\1\x09"
                                                                  "cds:start\0\0" EMPTY_BODY),
                                1),
                        "wasm.export");
    assert_string_equal(rule_of(BYTES(HEAD TYPE_NONE ONE_FUNCTION "\7\x13\1\x0fwasmer_metering\0\0" EMPTY_BODY), 1), "");
    /* a name that is long enough to be compared and is no text */
    assert_string_equal(rule_of(BYTES(HEAD TYPE_NONE ONE_FUNCTION "\7\x16\1\x12\xff\xff\xffxxxxxxxxxxxxxxx\0\0" EMPTY_BODY), 1), "wasm.malformed");
}

static void elements_and_data_are_walked_in_all_their_forms(void **state)
{
#define WITH_ELEMENT(bytes) BYTES(HEAD TYPE_NONE ONE_FUNCTION "\4\4\1\x70\0\1" bytes EMPTY_BODY), 1
    assert_string_equal(rule_of(WITH_ELEMENT("\x09\7\1\0\x41\0\x0b\1\0")), "");
    assert_string_equal(rule_of(WITH_ELEMENT("\x09\5\1\1\0\1\0")), "");
    assert_string_equal(rule_of(WITH_ELEMENT("\x09\x09\1\2\0\x41\0\x0b\0\1\0")), "");
    assert_string_equal(rule_of(WITH_ELEMENT("\x09\x09\1\4\x41\0\x0b\1\xd2\0\x0b")), "");
    assert_string_equal(rule_of(WITH_ELEMENT("\x09\7\1\5\x70\1\xd0\x70\x0b")), "");
    assert_string_equal(rule_of(WITH_ELEMENT("\x09\3\1\x08\0")), "wasm.malformed");
    assert_string_equal(rule_of(WITH_ELEMENT("\x09\7\1\0\x41\0\x0b\2\0")), "wasm.malformed");
    assert_string_equal(rule_of(WITH_ELEMENT("\x09\x08\1\0\x41\0\x0b\x81\x80\x40")), "wasm.too_big");
    assert_string_equal(rule_of(BYTES(HEAD "\5\3\1\0\1\x0b\5\1\1\2hi"), 1), "");
    assert_string_equal(rule_of(BYTES(HEAD "\5\3\1\0\1\x0b\5\1\1\3hi"), 1), "wasm.malformed");
    assert_string_equal(rule_of(BYTES(HEAD "\6\6\1\x7f\1\x41\5\x0b"), 1), "");
    assert_string_equal(rule_of(BYTES(HEAD "\6\6\1\x7f\1\x10\5\x0b"), 1), "wasm.malformed"); /* a call is no constant */
}

static void prepared_as(const uint8_t *data, size_t len, uint32_t pages, const uint8_t *wanted, size_t wanted_len)
{
    struct wasm_facts f;
    CDS_CLEANUP(cds_buf_free) struct cds_buf out = cds_buf_init(len + WASM_PREPARE_EXTRA);
    assert_int_equal(wasm_module_check(data, len, pages, &f, &err), CDS_OK);
    assert_int_equal(wasm_module_prepare(data, len, &f, pages, &out, &err), CDS_OK);
    assert_int_equal(out.len, wanted_len);
    assert_memory_equal(out.data, wanted, wanted_len);
}

static void the_copy_has_a_ceiling_on_memory_and_its_start_function_as_an_export(void **state)
{
    /* no maximum, or one above the limit, becomes the limit; one below stays */
    prepared_as(BYTES(HEAD "\5\3\1\0\1"), 300, BYTES(HEAD "\5\5\1\1\1\xac\2"));
    prepared_as(BYTES(HEAD "\5\6\1\1\1\x80\x80\4"), 300, BYTES(HEAD "\5\5\1\1\1\xac\2"));
    prepared_as(BYTES(HEAD "\5\4\1\1\1\5"), 300, BYTES(HEAD "\5\4\1\1\1\5"));
    /* start without exports, and with one; what stands around stays */
    prepared_as(BYTES(HEAD TYPE_NONE ONE_FUNCTION "\x08\1\0" EMPTY_BODY "\0\2\1x"), 1,
                BYTES(HEAD TYPE_NONE ONE_FUNCTION "\7\x0d\1\x09"
                                                  "cds:start\0\0" EMPTY_BODY "\0\2\1x"));
    prepared_as(BYTES(HEAD TYPE_NONE ONE_FUNCTION "\5\3\1\0\1\7\6\1\2go\0\0\0\2\1x\x08\1\0" EMPTY_BODY), 2,
                BYTES(HEAD TYPE_NONE ONE_FUNCTION "\5\4\1\1\1\2\7\x12\2\2go\0\0\x09"
                                                  "cds:start\0\0\0\2\1x" EMPTY_BODY));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_module_is_measured),
        cmocka_unit_test(every_cut_of_a_module_is_refused_and_nothing_is_read_behind_it),
        cmocka_unit_test(a_memory_at_the_limit_is_taken_and_one_page_more_is_refused),
        cmocka_unit_test(numbers_are_bounded_as_the_specification_bounds_them),
        cmocka_unit_test(sections_stand_once_and_in_order),
        cmocka_unit_test(counts_have_their_edges),
        cmocka_unit_test(only_functions_of_wasi_can_be_imported),
        cmocka_unit_test(names_of_the_studio_cannot_be_exported),
        cmocka_unit_test(elements_and_data_are_walked_in_all_their_forms),
        cmocka_unit_test(the_copy_has_a_ceiling_on_memory_and_its_start_function_as_an_export),
    };
    return RUN_ALL(tests);
}
