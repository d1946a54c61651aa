/* sandbox/wasm/wasmer_api.c: see wasmer_api.h. */
#include "sandbox/wasm/wasmer_api.h"

#include <dlfcn.h>
#include <string.h>

#include "lib/base/compiler.h"

static const struct {
    const char *name;
    size_t at;
} symbols[] = {
#define WASMER_ENTRY(result, name, parameters) {#name, offsetof(struct wasmer_api, name)},
    WASMER_SYMBOLS(WASMER_ENTRY)
#undef WASMER_ENTRY
};

bool wasmer_api_load(const char *path, struct wasmer_api *ret, const char **ret_missing)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        *ret_missing = dlerror();
        return false;
    }
    for (size_t i = 0; i < CDS_ARRAY_LEN(symbols); i++) {
        void *found = dlsym(library, symbols[i].name);
        if (!found) {
            *ret_missing = symbols[i].name;
            return false;
        }
        memcpy((char *)ret + symbols[i].at, &found, sizeof(found));
    }
    return true;
}
