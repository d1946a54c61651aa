/* apps/llmworker/shim.h: the chat template of a model, rendered by libllama-common. shim.cpp is the only C++ file of the product.
 *
 * Threads: one thread. Strings in, strings out; no C++ type or exception crosses this line.
 * Callers limit sizes and nesting before: a catch block does not help against a stack that ran out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cds_shim;
/** Compiles a Jinja template. @return NULL on failure, with the reason in why */
struct cds_shim *cds_shim_open(const char *chat_template, const char *bos, const char *eos, char *why, size_t why_size);
void cds_shim_close(struct cds_shim *shim);
/** Renders messages (JSON text of [{"role","content"}, ...]) up to where the assistant begins. @return malloc'ed text or NULL with the reason */
char *cds_shim_render(struct cds_shim *shim, const char *messages_json, bool add_bos, bool add_eos, char *why, size_t why_size);

#ifdef __cplusplus
}
#endif
