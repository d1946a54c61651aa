/* tests/unit/sandbox/test_wasmer_api.c: the worker's own declarations of Wasmer's C API are those of its headers. The comparison is made by the
 * compiler; where the headers are not there, the test is skipped. */
#include "tests/support/test.h"

#if __has_include("deps/wasmer/include/wasmer.h")
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#define WASM_API_EXTERN
#include "deps/wasmer/include/wasmer.h"
#pragma GCC diagnostic pop
#define HEADERS 1
/* What is declared by hand without the headers, under other names. */
#define wasm_val_t own_val_t
#define wasm_byte_vec_t own_byte_vec_t
#define wasm_val_vec_t own_val_vec_t
#define wasm_extern_vec_t own_extern_vec_t
#define wasm_valtype_vec_t own_valtype_vec_t
#define wasm_exporttype_vec_t own_exporttype_vec_t
#define wasm_valkind_t own_valkind_t
#define wasm_valkind_enum own_valkind_enum
#define wasm_name_t own_name_t
#define wasm_message_t own_message_t
#define wasmer_backend_t own_backend_t
#define wasmer_parser_operator_t own_operator_t
#define WASM_I32 OWN_I32
#define WASM_I64 OWN_I64
#define WASM_F32 OWN_F32
#define WASM_F64 OWN_F64
#define CRANELIFT OWN_CRANELIFT
#define LLVM OWN_LLVM
#define SINGLEPASS OWN_SINGLEPASS
#include "sandbox/wasm/wasmer_api.h"
#undef wasm_val_t
#undef wasm_byte_vec_t
#undef wasm_val_vec_t
#undef wasm_extern_vec_t
#undef wasm_valtype_vec_t
#undef wasm_exporttype_vec_t
#undef wasm_valkind_t
#undef wasm_valkind_enum
#undef wasm_name_t
#undef wasm_message_t
#undef wasmer_backend_t
#undef wasmer_parser_operator_t
#undef WASM_I32
#undef WASM_I64
#undef WASM_F32
#undef WASM_F64
#undef CRANELIFT
#undef LLVM
#undef SINGLEPASS

#define SAME_TYPE(result, name, parameters)                                                                                                          \
    _Static_assert(__builtin_types_compatible_p(__typeof__(name), result parameters), #name " is declared otherwise in wasmer.h");
WASMER_SYMBOLS(SAME_TYPE)
#define SAME_MEMBER(type, own, member)                                                                                                               \
    _Static_assert(sizeof(type) == sizeof(own) && offsetof(type, member) == offsetof(own, member), #type " is laid out otherwise");
SAME_MEMBER(wasm_val_t, own_val_t, of)
SAME_MEMBER(wasm_byte_vec_t, own_byte_vec_t, data)
SAME_MEMBER(wasm_val_vec_t, own_val_vec_t, data)
SAME_MEMBER(wasm_extern_vec_t, own_extern_vec_t, data)
SAME_MEMBER(wasm_valtype_vec_t, own_valtype_vec_t, data)
SAME_MEMBER(wasm_exporttype_vec_t, own_exporttype_vec_t, data)
_Static_assert(sizeof(wasmer_parser_operator_t) == sizeof(own_operator_t), "an operator has another size");
_Static_assert((int)WASM_F64 == (int)OWN_F64 && (int)CRANELIFT == (int)OWN_CRANELIFT && (int)SINGLEPASS == (int)OWN_SINGLEPASS, "numbers differ");
#else
#define HEADERS 0
#endif

static void the_declarations_are_those_of_the_headers(void **state)
{
    if (!HEADERS) {
        print_message("SKIPPED: the headers of wasmer are not in deps/wasmer (make wasmer)\n");
        skip();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_declarations_are_those_of_the_headers)};
    return RUN_ALL(tests);
}
